"""Reading tars of images: OCI archives, and what ``docker save`` wrote in any of its years.

A first pass finds out what an archive holds, a second brings one image of it into a layout.
Nothing is extracted by name: what the archive's own lists name is looked up in it, links
included, and checked.
"""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final, TypeVar

from attrs import evolve, field, frozen
from pydantic import TypeAdapter, ValidationError

from ..errors import DigestMismatchError, NotFoundError, RegistryError, SpecError
from . import Digest
from ._codecs import compression_by_magic, decompressed
from ._folder import CHUNK, Layout
from ._models import SavedImageModel
from ._watched import WatchedFile, unwatched
from .ancient import AncientImage, names_in
from .layer import MEDIA_TYPES, Layer, LayerWriter, open_layer
from .layout import unpack_tar
from .tar import Entry, TarError, read
from .wire import (
    MAX_CONFIG,
    MAX_MANIFEST,
    Compression,
    Descriptor,
    Index,
    Manifest,
    MediaType,
    dump,
    parse_config,
    parse_manifest,
)

__all__ = ["NAME", "TAG", "Archive", "SavedImage", "names_of"]

NAME: Final = "io.containerd.image.name"
TAG: Final = "org.opencontainers.image.ref.name"
_MOST_LINKS: Final = 40
_MOST_ENTRIES: Final = 1 << 20
_SMALL: Final = frozenset({"index.json", "manifest.json", "repositories"})


@frozen(kw_only=True)
class SavedImage:
    """One image that an archive lists; *digest* is None where its manifest is still to be made."""

    names: tuple[str, ...]
    digest: Digest | None = None
    saved: SavedImageModel | None = field(default=None, repr=False)
    ancient: AncientImage | None = field(default=None, repr=False)


@frozen(kw_only=True)
class Archive:
    """A tar of images that was looked through once; *images* are in its own order.

    It *is_layout* when its manifests are the images' own: then they keep their digests. A
    docker without containerd's store has none, and what ``docker save`` makes up beside
    ``manifest.json`` is nobody's digest.
    """

    path: Path
    is_layout: bool
    images: tuple[SavedImage, ...]
    links: Mapping[str, str] = field(repr=False)
    saved: tuple[SavedImage, ...] = field(repr=False)

    @classmethod
    def open(cls, path: Path, *, check: Callable[[], None] = unwatched) -> Archive:
        """Look through *path*; raises `SpecError` when it is no such archive, or damaged.

        *check* is called between any two pieces that are read, here and below; what it raises
        passes.
        """
        with _reading(path, check) as entries:
            contents = _Contents.of(entries)
        files, links = contents.files, contents.links
        saved: tuple[SavedImage, ...] = ()
        if "manifest.json" in files:
            saved = _saved_images(path, files["manifest.json"])
        elif "repositories" in files:
            found = names_in(path, files["repositories"])
            saved = tuple(SavedImage(names=one.names, ancient=one) for one in found)
        invented = any(one.saved is not None and one.saved.LayerSources for one in saved)
        if contents.is_layout and not (invented or (saved and "repositories" in files)):
            listed = _listed(path, files["index.json"])
            return cls(path=path, is_layout=True, images=listed, links=links, saved=saved)
        if not saved:
            raise SpecError(
                f"{path} is not a docker archive: it has no manifest.json, nor is it an OCI"
                " archive: it has no index.json with an image",
                hint="docker save, skopeo and buildx --output type=oci|docker write such archives",
            )
        return cls(path=path, is_layout=False, images=saved, links=links, saved=saved)

    def as_docker(self) -> Archive:
        """What docker's own ``manifest.json`` lists instead; raises `SpecError` without one."""
        if not self.saved:
            raise SpecError(f"{self.path} is not a docker archive: it has no manifest.json")
        return evolve(self, is_layout=False, images=self.saved)

    def unpack(self, destination: Path, *, check: Callable[[], None] = unwatched) -> Layout:
        """Make the layout *destination* of one that *is_layout*, whatever it holds."""
        with _faults(self.path):
            return unpack_tar(self.path, destination, check=check)

    def bring(
        self,
        image: SavedImage,
        layout: Layout,
        *,
        compression: Compression = "gzip",
        check: Callable[[], None] = unwatched,
    ) -> Descriptor:
        """Make a manifest in *layout* for one image of docker's own form; what names it.

        Plain layers are compressed so that the same archive gives the same bytes on every
        machine; compressed ones stay as they are. Raises
        `DigestMismatchError` for content that is not what its diffID says, `NotFoundError` for
        content that is not there, `SpecError` for an archive that is damaged.
        """
        job = _Bringing(archive=self, layout=layout, compression=compression, check=check)
        if image.ancient is not None:
            return job.ancient(image.ancient)
        assert image.saved is not None
        return job.saved(image.saved)

    def real(self, name: str) -> str:
        """The entry that *name* leads to, its links followed inside the archive only."""
        for _ in range(_MOST_LINKS):
            name = posixpath.normpath(name)
            if name.startswith(("/", "../")) or name == "..":
                raise SpecError(f"{self.path} names {name[:71]!r}, which is outside of it")
            if name not in self.links:
                return name
            name = self.links[name]
        raise SpecError(f"the links of {self.path} go round in circles at {name[:71]!r}")


def names_of(entry: Descriptor) -> tuple[str, ...]:
    """What an entry of a layout's ``index.json`` is called, the longest name first."""
    found = (entry.annotations.get(NAME, ""), entry.annotations.get(TAG, ""))
    return tuple(dict.fromkeys(filter(None, found)))


@contextmanager
def _faults(path: Path) -> Generator[None]:
    """Say of whatever is wrong with an archive that it is the archive's fault."""
    try:
        yield
    except TarError as error:
        raise SpecError(f"{path} is no tar archive, or a damaged one: {error}") from error
    except RegistryError as error:
        if type(error) is not RegistryError:
            raise
        raise SpecError(f"{path} is damaged: {error.message}") from error


@contextmanager
def _reading(path: Path, check: Callable[[], None]) -> Generator[Iterator[tuple[Entry, BinaryIO]]]:
    """The entries of an archive, compressed or not."""
    with _faults(path), WatchedFile(path, check) as raw, decompressed(raw, "") as stream:
        yield read(stream)


@frozen(kw_only=True)
class _Contents:
    """What a first pass over an archive finds: its small files, and where its links lead."""

    is_layout: bool
    files: Mapping[str, bytes]
    links: Mapping[str, str]

    @classmethod
    def of(cls, entries: Iterator[tuple[Entry, BinaryIO]]) -> _Contents:
        files: dict[str, bytes] = {}
        links: dict[str, str] = {}
        marked = False
        for number, (entry, body) in enumerate(entries):
            if number >= _MOST_ENTRIES:
                raise RegistryError(f"it has more than {_MOST_ENTRIES} entries")
            if entry.kind == "symlink":
                links[entry.name] = posixpath.join(posixpath.dirname(entry.name), entry.link)
            elif entry.kind == "hardlink":
                links[entry.name] = entry.link
            elif entry.name in _SMALL:
                files[entry.name] = _bounded(entry, body, MAX_MANIFEST)
            marked = marked or entry.name == "oci-layout"
        return cls(is_layout=marked and "index.json" in files, files=files, links=links)


def _bounded(entry: Entry, body: BinaryIO, limit: int) -> bytes:
    if entry.size > limit:
        raise RegistryError(f"its {entry.name[:71]!r} is larger than {limit} bytes")
    return body.read()


def _saved_images(path: Path, manifest: bytes) -> tuple[SavedImage, ...]:
    try:
        found = TypeAdapter(list[SavedImageModel]).validate_json(manifest)
    except ValidationError:
        raise SpecError(f"{path} is not a docker archive: its manifest.json is damaged") from None
    return tuple(SavedImage(names=tuple(one.RepoTags or ()), saved=one) for one in found)


def _listed(path: Path, index: bytes) -> tuple[SavedImage, ...]:
    """The images of ``index.json``, each once, with all its names."""
    try:
        document = parse_manifest(index, MediaType.OCI_INDEX)
    except RegistryError as error:
        raise SpecError(f"{path} is no OCI archive: its index.json: {error.message}") from error
    names: dict[Digest, tuple[str, ...]] = {}
    assert isinstance(document, Index)
    for entry in document.manifests:
        names[entry.digest] = (*names.get(entry.digest, ()), *names_of(entry))
    return tuple(SavedImage(names=said, digest=digest) for digest, said in names.items())


@frozen(kw_only=True)
class _Bringing:
    """One image of docker's own form on its way into *layout*."""

    archive: Archive
    layout: Layout
    compression: Compression
    check: Callable[[], None]

    def saved(self, image: SavedImageModel) -> Descriptor:
        config_name = self.archive.real(image.Config)
        names = [self.archive.real(name) for name in image.Layers or ()]
        small, layers = self._collect({config_name}, set(names) - {config_name})
        config = self._found(small, config_name)
        stack = [self._found(layers, name) for name in names]
        if parse_config(config).diff_ids != tuple(layer.diff_id for layer in stack):
            raise DigestMismatchError(
                f"{self.archive.path}: its layers are not those that its config names"
            )
        return self._image(config, stack)

    def ancient(self, image: AncientImage) -> Descriptor:
        with _reading(self.archive.path, self.check) as entries:
            chain = image.chain(
                {
                    entry.name: _bounded(entry, body, MAX_MANIFEST)
                    for entry, body in entries
                    if entry.name.endswith("/json") and entry.kind == "file"
                }
            )
        names = [self.archive.real(f"{one.id}/layer.tar") for one in chain.links]
        _, layers = self._collect(set(), set(names))
        stack = [self._found(layers, name) for name in names]
        return self._image(chain.config([layer.diff_id for layer in stack]), stack)

    def _image(self, config: bytes, layers: Sequence[Layer]) -> Descriptor:
        manifest = Manifest(
            config=self.layout.add_bytes(config, MediaType.OCI_CONFIG),
            layers=tuple(layer.descriptor for layer in layers),
        )
        return self.layout.add_bytes(dump(manifest), MediaType.OCI_MANIFEST)

    def _collect(
        self, small: set[str], names: set[str]
    ) -> tuple[dict[str, bytes], dict[str, Layer]]:
        """Read the wanted entries in the archive's order, which is not the manifest's."""
        contents: dict[str, bytes] = {}
        layers: dict[str, Layer] = {}
        with _reading(self.archive.path, self.check) as entries:
            for entry, body in entries:
                if entry.kind != "file":
                    continue
                if entry.name in small:
                    contents[entry.name] = _bounded(entry, body, MAX_CONFIG)
                elif entry.name in names:
                    layers[entry.name] = self._layer(body)
        return contents, layers

    def _layer(self, body: BinaryIO) -> Layer:
        """Store one layer: compressed if it was plain, else as it is."""
        with TemporaryDirectory(prefix=".layer-", dir=self.layout.path) as room:
            path = Path(room) / "layer"
            head = body.read(4)
            if compression_by_magic(head) == "none":
                with LayerWriter(path, compression=self.compression, strict=True) as writer:
                    writer.write(head)
                    while chunk := body.read(CHUNK):
                        writer.write(chunk)
                    layer = writer.finish()
            else:
                layer = _keep(head, body, path)
            self.layout.add_file(path, layer.descriptor)
        return layer

    def _found(self, contents: Mapping[str, T], name: str) -> T:
        if name not in contents:
            raise NotFoundError(
                f"{self.archive.path} has no {name[:97]!r}, which its list of images names",
                hint="was it cut short? save the image again",
            )
        return contents[name]


T = TypeVar("T")


def _keep(head: bytes, body: BinaryIO, path: Path) -> Layer:
    """Write a compressed layer to *path* as it is, and read it back for its diffID."""
    digest = hashlib.sha256(head)
    size = len(head)
    with path.open("wb") as file:
        file.write(head)
        while chunk := body.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
    path.chmod(0o644)
    diff_id = hashlib.sha256()
    uncompressed = 0
    with open_layer(path, "") as stream:
        while chunk := stream.read(CHUNK):
            diff_id.update(chunk)
            uncompressed += len(chunk)
    descriptor = Descriptor(
        media_type=MEDIA_TYPES[compression_by_magic(head)],
        digest=Digest(f"sha256:{digest.hexdigest()}"),
        size=size,
    )
    return Layer(
        descriptor=descriptor,
        diff_id=Digest(f"sha256:{diff_id.hexdigest()}"),
        uncompressed=uncompressed,
    )

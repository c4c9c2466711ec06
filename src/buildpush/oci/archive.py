"""Docker archives: the tar files of ``docker save`` and ``docker load``, written and read.

What is written is both at once, as docker itself does since version 25: an OCI archive, and
docker's own ``manifest.json``. What is read may be either, compressed or not, of any age.
"""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO, Final, TypeVar

from attrs import evolve, frozen
from pydantic import TypeAdapter, ValidationError

from ..errors import (
    DigestMismatchError,
    NotFoundError,
    RegistryError,
    SpecError,
    UnsupportedFeatureError,
)
from . import Digest, ImageReference
from ._codecs import compression_by_magic, decompressed
from ._folder import CHUNK, Layout, written
from ._models import SavedImageModel
from .layer import MEDIA_TYPES, Layer, LayerWriter, open_layer
from .layout import put_file, unpack_tar
from .tar import END, Entry, TarError, read
from .wire import (
    MAX_CONFIG,
    MAX_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    MediaType,
    dump,
    parse_config,
)

__all__ = ["read_docker_archive", "write_docker_archive"]

_NAME: Final = "io.containerd.image.name"
_TAG: Final = "org.opencontainers.image.ref.name"
_MOST_LINKS: Final = 40

Named = tuple[Descriptor, tuple[ImageReference, ...]]


def write_docker_archive(
    layout: Layout, digest: Digest, references: Sequence[ImageReference], destination: Path
) -> None:
    """Write the image *digest* of *layout* as a tar that ``docker load`` takes.

    Blobs are written as they are stored, so that its digest survives. Raises
    `UnsupportedFeatureError` when *digest* is an index of several platforms, `NotFoundError`
    when a blob is absent.
    """
    documents = list(layout.manifests(digest))
    image = _only_image(documents)
    tagged = [evolve(reference, digest=None) for reference in references if reference.tag]
    tops = [
        evolve(documents[0][0], annotations={_NAME: str(name), _TAG: name.tag}) for name in tagged
    ]
    saved = {
        "Config": _blob_name(image.config.digest),
        "RepoTags": [_familiar(name) for name in tagged],
        "Layers": [_blob_name(layer.digest) for layer in image.layers],
    }
    with written(destination) as archive:
        for name, data in (
            ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
            ("index.json", dump(Index(manifests=tuple(tops) or (documents[0][0],)))),
            ("manifest.json", json.dumps([saved], separators=(",", ":")).encode()),
        ):
            put_file(archive, name, io.BytesIO(data))
        for blob in _blobs(documents):
            if not layout.has(blob):
                raise NotFoundError(f"the layout has no {blob}")
            with layout.blob_path(blob).open("rb") as body:
                put_file(archive, _blob_name(blob), body)
        archive.write(END)


def _only_image(documents: Iterable[tuple[Descriptor, Manifest | Index]]) -> Manifest:
    images = [
        document
        for _, document in documents
        if isinstance(document, Manifest)
        and all(MediaType.is_layer(layer.media_type) for layer in document.layers)
    ]
    if len(images) != 1:
        raise UnsupportedFeatureError(
            f"a docker archive holds one platform's image, not {len(images)}",
            hint="write an OCI archive instead, or build for one platform",
        )
    return images[0]


def _blobs(documents: Iterable[tuple[Descriptor, Manifest | Index]]) -> list[Digest]:
    """All that *documents* name and are, each once, sorted."""
    found: set[Digest] = set()
    for descriptor, document in documents:
        found.add(descriptor.digest)
        if isinstance(document, Manifest):
            found.add(document.config.digest)
            found |= {layer.digest for layer in document.layers}
    return sorted(found)


def _blob_name(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _familiar(reference: ImageReference) -> str:
    """The name as docker shows it: without Docker Hub's host and ``library/``."""
    text = str(reference).removeprefix("docker.io/")
    return text.removeprefix("library/") if text.count("/") == 1 else text


def read_docker_archive(path: Path, layout: Layout) -> tuple[Named, ...]:
    """Add the images of the docker archive *path* to *layout*, with the names they were saved by.

    Nothing is extracted by name: what ``manifest.json`` or ``index.json`` lists is looked up in
    the archive, links included, and checked. Layers of docker's old form are gzipped on the way.
    Raises `SpecError` when *path* is no docker archive, `DigestMismatchError` for content that
    is not what its digest or diffID says, `NotFoundError` for content that is not there.
    """
    try:
        contents = _survey(path)
        if contents.index:
            with TemporaryDirectory(prefix=".unpack-", dir=layout.path) as room:
                unpacked = unpack_tar(path, Path(room) / "layout")
                if _is_complete(unpacked):
                    return _take_over(unpacked, layout)
        if not contents.manifest:
            raise SpecError(f"{path} is not a docker archive: it has no manifest.json")
        return _Saved(path=path, layout=layout, links=contents.links).images(contents.manifest)
    except TarError as error:
        raise SpecError(f"{path} is not a docker archive: {error}") from error


@frozen(kw_only=True)
class _Contents:
    """What a first pass over an archive finds."""

    index: bool
    manifest: bytes
    links: Mapping[str, str]


@contextmanager
def _opened(path: Path) -> Generator[BinaryIO]:
    with path.open("rb", buffering=0) as raw, decompressed(raw, "") as stream:
        yield stream


def _survey(path: Path) -> _Contents:
    manifest = b""
    names: set[str] = set()
    links: dict[str, str] = {}
    with _opened(path) as stream:
        for entry, body in read(stream):
            names.add(entry.name)
            if entry.kind == "symlink":
                links[entry.name] = posixpath.join(posixpath.dirname(entry.name), entry.link)
            elif entry.kind == "hardlink":
                links[entry.name] = entry.link
            elif entry.name == "manifest.json":
                manifest = _bounded(entry, body, MAX_MANIFEST)
    return _Contents(index={"index.json", "oci-layout"} <= names, manifest=manifest, links=links)


def _bounded(entry: Entry, body: BinaryIO, limit: int) -> bytes:
    if entry.size > limit:
        raise RegistryError(f"the archive's {entry.name[:71]!r} is larger than {limit} bytes")
    return body.read()


def _is_complete(layout: Layout) -> bool:
    """Whether all that the index names is there; docker saves indexes of which it is not."""
    try:
        return all(
            layout.has(blob)
            for top in layout.index().manifests
            for blob in _blobs(layout.manifests(top.digest))
        )
    except NotFoundError:
        return False


def _take_over(source: Layout, layout: Layout) -> tuple[Named, ...]:
    """Link what the index of *source* names into *layout*."""
    found: dict[Descriptor, list[ImageReference]] = {}
    for top in source.index().manifests:
        for blob in _blobs(source.manifests(top.digest)):
            path = source.blob_path(blob)
            size = path.stat().st_size
            layout.add_file(path, Descriptor(media_type="", digest=blob, size=size))
        names = found.setdefault(evolve(top, annotations={}), [])
        if _NAME in top.annotations:
            names.append(ImageReference.parse(top.annotations[_NAME]))
    return tuple((descriptor, tuple(names)) for descriptor, names in found.items())


@frozen(kw_only=True)
class _Saved:
    """An archive with docker's own ``manifest.json``, being read into *layout*."""

    path: Path
    layout: Layout
    links: Mapping[str, str]

    def images(self, manifest: bytes) -> tuple[Named, ...]:
        """Add every image that *manifest* lists."""
        try:
            saved = TypeAdapter(list[SavedImageModel]).validate_json(manifest)
        except ValidationError:
            raise SpecError(
                f"{self.path} is not a docker archive: its manifest.json is damaged"
            ) from None
        configs = {self._real(image.Config) for image in saved}
        names = {self._real(layer) for image in saved for layer in image.Layers or ()}
        contents, layers = self._collect(configs, names - configs)
        out: list[Named] = []
        for image in saved:
            config = _found(contents, self._real(image.Config))
            stack = [_found(layers, self._real(layer)) for layer in image.Layers or ()]
            references = tuple(ImageReference.parse(tag) for tag in image.RepoTags or ())
            out.append((self._image(config, stack), references))
        return tuple(out)

    def _image(self, config: bytes, layers: Sequence[Layer]) -> Descriptor:
        diff_ids = tuple(layer.diff_id for layer in layers)
        if parse_config(config).diff_ids != diff_ids:
            raise DigestMismatchError("the archive's layers are not those that its config names")
        return self.layout.add_bytes(
            dump(
                Manifest(
                    config=self.layout.add_bytes(config, MediaType.OCI_CONFIG),
                    layers=tuple(layer.descriptor for layer in layers),
                )
            ),
            MediaType.OCI_MANIFEST,
        )

    def _collect(
        self, configs: set[str], names: set[str]
    ) -> tuple[dict[str, bytes], dict[str, Layer]]:
        """Read the wanted entries in the archive's order, which is not the manifest's."""
        contents: dict[str, bytes] = {}
        layers: dict[str, Layer] = {}
        with _opened(self.path) as stream:
            for entry, body in read(stream):
                if entry.kind != "file":
                    continue
                if entry.name in configs:
                    contents[entry.name] = _bounded(entry, body, MAX_CONFIG)
                elif entry.name in names:
                    layers[entry.name] = self._layer(body)
        return contents, layers

    def _layer(self, body: BinaryIO) -> Layer:
        """Store one layer: gzipped if it was plain, else as it is."""
        with TemporaryDirectory(prefix=".layer-", dir=self.layout.path) as room:
            path = Path(room) / "layer"
            head = body.read(4)
            if compression_by_magic(head) == "none":
                with LayerWriter(path) as writer:
                    writer.write(head)
                    while chunk := body.read(CHUNK):
                        writer.write(chunk)
                    layer = writer.finish()
            else:
                layer = _keep(head, body, path)
            self.layout.add_file(path, layer.descriptor)
        return layer

    def _real(self, name: str) -> str:
        """The entry that *name* leads to, its links followed inside the archive only."""
        for _ in range(_MOST_LINKS):
            name = posixpath.normpath(name)
            if name.startswith(("/", "../")) or name == "..":
                raise RegistryError(f"the archive names {name[:71]!r}, which is outside of it")
            if name not in self.links:
                return name
            name = self.links[name]
        raise RegistryError(f"the archive's links go round in circles at {name[:71]!r}")


T = TypeVar("T")


def _found(contents: Mapping[str, T], name: str) -> T:
    if name not in contents:
        raise NotFoundError(f"the archive has no {name[:71]!r}, which its manifest.json names")
    return contents[name]


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

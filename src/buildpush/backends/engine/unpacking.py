"""What an engine exported, whatever it looks like: manifests in a layout, and where blobs lie.

An OCI layout is used where it is. Of an archive (an OCI archive, or what ``docker save`` wrote,
old or new) only manifests and configs are copied out: layers are read in place, since most of
them are about to be compressed, or belong to a base image and are not needed at all.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Final

from attrs import field, frozen

from ...errors import BuildError, NotFoundError, RegistryError, SpecError
from ...oci import Digest
from ...oci.layer import MEDIA_TYPES, compression_by_magic
from ...oci.layout import Layout
from ...oci.wire import (
    MAX_CONFIG,
    MAX_MANIFEST,
    Descriptor,
    Manifest,
    MediaType,
    dump,
    parse_config,
    parse_manifest,
)
from ...runtime import Run

if TYPE_CHECKING:
    import tarfile

__all__ = ["Exported", "Span", "open_export"]

_CHUNK: Final = 1 << 20
_MOST_LINKS: Final = 40
_BLOB: Final = re.compile(r"blobs/sha256/([0-9a-f]{64})")


@frozen
class Span:
    """Bytes of a file: a whole blob, or an entry of an archive."""

    path: Path
    offset: int
    size: int

    def chunks(self) -> Iterator[bytes]:
        """The bytes, a megabyte at a time."""
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offset)
            left = self.size
            while left and (chunk := file.read(min(left, _CHUNK))):
                left -= len(chunk)
                yield chunk

    def read(self, limit: int, what: str) -> bytes:
        """All bytes; raises `RegistryError` when there are more than *limit*."""
        if self.size > limit:
            raise RegistryError(f"the export's {what} is larger than {limit} bytes")
        return b"".join(self.chunks())


@frozen(kw_only=True)
class Exported:
    """An exported image: its manifests and configs are in *layout*, *top* names the uppermost.

    Layers may be in *spans* instead.
    """

    layout: Layout
    top: Descriptor
    spans: Mapping[Digest, Span] = field(factory=dict[Digest, Span])

    def find(self, layer: Descriptor) -> Span | None:
        """Where the bytes of *layer* are; None when there is nothing, or only a mark."""
        if layer.digest in self.spans:
            return self.spans[layer.digest]
        path = self.layout.blob_path(layer.digest)
        if not path.is_file() or path.stat().st_size == 0:
            return None
        return Span(path, 0, path.stat().st_size)


def open_export(source: Path, run: Run) -> Exported:
    """Open the layout folder, OCI archive or docker archive *source*.

    An archive's manifests go into a new folder of the run. Raises `BuildError` when *source* is
    none of them, is damaged, or holds several images.
    """
    try:
        if source.is_dir():
            layout = Layout.open(source)
            return Exported(layout=layout, top=_only(layout))
        entries = _survey(source)
        layout = Layout.create(Path(mkdtemp(prefix="exported-", dir=run.workdir)))
        return _Archive(entries=entries, layout=layout).open()
    except (ValueError, RegistryError, FileNotFoundError) as error:
        raise BuildError(
            f"what the engine exported cannot be read: {error}", hint="build again"
        ) from error


def _only(layout: Layout) -> Descriptor:
    """The one image of *layout*, however many names it has there."""
    found = {entry.digest: entry for entry in reversed(layout.index().manifests)}
    if len(found) != 1:
        raise SpecError(f"it holds {len(found)} images instead of one")
    return next(iter(found.values()))


@frozen(kw_only=True)
class _Archive:
    """A tar of blobs that is being opened into *layout*."""

    entries: Mapping[str, Span]
    layout: Layout

    def open(self) -> Exported:
        blobs = {
            Digest(f"sha256:{found[1]}"): span
            for name, span in self.entries.items()
            if (found := _BLOB.fullmatch(name))
        }
        if "index.json" in self.entries:
            index = self._entry("index.json").read(MAX_MANIFEST, "index.json")
            (self.layout.path / "index.json").write_bytes(index)
            try:
                top = _only(self.layout)
                self._copy(top, blobs)
            except NotFoundError:
                # Docker's index also names the platforms of which it has nothing.
                if "manifest.json" not in self.entries:
                    raise
            else:
                return Exported(layout=self.layout, top=top, spans=blobs)
        return self._saved()

    def _copy(self, entry: Descriptor, blobs: Mapping[Digest, Span]) -> None:
        """Bring manifests and configs into the layout; every layer must be there, too."""
        if entry.digest not in blobs:
            raise NotFoundError(f"it lacks {entry.digest}")
        data = blobs[entry.digest].read(MAX_MANIFEST, "manifest")
        document = parse_manifest(data, entry.media_type)
        self.layout.add_stream([data], entry)
        if not isinstance(document, Manifest):
            for child in document.manifests:
                self._copy(child, blobs)
            return
        for blob in (document.config, *document.layers):
            may_lack = blob is not document.config and MediaType.is_foreign(blob.media_type)
            if blob.digest not in blobs and not may_lack:
                raise NotFoundError(f"it lacks {blob.digest}")
        self.layout.add_stream(blobs[document.config.digest].chunks(), document.config)

    def _saved(self) -> Exported:
        """Make a manifest for the image that docker's own manifest.json describes."""
        match json.loads(self._entry("manifest.json").read(MAX_MANIFEST, "manifest")):
            case [{"Config": str(config_name), "Layers": [*names]}]:
                config = self._entry(config_name).read(MAX_CONFIG, "config")
            case _:
                raise SpecError("its manifest.json is not that of one image")
        diff_ids = parse_config(config).diff_ids
        if len(names) != len(diff_ids):
            raise SpecError("its config does not name the layers that it has")
        spans = [self._entry(str(name)) for name in names]
        layers = tuple(_layer(*pair) for pair in zip(spans, diff_ids, strict=True))
        manifest = Manifest(
            config=self.layout.add_bytes(config, MediaType.OCI_CONFIG), layers=layers
        )
        return Exported(
            layout=self.layout,
            top=self.layout.add_bytes(dump(manifest), MediaType.OCI_MANIFEST),
            spans={layer.digest: span for layer, span in zip(layers, spans, strict=True)},
        )

    def _entry(self, name: str) -> Span:
        try:
            return self.entries[posixpath.normpath(name)]
        except KeyError:
            raise SpecError(f"it has no {name[:71]!r}") from None


def _layer(span: Span, diff_id: Digest) -> Descriptor:
    """Describe a layer by its first bytes; one that is plain is named by its diff id."""
    compression = compression_by_magic(next(span.chunks(), b""))
    digest = diff_id if compression == "none" else _hashed(span)
    return Descriptor(media_type=MEDIA_TYPES[compression], digest=digest, size=span.size)


def _hashed(span: Span) -> Digest:
    import hashlib

    digest = hashlib.sha256()
    for chunk in span.chunks():
        digest.update(chunk)
    return Digest(f"sha256:{digest.hexdigest()}")


def _survey(path: Path) -> Mapping[str, Span]:
    """Where in an archive each file is; links lead to what they name, inside of it only."""
    import tarfile

    spans: dict[str, Span] = {}
    links: dict[str, str] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for entry in archive:
                name = posixpath.normpath(entry.name)
                if entry.isreg():
                    spans[name] = Span(path, entry.offset_data, entry.size)
                elif entry.issym() or entry.islnk():
                    links[name] = _target(entry, name)
    except tarfile.TarError as error:
        raise SpecError(f"{path.name} is not a tar archive: {error}") from error
    for name in links:
        real = name
        for _ in range(_MOST_LINKS):
            real = links.get(real, real)
        if real in spans:
            spans[name] = spans[real]
    return spans


def _target(entry: tarfile.TarInfo, name: str) -> str:
    above = posixpath.dirname(name) if entry.issym() else ""
    return posixpath.normpath(posixpath.join(above, entry.linkname))

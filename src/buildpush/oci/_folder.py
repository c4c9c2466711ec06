"""The folder of an OCI layout. Import it from `layout`.

Every file appears whole or not at all: it is written aside, synced and renamed (what was fetched
is not synced, and fetched again when its size is wrong). Files are 0644
and folders 0755, whatever the umask.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from attrs import field, frozen
from pydantic import ValidationError

from ..errors import DigestMismatchError, NotFoundError, RegistryError, SpecError
from . import Digest
from ._models import MarkerModel
from .wire import (
    MAX_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    MediaType,
    dump,
    parse_manifest,
)

CHUNK: Final = 1 << 20
_MARKER: Final = b'{"imageLayoutVersion":"1.0.0"}'


def _absolute(path: Path) -> Path:
    return path.absolute()


@frozen
class Layout:
    """A folder with ``oci-layout``, ``index.json`` and ``blobs/``; *path* is absolute."""

    path: Path = field(converter=_absolute)

    @classmethod
    def create(cls, path: Path) -> Layout:
        """Make *path* a layout; one that is there already is kept as it is.

        Raises `SpecError` when the folder holds something else.
        """
        layout = cls(path)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            return cls.open(path)
        for folder in (path, path / "blobs", path / "blobs" / "sha256"):
            _make_folder(folder)
        layout.set_index(())
        return layout

    @classmethod
    def open(cls, path: Path) -> Layout:
        """Open the layout at *path*; raises `SpecError` saying why it is none."""
        try:
            marker = MarkerModel.model_validate_json(_read_bounded(path / "oci-layout", CHUNK))
        except (FileNotFoundError, NotADirectoryError):
            raise SpecError(f"{path} is not an OCI layout: it has no oci-layout file") from None
        except (ValidationError, RegistryError):
            raise SpecError(f"{path} is not an OCI layout: its oci-layout is damaged") from None
        if not marker.imageLayoutVersion.startswith("1."):
            raise SpecError(f"{path} is an OCI layout of a version other than 1")
        layout = cls(path)
        try:
            layout.index()
        except RegistryError as error:
            raise SpecError(f"{path} is a broken OCI layout: {error.message}") from error
        return layout

    def blob_path(self, digest: Digest) -> Path:
        """Where the content that *digest* names is, or would be."""
        return self.path / "blobs" / digest.algorithm / digest.hex

    def has(self, digest: Digest) -> bool:
        """Whether the content is there; it is not read."""
        return self.blob_path(digest).is_file()

    def read(self, digest: Digest, limit: int = MAX_MANIFEST) -> bytes:
        """Read a small blob, at most *limit* bytes, and check it against its digest.

        Raises `NotFoundError`, `DigestMismatchError`, or `RegistryError` when it is larger.
        """
        try:
            data = _read_bounded(self.blob_path(digest), limit)
        except FileNotFoundError:
            raise _missing(digest) from None
        if hashlib.new(digest.algorithm, data).hexdigest() != digest.hex:
            raise DigestMismatchError(f"the content of {digest} does not hash to it")
        return data

    def add_bytes(self, data: bytes, media_type: str) -> Descriptor:
        """Store *data* and return what points at it."""
        digest = Digest.of(data)
        if not self.has(digest):
            with written(self.blob_path(digest)) as file:
                file.write(data)
        return Descriptor(media_type=media_type, digest=digest, size=len(data))

    def add_file(self, source: Path, descriptor: Descriptor, *, link: bool = True) -> None:
        """Store the file *source*, whose digest the caller vouches for.

        With *link* it shares the bytes (a hard link, or a symbolic one between file systems);
        without, they are copied. Raises `DigestMismatchError` when the size is not the one
        of *descriptor*.
        """
        if source.stat().st_size != descriptor.size:
            raise DigestMismatchError(
                f"{descriptor.digest} is {descriptor.size} bytes long, but its file is not"
            )
        target = self.blob_path(descriptor.digest)
        if target.is_file():
            return
        if link:
            _make_folder(target.parent)
            if target.is_symlink():  # to a file that is gone
                target.unlink(missing_ok=True)
            with suppress(FileExistsError):
                try:
                    os.link(source.resolve(), target)
                except OSError:
                    target.symlink_to(source.resolve())
            return
        with source.open("rb") as content, written(target) as file:
            shutil.copyfileobj(content, file, CHUNK)

    def add_stream(
        self, chunks: Iterable[bytes], descriptor: Descriptor, *, fetched: bool = False
    ) -> None:
        """Store what *chunks* make up, if it is what *descriptor* says.

        Raises `DigestMismatchError` naming the digest otherwise, and stores nothing. What is
        *fetched* is verified by *chunks* itself, which raise at their end, and can be had again:
        nobody waits for the disk.
        """
        digest = descriptor.digest
        if fetched:
            with written(self.blob_path(digest), durable=False) as file:
                file.writelines(chunks)
            return
        hasher = hashlib.new(digest.algorithm)
        size = 0
        with written(self.blob_path(digest)) as file:
            for chunk in chunks:
                size += len(chunk)
                if size > descriptor.size:
                    break
                hasher.update(chunk)
                file.write(chunk)
            if size != descriptor.size or hasher.hexdigest() != digest.hex:
                raise DigestMismatchError(f"what arrived as {digest} does not hash to it")

    def index(self) -> Index:
        """Read ``index.json``; raises `RegistryError` saying what is wrong with it."""
        try:
            data = _read_bounded(self.path / "index.json", MAX_MANIFEST)
        except FileNotFoundError:
            raise NotFoundError("the layout has no index.json") from None
        document = parse_manifest(data, MediaType.OCI_INDEX)
        assert isinstance(document, Index)
        return document

    def set_index(self, descriptors: Sequence[Descriptor]) -> None:
        """Make *descriptors* the content of ``index.json``."""
        with written(self.path / "oci-layout") as file:
            file.write(_MARKER)
        with written(self.path / "index.json") as file:
            file.write(dump(Index(manifests=tuple(descriptors))))

    def document(self, digest: Digest) -> Manifest | Index:
        """Read and parse the manifest or index that *digest* names."""
        return parse_manifest(self.read(digest))

    def manifests(
        self, digest: Digest, *, allow_missing: Collection[Digest] = ()
    ) -> Iterator[tuple[Descriptor, Manifest | Index]]:
        """Walk *digest*, then what it lists, each document once, parents first.

        Platforms and annotations of a child are in its descriptor. A child of *allow_missing*
        that is not there is left out. Raises as `read` does.
        """
        data = self.read(digest)
        document = parse_manifest(data)
        top = Descriptor(media_type=document.media_type, digest=digest, size=len(data))
        pending = [(top, document)]
        seen = {digest}
        while pending:
            descriptor, document = pending.pop(0)
            yield descriptor, document
            for child in document.manifests if isinstance(document, Index) else ():
                absent = child.digest in allow_missing and not self.has(child.digest)
                if child.digest not in seen and not absent:
                    seen.add(child.digest)
                    data = self.read(child.digest)
                    pending.append((child, parse_manifest(data, child.media_type)))


def _missing(digest: Digest) -> NotFoundError:
    return NotFoundError(f"the layout has no {digest}")


def _make_folder(path: Path) -> None:
    if not path.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(0o755)


def _read_bounded(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise RegistryError(f"{path.name[:71]} is larger than {limit} bytes")
    return data


@contextmanager
def written(path: Path, *, durable: bool = True) -> Generator[BinaryIO]:
    """Yield a file that becomes *path* when the block ends well, and vanishes otherwise.

    A *durable* one is on disk before it has its name, so that a power cut leaves no torn file.
    """
    _make_folder(path.parent)
    descriptor, name = tempfile.mkstemp(prefix=".part-", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            if durable:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise

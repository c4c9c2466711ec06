"""ADD's archives: known by their content, unpacked as BuildKit (moby/go-archive) unpacks them."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import sys
import tarfile
import zlib
from collections.abc import Callable, Generator, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import BinaryIO, Final, Protocol, cast

from attrs import define, field, frozen

from ....errors import BuildError
from ....oci.tar import BLOCK, Entry, TarError, read
from ..tree import NO_XATTRS, Linked, clean, resolve
from .placing import CAPABILITY
from .sources import Source
from .staging import Body, Planned, Staging, whole_seconds

__all__ = ["Archive", "is_archive", "unpack"]

_BUFFER: Final = 1 << 20
_GZIP: Final = b"\x1f\x8b\x08"
_BZIP2: Final = b"BZh"
_XZ: Final = b"\xfd7zXZ\x00"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_DAMAGE: Final = (EOFError, zlib.error, lzma.LZMAError, tarfile.TarError, TarError, OSError)


class _Opener(Protocol):
    """How each decompressor's module opens a file."""

    def __call__(self, fileobj: BinaryIO, /) -> BinaryIO: ...


@frozen(kw_only=True)
class Archive:
    """The archive at *path* of *source*."""

    source: Source
    path: str

    def bodies(
        self, names: Sequence[str], check: Callable[[], None]
    ) -> Iterator[BinaryIO | bytes]:
        """The contents of the entries with those (ascending) numbers, in one pass."""
        with self.entries(check) as entries:
            for name in names:
                wanted = int(name)
                for number, _, body in entries:
                    if number == wanted:
                        yield body
                        break
                else:
                    raise BuildError(f"the archive /{self.path} changed while it was read")

    @contextmanager
    def entries(
        self, check: Callable[[], None]
    ) -> Generator[Iterator[tuple[int, Entry, BinaryIO]]]:
        """The archive's entries with their numbers and contents."""
        bodies = self.source.bodies([self.path], check)
        try:
            with _decompressed(next(bodies)) as stream:
                yield self._checked(stream, check)
            next(bodies, None)  # a source looks for changes once its body has been read
        finally:
            close = getattr(bodies, "close", None)
            if close is not None:
                close()

    def _checked(
        self, stream: BinaryIO, check: Callable[[], None]
    ) -> Iterator[tuple[int, Entry, BinaryIO]]:
        try:
            for number, (entry, body) in enumerate(read(stream)):
                check()
                yield number, entry, body
        except _DAMAGE as error:
            raise BuildError(
                f"the archive /{self.path} cannot be unpacked: {error}",
                hint="to add it as a file, use COPY or ADD --unpack=false",
            ) from error


def is_archive(source: Source, path: str) -> bool:
    """Whether the file at *path* (no symlink) starts like a tar, compressed or not."""
    node = source.listing.get(path)
    if node is None or node.kind != "file" or not node.size:
        return False
    bodies = source.bodies([path], lambda: None)
    try:
        with _decompressed(next(bodies)) as stream:
            head = stream.read(BLOCK)
        tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
    except (*_DAMAGE, ValueError):
        return False
    finally:
        close = getattr(bodies, "close", None)
        if close is not None:
            with suppress(BuildError):
                close()
    return True


@contextmanager
def _decompressed(body: BinaryIO | bytes) -> Generator[BinaryIO]:
    """Open *body* by what its first bytes are."""
    raw = io.BytesIO(body) if isinstance(body, bytes) else _Raw(body)
    plain = io.BufferedReader(cast("io.RawIOBase", raw), _BUFFER)
    head = plain.peek(8)[:8]
    opener = _opener(head)
    stream = cast("BinaryIO", plain)
    if opener is None:
        yield stream
        return
    with opener(stream) as inflated:
        yield inflated


def _opener(head: bytes) -> _Opener | None:
    if head.startswith(_GZIP):
        return _gunzip
    if head.startswith(_BZIP2):
        return lambda file: cast("BinaryIO", bz2.BZ2File(file))
    if head.startswith(_XZ):
        return lambda file: cast("BinaryIO", lzma.LZMAFile(file))
    skippable = len(head) == 8 and head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50
    return _unzstd if head.startswith(_ZSTD) or skippable else None


def _gunzip(file: BinaryIO) -> BinaryIO:
    return cast("BinaryIO", gzip.GzipFile(fileobj=file, mode="rb"))


def _unzstd(file: BinaryIO) -> BinaryIO:
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    zstd = importlib.import_module(name)
    checked = _Raw(zstd.ZstdFile(file, "rb"), zstd.ZstdError)
    return cast("BinaryIO", io.BufferedReader(checked, _BUFFER))


class _Raw(io.RawIOBase):
    """A body as the file object that others ask for; its own kind of error becomes an OSError."""

    def __init__(self, body: BinaryIO, error: type[Exception] = OSError) -> None:
        super().__init__()
        self._body = body
        self._error = error

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        try:
            data = self._body.read(len(buffer))
        except self._error as error:
            raise OSError(str(error)) from error
        buffer[: len(data)] = data
        return len(data)


def unpack(
    entries: Iterable[tuple[int, Entry, BinaryIO]],
    staging: Staging,
    *,
    root: str,
    feed: int,
    owner: tuple[int, int] | None,
    created_ns: int,
) -> None:
    """Place *entries* under the folder *root*, which is there; bodies come from *feed*.

    Owners are the archive's unless *owner* is given. What is in the way of an entry goes, except
    that folders merge. Raises `BuildError` for a link to nothing.
    """
    work = _Unpacking(staging, root, feed, owner, created_ns)
    for number, entry, _ in entries:
        if entry.name:
            work.add(number, entry)


@define
class _Unpacking:
    staging: Staging
    root: str
    feed: int
    owner: tuple[int, int] | None
    created_ns: int
    _names: dict[Hashable, list[str]] = field(factory=dict[Hashable, list[str]], init=False)

    def add(self, number: int, entry: Entry) -> None:
        """Place one entry; symlinks on the way to it are followed inside the root."""
        folder, _, name = entry.name.rpartition("/")
        parent = self._inside(resolve(self._look, folder))
        self.staging.make_folders(parent, owner=(0, 0), mtime_ns=self.created_ns)
        path = f"{parent}/{name}" if parent else name
        found = self.staging.look(path)
        if found is not None and not found.kind == entry.kind == "dir":
            self.staging.remove(path)
        planned = self._planned(path, number, entry)
        self.staging.put(planned)
        if planned.twin is not None:
            self._names.setdefault(planned.twin, []).append(path)

    def _planned(self, path: str, number: int, entry: Entry) -> Planned:
        if entry.kind == "hardlink":
            return self._linked(path, entry)
        placed = self._described(entry._replace(name=path), entry)
        if entry.kind == "dir":
            return Planned(placed)
        if entry.kind != "file":
            return Planned(placed, twin=(self.feed, number))
        body = Body(self.feed, str(number), number)
        return Planned(placed, body, twin=(self.feed, number))

    def _linked(self, path: str, entry: Entry) -> Planned:
        target = self._inside(resolve(self._look, entry.link, follow_last=False))
        other = self.staging.items.get(target)
        if other is None or other.entry.kind == "dir":
            raise BuildError(
                f"the archive links /{path} to /{target}, which is no file of the archive"
            )
        changed = other._replace(entry=self._described(other.entry, entry))
        for name in self._names.get(other.twin, [target]):
            known = self.staging.items.get(name)
            if known is not None and known.twin == other.twin:
                self.staging.put(changed._replace(entry=changed.entry._replace(name=name)))
        return changed._replace(entry=changed.entry._replace(name=path))

    def _described(self, thing: Entry, header: Entry) -> Entry:
        """*thing* with the owner, mode and time that *header* gives it.

        The header of a hard link counts too: it is the last word on the file.
        """
        uid, gid = self.owner or (header.uid, header.gid)
        if thing.kind == "symlink" and header.kind == "hardlink":
            return thing._replace(uid=uid, gid=gid)
        kept = header.xattrs.get(CAPABILITY) if thing.kind == "file" else None
        return thing._replace(
            mode=0o777 if thing.kind == "symlink" else header.mode,
            uid=uid,
            gid=gid,
            mtime_ns=whole_seconds(header.mtime_ns),
            xattrs={CAPABILITY: kept} if kept else NO_XATTRS,
        )

    def _inside(self, path: str) -> str:
        return clean(f"{self.root}/{path}")

    def _look(self, path: str) -> Linked | None:
        return self.staging.look(self._inside(path))

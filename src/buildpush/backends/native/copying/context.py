"""The build context: a folder of the user's, seen through .dockerignore, and never written to."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Protocol, cast

from ....errors import BuildError
from ....oci.tar import Kind
from ..tree import Node
from .digests import DigestMemory, Stamp
from .sources import Listing, similar

__all__ = ["ContextSource", "Rules"]

_SMALL: Final = 128 << 10
"""Files up to this size are read at once; larger ones are streamed."""
_CHUNK: Final = 1 << 20
_OPEN: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_EMPTY: Final = hashlib.sha256().hexdigest()
_KINDS: Final[Mapping[int, Kind]] = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "file",  # BuildKit's transfer, too, makes an empty file of a socket
}


class Rules(Protocol):
    """The .dockerignore: `dockerfile.ignore.IgnoreRules` is one."""

    def excludes(self, path: str, /) -> bool:
        """Whether *path*, relative to the context, is left out."""
        ...

    def may_include_under(self, directory: str, /) -> bool:
        """Whether something inside the excluded folder *directory* may be let in again."""
        ...


class ContextSource:
    """The folder *root* as a source of COPY.

    Owners are 0:0 and extended attributes are left behind, as when BuildKit receives a context.
    *rules* leave paths out; an excluded folder is there when something in it is let in again.
    *memory* is the file with the digests of earlier builds; call `remember` when done. Folders
    are listed when first asked for. Safe between threads: two may do the same, with one result.
    """

    streamed: bool = False

    def __init__(
        self, root: Path, rules: Rules | None = None, *, memory: Path | None = None
    ) -> None:
        self._root = os.fspath(root)
        self._rules = rules
        self._memory = DigestMemory(memory)
        self._folders: dict[str, dict[str, Node]] = {}
        self._stats: dict[str, os.stat_result] = {}
        self._hashes: dict[str, str] = {}
        found = self._lstat("")
        self._top = Node("", "dir", stat.S_IMODE(found.st_mode), mtime_ns=found.st_mtime_ns)

    @property
    def listing(self) -> Listing:
        """The source itself."""
        return self

    # -- what there is -------------------------------------------------------------------

    def get(self, path: str) -> Node | None:
        """What is at *path*, a path of real folders; None for what is ignored."""
        if not path:
            return self._top
        folder, _, name = path.rpartition("/")
        known = self._folders.get(folder)
        if known is None:
            parent = self.get(folder)
            if parent is None or parent.kind != "dir":
                return None
            known = self._scan(folder)
        return known.get(name)

    def children(self, path: str) -> list[Node]:
        """What is directly in the folder *path*, by name."""
        return list(self._scan(path).values())

    def inode(self, path: str) -> int:
        """Device and inode of a file with several names, else -1."""
        found = self._stats.get(path)
        if found is None or found.st_nlink < 2:
            return -1
        return found.st_dev << 64 | found.st_ino

    def _scan(self, folder: str) -> dict[str, Node]:
        """List *folder* unless that was done."""
        known = self._folders.get(folder)
        if known is not None:
            return known
        prefix = f"{folder}/" if folder else ""
        listed: dict[str, Node] = {}
        try:
            with os.scandir(self._path(folder)) as items:
                for item in sorted(items, key=lambda item: item.name):
                    node = self._node(prefix + item.name, item)
                    if node is not None:
                        listed[item.name] = node
        except OSError as error:
            raise _unreadable(folder, error) from error
        self._folders[folder] = listed
        return listed

    def _node(self, path: str, item: os.DirEntry[str]) -> Node | None:
        """The node for *item*; None when it is ignored, or gone since it was listed."""
        if self._rules is not None and self._rules.excludes(path):
            inside = item.is_dir(follow_symlinks=False) and self._rules.may_include_under(path)
            if not inside or not self._scan(path):
                return None
        try:
            found = item.stat(follow_symlinks=False)
            mode = found.st_mode
            kind = _KINDS[stat.S_IFMT(mode)]
            link = os.readlink(item.path) if kind == "symlink" else ""  # noqa: PTH115
        except FileNotFoundError:
            return None
        node = Node(
            path,
            kind,
            mode & 0o7777,
            0,
            0,
            found.st_size if kind == "file" and not stat.S_ISSOCK(mode) else 0,
            "",
            link,
            found.st_mtime_ns,
        )
        if kind == "file":
            self._stats[path] = found
        elif kind in ("char", "block"):
            device = found.st_rdev
            return node._replace(major=os.major(device), minor=os.minor(device))
        return node

    def why_missing(self, path: str) -> str:
        """Say that .dockerignore hides *path*, or name what is spelt like it."""
        try:
            self._lstat(path)
        except OSError:
            return similar(self, path)
        if self._rules is None:
            return ""
        return f"/{path} exists, but .dockerignore excludes it: let it in with a line !{path}"

    # -- what is in it -------------------------------------------------------------------

    def digests(self, paths: Sequence[str], check: Callable[[], None]) -> Mapping[str, str]:
        """Hash the files whose stamp is not remembered.

        Raises `BuildError` for a file that cannot be read, or that changes meanwhile.
        """
        for path in paths:
            if path not in self._hashes:
                self._hashes[path] = self._digest(path, check)
        return {path: self._hashes[path] for path in paths}

    def _digest(self, path: str, check: Callable[[], None]) -> str:
        found = self._stats[path]
        stamp = Stamp.of(found)
        digest = self._memory.get(stamp)
        if digest is None:
            check()
            digest = self._hash(path, found, check)
            self._memory.put(stamp, digest)
        return digest

    def _hash(self, path: str, found: os.stat_result, check: Callable[[], None]) -> str:
        if stat.S_ISSOCK(found.st_mode):
            return _EMPTY
        with self._open(path) as descriptor:
            if found.st_size <= _SMALL:
                return hashlib.sha256(_read_whole(descriptor, found.st_size)).hexdigest()
            digest = hashlib.sha256()
            while chunk := os.read(descriptor, _CHUNK):
                digest.update(chunk)
                check()
            return digest.hexdigest()

    def bodies(
        self, paths: Sequence[str], check: Callable[[], None]
    ) -> Iterator[BinaryIO | bytes]:
        """The contents in the order of *paths*; same errors as `digests`.

        A file so young that its stamp proves little is hashed again, and must not have changed.
        """
        for path in paths:
            check()
            found = self._stats[path]
            expected = self._hashes.get(path) if self._memory.is_recent(Stamp.of(found)) else None
            if stat.S_ISSOCK(found.st_mode):
                yield b""
            elif found.st_size <= _SMALL:
                with self._open(path) as descriptor:
                    data = _read_whole(descriptor, found.st_size)
                if expected is not None and hashlib.sha256(data).hexdigest() != expected:
                    raise _changed(path)
                yield data
            else:
                yield from self._stream(path, expected)

    def _stream(self, path: str, expected: str | None) -> Iterator[BinaryIO]:
        with self._open(path) as descriptor:
            body = _Body(descriptor, hashing=expected is not None)
            # Three methods of a file are all that a layer's writer uses.
            yield cast("BinaryIO", body)
            if expected is not None and body.digest.hexdigest() != expected:
                raise _changed(path)

    def remember(self) -> None:
        """Keep the digests for later builds; never fails."""
        self._memory.save()

    @contextmanager
    def _open(self, path: str) -> Generator[int]:
        """Open a file whose stamp must be the listed one, now and when the block ends."""
        found = self._stats[path]
        try:
            descriptor = os.open(self._path(path), _OPEN)
            try:
                _same(path, found, os.fstat(descriptor))
                yield descriptor
                _same(path, found, os.fstat(descriptor))
            finally:
                os.close(descriptor)
        except FileNotFoundError as error:
            raise _changed(path) from error
        except OSError as error:
            raise _unreadable(path, error) from error

    def _path(self, path: str) -> str:
        return f"{self._root}/{path}" if path else self._root

    def _lstat(self, path: str) -> os.stat_result:
        return os.stat(self._path(path), follow_symlinks=not path)  # noqa: PTH116


class _Body:
    """An open file, hashed as it is read when somebody needs to know."""

    def __init__(self, descriptor: int, *, hashing: bool) -> None:
        self._descriptor = descriptor
        self._hashing = hashing
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        """Up to *size* bytes, or up to a MiB."""
        data = os.read(self._descriptor, size if size >= 0 else _CHUNK)
        if self._hashing:
            self.digest.update(data)
        return data


def _read_whole(descriptor: int, size: int) -> bytes:
    """All of a small file: one more byte is asked for, so that growth is seen."""
    data = os.read(descriptor, size + 1)
    while 0 < len(data) < size and (more := os.read(descriptor, size + 1 - len(data))):
        data += more
    return data


def _same(path: str, listed: os.stat_result, found: os.stat_result) -> None:
    if (listed.st_size, listed.st_mtime_ns, listed.st_ino) != (
        found.st_size,
        found.st_mtime_ns,
        found.st_ino,
    ):
        raise _changed(path)


def _changed(path: str) -> BuildError:
    return BuildError(
        f"/{path} of the build context changed while it was read",
        hint="stop whatever writes to the build context, or list the file in .dockerignore",
    )


def _unreadable(path: str, error: OSError) -> BuildError:
    return BuildError(
        f"/{path} of the build context cannot be read: {error.strerror}",
        hint="make it readable, or list it in .dockerignore",
    )

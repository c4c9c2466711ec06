"""The build context as one tar, streamed, without what is ignored.

What is in it is what BuildKit would have been sent; files belong to root, as docker's own
clients send them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from attrs import field, frozen

from ...dockerfile.ignore import IgnoreRules
from ...errors import BuildError, SpecError
from ...oci.tar import END, Entry, Kind, pack, padding

__all__ = ["Context", "Extra"]

_BUFFER: Final = 1 << 18
_READ: Final = 1 << 20
_IGNORE: Final = ".dockerignore"

Extra = tuple[str, bytes]
"""A file that is not in the folder: its name in the context, and what is in it."""


@frozen(kw_only=True)
class Context:
    """A folder to be sent: *rules* leave files out, *always* names some that go all the same.

    *extras* take the place of files of the same name. Everything belongs to the user *owner*
    and the group root. With *root*, an entry for the folder itself comes first, for engines that
    copy the mode of what they unpack into. Without *pipes*, a pipe is a `SpecError`: for engines
    that would read it, and wait for ever.
    """

    folder: Path
    rules: IgnoreRules
    always: frozenset[str] = frozenset()
    extras: tuple[Extra, ...] = field(default=())
    owner: int = 0
    root: bool = False
    pipes: bool = True

    def stream(self) -> Iterator[bytes]:
        """The tar, in pieces of some 100 KiB; it can be asked for again.

        Raises `BuildError` for a file that changes while it is read, and `SpecError` for one
        that cannot be.
        """
        return _buffered(self._entries())

    def size(self) -> int:
        """How many bytes `stream` will have, as the files are now; no file is opened.

        Raises `SpecError` for a folder that cannot be read.
        """
        replaced = {name for name, _ in self.extras}
        total = len(END) + len(self._root())
        for path, name, status in self._walk(self.folder, ""):
            entry = None if name in replaced else self._entry(path, name, status)
            if entry is not None:
                total += len(pack(entry)) + entry.size + len(padding(entry.size))
        for name, data in self.extras:
            header = pack(self._extra(name, data))
            total += len(header) + len(data) + len(padding(len(data)))
        return total

    def _entries(self) -> Iterator[bytes]:
        replaced = {name for name, _ in self.extras}
        yield self._root()
        for path, name, status in self._walk(self.folder, ""):
            if name not in replaced:
                yield from self._one(path, name, status)
        for name, data in self.extras:
            yield pack(self._extra(name, data))
            yield data
            yield padding(len(data))
        yield END

    def _root(self) -> bytes:
        """The folder itself, as BuildKit sees it whatever it is here."""
        if not self.root:
            return b""
        return pack(Entry(name=".", kind="dir", mode=0o755, uid=self.owner))

    def _walk(
        self, folder: Path, below: str, known: os.stat_result | None = None
    ) -> Iterator[tuple[Path, str, os.stat_result]]:
        """Everything to send, a directory before what is in it, in the order of names.

        *known* is what *folder* was when its parent was read.
        """
        for entry, status in _listed(folder, below, known):
            name = f"{below}/{entry.name}" if below else entry.name
            out = self.rules.excludes(name) and name not in self.always
            is_folder = stat.S_ISDIR(status.st_mode)
            if out and not (is_folder and self._leads_somewhere(name)):
                continue
            path = folder / entry.name
            if not is_folder:
                yield path, name, status
                continue
            inside = self._walk(path, name, status)
            if out:  # sent only for the sake of what is in it
                first = next(inside, None)
                if first is None:
                    continue
                yield path, name, status
                yield first
            else:
                yield path, name, status
            yield from inside

    def _extra(self, name: str, data: bytes) -> Entry:
        return Entry(name=name, kind="file", uid=self.owner, size=len(data))

    def _leads_somewhere(self, name: str) -> bool:
        return self.rules.may_include_under(name) or any(
            wanted.startswith(f"{name}/") for wanted in self.always
        )

    def _one(self, path: Path, name: str, status: os.stat_result) -> Iterator[bytes]:
        """One file as tar; nothing for a socket, which no archive can hold."""
        entry = self._entry(path, name, status)
        if entry is None:
            return
        yield pack(entry)
        if entry.kind == "file":
            yield from _body(path, name, status)
            yield padding(entry.size)

    def _entry(self, path: Path, name: str, status: os.stat_result) -> Entry | None:
        kind = _kind(status.st_mode)
        if kind is None:
            return None
        if kind == "fifo" and not self.pipes:
            raise SpecError(
                f"context: {path} is a pipe, and whoever reads it would wait for ever",
                hint=f"name it in {_IGNORE}",
            )
        return Entry(
            name=name,
            kind=kind,
            mode=stat.S_IMODE(status.st_mode),
            uid=self.owner,
            size=status.st_size if kind == "file" else 0,
            mtime_ns=status.st_mtime_ns // 1_000_000_000 * 1_000_000_000,
            link=str(path.readlink()) if kind == "symlink" else "",
            major=os.major(status.st_rdev) if kind in ("char", "block") else 0,
            minor=os.minor(status.st_rdev) if kind in ("char", "block") else 0,
        )


def _kind(mode: int) -> Kind | None:
    kinds: tuple[tuple[int, Kind], ...] = (
        (stat.S_IFREG, "file"),
        (stat.S_IFDIR, "dir"),
        (stat.S_IFLNK, "symlink"),
        (stat.S_IFIFO, "fifo"),
        (stat.S_IFCHR, "char"),
        (stat.S_IFBLK, "block"),
    )
    return next((kind for bits, kind in kinds if stat.S_IFMT(mode) == bits), None)


def _listed(
    folder: Path, name: str, known: os.stat_result | None
) -> list[tuple[os.DirEntry[str], os.stat_result]]:
    """What is in *folder*, if that is still the folder that was *known*."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    try:
        # Meanwhile it may have become a link to a folder out of the context.
        descriptor = os.open(folder, flags | (os.O_NOFOLLOW if known else 0))
        try:
            if known is not None and not os.path.samestat(os.fstat(descriptor), known):
                raise _changed(name, "was replaced")
            with os.scandir(descriptor) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            return [(entry, entry.stat(follow_symlinks=False)) for entry in entries]
        finally:
            os.close(descriptor)
    except OSError as error:
        if known is not None and error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise _changed(name, "was replaced") from error
        raise _unreadable(folder, error) from error


def _body(path: Path, name: str, status: os.stat_result) -> Iterator[bytes]:
    left = status.st_size
    try:
        # Meanwhile it may have become a link out of the context, or a pipe that never ends.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not (stat.S_ISREG(found.st_mode) and os.path.samestat(found, status)):
                raise _changed(name, "was replaced")
            while left:
                data = file.read(min(left, _READ))
                if not data:
                    raise _changed(name, "became shorter")
                left -= len(data)
                yield data
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise _changed(name, "was replaced") from error
        raise _unreadable(path, error) from error


def _changed(name: str, how: str) -> BuildError:
    return BuildError(
        f"{name} {how} while the build context was sent",
        hint="let nobody write to the context during a build",
    )


def _unreadable(path: Path, error: OSError) -> SpecError:
    return SpecError(
        f"context: cannot read {path}: {error.strerror}",
        hint=f"make it readable, or name it in {_IGNORE}",
    )


def _buffered(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in larger pieces: a header of 512 bytes is no packet."""
    kept = bytearray()
    for piece in pieces:
        if len(piece) >= _BUFFER and not kept:
            yield piece
            continue
        kept += piece
        if len(kept) >= _BUFFER:
            yield bytes(kept)
            kept.clear()
    if kept:
        yield bytes(kept)

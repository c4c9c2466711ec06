"""What a RUN changed, as a layer: found in an overlay's upper directory or by comparing walks.

As BuildKit has it: an entry that is as it was before is no change, even when the overlay copied
it up; a directory that was emptied and filled again lists what is gone one by one, since only
that survives every way of storing layers; the directories above a change come with it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from .....oci import tar
from . import paths
from .unpack import OVERLAY_PREFIXES, is_whiteout
from .wire import SetUpError

_BUFFER: Final = 1 << 20


class Change(NamedTuple):
    """*name* (relative) is new or different when it has *found*, and deleted when it has not."""

    name: str
    found: os.stat_result | None


class Known(NamedTuple):
    """What is remembered of a file to see later whether it changed."""

    found: os.stat_result
    link: str
    xattrs: Mapping[str, bytes]


Walk = dict[str, dict[str, Known]]
"""For each directory (``""`` is the root) what was in it, by name."""


def xattrs_of(path: str) -> Mapping[str, bytes]:
    """The extended attributes of *path*, not followed, without those that an overlay owns."""
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError:
        return {}
    found: dict[str, bytes] = {}
    for name in sorted(names):
        # The label is the host's, of a policy that the image will not meet again.
        if name.startswith(OVERLAY_PREFIXES) or name == "security.selinux":
            continue
        found[name] = os.getxattr(path, name, follow_symlinks=False)
    return found


def _as_before(now: os.stat_result, before: os.stat_result) -> bool:
    """Whether two files of one name agree in all that a tar header says of them."""
    alike = (now.st_mode, now.st_uid, now.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    if not alike or now.st_mtime_ns != before.st_mtime_ns:
        return False
    if stat.S_ISCHR(now.st_mode) or stat.S_ISBLK(now.st_mode):
        return now.st_rdev == before.st_rdev
    return stat.S_ISDIR(now.st_mode) or now.st_size == before.st_size


def _same_file(path: str, now: os.stat_result, base: str, before: os.stat_result) -> bool:
    if not _as_before(now, before) or xattrs_of(path) != xattrs_of(base):
        return False
    if stat.S_ISLNK(now.st_mode):
        return os.readlink(path) == os.readlink(base)
    return not stat.S_ISREG(now.st_mode) or _same_content(path, base)


def _same_content(path: str, base: str) -> bool:
    with open(path, "rb", buffering=0) as one, open(base, "rb", buffering=0) as other:
        while True:
            data = one.read(_BUFFER)
            if data != other.read(_BUFFER):
                return False
            if not data:
                return True


def overlay_changes(upper: str, base: str) -> Iterator[Change]:
    """Yield what the overlay directory *upper* changes of *base*, a view without it, sorted."""
    yield from _overlay_directory(upper, base, "", opaque=False)


def _overlay_directory(
    upper: str, base: str | None, name: str, *, opaque: bool
) -> Iterator[Change]:
    prefix = f"{name}/" if name else ""
    above = {entry: os.lstat(f"{upper}/{entry}") for entry in os.listdir(upper)}
    gone = {entry for entry, found in above.items() if is_whiteout(found)}
    # What lies in a directory that hides those below is hidden from them as well.
    opaque = opaque or _is_opaque(upper)
    if base is not None and opaque:
        gone |= set(os.listdir(base)) - above.keys()
    for entry in sorted({*above, *gone}):
        path, there = f"{upper}/{entry}", f"{base}/{entry}"
        before = None if base is None else paths.lstat(there)
        if entry in gone:
            if before is not None:
                yield Change(prefix + entry, None)
            continue
        found = above[entry]
        if before is None or not _same_file(path, found, there, before):
            yield Change(prefix + entry, found)
        if stat.S_ISDIR(found.st_mode):
            kept = before is not None and stat.S_ISDIR(before.st_mode)
            below = there if kept else None
            yield from _overlay_directory(path, below, prefix + entry, opaque=opaque)


def _is_opaque(path: str) -> bool:
    for prefix in OVERLAY_PREFIXES:
        try:
            if os.getxattr(path, f"{prefix}opaque") == b"y":
                return True
        except OSError:  # not there, or not for us to see
            continue
    return False


def remember(root: str) -> Walk:
    """Walk *root* and remember what is where, to find the changes in it later."""
    walk: Walk = {}
    todo = [""]
    while todo:
        name = todo.pop()
        here = paths.join(root, paths.split(name))
        prefix = f"{name}/" if name else ""
        walk[name] = {}
        for entry in os.listdir(here):
            known = know(f"{here}/{entry}")
            walk[name][entry] = known
            if stat.S_ISDIR(known.found.st_mode):
                todo.append(prefix + entry)
    return walk


def know(path: str) -> Known:
    """What `remember` keeps of the file at *path*."""
    found = os.lstat(path)
    link = os.readlink(path) if stat.S_ISLNK(found.st_mode) else ""
    return Known(found, link, xattrs_of(path))


def walked_changes(root: str, before: Walk) -> Iterator[Change]:
    """Yield how *root* differs from what `remember` saw of it, sorted."""
    yield from _walked_directory(root, before, "")


def _walked_directory(here: str, before: Walk, name: str) -> Iterator[Change]:
    prefix = f"{name}/" if name else ""
    known = before.get(name, {})
    now = set(os.listdir(here))
    for entry in sorted({*now, *known}):
        if entry not in now:
            yield Change(prefix + entry, None)
            continue
        path = f"{here}/{entry}"
        found = os.lstat(path)
        if entry not in known or not _untouched(path, found, known[entry]):
            yield Change(prefix + entry, found)
        if stat.S_ISDIR(found.st_mode):
            yield from _walked_directory(path, before, prefix + entry)


def _untouched(path: str, now: os.stat_result, known: Known) -> bool:
    before = known.found
    if not _as_before(now, before) or xattrs_of(path) != known.xattrs:
        return False
    if stat.S_ISLNK(now.st_mode):
        return os.readlink(path) == known.link
    if stat.S_ISREG(now.st_mode) and now.st_ctime_ns != before.st_ctime_ns:
        # The content may have changed and the time been set back. More links alone are harmless.
        return now.st_ino == before.st_ino and now.st_nlink != before.st_nlink
    return True


def write(root: str, changes: Sequence[Change], *, latest: int | None = None) -> Iterator[bytes]:
    """Yield the tar of *changes*, whose new content is in *root*, as chunks of any size.

    Parents precede children; files that share an inode become hard links; sockets are left out.
    No time in it is after *latest* (seconds since 1970).
    """
    yield from _Writer(root, latest).write(_with_links(root, changes))
    yield tar.END


def _with_links(root: str, changes: Sequence[Change]) -> Sequence[Change]:
    """Add the other names of changed files, so that a new hard link has a file to lead to."""
    shared: dict[tuple[int, int], int] = {}
    for _, found in changes:
        if found is not None and stat.S_ISREG(found.st_mode) and found.st_nlink > 1:
            key = (found.st_dev, found.st_ino)
            shared[key] = shared.get(key, 0) + 1
    have = dict(changes)
    lacking = any(
        shared.get((found.st_dev, found.st_ino), 0) < found.st_nlink
        for found in have.values()
        if found is not None and (found.st_dev, found.st_ino) in shared
    )
    if not lacking:
        return changes
    for name, found in _files(root):
        if (found.st_dev, found.st_ino) in shared and not have.get(name):
            have[name] = found
    return [Change(name, have[name]) for name in sorted(have, key=lambda name: name.split("/"))]


def _files(root: str) -> Iterator[tuple[str, os.stat_result]]:
    todo = [""]
    while todo:
        prefix = todo.pop()
        with os.scandir(f"{root}/{prefix}") as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    todo.append(f"{prefix}{entry.name}/")
                elif entry.is_file(follow_symlinks=False):
                    yield prefix + entry.name, entry.stat(follow_symlinks=False)


class _Writer:
    """Turns changes into tar entries; remembers parents and links that are already in."""

    def __init__(self, root: str, latest: int | None) -> None:
        self._root = root
        self._latest = None if latest is None else latest * 1_000_000_000
        self._parents = {""}
        self._links: dict[tuple[int, int], str] = {}

    def write(self, changes: Sequence[Change]) -> Iterator[bytes]:
        for name, found in changes:
            yield from self._above(name)
            if found is None:
                parent, _, last = name.rpartition("/")
                whiteout = f"{parent}/{tar.WHITEOUT}{last}" if parent else tar.WHITEOUT + last
                yield tar.pack(tar.Entry(whiteout, "file", mode=0))
            elif name not in self._parents:
                yield from self._entry(name, found)

    def _above(self, name: str) -> Iterator[bytes]:
        parent = name.rpartition("/")[0]
        if parent not in self._parents:
            yield from self._above(parent)
            yield from self._entry(parent, os.lstat(f"{self._root}/{parent}"))

    def _entry(self, name: str, found: os.stat_result) -> Iterator[bytes]:
        kind = _kind(found)
        if kind is None:
            return
        path = f"{self._root}/{name}"
        link, size = "", 0
        if kind == "dir":
            self._parents.add(name)
        elif kind == "symlink":
            link = os.readlink(path)
        elif found.st_nlink > 1:
            link = self._links.setdefault((found.st_dev, found.st_ino), name)
            if link == name:
                link = ""
            else:
                kind = "hardlink"
        if kind == "file":
            size = found.st_size
        device = found.st_rdev if kind in ("char", "block") else 0
        yield tar.pack(
            tar.Entry(
                name=name,
                kind=kind,
                mode=stat.S_IMODE(found.st_mode),
                uid=found.st_uid,
                gid=found.st_gid,
                size=size,
                mtime_ns=self._time(found),
                link=link,
                major=os.major(device),
                minor=os.minor(device),
                xattrs={} if kind == "hardlink" else xattrs_of(path),
            )
        )
        if size:
            yield from _content(path, name, size)

    def _time(self, found: os.stat_result) -> int:
        if self._latest is None:
            return found.st_mtime_ns
        return min(found.st_mtime_ns, self._latest)


def _kind(found: os.stat_result) -> tar.Kind | None:
    kinds: dict[int, tar.Kind] = {
        stat.S_IFREG: "file",
        stat.S_IFDIR: "dir",
        stat.S_IFLNK: "symlink",
        stat.S_IFCHR: "char",
        stat.S_IFBLK: "block",
        stat.S_IFIFO: "fifo",
    }
    return kinds.get(stat.S_IFMT(found.st_mode))


def _content(path: str, name: str, size: int) -> Iterator[bytes]:
    left = size
    with open(path, "rb", buffering=0) as file:
        while left:
            data = file.read(min(left, _BUFFER))
            if not data:
                raise SetUpError(f"{name!r} shrank while it was read")
            yield data
            left -= len(data)
    yield tar.padding(size)

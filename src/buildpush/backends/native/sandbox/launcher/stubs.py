"""Mount points that the image lacks: made before the command, gone after it."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import Literal

from . import paths

Shape = Literal["file", "dir"]


class Stubs:
    """Makes what is missing under *root* and remembers it, times of the parents included."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._made: list[str] = []
        self._times: dict[str, tuple[os.stat_result, os.stat_result]] = {}

    def provide(self, target: str, shape: Shape, *, keep: bool = False) -> str:
        """The path of *target* (absolute in the root), made as *shape* unless it exists.

        With *keep* it stays: an image has the mount points that every container needs.
        """
        names = paths.resolve(self._root, target)
        for depth in range(1, len(names) + 1):
            path = paths.join(self._root, names[:depth])
            if paths.lstat(path) is None:
                self._make(path, "dir" if depth < len(names) else shape, keep=keep)
        return paths.join(self._root, names)

    def _make(self, path: str, shape: Shape, *, keep: bool) -> None:
        parent = os.path.dirname(path)
        now = os.lstat(parent)
        before, _ = self._times.get(parent, (now, now))
        if shape == "dir":
            os.mkdir(path)
            os.chmod(path, 0o755)
        else:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        if keep:
            return
        self._made.append(path)
        self._times[parent] = (before, os.lstat(parent))

    def remove(self) -> None:
        """Undo what the command left alone: empty stubs, and times that only we changed."""
        untouched = {
            parent
            for parent, (_, after) in self._times.items()
            if (now := paths.lstat(parent)) is not None and now.st_mtime_ns == after.st_mtime_ns
        }
        for path in reversed(self._made):
            parent = os.path.dirname(path)
            if paths.inside(self._root, parent[len(self._root) :]) != parent:
                continue  # the command put a link in the parent's place
            times = paths.lstat(parent)
            if times is None or not _removed(path):
                continue
            keep = self._times[parent][0] if parent in untouched else times
            os.utime(parent, ns=(keep.st_atime_ns, keep.st_mtime_ns))


def _removed(path: str) -> bool:
    """Remove *path* if it is still as empty as it was made."""
    found = paths.lstat(path)
    if found is None:
        return False
    if stat.S_ISDIR(found.st_mode):
        with contextlib.suppress(OSError):
            os.rmdir(path)
            return True
        return False
    if found.st_size or not stat.S_ISREG(found.st_mode):
        return False
    os.unlink(path)
    return True

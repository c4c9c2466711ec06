"""Mounts where nothing can be mounted: things are moved into place, and back afterwards."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence

from . import difference, paths, system
from .copying import copy_tree, move
from .stubs import Stubs
from .wire import Job


class Swaps:
    """Puts things into *root* for the time of one command; what they hide waits in *work*."""

    def __init__(self, root: str, work: str) -> None:
        self._root = root
        self._work = work
        self._aside = f"{work}/aside"
        self._stubs = Stubs(root)
        self._hidden: list[tuple[str, str]] = []
        self._borrowed: list[tuple[str, str]] = []
        self._times: dict[str, tuple[os.stat_result, os.stat_result]] = {}
        os.makedirs(self._aside)

    def devices(self) -> None:
        """Make the devices that are missing; a plain file for ``null`` where mknod is refused."""
        for point in system.ESSENTIAL:
            self._stubs.provide(point, "dir", keep=True)
        for name, minor in system.DEVICES.items():
            path = paths.inside(self._root, f"/dev/{name}")
            if paths.lstat(path) is not None:
                continue
            before = os.lstat(os.path.dirname(path))
            with contextlib.suppress(OSError):
                os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, minor))
                os.chmod(path, 0o666)
            if name == "null" and paths.lstat(path) is None:
                with open(path, "wb"):
                    pass
                os.chmod(path, 0o666)
            self._hidden.append((path, ""))
            self._note(path, before)

    def place(self, mount: Job) -> None:
        """Put a copy of the source of *mount* at its target; a cache moves there itself."""
        names = paths.resolve(self._root, mount["target"])
        self._stubs.provide("/" + "/".join(names[:-1]), "dir")
        path = paths.join(self._root, names)
        before = os.lstat(os.path.dirname(path))
        aside = ""
        if paths.lstat(path) is not None:
            aside = f"{self._aside}/{len(self._hidden)}"
            os.rename(path, aside)
        self._hidden.append((path, aside))
        self._fill(mount, path)
        self._note(path, before)

    def _fill(self, mount: Job, path: str) -> None:
        mode = mount.get("mode")
        if mount["kind"] == "cache":
            move(mount["source"], path)
            self._borrowed.append((path, mount["source"]))
        elif mount["kind"] == "tmpfs":
            os.mkdir(path)
            os.chmod(path, 0o1777 if mode is None else mode)
        elif mount["source"].startswith(f"{self._work}/"):
            move(mount["source"], path)  # made for this command alone
        else:
            copy_tree(mount["source"], path, without=self._work)

    def _note(self, path: str, before: os.stat_result) -> None:
        """Remember the times that the parent of *path* had, and those that it got from us."""
        parent = os.path.dirname(path)
        first, _ = self._times.get(parent, (before, before))
        self._times[parent] = (first, os.lstat(parent))

    def _is_ours(self, path: str) -> bool:
        """Whether *path* still lies in the root: the command may have left links on the way."""
        parent = os.path.dirname(path)
        inside = paths.inside(self._root, parent[len(self._root) :])
        return inside.rstrip("/") == parent and paths.is_directory(parent)

    def undo(self, before: difference.Walk) -> None:
        """Put everything back and make *before* know what was only moved to and fro."""
        untouched = {
            parent: first
            for parent, (first, last) in self._times.items()
            if (now := paths.lstat(parent)) is not None and now.st_mtime_ns == last.st_mtime_ns
        }
        for path, home in reversed(self._borrowed):
            if self._is_ours(path) and paths.is_directory(path):
                move(path, home)
        for path, aside in reversed(self._hidden):
            parent = os.path.dirname(path)
            now = paths.lstat(parent)
            if now is None or not self._is_ours(path):
                continue
            paths.remove_tree(path)
            if aside:
                os.rename(aside, path)
                name = path[len(self._root) + 1 :]
                above, _, last = name.rpartition("/")
                if last in before.get(above, {}):
                    before[above][last] = difference.know(path)
            keep = untouched.get(parent, now)
            os.utime(parent, ns=(keep.st_atime_ns, keep.st_mtime_ns))
        self._stubs.remove()


def furnish(swaps: Swaps, tray: str, mounts: Sequence[Job]) -> None:
    """Give a chroot its devices, its hosts and resolv.conf, and the job's mounts."""
    swaps.devices()
    for name in ("resolv.conf", "hosts"):
        swaps.place({"kind": "bind", "source": f"{tray}/{name}", "target": f"/etc/{name}"})
    for mount in sorted(mounts, key=lambda mount: len(paths.split(mount["target"]))):
        swaps.place(mount)

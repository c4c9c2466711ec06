"""Copies of trees, for where nothing can be mounted: owners, modes, times and links are kept."""

from __future__ import annotations

import errno
import os
import shutil
import stat

from . import paths


def copy_tree(source: str, target: str, *, without: str) -> None:
    """Copy the file or directory *source* to the new path *target*.

    Leaves out the folder *without*, which may lie in *source* and hold *target*, and whatever is
    neither file, directory nor symlink.
    """
    todo = [(source, target)]
    directories: list[tuple[os.stat_result, str]] = []
    while todo:
        here, there = todo.pop()
        found = os.lstat(here)
        if stat.S_ISDIR(found.st_mode):
            os.mkdir(there, 0o700)
            directories.append((found, there))
            todo += [
                (f"{here}/{name}", f"{there}/{name}")
                for name in os.listdir(here)
                if f"{here}/{name}" != without
            ]
        elif stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(here), there)
            os.chown(there, found.st_uid, found.st_gid, follow_symlinks=False)
        elif stat.S_ISREG(found.st_mode):
            shutil.copyfile(here, there)
            _describe(there, found)
    for found, there in reversed(directories):
        _describe(there, found)


def _describe(path: str, found: os.stat_result) -> None:
    os.chown(path, found.st_uid, found.st_gid)
    os.chmod(path, stat.S_IMODE(found.st_mode))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def move(source: str, target: str) -> None:
    """Move *source* to *target*, by a copy where the two are on different file systems."""
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy_tree(source, target, without="")
        paths.remove_tree(source)

"""The played executor's file system: what is there, what has changed, what is copied."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path


def snapshot(root: Path) -> dict[str, tuple[object, ...]]:
    """Everything below *root*, and what would tell that it has changed."""
    found: dict[str, tuple[object, ...]] = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            status = path.lstat()
            link = str(path.readlink()) if stat.S_ISLNK(status.st_mode) else ""
            size = 0 if stat.S_ISDIR(status.st_mode) else status.st_size
            time = 0 if stat.S_ISDIR(status.st_mode) else status.st_mtime_ns
            found[str(path.relative_to(root))] = (
                *(status.st_mode, status.st_uid, status.st_gid, size, time, link),
            )
    return found


def copy_file(source: Path, target: Path) -> None:
    """One file, or the link that it is."""
    if os.path.lexists(target) and not target.is_dir():
        target.unlink()
    shutil.copy2(source, target, follow_symlinks=False)


def copy_tree(source: Path, target: Path) -> None:
    """What is in a folder, with its modes."""
    for folder, folders, files in os.walk(source):
        into = target / os.path.relpath(folder, source)
        for name in folders:
            path = Path(folder, name)
            if path.is_symlink():
                copy_file(path, into / name)
            else:
                (into / name).mkdir(exist_ok=True)
                shutil.copystat(path, into / name)
        for name in files:
            path = Path(folder, name)
            if stat.S_ISREG(path.lstat().st_mode) or path.is_symlink():
                copy_file(path, into / name)

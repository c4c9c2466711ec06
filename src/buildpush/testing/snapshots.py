"""`snapshot_tree`: what is in a folder, as a value, to show that nothing has touched it."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from attrs import frozen

__all__ = ["FileState", "snapshot_tree"]


@frozen(kw_only=True)
class FileState:
    """All of a file that its owner would notice: *content* is a hash, or where a link points.

    *mode* holds type and permissions, *mtime_ns* nanoseconds since the epoch.
    """

    mode: int
    uid: int
    gid: int
    mtime_ns: int
    content: str


def snapshot_tree(path: Path) -> dict[str, FileState]:
    """Look at *path* and all below it; names are relative to it, ``.`` is *path* itself.

    Reading changes no modification time; access times are not looked at.
    """
    found = {".": _state(path)}
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            entry = Path(folder, name)
            found[str(entry.relative_to(path))] = _state(entry)
    return dict(sorted(found.items()))


def _state(path: Path) -> FileState:
    status = path.lstat()
    content = ""
    if stat.S_ISLNK(status.st_mode):
        content = str(path.readlink())
    elif stat.S_ISREG(status.st_mode):
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
    return FileState(
        mode=status.st_mode,
        uid=status.st_uid,
        gid=status.st_gid,
        mtime_ns=status.st_mtime_ns,
        content=content,
    )

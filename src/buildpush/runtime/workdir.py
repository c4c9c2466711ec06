"""The private folder of one run: removed in the end, or by the next run if this one was killed."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["workdir"]

_PREFIX = "buildpush-"
_LOCK = "lock"


@contextmanager
def workdir(temporary: Path, uid: int) -> Generator[Path]:
    """A folder in *temporary* that only *uid* can read; also removes those of killed runs.

    They may hold secrets, so that they should not wait for a reboot.
    """
    _sweep(temporary, uid)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=temporary))
    # It gets its name when it is locked: no other run may take it for a dead one's.
    fresh = folder / f"{_LOCK}.new"
    with fresh.open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            fresh.rename(folder / _LOCK)
            yield folder
        finally:
            _remove(folder)  # still locked, for the same reason


def _sweep(temporary: Path, uid: int) -> None:
    for folder in temporary.glob(f"{_PREFIX}*"):
        # Somebody else's, or one that another run has just removed.
        with suppress(OSError):
            found = folder.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == uid:
                _remove_if_dead(folder)


def _remove_if_dead(folder: Path) -> None:
    with os.fdopen(os.open(folder / _LOCK, os.O_RDONLY | os.O_NOFOLLOW), "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove(folder)


def _remove(folder: Path) -> None:
    """Remove all that can be removed; the lock last, so that a later run tries again."""
    inside = [entry for entry in folder.iterdir() if entry.name != _LOCK]
    for entry in inside:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    for entry in (path for path in inside if path.is_dir()):
        shutil.rmtree(entry)  # says why it could not be
    shutil.rmtree(folder)

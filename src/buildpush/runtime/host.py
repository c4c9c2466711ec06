"""What this machine refuses: a bare OSError made into an error that names the folder and a way out.

Whoever reads or writes files on somebody's behalf says so himself, in that somebody's words. What
is left are the cache and the temporary folder, and limits of the machine: those end here.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ..errors import BuildpushError, PlanError
from .environment import Environment

__all__ = ["host_fault", "host_faults", "is_of_host"]

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_HANDLES: Final = frozenset({errno.EMFILE, errno.ENFILE})
_OF_HOST: Final = _FULL | _HANDLES | {errno.EROFS, errno.EIO, errno.ENOMEM}


@contextmanager
def host_faults(environment: Environment) -> Generator[None]:
    """Raise `PlanError` instead of any OSError that is left over.

    Errors of sockets pass: they are no folder's fault, and our own client never lets one out.
    """
    try:
        yield
    except (BuildpushError, ConnectionError, TimeoutError):
        raise
    except OSError as error:
        raise host_fault(error, environment) from error


def is_of_host(error: OSError) -> bool:
    """Whether the machine is to blame (full, read-only, out of handles), whatever was wanted."""
    return error.errno in _OF_HOST


def host_fault(error: OSError, environment: Environment) -> PlanError:
    """Say what *error* hit, and what to do about it."""
    reason = error.strerror or str(error) or type(error).__name__
    if error.errno in _HANDLES:
        return PlanError(reason, hint="raise the limit of open files: ulimit -n")
    if error.filename is not None:
        path = Path(os.fsdecode(error.filename))
    elif error.errno in _FULL:
        # A write says no path: the fullest of our two folders is meant.
        path = min(environment.cache, environment.temporary, key=_free_bytes)
    else:
        return PlanError(f"this machine refused: {reason}")
    return PlanError(f"{path}: {reason}", hint=_way_out(path, environment, error.errno in _FULL))


def _way_out(path: Path, environment: Environment, full: bool) -> str:
    # The cache first: it may lie in the temporary folder, and not the other way round.
    for folder, what, variable in (
        (environment.cache, "the cache", "BUILDPUSH_CACHE"),
        (environment.temporary, "the temporary folder", "TMPDIR"),
    ):
        if path == folder or folder in path.parents or (path in folder.parents and not full):
            better = "larger" if full else "usable"
            first = "free some space, or set" if full else "set"
            return f"{what} is {folder}: {first} {variable} to a {better} folder"
    return "free some space there" if full else ""


def _free_bytes(folder: Path) -> int:
    """Bytes this user may still write where *folder* is, or would be made."""
    for place in (folder, *folder.parents):
        try:
            found = os.statvfs(place)
        except OSError:
            continue
        return found.f_bavail * found.f_frsize
    return 0

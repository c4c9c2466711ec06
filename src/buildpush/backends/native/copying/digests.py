"""Remembered digests of the build context's files, so that a rebuild does not read them again."""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["DigestMemory", "Stamp"]

_VERSION: Final = 1
_MOST: Final = 500_000
"""Files remembered; beyond that only those of the last build are."""
_GRANULARITY_NS: Final = 2_000_000_000
"""The coarsest clock a file system keeps its times with."""


class Stamp(NamedTuple):
    """What tells a file from its later self, as lstat says it (times in nanoseconds)."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, stat: os.stat_result) -> Stamp:
        """The stamp in *stat*."""
        return cls(stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


class DigestMemory:
    """A file that maps stamps to digests; without a path it remembers for this run only.

    What was changed within two seconds of the start, or after it, is not remembered: it could
    change again and keep its stamp. Safe between threads.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._stored: Mapping[Stamp, str] = {} if path is None else _load(path)
        self._used: dict[Stamp, str] = {}
        self._recent = _file_clock() - _GRANULARITY_NS

    def is_recent(self, stamp: Stamp) -> bool:
        """Whether the file may change without changing its stamp."""
        return max(stamp.mtime_ns, stamp.ctime_ns) > self._recent

    def get(self, stamp: Stamp) -> str | None:
        """The digest of the file that has *stamp*, if it is known."""
        found = self._used.get(stamp)
        if found is None:
            found = self._stored.get(stamp)
            if found is not None:
                self._used[stamp] = found
        return found

    def put(self, stamp: Stamp, digest: str) -> None:
        """Remember *digest*."""
        self._used[stamp] = digest

    def save(self) -> None:
        """Write what is new; a crash leaves the old file, and a full disk is no error."""
        used = self._used.copy()  # other threads may be adding
        fresh = {stamp: digest for stamp, digest in used.items() if not self.is_recent(stamp)}
        if self._path is None or fresh.keys() <= self._stored.keys():
            return
        merged = {**self._stored, **fresh}
        self._stored = merged if len(merged) <= _MOST else fresh
        rows = [[*stamp, digest] for stamp, digest in self._stored.items()]
        data = json.dumps({"version": _VERSION, "files": rows}, separators=(",", ":")).encode()
        with suppress(OSError):
            _replace(self._path, zlib.compress(data, 1))


def _file_clock() -> int:
    """Now, in nanoseconds, as files are stamped."""
    with tempfile.TemporaryFile() as file:
        return os.fstat(file.fileno()).st_mtime_ns


def _load(path: Path) -> Mapping[Stamp, str]:
    """What *path* holds; nothing when it is missing or damaged."""
    try:
        found = json.loads(zlib.decompress(path.read_bytes()))
        if found["version"] != _VERSION:
            return {}
        return {Stamp(*row[:5]): str(row[5]) for row in found["files"]}
    except (OSError, zlib.error, ValueError, KeyError, TypeError, IndexError):
        return {}


def _replace(path: Path, data: bytes) -> None:
    """Put *data* at *path* so that a reader finds the old bytes or the new, never a mixture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=".digests-", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise

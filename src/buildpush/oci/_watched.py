"""A file whose reading can be stopped, between any two pieces."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path


class WatchedFile(io.FileIO):
    """A file opened for reading that calls *check* before each piece; what it raises passes."""

    def __init__(self, path: Path, check: Callable[[], None]) -> None:
        super().__init__(path, "rb")
        self._check = check

    def read(self, size: int | None = -1, /) -> bytes:
        self._check()
        return super().read(-1 if size is None else size) or b""

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        self._check()
        return super().readinto(buffer) or 0


def unwatched() -> None:
    """Check nothing: for those who wait."""

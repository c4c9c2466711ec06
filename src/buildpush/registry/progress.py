"""How transfers show themselves: sizes in words, and pieces counted as they pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from ..runtime import Task
from .parallel import Siblings

SHORT: Final = len("sha256:") + 12
"""Characters of a digest that a title shows."""


def size_text(size: int) -> str:
    """*size* bytes for people: ``512 B``, ``3.2 MB``; powers of ten, as docker shows them."""
    if size < 1000:
        return f"{size} B"
    value = float(size)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 1000:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:.1f} TB"


def watched(
    pieces: Iterable[bytes], task: Task, total: int, siblings: Siblings
) -> Iterator[bytes]:
    """*pieces*, reported to *task* as they pass, until a sibling fails."""
    done = 0
    for piece in pieces:
        siblings.check()
        yield piece
        done += len(piece)
        task.progress(done, total)

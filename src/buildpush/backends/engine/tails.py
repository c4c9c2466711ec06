"""The last lines that a step wrote, for the error it may end in."""

from __future__ import annotations

from collections import deque
from typing import Final

from attrs import define, field

from ...events import Stream

__all__ = ["Tails"]

_KEPT: Final = 40
_ERRORS: Final = 15


@define
class Tails:
    """The last lines of both streams, in the order in which they were heard."""

    _heard: int = field(default=0, init=False)
    _lines: dict[Stream, deque[tuple[int, str]]] = field(
        factory=dict[Stream, deque[tuple[int, str]]], init=False
    )

    def hear(self, stream: Stream, line: str) -> None:
        """Remember *line*, and forget the oldest of *stream* when there are too many."""
        self._heard += 1
        self._lines.setdefault(stream, deque(maxlen=_KEPT)).append((self._heard, line))

    def clear(self) -> None:
        """Forget everything: another step begins."""
        self._lines.clear()

    @property
    def last(self) -> tuple[str, ...]:
        """The last lines of the step; the last of stderr among them, whatever stdout has."""
        last = {stream: list(lines) for stream, lines in self._lines.items()}
        errors = last.get("stderr", [])[-_ERRORS:]
        others = (line for lines in last.values() for line in lines if line not in errors)
        kept = sorted(others)[len(errors) - _KEPT :]
        return tuple(text for _, text in sorted((*kept, *errors)))

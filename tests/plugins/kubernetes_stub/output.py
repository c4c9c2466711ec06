"""What a container writes: its log, as the kubelet keeps it and hands it out."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import NamedTuple

from attrs import define, field


class Piece(NamedTuple):
    """A line, or what came last without an end of line; *at* is when it came."""

    at: datetime
    data: bytes


@define(eq=False)
class Output:
    """A container's log. Written by the container, read by whoever follows it."""

    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _pieces: list[Piece] = field(factory=list)
    _rest: dict[str, bytes] = field(factory=dict)
    _ended: bool = False
    _changed: threading.Condition = field(factory=threading.Condition)

    def write(self, data: bytes, stream: str = "stdout") -> None:
        """Take *data*; a line is kept once it is whole."""
        with self._changed:
            lines = (self._rest.pop(stream, b"") + data).split(b"\n")
            rest = lines.pop()
            if rest:
                self._rest[stream] = rest
            at = self.now()
            self._pieces += [Piece(at, line + b"\n") for line in lines]
            self._changed.notify_all()

    def end(self) -> None:
        """Nothing more will come."""
        with self._changed:
            at = self.now()
            self._pieces += [Piece(at, rest) for rest in self._rest.values()]
            self._rest.clear()
            self._ended = True
            self._changed.notify_all()

    def wake(self) -> None:
        """Have those who follow look whether they still want to."""
        with self._changed:
            self._changed.notify_all()

    @property
    def text(self) -> str:
        """All of it so far."""
        with self._changed:
            return b"".join(p.data for p in self._pieces).decode(errors="replace")

    def read(
        self, *, follow: bool, tail: int | None, since: datetime | None, gone: Callable[[], bool]
    ) -> Iterator[list[Piece]]:
        """Pieces as they come, until the end (or until *gone*)."""
        with self._changed:
            position = 0 if tail is None else max(0, len(self._pieces) - tail)
        while True:
            with self._changed:
                while follow and position == len(self._pieces) and not self._ended:
                    if gone():
                        return
                    self._changed.wait(0.5)
                found = self._pieces[position:]
                ended = self._ended
                position = len(self._pieces)
            if since is not None:
                found = [piece for piece in found if piece.at >= since]
            if found:
                yield found
            if not follow or (ended and position == len(self._pieces)):
                return

"""A log that breaks off and goes on: each line once, in its order. Pure."""

from __future__ import annotations

import re
from typing import Final

from attrs import define, field

__all__ = ["LogCursor"]

_STAMPED: Final = re.compile(
    rb"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d) ?", re.ASCII
)
_LONG: Final = 1 << 15
"""Bytes from which a line may have come in several pieces."""


@define(eq=False)
class LogCursor:
    """Remembers the last line of a log with timestamps, and knows it again.

    A server that is asked for what came since a moment takes whole seconds, so that lines come
    again; several lines may bear the same time.
    """

    since: str = field(default="", init=False)
    """Where to go on, as RFC 3339; empty at the beginning."""
    _last: tuple[bytes, bytes] = field(default=(b"", b""), init=False)
    _same: int = field(default=0, init=False)
    """How many lines bear the last time."""
    _again: int = field(default=0, init=False)
    """How many of those have come again."""
    _catching_up: bool = field(default=False, init=False)
    _skipping: bool = field(default=False, init=False)
    _long: bool = field(default=False, init=False)

    def reopened(self) -> None:
        """The log begins again, at `since` or a little before."""
        self._again = 0
        self._catching_up = bool(self.since)
        self._skipping = self._long = False

    def take(self, raw: bytes) -> str | None:
        """The text of a line as it came, without its timestamp; None if it is known already."""
        found = _STAMPED.match(raw)
        if found is None:
            # The rest of a line that was too long to come as one; else it is the server that
            # speaks, in the log's place ("unable to retrieve container logs for …").
            rest = self._long and not self._skipping
            self._long = self._long and len(raw) >= _LONG
            return raw.decode("utf-8", "replace") if rest else None
        self._long = len(raw) >= _LONG
        stamp = (found[1], (found[2] or b"").ljust(9, b"0"))
        self._skipping = self._is_known(stamp)
        if self._skipping:
            return None
        self._catching_up = False  # from here on a clock may go backwards as it likes
        self._same = self._same + 1 if stamp == self._last else 1
        self._last = stamp
        self.since = (found[1] + b"." + stamp[1] + found[3]).decode()
        return raw[found.end() :].decode("utf-8", "replace")

    def _is_known(self, stamp: tuple[bytes, bytes]) -> bool:
        if not self._catching_up or stamp > self._last:
            return False
        if stamp == self._last:
            self._again += 1
            return self._again <= self._same
        return True

"""From BuildKit's progress as text to events: for clients that cannot write it as JSON.

That is the docker CLI 20.10, whose text this follows: a vertex has a number; ``#4 title`` and its
digest introduce it whenever the output turns to it, ``#4 1.234 text`` is a line of a command,
``#4 DONE 0.2s`` its end.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from typing import Final

from attrs import define, field

from ...events import Event, Stream, TaskLog, TaskProgress, Warned
from .blame import is_excerpt
from .rawjson import CLIENT_TASK
from .vertices import Vertex, exports_cache, imported_cache, is_cancelled, last_words

__all__ = ["PlainProgress"]

_NUMBERED: Final = re.compile(r"#(\d+) (.*)", re.DOTALL)
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_LOG: Final = re.compile(r"\d+\.\d+ (.*)|\d+\.\d+", re.DOTALL)
_END: Final = re.compile(r"(DONE)(?: \d+\.\d+s)?|(CACHED)|(CANCELED)|ERROR: (.*)", re.DOTALL)
# Output that did not end with a line feed has the end of its vertex on the same line.
_GLUED: Final = re.compile(r"(.*)(#\d+ (?:DONE(?: \d+\.\d+s)?|CACHED))", re.DOTALL)
_SIZE: Final = re.compile(r"(.+?) (\d+(?:\.\d+)?)([kMGT]?)B(?: / (\d+(?:\.\d+)?)([kMGT]?)B)?\b.*")
_UNITS: Final = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@define(eq=False, kw_only=True)
class _Numbered(Vertex):
    counts: dict[str, tuple[int, int | None]] = field(factory=dict[str, tuple[int, int | None]])


@define(eq=False)
class PlainProgress:
    """Translates ``--progress=plain``; feed it every line, in order."""

    warnings: list[str] = field(factory=list[str], init=False)
    cache_faults: list[tuple[str, str]] = field(factory=list[tuple[str, str]], init=False)
    """Caches that could not be read or written: BuildKit's name of the vertex, and its error."""
    _works: dict[int, _Numbered] = field(factory=dict[int, _Numbered], init=False)
    _current: int = field(default=0, init=False)
    _titled: bool = field(default=True, init=False)
    _said: deque[str] = field(factory=lambda: deque[str](maxlen=200), init=False)

    # -- what a failure is told from -------------------------------------------------------

    @property
    def vertices(self) -> tuple[Vertex, ...]:
        """Every vertex, in the order they were first heard of."""
        return tuple(self._works.values())

    @property
    def said(self) -> tuple[str, ...]:
        """The last lines of the client's own."""
        return tuple(self._said)

    @property
    def tail(self) -> tuple[str, ...]:
        """The last 40 lines of output of what failed, else of the client."""
        return last_words(self)

    # -- a translator -----------------------------------------------------------------------

    def line(self, stream: Stream, line: str, at: float) -> list[Event]:
        """The events that one line means; *at* is when it was read."""
        if not line:
            self._current = 0
            return []
        glued = _GLUED.fullmatch(line)
        if glued and glued[1]:
            return [*self._line(stream, glued[1], at), *self._line(stream, glued[2], at)]
        return list(self._line(stream, line, at))

    def finish(self, at: float) -> list[Event]:
        """Close what is still open: what had not ended by itself has failed."""
        return [e for w in self._works.values() if w.shown for e in w.end(at, failed=True)]

    # -- lines ------------------------------------------------------------------------------

    def _line(self, stream: Stream, line: str, at: float) -> Iterator[Event]:
        found = _NUMBERED.fullmatch(line)
        if found is None:
            yield from self._unnumbered(stream, line, at)
            return
        number, text = int(found[1]), found[2]
        ended = _END.fullmatch(text)
        if number != self._current and not (ended and number in self._works):
            yield from self._turn(number, text, at)
        elif _DIGEST.fullmatch(text):
            self._titled = True
            yield from self._works[number].start(at)
        elif ended:
            yield from self._end(self._works[number], ended, at)
        else:
            yield from self._inside(self._works[number], text, at)

    def _turn(self, number: int, title: str, at: float) -> Iterator[Event]:
        """The output is now about another vertex; its title may go on in the next lines."""
        self._current = number
        if number not in self._works:
            self._titled = False
            self._works[number] = _Numbered(name=title, task=f"buildkit #{number}")
        else:
            yield from self._works[number].start(at)

    def _unnumbered(self, stream: Stream, line: str, at: float) -> Iterator[Event]:
        if not self._titled and self._current:
            self._works[self._current].name += f"\n{line}"
            return
        if self._current and self._works[self._current].shown:
            # A line of output that has a line feed in its middle, or the client's own.
            yield from self._works[self._current].write("stdout", f"{line}\n".encode(), at)
            return
        self._said.append(line)
        if not is_excerpt(line):  # the error shows the lines
            yield TaskLog(at=at, task=CLIENT_TASK, stream=stream, line=line)

    def _inside(self, work: _Numbered, text: str, at: float) -> Iterator[Event]:
        self._titled = True
        yield from work.start(at)
        log = _LOG.fullmatch(text)
        if log is not None:
            yield from work.write("stdout", f"{log[1] or ''}\n".encode(), at)
            return
        size = _SIZE.fullmatch(text)
        if size is not None:
            total = _bytes(size[4], size[5]) if size[4] else None
            work.counts[size[1]] = (_bytes(size[2], size[3]), total)
            totals = [t for _, t in work.counts.values() if t is not None]
            yield TaskProgress(
                at=at,
                task=work.task,
                done=sum(done for done, _ in work.counts.values()),
                total=sum(totals) if len(totals) == len(work.counts) else None,
            )

    def _end(self, work: _Numbered, ended: re.Match[str], at: float) -> Iterator[Event]:
        yield from work.start(at)
        work.cached = ended[2] is not None
        work.error = "context canceled" if ended[3] else (ended[4] or "")
        about_cache = bool(imported_cache(work.name)) or exports_cache(work.name)
        if work.error and about_cache and not is_cancelled(work.error):
            self.cache_faults.append((work.name, work.error))
            self.warnings.append(f"{work.name}: {work.error}")
            yield Warned(at=at, message=self.warnings[-1])
        yield from work.end(at)
        self._current = 0


def _bytes(amount: str, unit: str) -> int:
    return round(float(amount) * _UNITS[unit])

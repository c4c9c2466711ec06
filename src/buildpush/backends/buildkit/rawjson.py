"""From BuildKit's progress as JSON lines to events. Pure: it only remembers what it has read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

from attrs import define, field

from ...events import Event, Stream, TaskLog, TaskProgress, Warned
from . import wire
from .blame import is_excerpt
from .vertices import (
    Vertex,
    exports_cache,
    imported_cache,
    is_cancelled,
    last_words,
    title_of,
)

__all__ = ["CLIENT_TASK", "RawJson"]

CLIENT_TASK: Final = "buildkit"
"""The task of lines that are the client's own."""

_PROGRESS_SECONDS: Final = 0.1
# BuildKit closes and opens a vertex again within milliseconds; only after this it has ended.
_LINGER_SECONDS: Final = 0.05
_SAID_LINES: Final = 200


@define(eq=False)
class _Clock:
    """The engine's clock, read from ours: a message cannot arrive before it was sent."""

    now: float = 0.0
    latest: float = 0.0
    _ahead: float | None = None

    def see(self, times: Sequence[float], at: float) -> None:
        """Learn from a message that arrived at *at* and mentions *times*."""
        self.now = at
        if times:
            self.latest = max(self.latest, *times)
            ahead = at - max(times)
            self._ahead = ahead if self._ahead is None else min(self._ahead, ahead)

    def at(self, time: datetime | None) -> float:
        """Seconds since the run began, for a moment of the engine's clock."""
        if time is None or self._ahead is None:
            return self.now
        return max(0.0, min(self.now, time.timestamp() + self._ahead))


@define(eq=False, kw_only=True)
class _Work(Vertex):
    """A vertex that may be opened and closed several times, and counts bytes."""

    running: set[str] = field(factory=set[str])
    closed: datetime | None = None
    counts: dict[str, tuple[int, int]] = field(factory=dict[str, tuple[int, int]])
    counted: tuple[float, int] = (float("-inf"), 0)


@define(eq=False)
class RawJson:
    """Translates what ``buildx build --progress=rawjson`` writes; feed it every line, in order."""

    warnings: list[str] = field(factory=list[str], init=False)
    cache_faults: list[tuple[str, str]] = field(factory=list[tuple[str, str]], init=False)
    """Caches that could not be read or written: BuildKit's name of the vertex, and its error."""
    _works: dict[str, _Work] = field(factory=dict[str, _Work], init=False)
    _keys: dict[str, str] = field(factory=dict[str, str], init=False)
    _seen: dict[str, wire.Vertex] = field(factory=dict[str, wire.Vertex], init=False)
    _closed: dict[str, _Work] = field(factory=dict[str, _Work], init=False)
    _said: deque[str] = field(factory=lambda: deque[str](maxlen=_SAID_LINES), init=False)
    _clock: _Clock = field(factory=_Clock, init=False)

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
        status = wire.parse_status(line) if line.startswith("{") else None
        if status is None:
            return list(self._say(stream, line, at))
        self._clock.see(_times(status), at)
        return list(self._happen(status))

    def finish(self, at: float) -> list[Event]:
        """Close what is still open: what had not ended by itself has failed."""
        self._clock.see((), at)
        ending = [event for work in self._closed.values() for event in self._end(work)]
        self._closed.clear()
        for work in self._works.values():
            if work.shown:
                ending.extend(work.end(at, failed=True))
        return ending

    # -- lines ------------------------------------------------------------------------------

    def _say(self, stream: Stream, line: str, at: float) -> Iterator[Event]:
        if not line.strip():
            return
        if line.startswith("ERROR: ") or is_excerpt(line):
            for work in list(self._closed.values()):  # the build is over: nothing opens again
                yield from self._end_if_closed(work)
        self._said.append(line)
        if not is_excerpt(line):  # the error shows the lines
            yield TaskLog(at=at, task=CLIENT_TASK, stream=stream, line=line)
        if line.startswith("WARNING: "):
            yield from self._warn(line.removeprefix("WARNING: ").strip(), at)

    def _happen(self, status: wire.Status) -> Iterator[Event]:
        for vertex in status.vertexes:
            yield from self._begin(vertex)
        for progress in status.statuses:
            yield from self._count(progress)
        for log in status.logs:
            yield from self._log(log)
        for vertex in status.vertexes:
            yield from self._complete(vertex)
        for warning in status.warnings:
            yield from self._lint(warning)
        yield from self._settle()

    # -- vertices ---------------------------------------------------------------------------

    def _work(self, digest: str) -> _Work:
        key = self._keys.get(digest, digest)
        if key not in self._works:
            short = digest.partition(":")[2][:12] or digest[:12]
            self._works[key] = _Work(name=key, task=f"buildkit {short}")
        return self._works[key]

    def _begin(self, vertex: wire.Vertex) -> Iterator[Event]:
        group = vertex.group
        if group is not None and group.id:
            self._keys[vertex.digest] = group.id
        work = self._work(vertex.digest)
        work.name = (group.name if group is not None else "") or vertex.name or work.name
        known = self._seen.get(vertex.digest)
        if vertex.started is None or (known is not None and known.started == vertex.started):
            return
        for source in map(self._work, vertex.inputs):
            if source is not work:
                yield from self._end_if_closed(source)
        self._closed.pop(work.task, None)
        work.running.add(vertex.digest)
        yield from work.start(self._clock.at(vertex.started))

    def _complete(self, vertex: wire.Vertex) -> Iterator[Event]:
        known = self._seen.get(vertex.digest)
        self._seen[vertex.digest] = vertex
        if vertex.completed is None or (known is not None and known == vertex):
            return
        work = self._work(vertex.digest)
        if vertex.group is None:
            # What was found in a cache is opened again for its layer to be pulled: still a hit.
            work.cached, work.error = work.cached or vertex.cached, vertex.error
        else:
            work.cached = vertex.cached and (known is None or work.cached)
            work.error = work.error or vertex.error
        work.running.discard(vertex.digest)
        if not work.running:
            work.closed = vertex.completed
            self._closed[work.task] = work
        if vertex.error:
            yield from self._cache_fault(vertex)

    def _cache_fault(self, vertex: wire.Vertex) -> Iterator[Event]:
        about_cache = bool(imported_cache(vertex.name)) or exports_cache(vertex.name)
        if about_cache and not is_cancelled(vertex.error):
            self.cache_faults.append((vertex.name, vertex.error))
            yield from self._warn(f"{vertex.name}: {vertex.error}", self._clock.now)

    def _settle(self) -> Iterator[Event]:
        """End what has been closed for long enough to stay so."""
        for work in list(self._closed.values()):
            closed = work.closed
            if closed is None or self._clock.latest - closed.timestamp() > _LINGER_SECONDS:
                yield from self._end_if_closed(work)

    def _end_if_closed(self, work: _Work) -> Iterator[Event]:
        if self._closed.pop(work.task, None) is not None:
            yield from self._end(work)

    def _end(self, work: _Work) -> Iterator[Event]:
        yield from work.end(self._clock.at(work.closed))

    # -- what vertices say ------------------------------------------------------------------

    def _log(self, log: wire.Log) -> Iterator[Event]:
        work, at = self._work(log.vertex), self._clock.at(log.timestamp)
        yield from work.start(at)
        clipped = work.clipped
        yield from work.write("stderr" if log.stream == 2 else "stdout", log.data, at)
        if work.clipped and not clipped:
            yield from self._warn(
                f"BuildKit has left out a part of the output of {title_of(work.name)}: its daemon"
                " limits what it passes on",
                at,
            )

    def _count(self, progress: wire.Progress) -> Iterator[Event]:
        work = self._work(progress.vertex)
        if not (progress.current or progress.total) or not work.shown:
            return
        work.counts[progress.id] = (progress.current, progress.total)
        done = sum(current for current, _ in work.counts.values())
        totals = [total for _, total in work.counts.values()]
        at, (last, before) = self._clock.at(progress.timestamp), work.counted
        due = at - last >= _PROGRESS_SECONDS or progress.completed is not None
        if done != before and due:
            work.counted = (at, done)
            total = sum(totals) if all(totals) else None
            yield TaskProgress(at=at, task=work.task, done=done, total=total)

    def _lint(self, warning: wire.Warning_) -> Iterator[Event]:
        text = warning.short.decode("utf-8", "replace")
        line = warning.ranges[0].start.line if warning.ranges else 0
        filename = warning.source.filename if warning.source is not None else ""
        where = f"{filename or 'Dockerfile'}, line {line}: " if line else ""
        link = f" ({warning.url})" if warning.url else ""
        told = text.removesuffix(f" (line {line})")
        yield from self._warn(f"{where}{told}{link}", self._clock.now)

    def _warn(self, message: str, at: float) -> Iterator[Event]:
        """Say *message* once, however many platforms it is about."""
        if message not in self.warnings:
            self.warnings.append(message)
            yield Warned(at=at, message=message)


def _times(status: wire.Status) -> list[float]:
    """Every moment a status mentions that cannot be in the engine's future."""
    moments = [moment for v in status.vertexes for moment in (v.started, v.completed)]
    moments += [p.timestamp for p in status.statuses]
    moments += [log.timestamp for log in status.logs]
    return [moment.timestamp() for moment in moments if moment is not None]

"""What became of each vertex (BuildKit's word for a piece of work), for events and for failures."""

from __future__ import annotations

import codecs
import re
from collections import deque
from collections.abc import Iterator
from typing import Final, Protocol

from attrs import define, field

from ...events import Event, Outcome, Stream, TaskFinished, TaskLog, TaskStarted

__all__ = [
    "TAIL_LINES",
    "Account",
    "Output",
    "Vertex",
    "exports_cache",
    "imported_cache",
    "is_cancelled",
    "last_words",
    "title_of",
]

TAIL_LINES: Final = 40
_ERROR_LINES: Final = 15
_CLIPPED: Final = re.compile(r"\[output clipped, log limit \S+ reached\]")
_TITLE_LENGTH: Final = 160
# Builders of several nodes put the node's name before everything else, in brackets.
_IMPORT: Final = re.compile(r"(?:\[[^\]]*\] )?importing cache manifest from (.*)")
_EXPORT: Final = re.compile(r"(?:\[[^\]]*\] )?exporting cache(?: to)? .*")
_INTERNAL: Final = re.compile(r"\[(?:(.*) )?internal\] ")
_DIGEST: Final = re.compile(r"@(sha256:[0-9a-f]{12})[0-9a-f]{52}")


def title_of(name: str) -> str:
    """*name* as a line for people: without ``[internal]``, full digests and further lines."""
    first, _, more = name.strip().partition("\n")
    internal = _INTERNAL.match(first)
    if internal is not None:
        where = f"[{internal[1]}] " if internal[1] else ""
        first = where + first[internal.end() :]
    title = _DIGEST.sub(r"@\1", first.strip())
    if more or len(title) > _TITLE_LENGTH:
        title = f"{title[:_TITLE_LENGTH]} …"
    return title


def imported_cache(name: str) -> str:
    """Which cache the vertex *name* reads: BuildKit's name of it, or nothing."""
    found = _IMPORT.fullmatch(name)
    return found[1] if found is not None else ""


def exports_cache(name: str) -> bool:
    """Whether the vertex *name* writes a cache."""
    return _EXPORT.fullmatch(name) is not None


def is_cancelled(error: str) -> bool:
    """Whether *error* only says that something else had failed."""
    return error.endswith(("context canceled", "Canceled")) or "CANCELED" in error


@define(eq=False)
class Output:
    """Bytes of one stream, cut anywhere, as lines of text."""

    _decoder: codecs.IncrementalDecoder = field(
        factory=lambda: codecs.getincrementaldecoder("utf-8")("replace"), init=False
    )
    _rest: str = field(default="", init=False)

    def lines(self, data: bytes) -> Iterator[str]:
        """The lines that *data* completes; a carriage return ends one, too."""
        text = self._rest + self._decoder.decode(data)
        *whole, self._rest = text.split("\n")
        for line in whole:
            yield from _visible(line)

    def last(self) -> Iterator[str]:
        """What is left, when it did not end with a line feed."""
        rest, self._rest = self._rest + self._decoder.decode(b"", final=True), ""
        if rest:
            yield from _visible(rest)


def _visible(line: str) -> list[str]:
    return [piece for piece in line.split("\r") if piece] or [""]


@define(eq=False, kw_only=True)
class Vertex:
    """One vertex, or a group that is shown as one.

    *name* is BuildKit's own, *task* unique in a run, *error* its last error.
    """

    name: str
    task: str
    error: str = ""
    cached: bool = False
    shown: bool = False
    started: float = 0.0
    lines_of_output: int = 0
    clipped: bool = False
    outputs: dict[Stream, Output] = field(factory=dict[Stream, Output])
    tails: dict[Stream, deque[tuple[int, str]]] = field(
        factory=dict[Stream, deque[tuple[int, str]]]
    )

    def start(self, at: float) -> Iterator[Event]:
        """Say that it began, unless that is known."""
        if not self.shown:
            self.shown, self.started = True, at
            yield TaskStarted(at=at, task=self.task, title=title_of(self.name))

    def write(self, stream: Stream, data: bytes, at: float) -> Iterator[Event]:
        """Pass on the lines that *data* completes."""
        output = self.outputs.setdefault(stream, Output())
        for line in output.lines(data):
            yield self._log(stream, line, at)

    def end(self, at: float, *, failed: bool = False) -> Iterator[Event]:
        """Say how it ended, after what is left of its output; never before it began."""
        at = max(at, self.started)
        for stream, output in self.outputs.items():
            for line in output.last():
                yield self._log(stream, line, at)
        if self.shown:
            self.shown = False
            outcome: Outcome = "cached" if self.cached else "done"
            if failed or self.error:
                outcome = "failed"
            yield TaskFinished(at=at, task=self.task, outcome=outcome)

    def evidence(self) -> tuple[str, ...]:
        """The last lines of its output, errors first to be kept.

        A command that writes a lot fills the tail with what is not the error. And where BuildKit
        has left out lines, it delivers the last ones stream by stream: errors then come last.
        """
        last = {stream: list(lines) for stream, lines in self.tails.items()}
        errors = last.get("stderr", [])
        merged = sorted(line for lines in last.values() for line in lines)[-TAIL_LINES:]
        shown = sum(line in merged for line in errors[-_ERROR_LINES:])
        if shown < len(errors[-_ERROR_LINES:]) or (self.clipped and errors):
            kept = errors[-_ERROR_LINES:]
            merged = last.get("stdout", [])[len(kept) - TAIL_LINES :] + kept
            merged = merged if self.clipped else sorted(merged)
        return tuple(text for _, text in merged)

    def _log(self, stream: Stream, line: str, at: float) -> Event:
        self.lines_of_output += 1
        self.clipped = self.clipped or _CLIPPED.search(line) is not None
        tail = self.tails.setdefault(stream, deque(maxlen=TAIL_LINES))
        tail.append((self.lines_of_output, line))
        return TaskLog(at=at, task=self.task, stream=stream, line=line)


class Account(Protocol):
    """What a translator has learnt by the time its command ended, for `failures`."""

    @property
    def vertices(self) -> tuple[Vertex, ...]:
        """Every vertex, in the order they were first heard of."""
        ...

    @property
    def said(self) -> tuple[str, ...]:
        """The last lines that belong to no vertex: what the client itself said."""
        ...


def last_words(account: Account) -> tuple[str, ...]:
    """The last 40 lines of output of what failed, else of the client."""
    for vertex in account.vertices:
        if vertex.error and not is_cancelled(vertex.error) and vertex.lines_of_output:
            return vertex.evidence()
    return account.said[-TAIL_LINES:]

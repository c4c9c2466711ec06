"""What kaniko's executor writes, as events: pure, one line at a time.

Kaniko logs JSON lines to stderr; what RUN writes goes through as it is, to either stream, and so
does kaniko's last word when it fails. A cluster gives all of it as one stream. Nothing sets RUN's
lines apart but their look, and what kaniko may say at that point: a line of JSON that RUN writes
is taken for RUN's unless kaniko would say it there.
"""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator
from typing import Final

from attrs import define, field, frozen

from ....dockerfile.instructions import Instruction, Lines
from ....events import Event, Outcome, Stream, TaskFinished, TaskLog, TaskStarted, Warned
from ....plan import BuildRequest
from ...engine.tails import Tails
from .positions import Position

__all__ = ["KanikoOutput"]

_SAID: Final = 15
_SHOWN: Final = 2000
_OPENING: Final = '{"level":"'
_CLOSING: Final = re.compile(r'"time":"\d{4}-\d\d-\d\dT[^"]*"\}$')
_STAGE: Final = re.compile(r"Building stage '(.*)' \[idx: '(\d{1,9})', base-idx: '-?\d+'\]")
_PULL: Final = re.compile(r"Retrieving image (?:manifest )?(\S+)")
_CACHE: Final = re.compile(r"Pushing (?:layer|cache pointer) (\S+) ")
_PUSH: Final = re.compile(r"Pushing image to (\S+)")
_PUSHED: Final = re.compile(r"Pushed (\S+)@sha256:[0-9a-f]{64}")
_SKIPPED: Final = "Skipping push to container registry"
_IN_RUN: Final = "error building image: error building stage: failed to execute command: "
_FATAL: Final = re.compile(
    r"error (?:building|pushing) image: |error checking push permissions(?:: | -- )"
    r"|error (?:resolving relative paths|changing to root dir)"
    r"|kaniko should only be run inside|Error: |panic: |fatal error: "
)
# What kaniko may say while a RUN goes on, or right after it; a cache is written in the background.
_AFTER_RUN: Final = re.compile(
    r"Taking snapshot of |Building stage '|Deleting filesystem|Saving file |Storing source image"
    r"|No files (?:were )?changed|Pushing |Pushed |Skipping |Retrying operation after "
    r"|Error uploading layer to cache|credential providers by |all credential helpers "
    r"|Immutable tag error ignored"
)
_BACKGROUND: Final = re.compile(r"Push|Retrying operation after |credential providers by ")
_QUIET: Final = re.compile(
    r"Cmd: |cmd: |Args: |Running: \[|Returning cached image manifest|credential providers by "
    r"|active feature flags: |Retrieving image manifest |all credential helpers "
    r"|Using dockerignore file: |Using files from context: |No base image, nothing to extract"
    r"|Built cross stage deps: map\[\]|Executing 0 build triggers|To simulate EOF and exit, press"
)
# Warnings that say nothing to somebody who has not written the command himself.
_ASIDE: Final = re.compile(
    r"make sure you entered the correct tag name|see https?://|Flag --\S+ is deprecated"
    r"|note that your DOCKER_AUTH_CONFIG|Failed to load system cert pool"
)


@frozen
class _Log:
    level: str
    message: str


@define(eq=False)
class KanikoOutput:
    """Translates the executor's output of one build; *prefix* sets its tasks apart from others.

    Afterwards *fatal* is the last word of a build that failed, *said* what kaniko said before it,
    *warnings* everything that it warned of, *pulling* the image that it asked for last, *pushing*
    the one that it pushed last, and *is_ended* whether it came to its end.
    """

    request: BuildRequest
    prefix: str = ""
    fatal: str = field(default="", init=False)
    pulling: str = field(default="", init=False)
    pushing: str = field(default="", init=False)
    warnings: list[str] = field(factory=list[str], init=False)
    said: deque[str] = field(factory=lambda: deque[str](maxlen=_SAID), init=False)
    position: Position = field(init=False)
    _task: str = field(default="", init=False)
    _outcome: Outcome = field(default="done", init=False)
    _count: int = field(default=0, init=False)
    _stream: Stream | None = field(default=None, init=False)
    _running: bool = field(default=False, init=False)
    _run: str = field(default="", init=False)
    is_ended: bool = field(default=False, init=False)
    _usage: bool = field(default=False, init=False)
    _caches: set[str] = field(factory=set[str], init=False)
    _tails: Tails = field(factory=Tails, init=False)

    def __attrs_post_init__(self) -> None:
        self.position = Position(self.request.dockerfile)

    @property
    def current(self) -> Instruction | None:
        """The instruction under way; None before the first, and for a base image's trigger."""
        return self.position.current

    @property
    def is_running(self) -> bool:
        """Whether a RUN was under way when kaniko wrote last."""
        return self._running

    @property
    def lines(self) -> Lines | None:
        """The lines of the Dockerfile that kaniko was at."""
        return self.position.lines

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines that RUN wrote; the last of stderr among them, whatever stdout has."""
        return self._tails.last

    def line(self, stream: Stream, line: str, at: float) -> Iterator[Event]:
        """The events that one line means."""
        written, log = self._read(stream, line)
        if written is not None:
            yield from self._plain(stream, written, at)
        if log is not None:
            yield from self._logged(log, at)

    def finish(self, at: float) -> Iterator[Event]:
        """Close what is open: failed, unless kaniko came to its end."""
        if self._task:
            if self.fatal or not self.is_ended:
                self._outcome = "failed"
            yield from self._end(at)

    # -- reading a line -----------------------------------------------------------------------

    def _read(self, stream: Stream, line: str) -> tuple[str | None, _Log | None]:
        """What is plain text in *line*, and what kaniko logs with it; RUN may not end its line."""
        if self._stream not in (None, stream):
            return line, None  # kaniko writes to the other one
        start = line.rfind(_OPENING)
        log = _parse(line[start:]) if start >= 0 else None
        if log is None or (self._running and not self._may_say(log)):
            return line, None
        self._stream = self._stream or ("stderr" if stream == "stderr" else None)
        return line[:start] or None, log

    def _may_say(self, log: _Log) -> bool:
        """Whether kaniko may say this while RUN goes on."""
        if log.level in ("fatal", "panic"):
            return True
        return bool(_AFTER_RUN.match(log.message)) or (
            log.level == "info" and self.position.is_next(log.message)
        )

    def _plain(self, stream: Stream, line: str, at: float) -> Iterator[Event]:
        """A line that is not a log of kaniko's: RUN's, or kaniko's last word."""
        if self._usage:
            return
        if self._stream in (None, stream):
            start = line.find(_IN_RUN) if self._running else 0
            if start >= 0 and _FATAL.match(line, start):
                if start:
                    yield from self._wrote(stream, line[:start], at)
                yield from self._failed(line[start:], at)
                return
            if self.fatal and (self._stream or not self._running):
                if line == "Usage:":
                    self._usage = True
                elif self.fatal.count("\n") < _SAID:
                    self.fatal += f"\n{line}"
                return
        if self._run:
            yield from self._wrote(stream, line, at)
        else:
            self.said.append(line[:_SHOWN])
            yield self._log(stream, line, at)

    def _wrote(self, stream: Stream, line: str, at: float) -> Iterator[Event]:
        """A line that RUN wrote; it may come late, since there are two pipes."""
        shown = line.rstrip("\r").rpartition("\r")[2]
        self._tails.hear(stream, shown[:_SHOWN])
        yield TaskLog(at=at, task=self._run, stream=stream, line=line)

    def _failed(self, line: str, at: float) -> Iterator[Event]:
        self.fatal = line
        yield self._log("stderr", line, at)

    # -- kaniko's log -------------------------------------------------------------------------

    def _logged(self, log: _Log, at: float) -> Iterator[Event]:
        message = log.message
        if log.level in ("fatal", "panic"):
            yield from self._failed(message, at)
            return
        if log.level in ("warning", "error"):
            yield from self._warned(message, at)
            return
        if log.level != "info":
            yield self._log("stderr", message, at)
            return
        if self.fatal and not _BACKGROUND.match(message):
            self.fatal = ""  # RUN said that, and kaniko goes on
        if _SKIPPED in message:
            self.is_ended = True
            return
        begun = tuple(self._begun(message, at))
        if not _QUIET.match(message):
            self.said.append(message[:_SHOWN])
            if not begun:
                yield self._log("stderr", message, at)
        yield from begun

    def _warned(self, message: str, at: float) -> Iterator[Event]:
        first = message.partition("\n")[0].strip()
        self.said.append(first)
        if first in self.warnings:
            return
        self.warnings.append(first)
        if _ASIDE.match(first):
            yield self._log("stderr", first, at)
        else:
            yield Warned(at=at, message=f"kaniko: {first}")

    def _begun(self, message: str, at: float) -> Iterator[Event]:
        """The tasks that begin or end with what kaniko says."""
        stage, push = _STAGE.match(message), _PUSH.fullmatch(message)
        pulled, cache = _PULL.match(message), _CACHE.match(message)
        if stage is not None:
            self.position.enter(int(stage[2]), stage[1])
            yield from self._begin("FROM", f"{self.position.label}FROM {stage[1]}", at)
        elif cache is not None:
            self._caches.add(cache[1])
        elif push is not None:
            if push[1] not in self._caches:
                self.pushing = push[1]
                yield from self._begin("push", f"push {push[1]}", at)
        elif pulled is not None:
            self.pulling = pulled[1]
            if not self._task:
                yield from self._begin("resolve", "resolve base images", at)
        elif _PUSHED.fullmatch(message):
            self.is_ended = self._task.endswith(" push")
        elif message == "Found cached layer, extracting to filesystem":
            self._outcome = "cached"
        elif message.startswith("Taking snapshot of ") and self._running:
            self._running = False
            yield from self._begin("snapshot", f"snapshot after {self.position.text}", at)
        elif message.startswith("Running: ["):
            self._running = True
        elif self.position.reach(message):
            yield from self._begin_step(message, at)

    def _begin_step(self, text: str, at: float) -> Iterator[Event]:
        yield from self._begin("step", f"{self.position.label}{text}", at)
        if text[:4].upper() == "RUN ":
            # Not when kaniko says that it runs: what RUN writes may be read before that.
            self._run = self._task
            self._tails.clear()

    # -- tasks --------------------------------------------------------------------------------

    def _begin(self, name: str, title: str, at: float) -> Iterator[Event]:
        yield from self._end(at)
        self._count += 1
        self._task = f"{self.prefix}{self._count} {name}"
        self._outcome, self._running, self.is_ended = "done", False, False
        self.fatal = ""  # RUN said that, and kaniko goes on
        yield TaskStarted(at=at, task=self._task, title=f"{self.prefix}{title}")

    def _end(self, at: float) -> Iterator[Event]:
        if self._task:
            yield TaskFinished(at=at, task=self._task, outcome=self._outcome)
            self._task = ""

    def _log(self, stream: Stream, line: str, at: float) -> TaskLog:
        task = self._task or f"{self.prefix}kaniko"
        return TaskLog(at=at, task=task, stream=stream, line=line)


def _parse(line: str) -> _Log | None:
    """A line that kaniko's logger wrote; None for any other."""
    if not _CLOSING.search(line[-64:]):
        return None
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return None
    level, message = fields.get("level"), fields.get("msg")
    if isinstance(level, str) and isinstance(message, str):
        # Half of a surrogate pair, which JSON can hold and no output can.
        return _Log(level, message.encode("utf-8", "replace").decode())
    return None

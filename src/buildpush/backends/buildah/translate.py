"""What buildah writes while it builds or pushes, as events: pure, one line at a time."""

from __future__ import annotations

import json
import re
from collections import deque
from collections.abc import Iterator
from typing import Final

from attrs import define, field, frozen

from ...events import Event, Outcome, Stream, TaskFinished, TaskLog, TaskStarted, Warned
from ..engine.tails import Tails

__all__ = ["BuildOutput", "Step", "TransferOutput", "message_of"]

_TAIL: Final = 40
_STEP: Final = re.compile(
    r"(?:\[[a-z][a-z0-9/]*\] )?(?:\[(\d+)/(\d+)\] )?STEP (\d+)/(\d+): (.*)", re.DOTALL
)
_COMMIT: Final = re.compile(r"(?:\[[a-z][a-z0-9/]*\] )?(?:\[\d+/\d+\] )?COMMIT(?: \S+)?")
_CACHED: Final = re.compile(
    r"--> (?:Using cache|Cache pulled from remote) (?:\S*[@:])?[0-9a-f]{64}"
)
_MADE: Final = re.compile(r"--> [0-9a-f]{11,64}")
# RUN may end its output without a line end: then buildah's next line is glued to it.
_GLUED: Final = re.compile(r"(.+?)(--> [0-9a-f]{11,64}|(?:\[\d+/\d+\] )?COMMIT)")
_ID: Final = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
_LOGGED: Final = re.compile(r'time="[^"]*" level=(\w+) msg=("(?:[^"\\]|\\.)*"|\S*)(.*)')
_UNUSED: Final = re.compile(r"\[Warning\] one or more build args were not consumed: \[(.*)\]")
_PLATFORM_ARGS: Final = re.compile(r"(?:TARGET|BUILD)(?:PLATFORM|OS|ARCH|VARIANT)")
_ECHO: Final = re.compile(r"subprocess exited with status \d+")


@frozen(kw_only=True)
class Step:
    """A ``STEP`` line: which instruction of which stage, both counted from 1.

    *stages* counts the stages and *steps* the instructions of this one as buildah counts them.
    """

    stage: int
    stages: int
    number: int
    steps: int
    text: str


@define(eq=False)
class BuildOutput:
    """Translates the output of ``buildah build``; *prefix* sets its tasks apart from others.

    Afterwards *step* is the last one begun, *tail* its last lines, *error* what buildah said went
    wrong and *image* the id of what it built.
    """

    prefix: str = ""
    step: Step | None = field(default=None, init=False)
    error: str = field(default="", init=False)
    image: str = field(default="", init=False)
    _task: str = field(default="", init=False)
    _outcome: Outcome = field(default="done", init=False)
    _count: int = field(default=0, init=False)
    _warned: set[str] = field(factory=set[str], init=False)
    _tails: Tails = field(factory=Tails, init=False)

    @property
    def tail(self) -> tuple[str, ...]:
        """The last lines of the step; the last of stderr among them, whatever stdout has."""
        return self._tails.last

    def line(self, stream: Stream, line: str, at: float) -> Iterator[Event]:
        """The events that one line means."""
        if stream == "stdout":
            yield from self._said(line, at)
        else:
            yield from self._reported(line, at)

    def finish(self, at: float) -> Iterator[Event]:
        """Close what is open: failed, unless the image is there."""
        if self._task:
            if self.error or not self.image:
                self._outcome = "failed"
            yield from self._end(at)

    def _said(self, line: str, at: float) -> Iterator[Event]:
        """A line of stdout: buildah's own account of the build, and what RUN writes there."""
        glued = _GLUED.fullmatch(line) if self._is_running() else None
        if glued and not (_MADE.fullmatch(line) or _COMMIT.fullmatch(line)):
            yield from self._log("stdout", glued[1], at)
            line = glued[2]
        step = _STEP.fullmatch(line)
        if step is not None and self._follows(step):
            yield from self._begin_step(step, at)
        elif _COMMIT.fullmatch(line) and self._is_last_step():
            yield from self._begin("commit", "commit the image", at)
        elif _CACHED.fullmatch(line):
            self._outcome = "cached"
        elif _MADE.fullmatch(line):
            if self._task.endswith("commit"):
                return
            yield from self._end(at)
        else:
            yield from self._log("stdout", line, at)
            found = _ID.fullmatch(line)
            if found:
                self.image = found[1]

    def _reported(self, line: str, at: float) -> Iterator[Event]:
        """A line of stderr: errors, warnings, the progress of pulling, and what RUN writes."""
        if line.startswith("Error: "):
            self.error = line.removeprefix("Error: ")
        elif not _ECHO.fullmatch(line):
            warning = _warning(line)
            if warning and warning not in self._warned:
                self._warned.add(warning)
                yield Warned(at=at, message=f"buildah: {warning}")
            if _is_retry(line):
                return  # the warning says it all
        yield from self._log("stderr", line, at)

    def _follows(self, match: re.Match[str]) -> bool:
        """Whether this can be the next step: RUN may write lines that only look like one."""
        stage, stages, number = int(match[1] or 1), int(match[2] or 1), int(match[3])
        last = self.step
        if last is None:
            return number == 1
        if number == 1:
            return last.stage < stage <= stages == last.stages and self._is_last_step()
        return (stage, number) == (last.stage, last.number + 1)

    def _is_running(self) -> bool:
        return self.step is not None and self.step.text[:4].upper() == "RUN "

    def _is_last_step(self) -> bool:
        return self.step is not None and self.step.number >= self.step.steps

    def _begin_step(self, match: re.Match[str], at: float) -> Iterator[Event]:
        self.step = Step(
            stage=int(match[1] or 1),
            stages=int(match[2] or 1),
            number=int(match[3]),
            steps=int(match[4]),
            text=match[5],
        )
        self._tails.clear()
        step = self.step
        stage = f"{step.stage}/{step.stages} " if step.stages > 1 else ""
        title = f"[{stage}{step.number}/{step.steps}] {step.text}"
        yield from self._begin(f"{step.stage}.{step.number}", title, at)

    def _begin(self, name: str, title: str, at: float) -> Iterator[Event]:
        if self._task:
            yield from self._end(at)
        self._count += 1
        self._task = f"{self.prefix}{self._count} {name}"
        self._outcome = "done"
        shown = f"{self.prefix}{title}"
        yield TaskStarted(at=at, task=self._task, title=shown)

    def _end(self, at: float) -> Iterator[Event]:
        if self._task:
            yield TaskFinished(at=at, task=self._task, outcome=self._outcome)
            self._task = ""

    def _log(self, stream: Stream, line: str, at: float) -> Iterator[Event]:
        if not line.startswith("Error: ") and not _ECHO.fullmatch(line):
            self._tails.hear(stream, line)
        yield TaskLog(at=at, task=self._task or f"{self.prefix}buildah", stream=stream, line=line)


@define(eq=False)
class TransferOutput:
    """Translates the output of ``buildah push``: one task called *title*, every line its log."""

    task: str
    title: str
    tail: deque[str] = field(factory=lambda: deque[str](maxlen=_TAIL), init=False)
    error: str = field(default="", init=False)
    _open: bool = field(default=False, init=False)

    def begin(self, at: float) -> TaskStarted:
        """The event to emit before the command is started."""
        self._open = True
        return TaskStarted(at=at, task=self.task, title=self.title)

    def line(self, stream: Stream, line: str, at: float) -> Iterator[Event]:
        """The events that one line means."""
        if _is_retry(line):
            yield Warned(at=at, message=f"buildah: {message_of(line)[1]}")
            return
        if line.startswith("Error: "):
            self.error = line.removeprefix("Error: ")
        else:
            self.tail.append(line)
        yield TaskLog(at=at, task=self.task, stream=stream, line=line)

    def finish(self, at: float) -> Iterator[Event]:
        """Close the task: failed, if buildah said so."""
        if self._open:
            self._open = False
            yield TaskFinished(at=at, task=self.task, outcome="failed" if self.error else "done")


def message_of(line: str) -> tuple[str, str]:
    """Level and message of a line of buildah's own log; both empty when it is none."""
    match = _LOGGED.fullmatch(line)
    if match is None:
        return "", ""
    text = match[2]
    if text.startswith('"'):
        try:
            text = json.loads(text)
        except ValueError:
            text = text.strip('"')
    return match[1], text


def _is_retry(line: str) -> bool:
    """Whether buildah says that it tries again to reach a registry."""
    level, message = message_of(line)
    return level == "warning" and message.startswith("Failed, retrying")


def _warning(line: str) -> str:
    """What the user should hear of this line; empty for most."""
    unused = _UNUSED.fullmatch(line)
    if unused:
        names = [name for name in unused[1].split() if not _PLATFORM_ARGS.fullmatch(name)]
        return f"build args that no ARG names: {', '.join(names)}" if names else ""
    level, message = message_of(line)
    return message if level == "warning" else ""

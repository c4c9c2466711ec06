"""What the classic builder says while it builds, as events: pure, golden-tested.

``POST /build`` answers with JSON objects: ``stream`` holds the builder's own words and what RUN
prints, wrapped in red when it came from stderr; ``aux`` the image's id, ``errorDetail`` the end.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, cast

from attrs import Factory, define, field, frozen

from ...dockerfile.faults import evidence_of
from ...dockerfile.instructions import Dockerfile, From, Instruction, Lines
from ...errors import BuildError, BuildpushError, CommandEvidence, Evidence
from ...events import (
    Event,
    Outcome,
    Stream,
    TaskFinished,
    TaskLog,
    TaskProgress,
    TaskStarted,
    Warned,
)
from ..engine.hints import after_run
from .refusals import refusal

__all__ = ["TAIL_LINES", "ClassicStream", "Failure", "failure_in", "steps"]

TAIL_LINES: Final = 40
_ROOM: Final = "make room where the daemon keeps its data, e.g. docker system prune"
_STEP: Final = re.compile(r"Step (\d+)/(\d+) : (.*)", re.DOTALL)
_RED: Final = "\x1b[91m"
_PLAIN: Final = "\x1b[0m"
_RUNNING: Final = re.compile(r" ---> Running in ([0-9a-f]+)\n")
_GONE: Final = re.compile(r"(?: ---> Removed|Removing) intermediate container [0-9a-f]+\n")
_CACHED: Final = " ---> Using cache\n"
_NOTICE: Final = re.compile(r" ---> [0-9a-f]*\n|\n|Successfully tagged .*\n")
_BUILT: Final = "Successfully built "
_WARNING: Final = re.compile(r"(?: ---> )?\[Warning\] (.*)\n?", re.DOTALL)


@frozen
class Failure:
    """The end of a build that failed: what the daemon said, and RUN's exit code or 0."""

    message: str
    code: int = 0


@frozen
class _Step:
    """An instruction as the builder counts them: its lines, and the Dockerfile's word for it."""

    lines: Lines
    keyword: str


def failure_in(message: Mapping[str, object]) -> Failure | None:
    """The error that a message of any of the daemon's streams carries; None when it has none."""
    detail = message.get("errorDetail")
    if isinstance(detail, Mapping):
        found = cast("Mapping[str, object]", detail)
        code = found.get("code")
        return Failure(str(found.get("message", "")), code if isinstance(code, int) else 0)
    error = message.get("error")
    return Failure(str(error)) if error else None


def steps(dockerfile: Dockerfile, target: str | None) -> tuple[_Step, ...]:
    """The instructions that the builder will number, up to the end of the stage *target*."""
    found = [_Step(arg.lines, "ARG") for arg in dockerfile.args]
    wanted = (target or "").lower()
    for stage in dockerfile.stages:
        found.append(_step(stage.base))
        found += map(_step, stage.instructions)
        if wanted and wanted in (stage.base.name, str(stage.index)):
            break
    return tuple(found)


def _step(instruction: Instruction | From) -> _Step:
    return _Step(instruction.lines, type(instruction).__name__.upper())


@define(eq=False)
class ClassicStream:
    """Turns the messages of one build into events, and remembers what a report needs.

    *shift* is how many instructions the builder was given before the Dockerfile's own.
    """

    dockerfile: Dockerfile
    target: str | None = None
    shift: int = 0
    image: str = field(default="", init=False)
    complete: bool = field(default=False, init=False)
    """Whether *image* is the whole build's, and not only a stage's."""
    failed: Failure | None = field(default=None, init=False)
    tail: deque[str] = field(factory=lambda: deque[str](maxlen=TAIL_LINES), init=False, repr=False)
    _steps: tuple[_Step, ...] = field(
        default=Factory(lambda self: steps(self.dockerfile, self.target), takes_self=True),
        init=False,
        repr=False,
    )
    _number: int = field(default=0, init=False)
    _task: str = field(default="", init=False)
    _title: str = field(default="", init=False)
    _container: str = field(default="", init=False)
    _cached: bool = field(default=False, init=False)
    _partial: dict[Stream, str] = field(factory=dict[Stream, str], init=False, repr=False)

    def message(self, message: Mapping[str, object], at: float) -> Iterator[Event]:
        """The events that one message means; *at* is seconds since the run began."""
        found = failure_in(message)
        if found is not None:
            self.failed = found
            yield from self._close(at, failed=True)
            return
        match message:
            case {"stream": str(text)}:
                yield from self._said(text, at)
            case {"aux": {"ID": str(image)}}:
                self.image = image
            case {"id": str(layer), "status": str(status)}:
                yield from self._pulled(layer, status, message, at)
            case {"status": str(status)}:
                yield from self._logged("stdout", f"{status}\n", at)
            case _:
                pass

    def finish(self, at: float, *, failed: bool) -> Iterator[Event]:
        """The events that close what is still open when no more messages come."""
        yield from self._close(at, failed=failed)

    def error(self) -> BuildpushError:
        """The error for a build that has failed, with the Dockerfile's lines and the last output."""
        failure = self.failed or Failure("the daemon ended the build without saying why")
        lines = self._lines()
        evidence: list[Evidence] = []
        if lines is not None:
            evidence.append(evidence_of(self.dockerfile, lines))
        if not failure.code:
            about = self._title or "the build"
            known = self._known(self._number)
            pulls = known is not None and known.keyword in ("FROM", "COPY")
            refused = refusal(failure.message, about=about, evidence=tuple(evidence))
            return (refused if pulls else None) or BuildError(
                f"{about}: {failure.message}",
                evidence=tuple(evidence),
                hint=after_run(0, [failure.message], room=_ROOM),
            )
        command = CommandEvidence(
            argv=(self._title,), exit_code=failure.code, tail=tuple(self.tail)
        )
        return BuildError(
            f"{self._title}: exit code {failure.code}",
            evidence=(*evidence, command),
            hint=after_run(failure.code, command.tail, room=_ROOM),
        )

    # -- the builder's own words -----------------------------------------------------------

    def _said(self, text: str, at: float) -> Iterator[Event]:
        if self._container:
            # Whatever looks like the builder's words now is what RUN has printed.
            if _GONE.fullmatch(text) and self._container in text:
                self._container = ""
                yield from self._flush(at)
            elif text.startswith(_RED):
                yield from self._logged("stderr", text.removeprefix(_RED).removesuffix(_PLAIN), at)
            else:
                yield from self._logged("stdout", text, at)
            return
        if step := _STEP.fullmatch(text):
            yield from self._begin(step, at)
        elif warning := _WARNING.fullmatch(text):
            yield Warned(at=at, message=warning[1].strip())
        elif running := _RUNNING.fullmatch(text):
            self._container = running[1]
        elif text == _CACHED:
            self._cached = True
        elif text.startswith(_BUILT):
            self.complete = bool(self.image)
        elif not _NOTICE.fullmatch(text):
            yield from self._logged("stdout", text, at)

    def _begin(self, step: re.Match[str], at: float) -> Iterator[Event]:
        yield from self._close(at, failed=False)
        self._number = int(step[1])
        self._task, self._title = f"step {step[1]}/{step[2]}", " ".join(step[3].split())
        yield TaskStarted(at=at, task=self._task, title=f"[{step[1]}/{step[2]}] {self._title}")

    def _known(self, number: int) -> _Step | None:
        place = number - 1 - self.shift
        return self._steps[place] if 0 <= place < len(self._steps) else None

    def _lines(self) -> Lines | None:
        known = self._known(self._number)
        return known.lines if known else None

    # -- output, pulls, ends -----------------------------------------------------------------

    def _logged(self, stream: Stream, text: str, at: float) -> Iterator[Event]:
        """The whole lines in *text*, joined to what came before; the rest is kept for later."""
        *lines, rest = (self._partial.get(stream, "") + text).split("\n")
        self._partial[stream] = rest
        yield from self._lines_of(stream, lines, at)

    def _lines_of(self, stream: Stream, lines: Iterable[str], at: float) -> Iterator[Event]:
        for line in lines:
            for piece in [part for part in line.split("\r") if part] or [""]:
                self.tail.append(piece)
                yield TaskLog(at=at, task=self._task, stream=stream, line=piece)

    def _flush(self, at: float) -> Iterator[Event]:
        for stream, rest in self._partial.items():
            if rest:
                yield from self._lines_of(stream, [rest], at)
        self._partial.clear()

    def _pulled(
        self, layer: str, status: str, message: Mapping[str, object], at: float
    ) -> Iterator[Event]:
        """A layer of a base image on its way into the daemon."""
        task = f"pull {layer}"
        match message.get("progressDetail"):
            case {"current": int(done), "total": int(total)} if status == "Downloading":
                yield TaskProgress(at=at, task=task, done=done, total=total)
            case _ if status == "Pulling fs layer":
                yield TaskStarted(at=at, task=task, title=f"pull layer {layer}")
            case _ if status == "Pull complete":
                yield TaskFinished(at=at, task=task, outcome="done")
            case _:
                pass

    def _close(self, at: float, *, failed: bool) -> Iterator[Event]:
        yield from self._flush(at)
        if self._task:
            done: Outcome = "cached" if self._cached else "done"
            yield TaskFinished(at=at, task=self._task, outcome="failed" if failed else done)
            self._task = ""
        if not failed:
            self.tail.clear()
            self._cached = False

"""What happens during a run, as values; and the one reducer every display shares."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Final, Literal

from attrs import evolve, field, frozen

SCHEMA_VERSION: Final = 1
"""Version of the events' fields, written into every stored stream."""

Stream = Literal["stdout", "stderr"]
Outcome = Literal["done", "cached", "failed"]


class Phase(Enum):
    """The stages of a step, in the order they happen."""

    PLAN = "plan"
    BUILD = "build"
    PUSH = "push"
    VERIFY = "verify"


@frozen(kw_only=True)
class PhaseStarted:
    """A phase began. *at* is, here and below, seconds since the run began."""

    at: float
    phase: Phase


@frozen(kw_only=True)
class TaskStarted:
    """A unit of work began: a Dockerfile instruction, a blob upload. *task* is its unique name."""

    at: float
    task: str
    title: str


@frozen(kw_only=True)
class TaskProgress:
    """Bytes moved so far; *total* is None when nobody knows."""

    at: float
    task: str
    done: int
    total: int | None = None


@frozen(kw_only=True)
class TaskLog:
    """One line of output, without its line end."""

    at: float
    task: str
    stream: Stream
    line: str


@frozen(kw_only=True)
class TaskFinished:
    """A unit of work ended."""

    at: float
    task: str
    outcome: Outcome


@frozen(kw_only=True)
class Warned:
    """Something the user should know that did not stop the run."""

    at: float
    message: str


Event = PhaseStarted | TaskStarted | TaskProgress | TaskLog | TaskFinished | Warned
EventSink = Callable[[Event], None]


def ignore(_: Event) -> None:
    """Do nothing with an event: the sink of somebody who does not look."""


@frozen(kw_only=True)
class TaskState:
    """A display's view of one task; *started* and *ended* are seconds since the run began."""

    title: str
    started: float = 0.0
    ended: float | None = None
    done: int = 0
    total: int | None = None
    outcome: Outcome | Literal["running"] = "running"


@frozen(kw_only=True)
class RunState:
    """A display's view of the whole run so far."""

    phase: Phase | None = None
    tasks: Mapping[str, TaskState] = field(factory=dict[str, TaskState])
    warnings: tuple[str, ...] = ()

    def after(self, event: Event) -> RunState:
        """The state once *event* has happened. Pure: renderers only draw the result."""
        match event:
            case PhaseStarted(phase=phase):
                return evolve(self, phase=phase)
            case TaskStarted(at=at, task=task, title=title):
                return self._with(task, TaskState(title=title, started=at))
            case TaskProgress(task=task, done=done, total=total):
                return self._with(task, evolve(self._task(task), done=done, total=total))
            case TaskFinished(at=at, task=task, outcome=outcome):
                return self._with(task, evolve(self._task(task), outcome=outcome, ended=at))
            case Warned(message=message):
                return evolve(self, warnings=(*self.warnings, message))
            case TaskLog():
                return self

    def _task(self, task: str) -> TaskState:
        return self.tasks.get(task, TaskState(title=task))

    def _with(self, task: str, state: TaskState) -> RunState:
        return evolve(self, tasks={**self.tasks, task: state})

"""The reducer that every display shares."""

from functools import reduce

from buildpush.events import (
    Event,
    Phase,
    PhaseStarted,
    RunState,
    TaskFinished,
    TaskLog,
    TaskProgress,
    TaskStarted,
    TaskState,
    Warned,
)

EVENTS: tuple[Event, ...] = (
    PhaseStarted(at=0.0, phase=Phase.BUILD),
    TaskStarted(at=1.0, task="a", title="RUN make"),
    TaskLog(at=1.5, task="a", stream="stdout", line="hello"),
    TaskProgress(at=2.0, task="a", done=5, total=10),
    Warned(at=2.5, message="careful"),
    TaskFinished(at=3.0, task="a", outcome="cached"),
)


def test_a_run_is_the_fold_of_its_events() -> None:
    """Phase, tasks with their times, and warnings are all there at the end."""
    state = reduce(RunState.after, EVENTS, RunState())

    task = TaskState(title="RUN make", started=1.0, ended=3.0, done=5, total=10, outcome="cached")
    assert state == RunState(phase=Phase.BUILD, tasks={"a": task}, warnings=("careful",))


def test_the_reducer_changes_nothing_in_place() -> None:
    """A display may keep any state it has seen."""
    before = RunState()

    before.after(EVENTS[1])

    assert before == RunState()


def test_progress_of_an_unannounced_task_is_kept() -> None:
    """A display that joined late loses nothing it is told."""
    state = RunState().after(TaskProgress(at=1.0, task="x", done=1))

    assert state.tasks["x"].done == 1

"""Many runs: how many at once, what failures do to the others, and how all of it is stopped.

The steps are scripted here, and do what `BuildAndPushStep.run` promises: they raise errors of
ours, tell events, and end soon after they are cancelled.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import pytest
from attrs import define, field

from buildpush import BuildAndPushStep, BuildResult, CancelToken, Digest
from buildpush.errors import (
    AuthError,
    BuildError,
    RegistryUnavailableError,
    SeveralFailedError,
    SpecError,
    StepCancelledError,
    StepTimeoutError,
)
from buildpush.events import Event, EventSink, TaskLog, Warned
from buildpush.strategy import (
    Ending,
    FailureStrategy,
    Job,
    Retry,
    RunTable,
    Status,
    arun_many,
    run_many,
)
from buildpush.testing import FakeBackend, LocalRegistry

RESULT = BuildResult(
    digest=Digest.of(b"image"),
    references=(),
    images={},
    backend=FakeBackend().capabilities,
    seconds=0.0,
)


@define(eq=False)
class Scripted:
    """A fake step: raises *errors* one after another, then succeeds; with *hangs*, waits to be cancelled."""

    errors: list[BaseException] = field(factory=list[BaseException])
    hangs: bool = False
    before: Callable[[], object] = field(default=lambda: None)
    ran: int = 0
    started: threading.Event = field(factory=threading.Event)

    def run(self, *, on_event: EventSink, cancel: CancelToken) -> BuildResult:
        self.ran += 1
        on_event(TaskLog(at=0.0, task="t", stream="stdout", line=f"attempt {self.ran}"))
        self.before()
        self.started.set()
        while self.hangs:
            cancel.sleep(3600.0)
        if self.errors:
            raise self.errors.pop(0)
        return RESULT


def statuses(table: RunTable) -> list[str]:
    return [row.status.value for row in table]


def test_everything_runs_and_the_rows_keep_the_order() -> None:
    """By name, or by number where only a list is given."""
    named = run_many({"b": Scripted(), "a": Scripted([BuildError("no")]), "c": Scripted()})
    listed = run_many([Scripted(), Scripted()])

    assert [row.name for row in named] == ["b", "a", "c"]
    assert statuses(named) == ["success", "failed", "success"]
    assert [row.name for row in listed] == ["0", "1"]
    assert named["b"].result is RESULT and named["b"].attempts == 1
    assert not named.ok and listed.ok
    assert run_many([]).ok


def test_so_many_run_at_once_and_no_more() -> None:
    """Three meet, which only works when they run together; a fourth is never among them."""
    meeting = threading.Barrier(3, timeout=10)
    lock = threading.Lock()
    now, most = 0, 0

    def meet() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        meeting.wait()
        with lock:
            now -= 1

    table = run_many([Scripted(before=meet) for _ in range(9)], max_concurrency=3)

    assert table.ok and most == 3


def test_a_failure_skips_what_is_queued_only_when_asked() -> None:
    """What runs already goes on."""

    def steps() -> list[Scripted]:
        return [Scripted([BuildError("no")]), Scripted(), Scripted()]

    assert statuses(run_many(steps(), max_concurrency=1)) == ["failed", "success", "success"]
    skipping = run_many(steps(), max_concurrency=1, on_failure="skip_queued")
    assert statuses(skipping) == ["failed", "skipped", "skipped"]
    assert skipping["1"].attempts == 0


def test_an_ignored_failure_skips_nobody() -> None:
    """It does not count as one, and its error is kept."""
    table = run_many(
        [Scripted([BuildError("no")]), Scripted([BuildError("no")]), Scripted()],
        max_concurrency=1,
        on_failure="skip_queued",
        failure_strategies=[FailureStrategy("AllErrors", Ending.IGNORE)],
    )

    assert statuses(table) == ["ignored", "ignored", "success"]
    assert table.ok and str(table["0"].error) == "no"


def test_a_retry_runs_again_says_so_and_then_does_as_told() -> None:
    """Each attempt is counted; what the retries end with is what the strategy says."""
    heard: list[tuple[str, Event]] = []
    down = [RegistryUnavailableError("503") for _ in range(5)]
    table = run_many(
        {"comes back": Scripted([*down[:2]]), "stays away": Scripted([*down])},
        max_concurrency=1,
        failure_strategies=[
            FailureStrategy("Connectivity", Retry(2, then=Ending.MARK_AS_SUCCESS)),
        ],
        on_event=lambda name, event: heard.append((name, event)),
    )

    assert statuses(table) == ["success", "success"]
    assert [row.attempts for row in table] == [3, 3]
    assert table["comes back"].error is None
    assert isinstance(table["stays away"].error, RegistryUnavailableError)
    warned = [event.message for name, event in heard if isinstance(event, Warned)]
    assert warned == [f"503; running the step again in 0 s ({n} of 2)" for n in (1, 2)] * 2


def test_each_kind_of_error_has_retries_of_its_own() -> None:
    """Two for connections and one for logins are three altogether."""
    table = run_many(
        [Scripted([RegistryUnavailableError("1"), AuthError("2"), RegistryUnavailableError("3")])],
        failure_strategies=[
            FailureStrategy("Connectivity", Retry(2)),
            FailureStrategy("Authentication", Retry(1)),
        ],
    )

    assert table.ok and table["0"].attempts == 4


def test_a_jobs_own_strategies_come_first() -> None:
    """Those of all are asked where it has none for the error."""
    own = [FailureStrategy("AllErrors", Ending.IGNORE)]
    table = run_many(
        [Job(step=Scripted([BuildError("no")]), failure_strategies=tuple(own))],
        failure_strategies=[FailureStrategy("Unknown", Ending.ABORT)],
    )

    assert statuses(table) == ["ignored"]


def test_a_job_may_depend_on_what_is_complete() -> None:
    """Its question is asked when its turn comes, with the rows so far."""
    asked: list[int] = []

    def after_failure(so_far: RunTable) -> bool:
        asked.append(len(so_far))
        return not so_far.ok

    def jobs(first: Scripted) -> list[Scripted | Job]:
        return [first, Job(step=Scripted(), when=after_failure)]

    assert statuses(run_many(jobs(Scripted()), max_concurrency=1)) == ["success", "skipped"]
    failing = run_many(jobs(Scripted([BuildError("no")])), max_concurrency=1)
    assert statuses(failing) == ["failed", "success"]
    assert asked == [1, 1]


def test_abort_stops_what_runs_and_what_waits() -> None:
    """The one that failed says why; the others say that they were stopped."""
    hanging = Scripted(hangs=True)
    failing = Scripted([BuildError("no")], before=lambda: hanging.started.wait(10))
    queued = Scripted()
    table = run_many(
        {"hanging": hanging, "failing": failing, "queued": queued},
        max_concurrency=2,
        failure_strategies=[FailureStrategy("AllErrors", Ending.ABORT)],
    )

    assert statuses(table) == ["aborted", "failed", "aborted"]
    assert queued.ran == 0
    assert "failing failed" in str(table["hanging"].error)
    with pytest.raises(BuildError):
        table.raise_for_failure()


def test_cancelling_aborts_everything_and_says_why() -> None:
    """The table is still whole; the reason is raised on demand."""
    cancel = CancelToken()
    reason = StepCancelledError("enough")
    hanging = Scripted(hangs=True)
    queued = Scripted()
    stopper = threading.Thread(
        target=lambda: (hanging.started.wait(10), cancel.cancel(reason)), daemon=True
    )
    stopper.start()
    table = run_many([hanging, queued], max_concurrency=1, cancel=cancel)
    stopper.join()

    assert statuses(table) == ["aborted", "aborted"]
    assert table["0"].attempts == 1 and table["1"].attempts == 0
    with pytest.raises(StepCancelledError, match="enough"):
        table.raise_for_failure()


def test_cancelling_ends_a_pause_before_a_retry() -> None:
    """Nobody waits an hour for it."""
    cancel = CancelToken()

    def stop(_: str, event: Event) -> None:
        if isinstance(event, Warned):
            cancel.cancel()

    table = run_many(
        [Scripted([BuildError("no")])],
        failure_strategies=[FailureStrategy("AllErrors", Retry(1, intervals="1h"))],
        on_event=stop,
        cancel=cancel,
    )

    assert statuses(table) == ["aborted"] and table["0"].attempts == 1


def test_the_time_for_all_of_it_aborts_what_is_left() -> None:
    """The reason is a timeout."""
    table = run_many([Scripted(hangs=True)], timeout=0.05)

    assert statuses(table) == ["aborted"]
    assert isinstance(table["0"].error, StepTimeoutError)


def test_a_step_that_ran_out_of_its_own_time_has_expired_and_may_be_retried() -> None:
    """Its token is its own, so the next attempt is not cancelled."""
    late = [StepTimeoutError("late") for _ in range(3)]
    table = run_many(
        [Scripted([late[0]]), Scripted([*late[1:]])],
        failure_strategies=[FailureStrategy("Timeout", Retry(1))],
    )

    assert statuses(table) == ["success", "expired"]


def test_an_error_that_is_not_ours_stops_everything_and_is_raised() -> None:
    """A callback that breaks is the caller's bug: nothing is left running behind it."""
    hanging = Scripted(hangs=True)

    def break_(name: str, event: Event) -> None:
        if name == "loud":
            raise ZeroDivisionError(event)

    with pytest.raises(ZeroDivisionError):
        run_many({"hanging": hanging, "loud": Scripted()}, max_concurrency=2, on_event=break_)

    assert not [each for each in threading.enumerate() if each.name.startswith("buildpush-many")]


def test_an_interrupt_stops_everything_before_it_is_raised() -> None:
    """Ctrl-C in the caller's thread: what runs is cancelled, what waits never begins."""
    queued = Scripted()
    interrupted = Scripted(hangs=True, before=lambda: os.kill(os.getpid(), signal.SIGINT))

    with pytest.raises(KeyboardInterrupt):
        run_many([interrupted, queued], max_concurrency=1)

    assert queued.ran == 0
    assert not [each for each in threading.enumerate() if each.name.startswith("buildpush-many")]


def test_several_failures_are_raised_as_one_error_that_has_them_all() -> None:
    """The first three are in the message, each with its name."""
    table = run_many([Scripted([BuildError(f"no {n}")]) for n in range(4)], max_concurrency=1)

    with pytest.raises(SeveralFailedError) as caught:
        table.raise_for_failure()

    assert str(caught.value) == "4 of 4 steps failed: 0: no 0; 1: no 1; 2: no 2; and 1 more"
    assert list(caught.value.failures) == ["0", "1", "2", "3"]


def test_the_table_can_be_shown_and_stored() -> None:
    """As text with columns, and as values for JSON."""
    table = run_many({"long-name": Scripted(), "x": Scripted([BuildError("no")])})
    lines = table.render().splitlines()

    assert lines[0].split() == ["step", "status", "attempts", "seconds", "digest", "or", "error"]
    assert lines[1].startswith("long-name  success  1") and lines[1].endswith(str(RESULT.digest))
    assert lines[2].split()[:3] == ["x", "failed", "1"] and lines[2].endswith("no")
    stored = table.to_json()
    assert stored[0]["digest"] == str(RESULT.digest) and stored[0]["error"] is None
    assert stored[1]["error"] == {"slug": "build-failed", "message": "no"}
    with pytest.raises(KeyError):
        _ = table["y"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"max_concurrency": 0}, "max_concurrency"),
        ({"on_failure": "stop"}, "run_all or skip_queued"),
        ({"timeout": 0}, "timeout"),
        ({"steps": {"a": "ghcr.io/acme/app"}}, "a: expected a step"),
    ],
)
def test_wrong_arguments_are_refused_before_anything_runs(
    arguments: dict[str, object], said: str
) -> None:
    """No step has run by then."""
    step = Scripted()
    with pytest.raises(SpecError) as caught:
        run_many(**{"steps": [step], **arguments})  # type: ignore[arg-type]

    assert said in str(caught.value) and step.ran == 0


@pytest.mark.anyio
async def test_it_can_be_awaited() -> None:
    """On asyncio and trio, with the same table."""
    table = await arun_many([Scripted(), Scripted([BuildError("no")])])

    assert statuses(table) == ["success", "failed"]
    with pytest.raises(SpecError):
        await arun_many([], max_concurrency=0)


@pytest.mark.anyio
async def test_cancelling_the_task_stops_every_run_first() -> None:
    """Nothing runs any more when control is back."""
    steps: Sequence[Scripted] = [Scripted(hangs=True) for _ in range(3)]
    ended: list[str] = []
    for step in steps:
        step.before = lambda: ended.append("begun")
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def stop() -> None:
                await anyio.to_thread.run_sync(steps[0].started.wait, 10)
                scope.cancel()

            group.start_soon(stop)
            await arun_many(steps, max_concurrency=3)

    assert scope.cancelled_caught
    assert not [each for each in threading.enumerate() if each.name.startswith("buildpush-many")]


def test_real_steps_run_together_and_each_has_its_own_events(tmp_path: Path) -> None:
    """Four at once, with a stand-in for the engine and a real push."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    heard: dict[str, list[Event]] = {}
    with LocalRegistry() as registry:
        steps = {
            f"app-{n}": BuildAndPushStep(
                repo=registry.reference(f"app-{n}"),
                context=tmp_path,
                backend=FakeBackend(seed=n),
            )
            for n in range(8)
        }
        table = run_many(
            steps, on_event=lambda name, event: heard.setdefault(name, []).append(event)
        )
        table.raise_for_failure()

        for name, row in zip(steps, table, strict=True):
            assert row.result is not None
            assert registry.digest(name, "latest") == row.result.digest
    assert set(heard) == set(steps)
    assert {row.status for row in table} == {Status.SUCCESS}

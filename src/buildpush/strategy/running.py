"""Runs many steps, so many at once, and does about failures what it was told to."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Final, Literal, Protocol, cast, runtime_checkable

import anyio
import anyio.to_thread
from attrs import define, evolve, field, frozen

from ..errors import BuildpushError, SpecError, StepCancelledError, StepTimeoutError
from ..events import Event, EventSink, Warned
from ..plan import BuildResult
from ..publishing import PushResult
from ..runtime import CancelToken, Deadline
from .failures import Action, Ending, FailureStrategy, Intervene, Retry, choose
from .table import Row, RunTable, Status

__all__ = ["Intervention", "Job", "NamedEventSink", "Runnable", "When", "arun_many", "run_many"]

When = Callable[[RunTable], bool]
"""Asked when a run's turn comes, with the rows that are complete by then: whether to run it."""

NamedEventSink = Callable[[str, Event], None]
"""Hears every event of every run, with the run's name; one at a time, in the runs' threads."""


@frozen(kw_only=True)
class Intervention:
    """A failed run that somebody is to decide about, within *timeout* seconds."""

    name: str
    error: BuildpushError
    attempts: int
    timeout: float


Intervening = Callable[[Intervention], Action | None]
"""Says what becomes of a failed run: an `Ending`, or a `Retry` for once more; None for no answer.

Called in the run's thread, which waits: return when the time is over.
"""


@runtime_checkable
class Runnable(Protocol):
    """What can be run: a `BuildAndPushStep`, or something that behaves as it does."""

    def run(self, *, on_event: EventSink, cancel: CancelToken) -> BuildResult | PushResult | None:
        """Run it; raises a `BuildpushError`, soon after *cancel* is flipped."""
        ...


def _strategies(given: Iterable[FailureStrategy]) -> tuple[FailureStrategy, ...]:
    return tuple(given)


@frozen(kw_only=True)
class Job:
    """A step with what holds for it alone, besides its own settings.

    *when* says whether it runs; its *failure_strategies* are asked before those of all.
    """

    step: Runnable
    when: When | None = None
    failure_strategies: tuple[FailureStrategy, ...] = field(default=(), converter=_strategies)


_SIGNALS_SECONDS: Final = 1.0

Steps = Mapping[str, Runnable | Job] | Iterable[Runnable | Job]


def _unheard(name: str, event: Event) -> None:
    del name, event


def run_many(
    steps: Steps,
    *,
    max_concurrency: int = 4,
    on_failure: Literal["run_all", "skip_queued"] = "run_all",
    failure_strategies: Sequence[FailureStrategy] = (),
    timeout: float | None = None,
    intervene: Intervening | None = None,
    on_event: NamedEventSink = _unheard,
    cancel: CancelToken | None = None,
) -> RunTable:
    """Run *steps*, by name or in order, *max_concurrency* at once; how each ended, in that order.

    A failure ends nobody else's run; with ``skip_queued`` those that have not begun by then are
    skipped. *failure_strategies* are tried in order for each error. *timeout*, in seconds, is for
    all of it; when it is over, or *cancel* is flipped, what runs is stopped and cleaned up, and
    the rows say ``aborted``. *intervene* decides where a strategy says `Intervene`. No failed step raises: see `RunTable.raise_for_failure`.

    Raises `SpecError` for arguments that are wrong, before anything runs, and whatever
    *on_event* or a `When` raises, after everything has been stopped.
    """
    jobs = _jobs(steps)
    if isinstance(max_concurrency, bool) or max_concurrency < 1:
        raise SpecError("max_concurrency: expected a number of 1 or more")
    if on_failure not in ("run_all", "skip_queued"):
        raise SpecError("on_failure: expected run_all or skip_queued")
    if timeout is not None and not 0 < timeout < math.inf:
        raise SpecError("timeout: expected seconds, more than 0")
    token = cancel or CancelToken()
    own = CancelToken()
    forget = token.on_cancel(lambda: own.cancel(_reason(token)))
    try:
        with Deadline(own, timeout):
            crew = _Crew(
                jobs=jobs,
                cancel=own,
                skips=on_failure == "skip_queued",
                strategies=tuple(failure_strategies),
                hear=on_event,
                intervene=intervene,
            )
            return crew.work(min(max_concurrency, len(jobs) or 1))
    finally:
        forget()


async def arun_many(
    steps: Steps,
    *,
    max_concurrency: int = 4,
    on_failure: Literal["run_all", "skip_queued"] = "run_all",
    failure_strategies: Sequence[FailureStrategy] = (),
    timeout: float | None = None,
    intervene: Intervening | None = None,
    on_event: NamedEventSink = _unheard,
    cancel: CancelToken | None = None,
) -> RunTable:
    """`run_many`, awaitable, on asyncio or trio. Cancelling the task stops every run first."""
    own = CancelToken()
    forget = cancel.on_cancel(lambda: own.cancel(_reason(cancel))) if cancel else None
    work = partial(
        run_many,
        steps,
        max_concurrency=max_concurrency,
        on_failure=on_failure,
        failure_strategies=failure_strategies,
        timeout=timeout,
        intervene=intervene,
        on_event=on_event,
        cancel=own,
    )
    ended: list[RunTable | BaseException] = []

    async def run() -> None:
        try:
            ended.append(await anyio.to_thread.run_sync(work))
        except Exception as error:  # noqa: BLE001 - raised again below, outside of the group
            ended.append(error)
        watching.cancel()

    try:
        with anyio.CancelScope() as watching:
            async with anyio.create_task_group() as group:
                group.start_soon(run)
                try:
                    await anyio.sleep_forever()
                finally:
                    own.cancel()
    finally:
        if forget:
            forget()
    outcome = ended[0]
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _reason(token: CancelToken) -> BuildpushError:
    """Why *token*, which is flipped, was."""
    try:
        token.check()
    except BuildpushError as error:
        return error
    return StepCancelledError("the steps were cancelled")


def _jobs(steps: Steps) -> Mapping[str, Job]:
    named: Iterable[tuple[object, Runnable | Job]]
    if isinstance(steps, Mapping):
        named = cast("Mapping[str, Runnable | Job]", steps).items()
    else:
        named = enumerate(steps)
    jobs: dict[str, Job] = {}
    for key, step in named:
        name = str(key)
        job = step if isinstance(step, Job) else Job(step=step)
        if not isinstance(cast("object", job.step), Runnable):
            raise SpecError(f"{name}: expected a step, or a Job of one")
        jobs[name] = job
    return jobs


@define(eq=False, kw_only=True)
class _Crew:
    """The threads of one `run_many`, and what they know together."""

    jobs: Mapping[str, Job]
    cancel: CancelToken
    skips: bool
    strategies: tuple[FailureStrategy, ...]
    hear: NamedEventSink
    intervene: Intervening | None
    _rows: dict[str, Row] = field(factory=dict[str, Row], init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _hearing: threading.Lock = field(factory=threading.Lock, init=False)
    _ready: threading.Event = field(factory=threading.Event, init=False)

    def work(self, threads: int) -> RunTable:
        """Run everything; the table. Returns, or raises, when no thread is left."""
        futures: list[Future[Row]] = []
        with ThreadPoolExecutor(threads, thread_name_prefix="buildpush-many") as pool:
            try:
                for name, job in self.jobs.items():
                    futures.append(pool.submit(self._one, name, job))
                self._ready.set()
                # A signal that comes just before a wait begins is only seen when the wait is over.
                while wait(futures, timeout=_SIGNALS_SECONDS).not_done:
                    pass
            except BaseException:
                self.cancel.cancel()  # leaving the block waits for what runs
                raise
            finally:
                self._ready.set()
        return RunTable(tuple(map(Future[Row].result, futures)))

    def _one(self, name: str, job: Job) -> Row:
        """One run, from its turn to its row; what is no error of ours stops all the others."""
        # An interrupt while threads are being started can lose one: none does anything before.
        self._ready.wait()
        try:
            row = self._run(name, job)
        except BaseException:
            self.cancel.cancel(
                StepCancelledError("another step was stopped by an unexpected error")
            )
            raise
        with self._lock:
            self._rows[name] = row
        return row

    def _run(self, name: str, job: Job) -> Row:
        if self.cancel.cancelled:
            return Row(name=name, status=Status.ABORTED, error=_reason(self.cancel))
        so_far = self._so_far()
        if self.skips and not so_far.ok:
            return Row(name=name, status=Status.SKIPPED)
        if job.when is not None and not job.when(so_far):
            return Row(name=name, status=Status.SKIPPED)
        began = time.monotonic()
        row = self._attempts(name, job, began)
        return evolve(row, seconds=time.monotonic() - began)

    def _so_far(self) -> RunTable:
        with self._lock:
            return RunTable(tuple(self._rows[name] for name in self.jobs if name in self._rows))

    def _attempts(self, name: str, job: Job, began: float) -> Row:
        retried: dict[int, int] = {}
        attempts = 0
        while True:
            attempts += 1
            error = self._attempt(name, job.step)
            if not isinstance(error, BuildpushError):
                return Row(name=name, status=Status.SUCCESS, result=error, attempts=attempts)
            if self.cancel.cancelled or isinstance(error, StepCancelledError):
                return Row(name=name, status=Status.ABORTED, error=error, attempts=attempts)
            action = choose(error, job.failure_strategies, self.strategies)
            if isinstance(action, Retry) and retried.get(id(action), 0) == action.count:
                action = action.then
            if isinstance(action, Intervene):
                action = self._asked(name, action, error, attempts)
            ending = self._again(name, action, error, retried, began)
            if ending is not None:
                return self._ended(name, ending, error, attempts)

    def _attempt(
        self, name: str, step: Runnable
    ) -> BuildResult | PushResult | BuildpushError | None:
        token = CancelToken()  # a step's own deadline flips it, which is nobody else's business
        forget = self.cancel.on_cancel(lambda: token.cancel(_reason(self.cancel)))
        try:
            return step.run(on_event=partial(self._event, name), cancel=token)
        except BuildpushError as error:
            return error
        finally:
            forget()

    def _again(
        self,
        name: str,
        action: Retry | Ending,
        error: BuildpushError,
        retried: dict[int, int],
        began: float,
    ) -> Ending | None:
        """How the run ends; None when it is to run again, once the pause before that is over."""
        if isinstance(action, Ending):
            return action
        times = retried[id(action)] = retried.get(id(action), 0) + 1
        seconds = action.wait(times)
        said = f"{error}; running the step again in {seconds:g} s ({times} of {action.count})"
        self._event(name, Warned(at=time.monotonic() - began, message=said))
        try:
            self.cancel.sleep(seconds)
        except BuildpushError:
            return Ending.ABORT
        return None

    def _asked(
        self, name: str, action: Intervene, error: BuildpushError, attempts: int
    ) -> Retry | Ending:
        """What somebody decides about a failure; without an answer, what was said beforehand."""
        if self.intervene is None:
            return action.then
        asked = Intervention(name=name, error=error, attempts=attempts, timeout=action.timeout)
        answer = self.intervene(asked)
        return action.then if answer is None or isinstance(answer, Intervene) else answer

    def _ended(self, name: str, ending: Ending, error: BuildpushError, attempts: int) -> Row:
        failed = Status.EXPIRED if isinstance(error, StepTimeoutError) else Status.FAILED
        stopped = self.cancel.cancelled
        if ending is Ending.ABORT:
            self.cancel.cancel(StepCancelledError(f"the step {name} failed, which aborts all"))
        status = {
            Ending.IGNORE: Status.IGNORED,
            Ending.MARK_AS_SUCCESS: Status.SUCCESS,
            Ending.MARK_AS_FAILURE: failed,
            Ending.ABORT: Status.ABORTED if stopped else failed,
        }[ending]
        return Row(name=name, status=status, error=error, attempts=attempts)

    def _event(self, name: str, event: Event) -> None:
        with self._hearing:
            self.hear(name, event)

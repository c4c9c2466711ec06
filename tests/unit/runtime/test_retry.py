"""Trying again: what, how often, and how it shows."""

from pathlib import Path

import pytest
from attrs import evolve

from buildpush.errors import (
    AuthError,
    RateLimitedError,
    RegistryUnavailableError,
    StepCancelledError,
)
from buildpush.events import Event, Warned
from buildpush.runtime import CancelToken, Deadline, Run
from buildpush.runtime.retry import Patience, RetryPolicy, retrying

QUICK = RetryPolicy(attempts=3, first_wait=0.001, longest_wait=0.002)


class Attempts:
    """Fails with each of *errors* in turn, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.fixture
def events() -> list[Event]:
    return []


@pytest.fixture
def run(tmp_path: Path, events: list[Event]) -> Run:
    return Run(workdir=tmp_path, cancel=CancelToken(), sink=events.append)


def test_a_passing_fault_is_tried_again_and_shown(run: Run, events: list[Event]) -> None:
    """The user sees each retry as a warning that says why."""
    attempts = Attempts(RegistryUnavailableError("it fell over"))

    result = retrying("GET x", attempts, run=run, policy=QUICK)

    (warning,) = events
    assert (result, attempts.calls) == ("done", 2)
    assert isinstance(warning, Warned)
    assert warning.message.startswith("GET x: it fell over; trying again in ")


def test_what_the_error_says_itself_is_not_said_twice(run: Run, events: list[Event]) -> None:
    """Many errors begin with what was tried."""
    faults = [RegistryUnavailableError("push x: it fell over")]

    def attempt() -> None:
        if faults:
            raise faults.pop()

    retrying("push x", attempt, run=run, policy=RetryPolicy(first_wait=0.001))

    assert isinstance(events[0], Warned)
    assert events[0].message.startswith("push x: it fell over; trying again in ")


def test_the_last_error_is_raised_when_attempts_run_out(run: Run) -> None:
    """Three attempts, then the reader gets the fault itself."""
    attempts = Attempts(*(RegistryUnavailableError(str(n)) for n in range(5)))

    with pytest.raises(RegistryUnavailableError, match="2"):
        retrying("GET x", attempts, run=run, policy=QUICK)

    assert attempts.calls == 3


def test_a_final_fault_is_raised_at_once(run: Run) -> None:
    """A refused password does not get better by asking again."""
    attempts = Attempts(AuthError("no"))

    with pytest.raises(AuthError):
        retrying("GET x", attempts, run=run, policy=QUICK)

    assert attempts.calls == 1


def test_the_registrys_own_wait_is_kept(run: Run, events: list[Event]) -> None:
    """Retry-After wins over our backoff."""
    limited = RateLimitedError("slow down")
    limited.retry_after = 0.0

    retrying("GET x", Attempts(limited), run=run, policy=RetryPolicy(first_wait=60.0))

    assert isinstance(events[0], Warned)
    assert events[0].message.endswith("trying again in 0.0 s")


def test_cancelling_ends_the_waiting(tmp_path: Path) -> None:
    """A run that is over does not try again."""
    token = CancelToken()
    run = Run(workdir=tmp_path, cancel=token, sink=lambda _: token.cancel())

    with pytest.raises(StepCancelledError):
        retrying(
            "GET x",
            Attempts(RegistryUnavailableError("x")),
            run=run,
            policy=RetryPolicy(first_wait=60.0),
        )


def test_a_wait_that_the_deadline_would_end_is_not_begun(run: Run, events: list[Event]) -> None:
    """The fault is told at once, with what to change."""
    limited = RateLimitedError("slow down", hint="wait")
    limited.retry_after = 60.0
    attempts = Attempts(limited)

    with Deadline(run.cancel, 10.0), pytest.raises(RateLimitedError) as caught:
        retrying("GET x", attempts, run=run)

    assert caught.value.hint.startswith("wait; there is no time left")
    assert (attempts.calls, events) == (1, [])


def test_a_pause_longer_than_the_policys_is_not_begun(run: Run) -> None:
    """Nobody sits through an hour."""
    limited = RateLimitedError("slow down")
    limited.retry_after = 3600.0
    attempts = Attempts(limited)

    with pytest.raises(RateLimitedError):
        retrying("GET x", attempts, run=run)

    assert attempts.calls == 1


def test_waits_double_and_are_uneven(run: Run) -> None:
    """Half of each at least, so that many clients do not come back together."""
    slept: list[float] = []
    run = evolve(run, cancel=Sleepless(slept))
    policy = RetryPolicy(attempts=6, first_wait=1.0, longest_wait=4.0)

    retrying(
        "x", Attempts(*(RegistryUnavailableError("x") for _ in range(5))), run=run, policy=policy
    )

    bounds = [1.0, 2.0, 4.0, 4.0, 4.0]
    assert all(bound / 2 <= wait <= bound for wait, bound in zip(slept, bounds, strict=True))


def test_too_many_requests_without_a_time_wait_longer(run: Run) -> None:
    """Half a second would only be refused again."""
    slept: list[float] = []
    run = evolve(run, cancel=Sleepless(slept))

    retrying("x", Attempts(RateLimitedError("x")), run=run)

    assert 1.0 <= slept[0] <= 2.0


class Sleepless(CancelToken):
    """Notes how long it should have slept."""

    def __init__(self, slept: list[float]) -> None:
        super().__init__()
        self.slept = slept

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@pytest.mark.parametrize(
    ("took", "same"),
    [
        ((60.0, 60.1, 59.9), 60.0),
        ((1.0, 60.0, 60.1, 59.9), 60.0),
        ((60.0, 60.0), None),
        ((60.0, 30.0, 60.0), None),
        ((0.5, 0.5, 0.5), None),
    ],
)
def test_three_attempts_of_one_length_are_noticed(
    tmp_path: Path, took: tuple[float, ...], same: float | None
) -> None:
    """Not two, not uneven ones, and none that fail at once."""
    now = [0.0]
    run = Run(workdir=tmp_path, cancel=Sleepless([]), sink=lambda _: None, clock=lambda: now[0])
    patience = Patience(what="x", run=run, policy=RetryPolicy(attempts=9))

    for seconds in took:
        now[0] += seconds
        patience.wait(RegistryUnavailableError("x"))

    assert patience.same_time == (None if same is None else pytest.approx(same))

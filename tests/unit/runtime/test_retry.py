"""Trying again: what, how often, and how it shows."""

from pathlib import Path

import pytest

from buildpush.errors import (
    AuthError,
    RateLimitedError,
    RegistryUnavailableError,
    StepCancelledError,
)
from buildpush.events import Event, Warned
from buildpush.runtime import CancelToken, Run
from buildpush.runtime.retry import RetryPolicy, retrying

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

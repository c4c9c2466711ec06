"""Try again: backoff that wakes on cancel and shows itself as events."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from attrs import frozen

from ..errors import BuildpushError, RateLimitedError
from . import Run

T = TypeVar("T")


@frozen(kw_only=True)
class RetryPolicy:
    """How often and how patiently to try again; times are in seconds."""

    attempts: int = 5
    first_wait: float = 0.2
    longest_wait: float = 20.0


def retrying(
    what: str, attempt: Callable[[], T], *, run: Run, policy: RetryPolicy | None = None
) -> T:
    """Call *attempt* until it succeeds, raises something final, or *policy* is used up.

    Only errors marked ``retryable`` are tried again, after a jittered exponential wait or
    exactly what the registry's Retry-After asked for. Each retry is a warning event that starts
    with *what*. Raises the last error, or the run's reason when it is cancelled.
    """
    import tenacity  # lazily: only runs that talk to a network need it

    policy = policy or RetryPolicy()
    backoff = tenacity.wait_exponential_jitter(
        multiplier=policy.first_wait, max=policy.longest_wait
    )

    def wait(state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        if isinstance(error, RateLimitedError) and error.retry_after is not None:
            return error.retry_after
        return backoff(state)

    def transient(error: BaseException) -> bool:
        return isinstance(error, BuildpushError) and error.retryable

    def announce(state: tenacity.RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        seconds = state.next_action.sleep if state.next_action else 0.0
        said = str(error)
        about = "" if said.startswith(f"{what}: ") else f"{what}: "
        run.warn(f"{about}{said}; trying again in {seconds:.1f} s")

    controller = tenacity.Retrying(
        stop=tenacity.stop_after_attempt(policy.attempts),
        wait=wait,
        retry=tenacity.retry_if_exception(transient),
        sleep=run.cancel.sleep,
        before_sleep=announce,
        reraise=True,
    )

    def checked() -> T:
        run.cancel.check()
        return attempt()

    return controller(checked)

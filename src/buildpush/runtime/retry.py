"""Try again: backoff that wakes on cancel, stays inside the deadline and shows itself as events."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final, TypeVar

from attrs import define, field, frozen

from ..errors import BuildpushError, RateLimitedError
from . import Run

__all__ = ["Patience", "RetryPolicy", "retrying"]

T = TypeVar("T")

_SAME: Final = 3
_SPREAD: Final = 0.05
_SHORTEST: Final = 1.0


@frozen(kw_only=True)
class RetryPolicy:
    """How often and how patiently to try again; times are in seconds.

    Waits double from *first_wait* (*limited_wait* after "too many requests" that names no time)
    to *longest_wait*, each shortened by up to half at random. A pause that the other side asks
    for is kept exactly, and not at all when it is longer than *longest_pause*. An answer may
    take *answer* seconds to begin, the one that commits an upload *commit*.
    """

    attempts: int = 5
    first_wait: float = 0.5
    longest_wait: float = 20.0
    limited_wait: float = 2.0
    longest_pause: float = 120.0
    answer: float = 60.0
    commit: float = 300.0


@define(eq=False, kw_only=True)
class Patience:
    """How much is left of a policy for one thing that is tried again and again."""

    what: str
    run: Run
    policy: RetryPolicy
    _failures: int = field(default=0, init=False)
    _began: float = field(init=False)
    _took: list[float] = field(factory=list[float], init=False)

    def __attrs_post_init__(self) -> None:
        self._began = self.run.clock()

    def wait(self, error: BuildpushError) -> None:
        """Sit out the pause after *error*, or raise it: final, used up, or past the deadline.

        Each pause is a warning event that starts with *what*.
        """
        self.run.cancel.check()
        self._failures += 1
        self._took.append(self.run.clock() - self._began)
        if not error.retryable or self._failures >= self.policy.attempts:
            raise error
        seconds = self._pause(error)
        if seconds > self.policy.longest_pause:
            raise error
        if not self.run.cancel.lasts(seconds):
            error.hint = f"{error.hint}; " if error.hint else ""
            error.hint += f"there is no time left to try again in {seconds:.1f} s: raise timeout"
            raise error
        said = str(error)
        about = "" if said.startswith(f"{self.what}: ") else f"{self.what}: "
        self.run.warn(f"{about}{said}; trying again in {seconds:.1f} s")
        self.run.cancel.sleep(seconds)
        self._began = self.run.clock()

    @property
    def same_time(self) -> float | None:
        """How long each of the last three attempts took, when that was the same; else None."""
        last = self._took[-_SAME:]
        mean = sum(last) / len(last) if last else 0.0
        even = len(last) == _SAME and max(last) - min(last) <= mean * _SPREAD
        return mean if even and mean >= _SHORTEST else None

    def _pause(self, error: BuildpushError) -> float:
        limited = isinstance(error, RateLimitedError)
        if isinstance(error, RateLimitedError) and error.retry_after is not None:
            return error.retry_after
        first = self.policy.limited_wait if limited else self.policy.first_wait
        wait = min(first * 2.0 ** (self._failures - 1), self.policy.longest_wait)
        return wait * random.uniform(0.5, 1.0)  # noqa: S311 - it is to be uneven, not secret


def retrying(
    what: str, attempt: Callable[[], T], *, run: Run, policy: RetryPolicy | None = None
) -> T:
    """Call *attempt* until it succeeds, raises something final, or *policy* is used up.

    Only errors marked ``retryable`` are tried again. Raises the last error, or the run's reason
    when it is cancelled.
    """
    patience = Patience(what=what, run=run, policy=policy or RetryPolicy())
    while True:
        run.cancel.check()
        try:
            return attempt()
        except BuildpushError as error:
            patience.wait(error)

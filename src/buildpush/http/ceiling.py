"""How many requests one host gets at once, and when it wants none: shared by all of a process.

Registries count the connections and the requests of an account, not those of an object in some
program: two clients that push at the same time keep to one ceiling together.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from typing import Final

from attrs import define, field

from ..errors import RateLimitedError
from ..runtime import Run

__all__ = ["Ceiling", "Ceilings", "Slot"]


@define(eq=False)
class Ceiling:
    """One host's: at most *limit* requests under way, None for any number. Thread-safe.

    A thread that has a request under way, to whatever host, is never made to wait for another
    one: it could wait for itself, or for one that waits for it. Reading from a registry while
    writing to another one is the one way over the limit.
    """

    host: str
    limit: int | None
    _free: threading.Condition = field(factory=threading.Condition, init=False, repr=False)
    _inside: int = field(default=0, init=False)
    _until: float = field(default=float("-inf"), init=False)

    def enter(self, run: Run, *, nested: bool) -> None:
        """Wait until there is room and the host wants requests; raises when *run* is cancelled.

        Raises `RateLimitedError` at once when its pause ends after the run's deadline.
        """
        self._sit_out(run)
        with self._free:
            if nested or self.limit is None or self._inside < self.limit:
                self._inside += 1
                return
        undo = run.cancel.on_cancel(self._wake)
        try:
            with self._free:
                while self._inside >= self.limit and not run.cancel.cancelled:
                    self._free.wait()
                if run.cancel.cancelled:
                    self._free.notify()  # this may have been the one that was woken
                run.cancel.check()
                self._inside += 1
        finally:
            undo()

    def leave(self) -> None:
        """Make room for the next one."""
        with self._free:
            self._inside -= 1
            self._free.notify()

    def pause(self, run: Run, seconds: float) -> None:
        """Let nobody ask this host within *seconds*."""
        with self._free:
            self._until = max(self._until, run.clock() + seconds)

    def _sit_out(self, run: Run) -> None:
        with self._free:
            seconds = self._until - run.clock()
        if seconds <= 0:
            return
        if not run.cancel.lasts(seconds):
            error = RateLimitedError(
                f"{self.host} asked for a pause that ends in {seconds:.0f} s, after the deadline",
                hint="raise timeout, or ask for a larger quota",
            )
            error.retry_after = seconds
            raise error
        run.cancel.sleep(seconds)

    def _wake(self) -> None:
        with self._free:
            self._free.notify_all()


@define(eq=False)
class Slot:
    """One request's place under a ceiling. Leaving twice does nothing."""

    _leave: Callable[[], None] | None

    def leave(self) -> None:
        """Give the place back, from any thread."""
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()


# What the clients of a process share. A ceiling is gone with the last client that uses it, and
# a thread is only listed while it has a request under way.
_SHARED: Final[weakref.WeakValueDictionary[tuple[str, int | None], Ceiling]] = (
    weakref.WeakValueDictionary()
)
_BUSY: Final[dict[int, int]] = {}
_LOCK: Final = threading.Lock()


@define(eq=False)
class Ceilings:
    """One client's view of the ceilings of its hosts; *limit* is the same for each."""

    run: Run
    limit: int | None = None
    _mine: dict[str, Ceiling] = field(factory=dict[str, Ceiling], init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def of(self, host: str) -> Ceiling:
        """The ceiling of ``host:port``."""
        with self._lock:
            found = self._mine.get(host)
            if found is None:
                found = self._mine[host] = _shared(host, self.limit)
            return found

    def enter(self, host: str) -> Slot:
        """Wait for a place at *host*."""
        ceiling, me = self.of(host), threading.get_ident()
        ceiling.enter(self.run, nested=me in _BUSY)
        with _LOCK:
            _BUSY[me] = _BUSY.get(me, 0) + 1

        def leave() -> None:
            with _LOCK:
                left = _BUSY.pop(me) - 1
                if left:
                    _BUSY[me] = left
            ceiling.leave()

        return Slot(leave)


def _shared(host: str, limit: int | None) -> Ceiling:
    with _LOCK:
        found = _SHARED.get((host, limit))
        if found is None:
            found = _SHARED[host, limit] = Ceiling(host, limit)
        return found

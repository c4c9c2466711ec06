"""A few transfers at once: the first failure stops the others and is the one that is raised."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, TypeVar

from attrs import define, field

T = TypeVar("T")
R = TypeVar("R")

WORKERS: Final = 3
"""Transfers at once: what docker and containerd do for one image that they pull.

More of them fight for the processor of a small machine, where the registry may be, too.
"""


class AbandonedError(Exception):
    """Raised in a transfer whose sibling failed; it never leaves `each`."""


@define(eq=False)
class Siblings:
    """What transfers that run side by side know of each other."""

    _first: BaseException | None = field(default=None, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def failed(self, error: BaseException) -> None:
        """Remember the first failure."""
        with self._lock:
            if self._first is None:
                self._first = error

    @property
    def failure(self) -> BaseException | None:
        """The first failure, if there was one."""
        return self._first

    def check(self) -> None:
        """Raise when a sibling has failed. Call it between pieces."""
        if self._first is not None:
            raise AbandonedError


def each(
    items: Iterable[T], action: Callable[[T, Siblings], R], *, workers: int = WORKERS
) -> list[R]:
    """Call *action* on every item, *workers* at a time; the results in the items' order.

    Raises the first error, in time, once every call has ended; calls that have not begun by
    then never do.
    """
    siblings = Siblings()

    def guarded(item: T) -> R:
        siblings.check()
        try:
            return action(item, siblings)
        except BaseException as error:
            siblings.failed(error)
            raise

    with ThreadPoolExecutor(workers, thread_name_prefix="buildpush-transfer") as pool:
        futures: list[Future[R]] = [pool.submit(guarded, item) for item in items]
        results = [future for future in futures if future.exception() is None]
    if siblings.failure is not None:
        raise siblings.failure
    return [future.result() for future in results]

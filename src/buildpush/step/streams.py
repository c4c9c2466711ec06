"""A run in a worker thread, and its events in the caller's: sync and async."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream

from ..errors import StepCancelledError
from ..events import Event, EventSink
from ..plan import BuildResult
from ..runtime import CancelToken

Body = Callable[[EventSink, CancelToken], BuildResult]
"""The work of one run: emits events, watches the token, returns or raises."""


class Worker:
    """A thread that does one run and remembers how it ended."""

    def __init__(
        self, body: Body, *, emit: EventSink, close: Callable[[], None], cancel: CancelToken
    ) -> None:
        self.cancel = cancel
        self.outcome: BuildResult | BaseException = StepCancelledError("the run is not over")

        def work() -> None:
            try:
                self.outcome = body(emit, cancel)
            except BaseException as error:  # noqa: BLE001 - raised again by finish()
                self.outcome = error
            finally:
                close()

        self._thread = threading.Thread(target=work, name="buildpush", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Cancel what is still running and wait until it has cleaned up."""
        if self._thread.is_alive():
            self.cancel.cancel()
        self._thread.join()

    def finish(self) -> BuildResult:
        """The result, or the error that ended the run."""
        self._thread.join()
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


class EventStream:
    """Iterate over the events; a failed run raises after its last one. Then read *result*."""

    def __init__(self, worker: Worker, events: Iterator[Event]) -> None:
        self._worker = worker
        self._events = events

    def __iter__(self) -> Iterator[Event]:
        yield from self._events
        self._worker.finish()

    @property
    def result(self) -> BuildResult:
        """How the run ended. Waits for the end; raises what ended it."""
        return self._worker.finish()


class AsyncEventStream:
    """`EventStream`, for ``async for``."""

    def __init__(self, worker: Worker, events: MemoryObjectReceiveStream[Event]) -> None:
        self._worker = worker
        self._events = events

    def __aiter__(self) -> AsyncEventStream:
        return self

    async def __anext__(self) -> Event:
        try:
            return await self._events.receive()
        except anyio.EndOfStream:
            self._worker.finish()
            raise StopAsyncIteration from None

    @property
    def result(self) -> BuildResult:
        """How the run ended. Only after the last event; raises what ended it."""
        return self._worker.finish()

"""What can go wrong between a client and a `LocalRegistry`, on request.

fault = registry.inject(Fault(method="PUT", path="/manifests/", action=Status(503), times=2))
...
assert fault.fired == 2
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator

from attrs import define, evolve, field

from ._actions import (
    Action,
    Close,
    CorruptUpload,
    DropUpload,
    FlipByte,
    Hang,
    Present,
    RateLimit,
    ReplaceHeaders,
    Reset,
    Slow,
    Status,
    Truncate,
    WrongDigest,
)
from ._messages import EarlyAnswerError, HangupError, Incoming, Response
from ._spoiling import instead, spoilt

__all__ = [
    "Action",
    "Close",
    "CorruptUpload",
    "DropUpload",
    "Fault",
    "FlipByte",
    "Hang",
    "Present",
    "RateLimit",
    "ReplaceHeaders",
    "Reset",
    "Slow",
    "Status",
    "Truncate",
    "WrongDigest",
]

_SLOW_CHUNK = 1 << 14


@define(eq=False)
class Fault:
    """When something goes wrong, and what.

    *method* is one method, or several separated by ``|``; empty for all. *path* and *query* are
    regular expressions searched for. Of the requests that match, the first *skip* pass, then
    each *every*-th meets *action*, *times* altogether (None: no limit). *fired* counts those;
    `wait` blocks until there was one.
    """

    action: Action
    method: str = field(default="", kw_only=True)
    path: str = field(default="", kw_only=True)
    query: str = field(default="", kw_only=True)
    times: int | None = field(default=1, kw_only=True)
    skip: int = field(default=0, kw_only=True)
    every: int = field(default=1, kw_only=True)
    _fired: int = field(default=0, init=False)
    _seen: int = field(default=0, init=False)
    _happened: threading.Event = field(factory=threading.Event, init=False)
    _released: threading.Event = field(factory=threading.Event, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    @property
    def fired(self) -> int:
        """How many requests it has hit."""
        return self._fired

    def wait(self, seconds: float = 10.0) -> bool:
        """Wait until it has hit a request, but no longer than *seconds*; whether it has."""
        return self._happened.wait(seconds)

    def release(self) -> None:
        """Let every request that hangs, or will hang, in this fault go on."""
        self._released.set()

    def hang(self) -> None:
        """Block the calling thread until `release`."""
        self._released.wait()

    def claims(self, incoming: Incoming) -> bool:
        """Whether this request is hit; counts it if so."""
        if self.method and incoming.method not in self.method.split("|"):
            return False
        if not re.search(self.path, incoming.path) or not re.search(self.query, incoming.query):
            return False
        with self._lock:
            self._seen += 1
            due = self._seen > self.skip and (self._seen - self.skip) % self.every == 0
            if not due or (self.times is not None and self._fired >= self.times):
                return False
            self._fired += 1
        self._happened.set()
        return True


@define(eq=False)
class Faults:
    """The faults of one registry. The first that claims a request decides its fate."""

    _faults: tuple[Fault, ...] = field(default=(), init=False)
    _closing: threading.Event = field(factory=threading.Event, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def add(self, fault: Fault) -> Fault:
        """Arm *fault*, behind those already armed, and return it."""
        with self._lock:
            self._faults = (*self._faults, fault)
        return fault

    def clear(self) -> None:
        """Disarm every fault and let what hangs go on."""
        with self._lock:
            armed, self._faults = self._faults, ()
        for fault in armed:
            fault.release()

    def close(self) -> None:
        """Disarm for good: nothing sleeps or hangs any longer."""
        self._closing.set()
        self.clear()

    def around(self, incoming: Incoming, handle: Callable[[Incoming], Response]) -> Response:
        """Answer *incoming* with *handle*, or as the fault that claims it says."""
        fault = next((f for f in self._faults if f.claims(incoming)), None)
        if fault is None:
            return handle(incoming)
        match fault.action:
            case Status() | RateLimit() | Present() as action:
                return _answered(action, incoming, handle)
            case Hang():
                fault.hang()
                return handle(incoming)
            case Slow() as action:
                return self._slowly(action, incoming, handle)
            case CorruptUpload(at=at):
                incoming.body.flip_at = at
                return handle(incoming)
            case DropUpload(after=after, reset=reset):
                if after == 0:
                    raise HangupError(reset=reset)
                incoming.body.stop_at(after, HangupError(reset=reset))
                return handle(incoming)
            case Close(handled=handled) | Reset(after=None, handled=handled) as action:
                if handled:
                    handle(incoming)
                raise HangupError(reset=isinstance(action, Reset))
            case Reset() | Truncate() | FlipByte() | WrongDigest() | ReplaceHeaders() as action:
                return spoilt(action, handle(incoming))

    def _slowly(
        self, action: Slow, incoming: Incoming, handle: Callable[[Incoming], Response]
    ) -> Response:
        self._closing.wait(action.seconds)
        rate = action.bytes_per_second
        if rate is None:
            return handle(incoming)

        def pace(size: int) -> None:
            self._closing.wait(size / rate)

        def paced(chunks: Iterator[bytes]) -> Iterator[bytes]:
            for chunk in chunks:
                for start in range(0, len(chunk), _SLOW_CHUNK):
                    piece = chunk[start : start + _SLOW_CHUNK]
                    pace(len(piece))
                    yield piece

        incoming.body.chunk, incoming.body.pace = _SLOW_CHUNK, pace
        return evolve(handle(incoming), transform=paced)


def _answered(
    action: Status | RateLimit | Present,
    incoming: Incoming,
    handle: Callable[[Incoming], Response],
) -> Response:
    response = instead(action, incoming.path)
    match action:
        case Status(early=True):
            pass
        case Status(after=int(after)):
            incoming.body.stop_at(after, EarlyAnswerError(response))
            handle(incoming)
        case _:
            incoming.body.drain()
    return response

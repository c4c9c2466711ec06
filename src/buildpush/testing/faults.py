"""What can go wrong between a client and a `LocalRegistry`, on request.

fault = registry.inject(Fault(method="PUT", path="/manifests/", action=Status(503), times=2))
...
assert fault.fired == 2
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping

from attrs import define, evolve, field, frozen

from ._refusals import Refusal
from ._server import HangupError, Incoming, Response

__all__ = [
    "Action",
    "DropUpload",
    "Fault",
    "FlipByte",
    "Hang",
    "ReplaceHeaders",
    "Reset",
    "Slow",
    "Status",
    "Truncate",
    "WrongDigest",
]


@frozen
class Status:
    """Answer with *code* instead of the registry.

    *errors* are the spec's error codes for the body (503 gets UNAVAILABLE, and so on, when left
    out); *body* replaces the whole JSON body. The request's body is read first, unless *early*.
    """

    code: int
    errors: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(factory=dict[str, str], kw_only=True)
    body: bytes | None = field(default=None, kw_only=True)
    early: bool = field(default=False, kw_only=True)


@frozen(kw_only=True)
class Reset:
    """Break the connection with a TCP reset.

    Before anything is done when *after* is None, unless *handled*, which carries the request out
    and loses the answer. Otherwise after *after* bytes of the answer's body.
    """

    after: int | None = None
    handled: bool = False


@frozen
class Truncate:
    """Announce the whole length, send *after* bytes of the body, and close."""

    after: int


@frozen
class FlipByte:
    """Change the byte at offset *at* of the answer's body; -1 is the last."""

    at: int = 0


@frozen
class WrongDigest:
    """Say another Docker-Content-Digest than the true one."""

    digest: str = f"sha256:{'0' * 64}"


@frozen
class ReplaceHeaders:
    """Set headers of the answer; None removes one. Names are compared without case."""

    headers: Mapping[str, str | None]


@frozen
class Hang:
    """Do nothing until `Fault.release`, or the registry's end; then carry on as usual."""


@frozen(kw_only=True)
class Slow:
    """Wait *seconds* before the request is looked at; move bodies at *bytes_per_second*."""

    seconds: float = 0.0
    bytes_per_second: float | None = None


@frozen
class DropUpload:
    """Reset the connection once *after* bytes of the request's body have arrived."""

    after: int


Action = (
    Status | Reset | Truncate | FlipByte | WrongDigest | ReplaceHeaders | Hang | Slow | DropUpload
)

_CODES = {401: "UNAUTHORIZED", 403: "DENIED", 429: "TOOMANYREQUESTS"}
_SLOW_CHUNK = 1 << 14


@define(eq=False)
class Fault:
    """When something goes wrong, and what.

    *method* is one method, or several separated by ``|``; empty for all. *path* and *query* are
    regular expressions searched for. Of the requests that match, the first *skip* pass, then
    *times* (None: all) meet *action*. *fired* counts those; `wait` blocks until there was one.
    """

    action: Action
    method: str = field(default="", kw_only=True)
    path: str = field(default="", kw_only=True)
    query: str = field(default="", kw_only=True)
    times: int | None = field(default=1, kw_only=True)
    skip: int = field(default=0, kw_only=True)
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
            if self._seen <= self.skip or (self.times is not None and self._fired >= self.times):
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
            case Status() as action:
                if not action.early:
                    incoming.body.drain()
                return _status(action)
            case Hang():
                fault.hang()
                return handle(incoming)
            case Slow() as action:
                return self._slowly(action, incoming, handle)
            case DropUpload(after=after):
                if after == 0:
                    raise HangupError(reset=True)
                incoming.body.stop_after = after
                return handle(incoming)
            case Reset(after=None, handled=handled):
                if handled:
                    handle(incoming)
                raise HangupError(reset=True)
            case Reset() | Truncate() | FlipByte() | WrongDigest() | ReplaceHeaders() as action:
                return _spoilt(action, handle(incoming))

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


def _status(action: Status) -> Response:
    fallback = "UNAVAILABLE" if action.code >= 500 else "UNKNOWN"
    codes = action.errors or (_CODES.get(action.code, fallback),)
    if action.body is not None:
        return Response(status=action.code, headers=dict(action.headers), body=action.body)
    return Refusal(status=action.code, codes=codes, headers=action.headers).response()


def _spoilt(
    action: Reset | Truncate | FlipByte | WrongDigest | ReplaceHeaders, response: Response
) -> Response:
    match action:
        case Reset(after=after):
            return evolve(response, transform=_cut(after or 0, reset=True))
        case Truncate(after=after):
            return evolve(response, transform=_cut(after, reset=False))
        case FlipByte(at=at):
            return evolve(response, transform=_flip(at % max(1, response.length)))
        case WrongDigest(digest=digest):
            return _with_headers(response, {"Docker-Content-Digest": digest})
        case ReplaceHeaders(headers=headers):
            return _with_headers(response, headers)


def _with_headers(response: Response, headers: Mapping[str, str | None]) -> Response:
    names = {name.lower() for name in headers}
    kept = {name: value for name, value in response.headers.items() if name.lower() not in names}
    added = {name: value for name, value in headers.items() if value is not None}
    return evolve(response, headers={**kept, **added})


def _cut(after: int, *, reset: bool) -> Callable[[Iterator[bytes]], Iterator[bytes]]:
    def cut(chunks: Iterator[bytes]) -> Iterator[bytes]:
        left = after
        for chunk in chunks:
            if left > 0:
                yield chunk[:left]
            left -= len(chunk)
            if left < 0:
                break
        raise HangupError(reset=reset)

    return cut


def _flip(at: int) -> Callable[[Iterator[bytes]], Iterator[bytes]]:
    def flip(chunks: Iterator[bytes]) -> Iterator[bytes]:
        position = 0
        for chunk in chunks:
            spot = at - position
            position += len(chunk)
            if 0 <= spot < len(chunk):
                yield chunk[:spot] + bytes([chunk[spot] ^ 0xFF]) + chunk[spot + 1 :]
            else:
                yield chunk

    return flip

"""Answers that last: the changes of a watch and the lines of a log, ended by whoever wants to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Final, NamedTuple, Self

import httpx

from .....errors import BackendUnavailableError, BuildpushError
from .failures import Ask, BrokenOff, Gone
from .kinds import Object, as_object
from .pool import wire_of
from .transport import FAULTS, Transport
from .wire import Status, parse

__all__ = ["Change", "Log", "Watch", "lines"]

LINE: Final = 1 << 16
_LARGEST: Final = 32 << 20


class Change(NamedTuple):
    """What happened to an object: ``ADDED``, ``MODIFIED``, ``DELETED``, or ``BOOKMARK``.

    A bookmark's *thing* has nothing but its ``metadata.resourceVersion``.
    """

    what: str
    thing: Object


class _Lasting:
    """An answer that goes on until one of both sides ends it."""

    def __init__(self, transport: Transport, ask: Ask, response: httpx.Response) -> None:
        self._transport = transport
        self._ask = ask
        self._response = response
        self._wire = wire_of(response)
        self._lock = threading.Lock()
        self._closed = False
        self._over = False

    def close(self) -> None:
        """End it, from any thread, at once: the iteration ends without an error."""
        with self._lock:
            self._closed = True
            if not self._over:
                self._wire.shut()

    def _chunks(self) -> Iterator[bytes]:
        """What comes, until the end or until it is closed. Raises `failures.BrokenOff`."""
        try:
            for chunk in self._response.iter_raw():
                self._check()
                yield chunk
                if self._closed:
                    return
        except FAULTS as error:
            self._check()
            if not self._closed:
                raise self._transport.fault(self._ask, error) from error
        finally:
            self._finish()
        # A cancel looks like the end of the answer.
        self._check()

    def _check(self) -> None:
        """Raise the reason when cancelled; a client that was closed has closed this, too."""
        if self._transport.closed:
            self._closed = True
        elif not self._closed:
            self._transport.cancel.check()

    def _finish(self) -> None:
        with self._lock:
            self._over = True
            self._response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
        self._finish()


class Watch(_Lasting):
    """Changes as they happen. An iterator and a context manager; leave it to end the request.

    It ends when the server ends it, which it may at any time, and when it breaks off: list again
    (or go on from `version`). Raises `failures.Gone` when the version is too old, and the
    reason when the client's token is cancelled.
    """

    def __init__(
        self, transport: Transport, ask: Ask, response: httpx.Response, version: str
    ) -> None:
        super().__init__(transport, ask, response)
        self._version = version
        self._changes = self._follow()

    @property
    def version(self) -> str:
        """The ``resourceVersion`` that was seen last: where the next watch goes on."""
        return self._version

    def __iter__(self) -> Iterator[Change]:
        return self

    def __next__(self) -> Change:
        return next(self._changes)

    def _follow(self) -> Iterator[Change]:
        try:
            for line in _whole_lines(self._chunks(), self._ask):
                yield self._change(line)
        except BrokenOff:
            # It is a watch's nature to end; what was cut off is told again to the next.
            return

    def _change(self, line: bytes) -> Change:
        try:
            value: object = json.loads(line)
        except (ValueError, RecursionError):
            raise BackendUnavailableError(
                f"the cluster's answer ({self._ask.what}) is not JSON"
            ) from None
        event = as_object(value) or {}
        what, thing = event.get("type"), as_object(event.get("object"))
        if not isinstance(what, str) or thing is None:
            raise BackendUnavailableError(
                f"the cluster's answer ({self._ask.what}) is no event of a watch"
            )
        if what == "ERROR":
            raise self._error(parse(thing, Status, "an event of a watch"))
        version = (as_object(thing.get("metadata")) or {}).get("resourceVersion")
        if isinstance(version, str):
            self._version = version
        return Change(what, thing)

    def _error(self, status: Status) -> BuildpushError:
        said = self._transport.redact(status.message)
        if status.code == 410 or status.reason in ("Gone", "Expired"):
            return Gone(f"the cluster no longer knows what changed since {self._version}: {said}")
        return BackendUnavailableError(f"the cluster ended the watch ({self._ask.what}): {said}")


class Log(_Lasting):
    """The lines of a container's log as they come, without their ends, in bytes.

    An iterator and a context manager; leave it to end the request. A line of more than 64 KiB
    comes in pieces that each are whole UTF-8. That it ends says nothing of how the container
    did. Raises `failures.BrokenOff` when it breaks off.
    """

    def __init__(self, transport: Transport, ask: Ask, response: httpx.Response) -> None:
        super().__init__(transport, ask, response)
        self._lines = lines(self._chunks())

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._lines)


def lines(chunks: Iterable[bytes], limit: int = LINE) -> Iterator[bytes]:
    """The lines of *chunks* without their line feeds, in pieces of at most *limit* bytes.

    No piece ends within a character of UTF-8; bytes that are none are passed on as they are.
    """
    pending = bytearray()
    for chunk in chunks:
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            pending += part
            yield from _pieces(pending, limit)
            yield bytes(pending)
            pending.clear()
        pending += rest
        yield from _pieces(pending, limit)
    if pending:
        yield bytes(pending)


def _pieces(pending: bytearray, limit: int) -> Iterator[bytes]:
    """Take pieces from what is too long, until it no longer is."""
    while len(pending) > limit:
        size = _character_end(pending, limit)
        yield bytes(pending[:size])
        del pending[:size]


def _whole_lines(chunks: Iterable[bytes], ask: Ask) -> Iterator[bytes]:
    """Lines of any size up to a bound; a last one without its end was cut off."""
    pending = bytearray()
    for chunk in chunks:
        *ended, rest = chunk.split(b"\n")
        for part in ended:
            pending += part
            if pending.strip():
                yield bytes(pending)
            pending.clear()
        pending += rest
        if len(pending) > _LARGEST:
            raise BackendUnavailableError(
                f"a line of the cluster's answer ({ask.what}) exceeds {_LARGEST >> 20} MiB"
            )


def _character_end(pending: bytearray, limit: int) -> int:
    """How many of the first *limit* bytes to take, so that no character is cut."""
    for size in range(limit, max(limit - 4, 0), -1):
        if pending[size] & 0xC0 != 0x80:
            return size
    return limit

"""The requests and answers of the small HTTP server: bodies read as they are asked for."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote

from attrs import define, field, frozen

# Larger reads cost twice the processor time: each is a fresh mapping to fault in.
CHUNK: Final = 1 << 18
LINE_LIMIT: Final = 1 << 16
_HEADER_LIMIT: Final = 200
_DRAIN_LIMIT: Final = 256 << 10


class HangupError(Exception):
    """Raised by a handler, a body or a transform to end the connection where it stands.

    With *reset* the peer sees ECONNRESET, otherwise an end of file.
    """

    def __init__(self, *, reset: bool) -> None:
        super().__init__("reset" if reset else "closed")
        self.reset = reset


class EarlyAnswerError(Exception):
    """Raised by a body: *response* is the answer, whatever of the request is still to come."""

    def __init__(self, response: Response) -> None:
        super().__init__(str(response.status))
        self.response = response


class ClientGoneError(ConnectionError):
    """The client went away in the middle of a request body."""


@define(eq=False)
class Body:
    """The body of a request, read from the socket as it is asked for.

    *received* counts the bytes read so far. `stop_at` ends it early; *pace*, when set, is called
    with the size of each chunk before it is passed on; at *until*, by the monotonic clock, the
    connection is closed. The byte at offset *flip_at* is changed.
    """

    _file: BinaryIO
    _left: int | None
    _invite: Callable[[], None] | None = None
    received: int = 0
    pace: Callable[[int], None] | None = None
    chunk: int = CHUNK
    until: float | None = None
    flip_at: int | None = None
    _stops: tuple[tuple[int, Exception], ...] = field(default=(), init=False)
    _in_chunk: int = field(default=0, init=False)
    _over: bool = field(default=False, init=False)

    @property
    def unread(self) -> bool:
        """Whether bytes of this body may still be waiting in the socket."""
        return not self._over and self._left != 0

    @property
    def announced(self) -> int | None:
        """The whole length as the client announced it, None for a chunked body."""
        return None if self._left is None else self._left + self.received

    def stop_at(self, count: int, error: Exception) -> None:
        """Raise *error* to whoever reads, once *count* bytes have arrived and been passed on."""
        self._stops = (*self._stops, (count, error))

    def __iter__(self) -> Iterator[bytes]:
        self._check()
        if self._invite is not None and self.unread:
            invite, self._invite = self._invite, None
            invite()
        while piece := self._next():
            if self.flip_at is not None and 0 <= (at := self.flip_at - self.received) < len(piece):
                piece = piece[:at] + bytes([piece[at] ^ 0xFF]) + piece[at + 1 :]
            self.received += len(piece)
            if self.pace is not None:
                self.pace(len(piece))
            yield piece
            self._check()

    def read(self, limit: int) -> bytes | None:
        """The whole body, or None when it is longer than *limit* bytes."""
        pieces: list[bytes] = []
        for piece in self:
            pieces.append(piece)
            if self.received > limit:
                return None
        return b"".join(pieces)

    def drain(self) -> None:
        """Read and forget what is left."""
        for _ in self:
            pass

    @property
    def can_be_skipped(self) -> bool:
        """Whether the connection is worth keeping: a short rest, and no client that waits."""
        if not self.unread:
            return True
        return self._invite is None and self._left is not None and self._left <= _DRAIN_LIMIT

    def skip(self) -> None:
        """Swallow what the client still sends, without inviting it to and without faults."""
        self._invite = self.pace = self.until = None
        self._stops = ()
        self.drain()

    def _check(self) -> None:
        if self.until is not None and self.unread and time.monotonic() > self.until:
            raise HangupError(reset=False)
        for count, error in self._stops:
            if self.received >= count:
                raise error

    def _next(self) -> bytes:
        if self._over:
            return b""
        want = min([self.chunk, *(count - self.received for count, _ in self._stops)])
        if self._left is None:
            return self._next_chunked(want)
        want = min(want, self._left)
        piece = self._file.read(want) if want else b""
        self._left -= len(piece)
        if want and not piece:
            raise ClientGoneError("the body ended early")
        return piece

    def _next_chunked(self, want: int) -> bytes:
        if self._in_chunk == 0:
            size = self._file.readline(LINE_LIMIT).split(b";")[0].strip()
            try:
                self._in_chunk = int(size, 16)
            except ValueError:
                raise ClientGoneError("the chunked body ended early") from None
            if self._in_chunk == 0:
                while self._file.readline(LINE_LIMIT).strip():
                    pass
                self._over = True
                return b""
        piece = self._file.read(min(want, self._in_chunk))
        if not piece:
            raise ClientGoneError("the chunked body ended early")
        self._in_chunk -= len(piece)
        if self._in_chunk == 0:
            self._file.readline(LINE_LIMIT)
        return piece


@define(eq=False, kw_only=True)
class Incoming:
    """One request. Header names are lower case; *query* is raw, *path* is decoded.

    *principal* is filled in by whoever finds out who is asking. *certificate* is the client's,
    as DER; *server* says which of a registry's sockets it came to.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: Body
    principal: str = ""
    certificate: bytes = b""
    server: str = ""


@frozen(kw_only=True)
class Span:
    """A part of a file, as a response body."""

    path: Path
    offset: int
    length: int

    def chunks(self) -> Generator[bytes]:
        """The bytes, in pieces of at most 256 KiB."""
        with self.path.open("rb", buffering=0) as file:
            file.seek(self.offset)
            left = self.length
            while left and (piece := file.read(min(CHUNK, left))):
                left -= len(piece)
                yield piece


def _untouched(chunks: Iterator[bytes]) -> Iterator[bytes]:
    return chunks


@frozen(kw_only=True)
class Response:
    """One answer; *transform* sees the body's chunks on their way to the socket."""

    status: int
    headers: Mapping[str, str] = field(factory=dict[str, str])
    body: bytes | Span = b""
    transform: Callable[[Iterator[bytes]], Iterator[bytes]] = _untouched

    @property
    def length(self) -> int:
        """Size of the body in bytes."""
        return len(self.body) if isinstance(self.body, bytes) else self.body.length

    def chunks(self) -> Iterator[bytes]:
        """The body as it will be sent."""
        if isinstance(self.body, Span):
            return self.transform(self.body.chunks())
        return self.transform(iter((self.body,) if self.body else ()))


def read_request(file: BinaryIO, connection: socket.socket) -> Incoming | None:
    start = file.readline(LINE_LIMIT)
    parts = start.decode("latin-1").split()
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        if start:
            # Also for a TLS hello: clients take an HTTP answer to it as a hint to speak plainly.
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        return None
    method, target, _ = parts
    headers: dict[str, str] = {}
    for _ in range(_HEADER_LIMIT):
        line = file.readline(LINE_LIMIT).decode("latin-1").strip()
        if not line:
            break
        name, _, value = line.partition(":")
        name = name.strip().lower()
        headers[name] = f"{headers[name]}, {value.strip()}" if name in headers else value.strip()
    chunked = headers.get("transfer-encoding", "").lower() == "chunked"
    path, _, query = target.partition("?")
    waits = headers.get("expect", "").lower() == "100-continue"

    def go_on() -> None:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")

    announced = headers.get("content-length", "0")
    if not announced.isdecimal():
        return None
    length = None if chunked else int(announced)
    body = Body(file, length, go_on if waits else None)
    return Incoming(method=method, path=unquote(path), query=query, headers=headers, body=body)

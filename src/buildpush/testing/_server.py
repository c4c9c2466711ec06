"""A small HTTP/1.1 server on a loopback socket: keep-alive, streamed bodies, prompt shutdown.

It knows nothing about registries. Each connection has a daemon thread; closing the server shuts
every socket down and joins every thread, so that nothing outlives a test.
"""

from __future__ import annotations

import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Final
from urllib.parse import unquote

from attrs import define, field, frozen

# Larger reads cost twice the processor time: each is a fresh mapping to fault in.
CHUNK: Final = 1 << 18
_LINE_LIMIT: Final = 1 << 16
_HEADER_LIMIT: Final = 200
_DRAIN_LIMIT: Final = 256 << 10
_JOIN_SECONDS: Final = 0.8


class HangupError(Exception):
    """Raised by a handler, a body or a transform to end the connection where it stands.

    With *reset* the peer sees ECONNRESET, otherwise an end of file.
    """

    def __init__(self, *, reset: bool) -> None:
        super().__init__("reset" if reset else "closed")
        self.reset = reset


class ClientGoneError(ConnectionError):
    """The client went away in the middle of a request body."""


@define(eq=False)
class Body:
    """The body of a request, read from the socket as it is asked for.

    *received* counts the bytes read so far. A fault may set *stop_after* (hang up once that many
    bytes arrived) or *pace* (called with the size of each chunk before it is passed on).
    """

    _file: BinaryIO
    _left: int | None
    _invite: Callable[[], None] | None = None
    received: int = 0
    stop_after: int | None = None
    pace: Callable[[int], None] | None = None
    chunk: int = CHUNK
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

    def __iter__(self) -> Iterator[bytes]:
        if self._invite is not None and self.unread:
            invite, self._invite = self._invite, None
            invite()
        while piece := self._next():
            self.received += len(piece)
            if self.pace is not None:
                self.pace(len(piece))
            yield piece
            if self.stop_after is not None and self.received >= self.stop_after:
                raise HangupError(reset=True)

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
        self._invite = self.stop_after = self.pace = None
        self.drain()

    def _next(self) -> bytes:
        if self._over:
            return b""
        want = self.chunk
        if self.stop_after is not None:
            want = min(want, self.stop_after - self.received)
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
            size = self._file.readline(_LINE_LIMIT).split(b";")[0].strip()
            try:
                self._in_chunk = int(size, 16)
            except ValueError:
                raise ClientGoneError("the chunked body ended early") from None
            if self._in_chunk == 0:
                while self._file.readline(_LINE_LIMIT).strip():
                    pass
                self._over = True
                return b""
        piece = self._file.read(min(want, self._in_chunk))
        if not piece:
            raise ClientGoneError("the chunked body ended early")
        self._in_chunk -= len(piece)
        if self._in_chunk == 0:
            self._file.readline(_LINE_LIMIT)
        return piece


@define(eq=False, kw_only=True)
class Incoming:
    """One request. Header names are lower case; *query* is raw, *path* is decoded.

    *principal* is filled in by whoever finds out who is asking.
    """

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: Body
    principal: str = ""


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


@define(eq=False)
class _Connection:
    socket: socket.socket
    handle: Callable[[Incoming], Response]

    def serve(self) -> None:
        """Answer requests until either side has had enough."""
        file = self.socket.makefile("rb")
        try:
            while self._exchange(file):
                pass
        except HangupError as error:
            if error.reset:
                linger = struct.pack("ii", 1, 0)
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        except (ConnectionError, ssl.SSLError):
            pass  # the client went away, or the server is closing: nobody is left to be told
        finally:
            # The reader holds the socket open: a reset only happens when both are closed.
            with suppress(OSError):
                file.close()
            self.socket.close()

    def _exchange(self, file: BinaryIO) -> bool:
        incoming = _read_request(file, self.socket)
        if incoming is None:
            return False
        response = self.handle(incoming)
        keep = incoming.headers.get("connection", "").lower() != "close"
        keep = keep and incoming.body.can_be_skipped
        self._send(response, head_only=incoming.method == "HEAD", keep=keep)
        if not keep:
            # Half closed: closing with bytes unread would reset the answer away.
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
        incoming.body.skip()
        return keep

    def _send(self, response: Response, *, head_only: bool, keep: bool) -> None:
        lines = [f"HTTP/1.1 {response.status} {_phrase(response.status)}"]
        headers = dict(response.headers)
        if response.status not in (204, 304):
            headers.setdefault("Content-Length", str(response.length))
        if not keep:
            headers["Connection"] = "close"
        lines += [f"{name}: {value}" for name, value in headers.items()]
        pending = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
        if head_only:
            self.socket.sendall(pending)
            return
        chunks = response.chunks()
        try:
            # One segment for a small answer: two would wait for each other (Nagle).
            for chunk in chunks:
                if len(pending) + len(chunk) <= _LINE_LIMIT:
                    pending += chunk
                    continue
                self.socket.sendall(pending)
                self.socket.sendall(chunk)
                pending = b""
        finally:
            if pending:
                self.socket.sendall(pending)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def _read_request(file: BinaryIO, connection: socket.socket) -> Incoming | None:
    start = file.readline(_LINE_LIMIT)
    parts = start.decode("latin-1").split()
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        if start:
            # Also for a TLS hello: clients take an HTTP answer to it as a hint to speak plainly.
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        return None
    method, target, _ = parts
    headers: dict[str, str] = {}
    for _ in range(_HEADER_LIMIT):
        line = file.readline(_LINE_LIMIT).decode("latin-1").strip()
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


@define(eq=False)
class Server:
    """Accepts connections on 127.0.0.1 and gives every request to *handle*.

    *handle* runs in the connection's own thread and may raise `HangupError`. With *tls*, only
    TLS is spoken.
    """

    handle: Callable[[Incoming], Response]
    tls: ssl.SSLContext | None = None
    _listener: socket.socket = field(factory=socket.socket, init=False)
    _wake: tuple[socket.socket, socket.socket] = field(factory=socket.socketpair, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _open: dict[threading.Thread, socket.socket] = field(
        factory=dict[threading.Thread, socket.socket], init=False
    )
    _acceptor: threading.Thread | None = field(default=None, init=False)

    def start(self) -> int:
        """Begin to listen; the port."""
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(128)
        port: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(
            target=self._accept, name=f"buildpush-registry-{port}", daemon=True
        )
        self._acceptor.start()
        return port

    def close(self) -> None:
        """Stop listening, break every connection and wait, under a second, for the threads."""
        self._wake[1].close()
        if self._acceptor is not None:
            self._acceptor.join()
        self._listener.close()
        self._wake[0].close()
        with self._lock:
            open_ = dict(self._open)
        for connection in open_.values():
            with suppress(OSError):
                # Not the TLS socket's own: that one changes what its thread is working with.
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        deadline = time.monotonic() + _JOIN_SECONDS
        for thread in open_:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _accept(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ, "connection")
            selector.register(self._wake[0], selectors.EVENT_READ, "stop")
            while "stop" not in (ready := {key.data for key, _ in selector.select()}):
                assert "connection" in ready
                connection, _ = self._listener.accept()
                with suppress(OSError):  # the client may be gone already
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
                with self._lock:
                    self._open[thread] = connection
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        thread = threading.current_thread()
        try:
            if self.tls is not None:
                wrapped = self.tls.wrap_socket(
                    connection, server_side=True, do_handshake_on_connect=False
                )
                with self._lock:
                    self._open[thread] = connection = wrapped
                wrapped.do_handshake()
            _Connection(connection, self.handle).serve()
        except (ConnectionError, ssl.SSLError):
            connection.close()  # a client that does not trust us, or does not speak TLS
        finally:
            with self._lock:
                self._open.pop(thread, None)

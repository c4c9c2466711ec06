"""A threaded HTTP/1.1 server on a loopback socket: keep-alive, streams without a length, upgrades.

Written for this stub, and knows nothing of Kubernetes. Each connection has a daemon thread.
"""

from __future__ import annotations

import json
import selectors
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, BinaryIO, Final
from urllib.parse import parse_qs, unquote

from attrs import define, field

_LINE: Final = 1 << 16
_BODY: Final = 8 << 20


class Hangup(Exception):
    """Ends the connection where it stands, with a reset."""


@define(eq=False, kw_only=True)
class Request:
    """One request; header names are lower case. *user* is filled in by whoever finds out."""

    method: str
    path: str
    query_text: str
    headers: Mapping[str, str]
    body: bytes
    connection: Connection
    user: str = ""
    certificate: str = ""
    _parsed: dict[str, list[str]] | None = field(default=None, init=False)

    @property
    def target(self) -> str:
        """Path and query, as they came."""
        return f"{self.path}?{self.query_text}" if self.query_text else self.path

    def all(self, name: str) -> list[str]:
        """Every value of a query parameter."""
        if self._parsed is None:
            self._parsed = parse_qs(self.query_text, keep_blank_values=True)
        return self._parsed.get(name, [])

    def one(self, name: str, default: str = "") -> str:
        """The first value of a query parameter."""
        return next(iter(self.all(name)), default)

    def flag(self, name: str) -> bool:
        """Whether a query parameter is true."""
        return self.one(name) in ("true", "1")


@define(eq=False, kw_only=True)
class Response:
    """An answer: *body* whole, or a *stream* that is sent in chunks as it comes."""

    status: int = 200
    body: bytes = b""
    stream: Iterator[bytes] | None = None
    headers: dict[str, str] = field(factory=dict)
    drop_after: int | None = None

    @classmethod
    def of(cls, value: Any, status: int = 200) -> Response:
        """*value* as JSON."""
        return cls(
            status=status,
            body=json.dumps(value, separators=(",", ":")).encode(),
            headers={"Content-Type": "application/json"},
        )


@define(eq=False)
class Connection:
    """One client's connection."""

    socket: socket.socket
    handle: Callable[[Request], Response | None]
    certificate: str = ""
    file: BinaryIO = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.file = self.socket.makefile("rb", 1 << 18)

    def serve(self) -> None:
        """Answer requests until either side has had enough."""
        try:
            while (request := self._read()) is not None:
                response = self.handle(request)
                if response is None:  # upgraded, and over
                    break
                self._send(response)
                if request.headers.get("connection", "").lower() == "close":
                    break
        except Hangup:
            self.reset()
        except (ConnectionError, ssl.SSLError, TimeoutError):
            pass  # the client went away, or the server is closing
        finally:
            with suppress(OSError):
                self.file.close()
            with suppress(OSError):
                self.socket.close()

    def reset(self) -> None:
        """Have the client see a reset instead of an end."""
        with suppress(OSError):
            linger = struct.pack("ii", 1, 0)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)

    def is_gone(self) -> bool:
        """Whether the client has closed its end (of a connection on which it says nothing)."""
        with selectors.DefaultSelector() as selector:
            try:
                selector.register(self.socket, selectors.EVENT_READ)
                if not selector.select(0):
                    return False
                peek = socket.MSG_PEEK | socket.MSG_DONTWAIT
                if isinstance(self.socket, ssl.SSLSocket):
                    return not socket.socket.recv(self.socket, 1, peek)
                return not self.socket.recv(1, peek)
            except (OSError, ValueError):
                return True

    def _read(self) -> Request | None:
        start = self.file.readline(_LINE).decode("latin-1").split()
        if len(start) != 3:
            return None
        headers: dict[str, str] = {}
        while line := self.file.readline(_LINE).decode("latin-1").strip():
            name, _, value = line.partition(":")
            name, value = name.strip().lower(), value.strip()
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        path, _, query = start[1].partition("?")
        return Request(
            method=start[0],
            path=unquote(path),
            query_text=query,
            headers=headers,
            body=self._body(headers),
            connection=self,
            certificate=self.certificate,
        )

    def _body(self, headers: Mapping[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() != "chunked":
            return self.file.read(min(int(headers.get("content-length", "0")), _BODY))
        pieces: list[bytes] = []
        while size := int(self.file.readline(_LINE).split(b";")[0], 16):
            pieces.append(self.file.read(size))
            self.file.readline(_LINE)
        self.file.readline(_LINE)
        return b"".join(pieces)

    def _send(self, response: Response) -> None:
        headers = dict(response.headers)
        if response.stream is not None:
            headers["Transfer-Encoding"] = "chunked"
        elif response.status != 204:
            headers["Content-Length"] = str(len(response.body))
        data = head(response.status, headers)
        if response.stream is None:
            self._part(data + response.body, response, len(data))
            return
        self.socket.sendall(data)
        try:
            for piece in response.stream:
                self._part(b"%x\r\n%s\r\n" % (len(piece), piece), response, 0)
        finally:
            close = getattr(response.stream, "close", None)
            if close is not None:
                close()
        self.socket.sendall(b"0\r\n\r\n")

    def _part(self, data: bytes, response: Response, free: int) -> None:
        """Send *data*; of a response that is to be dropped, only as much as it may have."""
        left = response.drop_after
        if left is None:
            self.socket.sendall(data)
            return
        size = len(data) - free
        if size >= left:
            self.socket.sendall(data[: free + left])
            # A reset would take back what was sent and not yet read.
            self.socket.shutdown(socket.SHUT_RDWR)
            raise ConnectionError("dropped on purpose")
        self.socket.sendall(data)
        response.drop_after = left - size


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """The status line and the headers."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{n}: {v}" for n, v in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


@define(eq=False)
class Server:
    """Accepts connections on 127.0.0.1 and gives every request to *handle*."""

    handle: Callable[[Request], Response | None]
    tls: ssl.SSLContext | None = None
    port: int = 0
    _listener: socket.socket | None = None
    _open: dict[threading.Thread, socket.socket] = field(factory=dict)
    _lock: threading.Lock = field(factory=threading.Lock)

    def start(self) -> None:
        """Begin to listen: on a free port, later on the same again."""
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind(("127.0.0.1", self.port))
        self._listener.listen(512)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def stop(self, seconds: float = 2.0) -> None:
        """Stop listening and break every connection; wait, no longer than so, for the threads."""
        if self._listener is not None:
            with suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
        with self._lock:
            found = dict(self._open)
        for connection in found.values():
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
        deadline = time.monotonic() + seconds
        for thread in found:
            if thread is not threading.current_thread():
                thread.join(max(0.0, deadline - time.monotonic()))

    @property
    def connections(self) -> int:
        """How many are open."""
        with self._lock:
            return len(self._open)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            with self._lock:
                self._open[thread] = connection
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        thread = threading.current_thread()
        try:
            certificate = ""
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
                with self._lock:
                    self._open[thread] = connection
                certificate = _common_name(connection)
            Connection(connection, self.handle, certificate).serve()
        except OSError:
            connection.close()  # a client that does not trust us, or does not speak TLS
        finally:
            with self._lock:
                self._open.pop(thread, None)


def _common_name(connection: ssl.SSLSocket) -> str:
    found: Any = connection.getpeercert() or {}
    names = dict(pair for part in found.get("subject", ()) for pair in part)
    return str(names.get("commonName", ""))

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
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from ipaddress import ip_address
from typing import BinaryIO, Final

from attrs import define, field

from ._messages import LINE_LIMIT, HangupError, Incoming, Response, read_request
from ._meter import Meter

_JOIN_SECONDS: Final = 0.8


@define(eq=False)
class _Connection:
    socket: socket.socket
    handle: Callable[[Incoming], Response]
    meter: Meter
    name: str

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
        incoming = read_request(file, self.socket)
        if incoming is None:
            return False
        incoming.server = self.name
        if isinstance(self.socket, ssl.SSLSocket):
            incoming.certificate = self.socket.getpeercert(binary_form=True) or b""
        with self.meter.request() as answered:
            return self._answer(incoming, answered)

    def _answer(self, incoming: Incoming, answered: Callable[[], None]) -> bool:
        response = self.handle(incoming)
        keep = incoming.headers.get("connection", "").lower() != "close"
        keep = keep and incoming.body.can_be_skipped
        head = self._head(response, keep=keep)
        if incoming.method == "HEAD":
            answered()
            self.socket.sendall(head)
        else:
            self._send(head, response, answered)
        if not keep:
            # Half closed: closing with bytes unread would reset the answer away.
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_WR)
        incoming.body.skip()
        return keep

    @staticmethod
    def _head(response: Response, *, keep: bool) -> bytes:
        lines = [f"HTTP/1.1 {response.status} {_phrase(response.status)}"]
        headers = dict(response.headers)
        if response.status not in (204, 304):
            headers.setdefault("Content-Length", str(response.length))
        if not keep:
            headers["Connection"] = "close"
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def _send(self, pending: bytes, response: Response, answered: Callable[[], None]) -> None:
        # The last piece is kept back: a client that has it may ask again before we have counted.
        try:
            for chunk in response.chunks():
                # One segment for a small answer: two would wait for each other (Nagle).
                if len(pending) + len(chunk) <= LINE_LIMIT:
                    pending += chunk
                    continue
                if pending:
                    self.socket.sendall(pending)
                pending = chunk
        finally:
            answered()
            if pending:
                self.socket.sendall(pending)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


@define(eq=False)
class Server:
    """Accepts connections on a loopback address and gives every request to *handle*.

    *handle* runs in the connection's own thread and may raise `HangupError`. With *tls*, only
    TLS is spoken. *name* is told to *handle* with every request, *meter* counts them.
    """

    handle: Callable[[Incoming], Response]
    tls: ssl.SSLContext | None = None
    name: str = ""
    meter: Meter = field(factory=Meter)
    _listener: socket.socket = field(factory=socket.socket, init=False)
    _wake: tuple[socket.socket, socket.socket] = field(factory=socket.socketpair, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _open: dict[threading.Thread, socket.socket] = field(
        factory=dict[threading.Thread, socket.socket], init=False
    )
    _acceptor: threading.Thread | None = field(default=None, init=False)

    def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Begin to listen at a loopback address on *port*, 0 for one that is free; the port."""
        # Only the one address: whoever resolves localhost to ::1 first tries the other next.
        address = socket.gethostbyname(host)
        if not ip_address(address).is_loopback:
            raise ValueError(f"{host} is not this machine's loopback address")
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((address, port))
        self._listener.listen(128)
        found: int = self._listener.getsockname()[1]
        self._acceptor = threading.Thread(
            target=self._accept, name=f"buildpush-registry-{found}", daemon=True
        )
        self._acceptor.start()
        return found

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
            with self.meter.connection():
                _Connection(connection, self.handle, self.meter, self.name).serve()
        except (ConnectionError, ssl.SSLError):
            connection.close()  # a client that does not trust us, or does not speak TLS
        finally:
            with self._lock:
                self._open.pop(thread, None)

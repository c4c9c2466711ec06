"""A BuildKit that listens by itself, made of the one inside a docker engine.

The engine speaks BuildKit's protocol on ``/grpc`` once a connection is upgraded. The bridge
listens on a unix socket or on tcp, with or without TLS, upgrades one connection to the engine for
each that it accepts, and relays: for buildx this is a remote builder.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

_UPGRADE = b"POST /grpc HTTP/1.1\r\nHost: d\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
_CHUNK = 1 << 16


class BuildkitBridge:
    """Listens until the block ends. *engine* is the docker engine's unix socket.

    On *path* it listens on a unix socket, else on a free port of 127.0.0.1; with *tls*, a
    server's context, it speaks TLS there.
    """

    def __init__(
        self, engine: Path, *, path: Path | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        self._engine = engine
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self.accepted = 0
        if path is not None:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(path))
            self.address = f"unix://{path}"
        else:
            self._listener = socket.create_server(("127.0.0.1", 0))
            self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        if tls is not None:
            tls.set_alpn_protocols(["h2"])

    def __enter__(self) -> Self:
        self._listener.listen()
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._lock:
            sockets = [self._listener, *self._open]
        for each in sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as stack:
            stack.enter_context(self._kept(connection))
            connection.settimeout(10)
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                stack.enter_context(self._kept(connection))
            engine = socket.socket(socket.AF_UNIX)
            stack.enter_context(self._kept(engine))
            engine.connect(str(self._engine))
            engine.sendall(_UPGRADE)
            early = _after_head(engine)
            connection.settimeout(None)
            connection.sendall(early)
            _relay(connection, engine)

    @contextlib.contextmanager
    def _kept(self, connection: socket.socket) -> Iterator[None]:
        with self._lock:
            self._open.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(connection)
            connection.close()


def _after_head(engine: socket.socket) -> bytes:
    """Read the answer to the upgrade; what came after it."""
    head = b""
    while b"\r\n\r\n" not in head:
        piece = engine.recv(_CHUNK)
        if not piece:
            raise ConnectionError("the engine hung up")
        head += piece
    first, _, rest = head.partition(b"\r\n\r\n")
    if not first.startswith(b"HTTP/1.1 101"):
        raise ConnectionError(first.decode("latin-1"))
    return rest


def _relay(one: socket.socket, other: socket.socket) -> None:
    peers = {one: other, other: one}
    while True:
        ready = [s for s in peers if isinstance(s, ssl.SSLSocket) and s.pending()]
        if not ready:
            ready, _, _ = select.select([one, other], [], [])
        for source in ready:
            data = source.recv(_CHUNK)
            if not data:
                return
            peers[source].sendall(data)

"""Open sockets that a cancel shuts down, so that no thread stays blocked in a read."""

from __future__ import annotations

import socket
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from typing import Self

from . import CancelToken

__all__ = ["Sockets", "Watch"]


class Sockets:
    """The open sockets of one client, shut down together when *cancel* flips."""

    def __init__(self, cancel: CancelToken) -> None:
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._lock = threading.Lock()
        self._cancel = cancel
        self.forget = cancel.on_cancel(self._shut)

    def add(self, one: socket.socket) -> None:
        """Remember *one*; shut it at once when it is too late."""
        with self._lock:
            self._open.add(one)
        if self._cancel.cancelled:
            self._shut()

    def _shut(self) -> None:
        with self._lock:
            sockets = tuple(self._open)
        for one in sockets:
            with suppress(OSError):
                # Not SSLSocket.shutdown: it would turn later reads of that socket into plain ones.
                socket.socket.shutdown(one, socket.SHUT_RDWR)


class Watch:
    """httpcore's trace of one request: tells the client's sockets about each new connection."""

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self._handshake: socket.socket | None = None

    def __call__(self, name: str, info: Mapping[str, object]) -> None:
        """Note what httpcore says about a connection."""
        event = name.partition(".")[2]
        if event in ("connect_tcp.complete", "connect_unix_socket.complete"):
            plain = _socket_of(info)
            if plain is not None:
                self._sockets.add(plain)
                # wrap_socket empties the plain socket, so a handshake is broken off by a twin.
                self._handshake = plain.dup()
                self._sockets.add(self._handshake)
        elif event == "start_tls.complete":
            wrapped = _socket_of(info)
            if wrapped is not None:
                self._sockets.add(wrapped)
            self._drop()
        elif event == "send_request_headers.started":
            self._drop()

    def _drop(self) -> None:
        if self._handshake is not None:
            self._handshake.close()
            self._handshake = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._drop()


def _socket_of(info: Mapping[str, object]) -> socket.socket | None:
    asking = getattr(info.get("return_value"), "get_extra_info", None)
    found = asking("socket") if callable(asking) else None
    return found if isinstance(found, socket.socket) else None

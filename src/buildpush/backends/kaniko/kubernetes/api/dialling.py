"""Connections that a cancel ends at once: TCP, by a proxy's tunnel if need be, below any TLS."""

from __future__ import annotations

import base64
import ipaddress
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from urllib.parse import unquote, urlsplit

from attrs import field, frozen

from .....runtime import CancelToken, Hidden
from .....runtime.sockets import Sockets

__all__ = ["Dialler", "Proxy", "ProxyRefusedError", "Wire", "reason"]

_CHUNK: Final = 1 << 16
_HEAD: Final = 1 << 16
_IDLE: Final = 15


class ProxyRefusedError(OSError):
    """The proxy does not connect us."""


@frozen(kw_only=True)
class Proxy:
    """An HTTP proxy, spoken to by TLS if there is a *tls*; *authorization* is its header's value."""

    host: str
    port: int
    tls: ssl.SSLContext | None = None
    authorization: Hidden = field(factory=Hidden)

    @classmethod
    def parse(cls, url: str, tls: Callable[[], ssl.SSLContext]) -> Proxy:
        """The proxy that *url* names. Raises `ValueError`, which does not hold the URL."""
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("only http:// and https:// proxies are spoken to")
        pair = f"{unquote(parts.username or '')}:{unquote(parts.password or '')}"
        basic = f"Basic {base64.b64encode(pair.encode()).decode()}" if parts.username else ""
        secure = parts.scheme == "https"
        return cls(
            host=parts.hostname,
            port=parts.port or (443 if secure else 80),
            tls=tls() if secure else None,
            authorization=Hidden(basic),
        )


class _Layer:
    """TLS between memory and memory: who has the bytes of the wire, does the rest."""

    def __init__(self, context: ssl.SSLContext, name: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self.ended = False

    def shake(self) -> bool:
        """Go on with the handshake; whether it is done."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def feed(self, data: bytes) -> None:
        """Put in what has come; nothing is its end."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def drain(self) -> bytes:
        """What that said."""
        found = bytearray()
        while True:
            try:
                piece = self.tls.read(_CHUNK)
            except ssl.SSLWantReadError:
                return bytes(found)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                piece = b""
            if not piece:
                self.ended = True
                return bytes(found)
            found += piece

    def encrypt(self, data: bytes) -> bytes:
        """What to send, to say *data*."""
        if data:
            self.tls.write(data)
        return self._outgoing.read()


class Wire:
    """One connection. Reading and writing are for one thread at a time; `shut` is for any.

    Nothing blocks in `take` and `flush`; `receive` and `send` wait, and raise `TimeoutError`.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = sock
        self.ended = False
        self._layers: list[_Layer] = []
        self._arrived = bytearray()
        self._leaving = bytearray()

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS session nearest to the data."""
        return self._layers[-1].tls if self._layers else None

    @property
    def pending(self) -> int:
        """How many bytes the network has not taken yet."""
        return len(self._leaving)

    def take(self) -> bytes | None:
        """What has come, empty at the end of it; None when nothing has."""
        if self._arrived:
            found = bytes(self._arrived)
            self._arrived.clear()
            return found
        if self.ended:
            return b""
        try:
            data = self.socket.recv(_CHUNK)
        except (BlockingIOError, InterruptedError):
            return None
        ended = not data
        for depth, layer in enumerate(self._layers):
            layer.feed(data)
            data = layer.drain()
            self._leave(layer.encrypt(b""), depth)
            ended = ended or layer.ended
            if not data and not ended:
                return None
        self.ended = ended
        return data

    def put(self, data: bytes) -> None:
        """Have *data* sent by the next `flush`."""
        self._leave(data, len(self._layers))

    def _leave(self, data: bytes, depth: int) -> None:
        if not data:
            return
        for layer in reversed(self._layers[:depth]):
            data = layer.encrypt(data)
        self._leaving += data

    def flush(self) -> bool:
        """Give the network what it takes; whether it took something."""
        sent = 0
        with suppress(BlockingIOError, InterruptedError):
            while self._leaving:
                with memoryview(self._leaving) as view:
                    count = self.socket.send(view[: 1 << 18])
                del self._leaving[:count]
                sent += count
        return sent > 0

    def receive(self, limit: int, timeout: float | None) -> bytes:
        """At least one byte, at most *limit*; none at the end."""
        deadline = _deadline(timeout)
        while True:
            found = self.take()
            if found is not None:
                self._arrived[:0] = found[limit:]
                return found[:limit]
            self.flush()
            self._wait(reading=True, deadline=deadline)

    def send(self, data: bytes, timeout: float | None) -> None:
        """Send all of *data*."""
        self.put(data)
        deadline = _deadline(timeout)
        while self._leaving:
            if self.flush():
                deadline = _deadline(timeout)
            if self._leaving:
                self._wait(reading=False, deadline=deadline)

    def secure(self, context: ssl.SSLContext, name: str, timeout: float | None) -> None:
        """Speak TLS from here on, with *name*. Raises `ssl.SSLError`, which is an `OSError`."""
        layer = _Layer(context, name)
        depth = len(self._layers)
        deadline = _deadline(timeout)
        while True:
            try:
                done = layer.shake()
            finally:
                # Also when it fails: the server is told why.
                self._leave(layer.encrypt(b""), depth)
                self.flush()
            if done:
                break
            found = self.take()
            if found is None:
                self._wait(reading=True, deadline=deadline)
            else:
                layer.feed(found)
        self._layers.append(layer)
        self._arrived += layer.drain()

    def _wait(self, *, reading: bool, deadline: float | None) -> None:
        poller = select.poll()
        events = select.POLLIN if reading else 0
        poller.register(self.socket, events | (select.POLLOUT if self._leaving else 0))
        left = None if deadline is None else max(deadline - time.monotonic(), 0.0) * 1000
        if not poller.poll(left):
            raise TimeoutError("timed out")

    def readable(self) -> bool:
        """Whether something has come, be it the end."""
        poller = select.poll()
        poller.register(self.socket, select.POLLIN)
        return bool(self._arrived or self.ended or poller.poll(0))

    def shut(self) -> None:
        """End it from any thread: who waits for it is woken, and finds its end."""
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give it up; for the thread that uses it."""
        self.socket.close()


@frozen(kw_only=True)
class Dialler:
    """Opens connections, by *proxy* if there is one; they end when *cancel* flips."""

    sockets: Sockets
    cancel: CancelToken
    proxy: Proxy | None = None

    def open(self, host: str, port: int, timeout: float | None) -> Wire:
        """A connection to *host*, within *timeout* seconds.

        Raises `OSError` when there is none, and the reason when cancelled.
        """
        proxy = self.proxy
        if proxy is None:
            return Wire(self._connect(host, port, timeout))
        try:
            wire = Wire(self._connect(proxy.host, proxy.port, timeout))
        except OSError as error:
            raise ProxyRefusedError(
                f"the proxy {proxy.host}:{proxy.port} cannot be reached: {reason(error)}"
            ) from error
        try:
            if proxy.tls is not None:
                wire.secure(proxy.tls, proxy.host, timeout)
            self._tunnel(wire, proxy, f"[{host}]" if ":" in host else host, port, timeout)
        except BaseException:
            wire.close()
            raise
        return wire

    def _tunnel(
        self, wire: Wire, proxy: Proxy, host: str, port: int, timeout: float | None
    ) -> None:
        place = f"{host}:{port}"
        own = f"Proxy-Authorization: {proxy.authorization}\r\n" if proxy.authorization else ""
        wire.send(f"CONNECT {place} HTTP/1.1\r\nHost: {place}\r\n{own}\r\n".encode(), timeout)
        head = bytearray()
        # Byte by byte, since what follows the head is the server's.
        while not head.endswith(b"\r\n\r\n") and len(head) < _HEAD:
            piece = wire.receive(1, timeout)
            if not piece:
                break
            head += piece
        self.cancel.check()
        status = bytes(head.split(b"\r\n")[0]).decode("latin-1").partition(" ")[2]
        if not status.startswith("2"):
            raise ProxyRefusedError(
                f"the proxy {proxy.host}:{proxy.port} does not connect us to {place}:"
                f" {status[:100] or 'it hung up'}"
            )

    def _connect(self, host: str, port: int, timeout: float | None) -> socket.socket:
        deadline = _deadline(timeout)
        failure: OSError = OSError(f"{host} has no address")
        addresses = self._resolve(host, port, timeout)
        for place, (family, address) in enumerate(addresses):
            self.cancel.check()
            left = None if deadline is None else max(deadline - time.monotonic(), 0.1)
            # An address that swallows everything leaves time for those after it.
            patience = left and left / (len(addresses) - place)
            try:
                return self._knock(family, address, patience)
            except OSError as error:
                failure = error
        self.cancel.check()
        raise failure

    def _knock(
        self, family: int, address: tuple[object, ...], timeout: float | None
    ) -> socket.socket:
        one = socket.socket(family, socket.SOCK_STREAM)
        try:
            one.settimeout(timeout)
            self.sockets.add(one)
            one.connect(address)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            # A watch or a log may be silent for hours: only this tells that its peer is gone.
            one.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _IDLE)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _IDLE // 3)
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
        except BaseException:
            one.close()
            raise
        return one

    def _resolve(
        self, host: str, port: int, timeout: float | None
    ) -> list[tuple[int, tuple[object, ...]]]:
        """The addresses of *host*: asked for in a thread of its own, which nothing can interrupt."""
        with suppress(ValueError):
            ipaddress.ip_address(host.partition("%")[0])
            return _addresses(host, port)
        found: list[tuple[int, tuple[object, ...]]] = []
        failed: list[OSError] = []
        done = threading.Event()

        def ask() -> None:
            try:
                found.extend(_addresses(host, port))
            except OSError as error:
                failed.append(error)
            except UnicodeError:
                failed.append(OSError(f"{host} is no host name"))
            finally:
                done.set()

        threading.Thread(target=ask, daemon=True, name="buildpush-resolve").start()
        undo = self.cancel.on_cancel(done.set)
        try:
            answered = done.wait(timeout)
        finally:
            undo()
        self.cancel.check()
        if not answered:
            raise TimeoutError(f"no name server knows {host} in time")
        if failed:
            raise failed[0]
        return found


def reason(error: BaseException) -> str:
    """What the system said, beneath the layers of a client, in words."""
    while error.__cause__ is not None and not isinstance(error, ProxyRefusedError):
        error = error.__cause__
    plain = error.strerror if isinstance(error, OSError) else ""
    return plain or str(error) or type(error).__name__


def _addresses(host: str, port: int) -> list[tuple[int, tuple[object, ...]]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout

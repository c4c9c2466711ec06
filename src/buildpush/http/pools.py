"""Connections: one pool per scheme, proxy and trust, each request under its host's ceiling."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import httpcore
import httpx
from attrs import define, frozen

from ..errors import RegistryError
from ..runtime import Run
from .answers import safe_url
from .ceiling import Ceilings, Slot
from .proxies import Proxies
from .trust import Certificates, Trust

__all__ = ["Pools", "context"]

READ: Final = 1 << 18
"""Bytes asked of a socket at once: each read costs as much as hashing 64 KiB."""

_KEPT: Final = 16


@frozen(kw_only=True)
class _Key:
    """What requests must have in common to share connections."""

    tls: bool
    trusting: bool
    proxy: str
    certificates: Certificates | None


class Pools(httpx.BaseTransport):
    """Picks, per request, the pool for its scheme, its proxy and its trust."""

    def __init__(self, run: Run, trust: Trust, ceilings: Ceilings) -> None:
        self._trust = trust
        self._ceilings = ceilings
        self._proxies = Proxies.read(run.environment.variables)
        for secret in self._proxies.secrets:
            run.redact.learn(secret)
        self._variables = run.environment.variables
        self._pools: dict[_Key, httpcore.ConnectionPool] = {}
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send *request* when its host has room; the answer holds its place until it is closed.

        Raises httpcore's errors.
        """
        pool = self._pool(request)
        assert isinstance(request.stream, httpx.SyncByteStream)
        wired = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        slot = self._ceilings.enter(request.url.netloc.decode("ascii"))
        try:
            answer = pool.handle_request(wired)
        except BaseException:
            slot.leave()
            raise
        return httpx.Response(
            status_code=answer.status,
            headers=answer.headers,
            stream=_Content(answer, slot),
            extensions=answer.extensions,  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
        )

    def proxy_of(self, url: str) -> str:
        """Where the proxy between us and *url* is, without who may use it; empty for none."""
        return self._proxies.choose(url).partition("://")[2].rpartition("@")[2].partition("/")[0]

    def close(self) -> None:
        """Close every connection."""
        with self._lock:
            pools, self._pools = tuple(self._pools.values()), {}
        for pool in pools:
            pool.close()

    def _pool(self, request: httpx.Request) -> httpcore.ConnectionPool:
        tls = request.url.scheme == "https"
        host = request.url.netloc.decode("ascii")
        key = _Key(
            tls=tls,
            trusting=tls and self._trust.trusts(host),
            proxy=self._proxies.choose(str(request.url)),
            certificates=self._trust.of(request.extensions.get("behalf") or host) if tls else None,
        )
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                pool = self._pools[key] = self._open(key)
            return pool

    def _open(self, key: _Key) -> httpcore.ConnectionPool:
        trusted = context(
            self._variables, trusting=key.trusting, authorities=key.tls or bool(key.proxy)
        )
        if key.certificates is not None:
            _add(trusted, key.certificates)
        shared: dict[str, Any] = {
            "ssl_context": trusted,
            "max_connections": None,
            "max_keepalive_connections": _KEPT,
            "keepalive_expiry": 5.0,
            "network_backend": _Backend(),
        }
        if not key.proxy:
            return httpcore.ConnectionPool(**shared)
        try:
            proxy = httpx.Proxy(url=key.proxy)
            if proxy.url.scheme not in ("http", "https"):
                raise ValueError(f"{proxy.url.scheme} is not spoken")
        except (ValueError, httpx.InvalidURL) as error:
            raise RegistryError(
                f"the proxy {safe_url(key.proxy)} cannot be used",
                hint="only http:// and https:// proxies are spoken to; look at HTTPS_PROXY",
            ) from error
        return httpcore.HTTPProxy(
            proxy_url=httpcore.URL(
                scheme=proxy.url.raw_scheme,
                host=proxy.url.raw_host,
                port=proxy.url.port,
                target=proxy.url.raw_path,
            ),
            proxy_auth=proxy.raw_auth,
            proxy_ssl_context=trusted if proxy.url.scheme == "https" else None,
            **shared,
        )


@define(eq=False)
class _Content(httpx.SyncByteStream):
    """The body of an answer; closing it makes room at its host."""

    answer: httpcore.Response
    slot: Slot

    def __iter__(self) -> Iterator[bytes]:
        stream = self.answer.stream
        assert isinstance(stream, Iterable)
        yield from stream

    def close(self) -> None:
        try:
            self.answer.close()
        finally:
            self.slot.leave()


class _Backend(httpcore.SyncBackend):
    """httpcore's sockets, read and written in larger pieces and without a copy for each part."""

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        return _Wide(super().connect_tcp(host, port, timeout, local_address, socket_options))


@define(eq=False)
class _Wide(httpcore.NetworkStream):
    inner: httpcore.NetworkStream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self.inner.read(max(max_bytes, READ), timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # A view: the rest of a piece that went only in part is not copied.
        self.inner.write(memoryview(buffer), timeout)  # type: ignore[arg-type]

    def close(self) -> None:
        self.inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        return _Wide(self.inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        return self.inner.get_extra_info(info)


def context(variables: Mapping[str, str], *, trusting: bool, authorities: bool) -> ssl.SSLContext:
    """The system's authorities and certifi's, or the file and folder the environment names."""
    if trusting:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    if not authorities:
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    file, folder = variables.get("SSL_CERT_FILE"), variables.get("SSL_CERT_DIR")
    try:
        context = ssl.create_default_context(cafile=file or None, capath=folder or None)
    except OSError as error:
        raise RegistryError(
            f"the certificates named by SSL_CERT_FILE or SSL_CERT_DIR cannot be read: {error}"
        ) from error
    if not file and not folder:
        import certifi  # comes with httpx; slim images have no authorities of their own

        context.load_verify_locations(certifi.where())
    return context


def _add(context: ssl.SSLContext, certificates: Certificates) -> None:
    """Believe a host's own authorities too, and have its client certificate at hand."""
    own = certificates
    try:
        if own.ca is not None:
            context.load_verify_locations(own.ca)
        if own.certificate is not None:
            # An encrypted key would ask for its password on the terminal: "" refuses it instead.
            context.load_cert_chain(own.certificate, own.key, password="")
    except (OSError, ValueError) as error:
        files = ", ".join(str(f) for f in (own.ca, own.certificate, own.key) if f is not None)
        raise RegistryError(
            f"certificates cannot be read from {files}: {error}",
            hint="PEM files are expected, and a key that is not encrypted",
        ) from error

"""The wire: one httpx client per run whose requests a cancel can break. The only import of httpx."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final
from urllib.parse import urlsplit

import httpx
from attrs import define, field, frozen

from .._version import __version__
from ..errors import RegistryError, RegistryUnavailableError
from ..runtime import CancelToken, Run
from ..runtime.sockets import Sockets, Watch
from .answers import BrokenOffError, FinalError, safe_url
from .discretion import Discretion
from .proxies import Proxies
from .trust import Certificates, Trust

CHUNK: Final = 1 << 20
"""Bytes handed to httpx at once: larger pieces are copied again and again by httpcore 1.0."""
SMALL: Final = 1 << 16
_CONNECT: Final = 10.0
_TIMEOUT: Final = httpx.Timeout(connect=_CONNECT, read=60, write=60, pool=None)
_REDIRECTS: Final = 5


@frozen(kw_only=True)
class Body:
    """A request body that can be sent again: *open* gives its *size* bytes from the start."""

    open: Callable[[], Iterator[bytes]]
    size: int
    content_type: str = "application/octet-stream"

    @classmethod
    def of(cls, data: bytes, content_type: str) -> Body:
        """A body that is small enough to be held in memory."""
        return cls(open=lambda: iter((data,)), size=len(data), content_type=content_type)


@define(eq=False)
class _Stream(httpx.SyncByteStream):
    """A body as httpx wants it; each iteration re-opens it, so 401, 307 and retries can resend."""

    body: Body
    cancel: CancelToken

    def __iter__(self) -> Iterator[bytes]:
        for piece in self.body.open():
            for start in range(0, len(piece), CHUNK):
                self.cancel.check()
                yield piece if len(piece) <= CHUNK else piece[start : start + CHUNK]


@define(eq=False, kw_only=True)
class Reply:
    """One answer of a registry. Its body is read at most once, then remembered if it was small."""

    method: str
    url: str
    status: int
    _response: httpx.Response = field(repr=False, alias="response")
    _cancel: CancelToken = field(repr=False, alias="cancel")
    _body: bytes | None = field(default=None, init=False, repr=False)

    def header(self, name: str) -> str:
        """The value of one header, empty when it is absent."""
        return str(self._response.headers.get(name, ""))

    @property
    def challenges(self) -> tuple[str, ...]:
        """Every ``WWW-Authenticate`` header."""
        return tuple(self._response.headers.get_list("www-authenticate"))

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes off the wire. Raises `RegistryUnavailableError` if it breaks off."""
        with _faults(self.method, self.url, self._cancel):
            for chunk in self._response.iter_raw():
                self._cancel.check()
                yield chunk

    def read(self, limit: int = SMALL) -> bytes:
        """The body, cut off after *limit* bytes."""
        if self._body is None:
            found = bytearray()
            with _faults(self.method, self.url, self._cancel):
                for chunk in self._response.iter_bytes():
                    self._cancel.check()
                    found += chunk
                    if len(found) >= limit:
                        break
            self._body = bytes(found[:limit])
        return self._body

    def settle(self) -> None:
        """Read what little is left, so that the connection can be used again."""
        length = self.header("content-length")
        small = self.method == "HEAD" or (length.isdigit() and int(length) <= SMALL)
        if small and not self._response.is_stream_consumed:
            with suppress(RegistryUnavailableError):
                self.read()


class Transport:
    """Sends requests for one run. Thread-safe; close it when the run ends.

    A cancelled run shuts every socket down, so that no thread stays blocked in a read.
    """

    def __init__(self, run: Run, trust: Trust) -> None:
        self._run = run
        self._trust = trust
        self._sockets = Sockets(run.cancel)
        self._router = _Router(run, trust)
        self._discretion = Discretion()
        self._discretion.open()
        # Registries' session cookies would tie two accounts on one host together.
        nothing = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        self._client = httpx.Client(
            transport=self._router,
            cookies=nothing,
            timeout=_TIMEOUT,
            trust_env=False,
            headers={"User-Agent": f"buildpush/{__version__}", "Accept-Encoding": "identity"},
        )

    def close(self) -> None:
        """Close every connection."""
        self._sockets.forget()
        self._client.close()
        self._discretion.close()

    @contextmanager
    def send(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
        patience: float | None = None,
        behalf: str = "",
    ) -> Generator[Reply]:
        """Send one request, follow redirects that keep its method, and give the answer.

        *behalf* is the host whose certificates count, the URL's own when it is empty.
        *patience* is how many seconds the answer may take instead of 60. Raises
        `RegistryUnavailableError` when there is no answer, or the run's reason when cancelled.
        """
        self._run.cancel.check()
        with _faults(method, url, self._run.cancel), Watch(self._sockets) as watch:
            request = self._request(method, url, headers or {}, body)
            request.extensions["behalf"] = behalf
            request.extensions["trace"] = watch
            if patience is not None:
                connect = min(patience, _CONNECT)
                times = {**_TIMEOUT.as_dict(), "connect": connect, "read": patience}
                request.extensions["timeout"] = times
            response = self._follow(request)
        reply = Reply(
            method=method,
            url=str(response.request.url),
            status=response.status_code,
            response=response,
            cancel=self._run.cancel,
        )
        try:
            yield reply
            reply.settle()
        finally:
            response.close()

    def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None
    ) -> httpx.Request:
        if body is None:
            return self._client.build_request(method, url, headers=dict(headers))
        framing = {"Content-Length": str(body.size), "Content-Type": body.content_type}
        return self._client.build_request(
            method, url, headers={**headers, **framing}, content=_Stream(body, self._run.cancel)
        )

    def _follow(self, request: httpx.Request) -> httpx.Response:
        """Send *request* and what it is redirected to; credentials stay with their origin."""
        for _ in range(_REDIRECTS):
            with self._discretion:
                response = self._client.send(request, stream=True, follow_redirects=False)
            following = response.next_request
            # A HEAD's redirect goes to storage, which signs its URLs for GET only: that it
            # exists is the answer.
            if following is None or following.method != request.method or request.method == "HEAD":
                return response
            response.close()
            following.extensions = request.extensions
            reason = self._trust.objection(str(following.url), str(request.url))
            if reason:
                raise RegistryError(
                    f"{request.url.host} redirects to {safe_url(str(following.url))}, {reason}",
                    hint="list that host as insecure, if it may be trusted",
                )
            request = following
        raise RegistryError(
            f"{safe_url(str(request.url))} is redirected more than {_REDIRECTS} times"
        )


@frozen(kw_only=True)
class _Key:
    """What requests must have in common to share connections."""

    tls: bool
    trusting: bool
    proxy: str
    certificates: Certificates | None


class _Router(httpx.BaseTransport):
    """Picks, per request, the pool for its scheme, its proxy and its trust."""

    def __init__(self, run: Run, trust: Trust) -> None:
        self._trust = trust
        self._proxies = Proxies.read(run.environment.variables)
        for proxy in self._proxies.by_scheme.values():
            run.redact.learn(proxy.rpartition("@")[0].rpartition("/")[2].partition(":")[2])
        self._variables = run.environment.variables
        self._pools: dict[_Key, httpx.HTTPTransport] = {}
        self._lock = threading.Lock()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = str(request.url)
        tls = request.url.scheme == "https"
        host = request.url.netloc.decode("ascii")
        key = _Key(
            tls=tls,
            trusting=tls and self._trust.trusts(host),
            proxy=self._proxies.choose(url),
            certificates=self._trust.of(request.extensions.get("behalf") or host) if tls else None,
        )
        with self._lock:
            pool = self._pools.get(key)
            if pool is None:
                pool = self._pools[key] = self._open(key)
        return pool.handle_request(request)

    def _open(self, key: _Key) -> httpx.HTTPTransport:
        proxy = key.proxy
        context = _context(
            self._variables, trusting=key.trusting, authorities=key.tls or bool(proxy)
        )
        if key.certificates is not None:
            _add(context, key.certificates)
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=16)
        try:
            return httpx.HTTPTransport(
                verify=context, trust_env=False, limits=limits, proxy=proxy or None
            )
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise RegistryError(
                f"the proxy {safe_url(proxy)} cannot be used",
                hint="only http:// and https:// proxies are spoken to; look at HTTPS_PROXY",
            ) from error

    def close(self) -> None:
        with self._lock:
            pools, self._pools = tuple(self._pools.values()), {}
        for pool in pools:
            pool.close()


def _context(variables: Mapping[str, str], *, trusting: bool, authorities: bool) -> ssl.SSLContext:
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


@contextmanager
def _faults(method: str, url: str, cancel: CancelToken) -> Generator[None]:
    """Turn httpx's errors into ours; a cancelled run raises its reason instead."""
    try:
        yield
    except httpx.InvalidURL as error:
        cancel.check()
        raise RegistryError(f"{safe_url(url)} cannot be asked, it is no URL: {error}") from error
    except httpx.HTTPError as error:
        cancel.check()
        raise _unavailable(method, url, error) from error


def _unavailable(method: str, url: str, error: httpx.HTTPError) -> RegistryUnavailableError:
    parts = urlsplit(url)
    place = parts.netloc
    if not re.search(r":\d+$", place):
        place += ":443" if parts.scheme == "https" else ":80"
    match error:
        case httpx.ConnectError() | httpx.ConnectTimeout() | httpx.ProxyError():
            return _unreachable(place, parts.hostname or "", error)
        case httpx.ReadTimeout() | httpx.WriteTimeout():
            what = "did not answer" if isinstance(error, httpx.ReadTimeout) else "took no data"
            return RegistryUnavailableError(
                f"{place} {what} in time ({method} {safe_url(url)})",
                hint="the registry, or a proxy in front of it, is overloaded or stuck",
            )
        case _:
            return BrokenOffError(
                f"{place} broke the connection off ({method} {safe_url(url)}): {_plain(error)}"
            )


def _unreachable(place: str, host: str, error: httpx.HTTPError) -> RegistryUnavailableError:
    reason = _plain(error)
    message = f"cannot reach {place}: {reason}"
    if re.search(r"WRONG_VERSION_NUMBER|RECORD_LAYER|UNKNOWN_PROTOCOL|HTTP_REQUEST", reason):
        return FinalError(
            f"{place} does not speak TLS: {reason}",
            hint=f"if {host} is a plain HTTP registry, list it as insecure",
        )
    if "CERTIFICATE" in reason.upper():
        return FinalError(
            message,
            hint="add its authority to the system's certificates or name it in SSL_CERT_FILE;"
            " or list the host as insecure",
        )
    if isinstance(error, httpx.ProxyError):
        return RegistryUnavailableError(message, hint="look at HTTPS_PROXY, HTTP_PROXY, NO_PROXY")
    if re.search(r"Errno -\d+", reason):
        # Only EAI_NONAME is DNS's last word: the others say that DNS itself did not answer.
        kind = FinalError if f"Errno {socket.EAI_NONAME}]" in reason else RegistryUnavailableError
        hint = f"{host} is not known to DNS: is it spelled right, and has this machine internet?"
        return kind(message, hint=f"{hint} Without it, set mirrors, or use a registry in reach")
    return RegistryUnavailableError(
        message, hint="is the registry up, and may this machine reach it?"
    )


def _plain(error: Exception) -> str:
    return str(error) or type(error).__name__

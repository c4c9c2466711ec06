"""Requests to one API server: authenticated, tried again where that is safe, ended by a cancel."""

from __future__ import annotations

import random
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final, TypeVar
from urllib.parse import urlencode, urlsplit

import httpcore
import httpx
from attrs import evolve, field, frozen

from ....._version import __version__
from .....errors import BackendUnavailableError, BuildpushError
from .....http.bodies import plain
from .....http.proxies import Proxies
from .....http.trust import is_loopback
from .....runtime import CancelToken, Environment, Redactor
from .....runtime.sockets import Sockets
from .config import Access, User
from .credentials import Credentials, Grant
from .dialling import Dialler, Proxy, ProxyRefusedError, Wire, reason
from .failures import Ask, BrokenOff, Unreachable, refusal, status_of
from .pool import Pool
from .tls import default_context, make_context

__all__ = ["CONNECT", "FAULTS", "Refused", "Transport"]

T = TypeVar("T")

CONNECT: Final = 10.0
_ATTEMPTS: Final = 5
_LONGEST: Final = 30.0
_ENOUGH: Final = 15.0
_WRITE: Final = 60.0
_WARNINGS: Final = 500
_REFUSAL: Final = 1 << 20
_WARNING: Final = re.compile(r'\d{3} \S+ "((?:[^"\\]|\\.)*)"')
FAULTS: Final = (
    OSError,
    httpcore.NetworkError,
    httpcore.TimeoutException,
    httpcore.ProtocolError,
    httpcore.ProxyError,
)
_UNSENT: Final = (httpcore.ConnectError, httpcore.ConnectTimeout)


@frozen(kw_only=True)
class Refused:
    """An answer that is a refusal; *pause* is how many seconds to wait, 0 when unsaid."""

    code: int
    body: bytes = field(repr=False)
    pause: float = 0.0


@frozen(kw_only=True)
class _Door:
    """The connections that show one client certificate."""

    cert: bytes
    key: bytes
    tls: ssl.SSLContext
    client: httpx.Client


class Transport:
    """Sends requests to the server of *access*. Thread-safe; close it at the end.

    When *cancel* flips, every connection is shut.
    """

    def __init__(
        self,
        access: Access,
        *,
        environment: Environment,
        cancel: CancelToken | None,
        redact: Redactor,
        on_warning: Callable[[str], None],
    ) -> None:
        self.access = access = _guarded(access)
        self.redact = redact
        self.cancel = CancelToken()
        self.closed = False
        self._environment = environment
        self._on_warning = on_warning
        self._warned: set[str] = set()
        self._lock = threading.Lock()
        self._doors: list[_Door] = []
        self._undo = cancel.on_cancel(partial(_pass_on, cancel, self.cancel)) if cancel else None
        self._credentials = Credentials(
            access.user, environment=environment, cancel=self.cancel, redact=redact
        )
        self.dialler = Dialler(
            sockets=Sockets(self.cancel), cancel=self.cancel, proxy=self._proxy()
        )

    def close(self) -> None:
        """Close every connection; what is under way ends."""
        self.closed = True
        if self._undo is not None:
            self._undo()
        self.cancel.cancel(BrokenOff("the cluster's client was closed meanwhile"))
        with self._lock:
            doors, self._doors = self._doors, []
        for door in doors:
            door.client.close()

    def send(self, ask: Ask, *, patience: float | None, lasting: bool = False) -> httpx.Response:
        """Send *ask*; the answer, its body unread, which the caller closes.

        *patience* is how many seconds the server may be silent. The connection of a *lasting*
        answer is used for nothing else. Raises what `failures.refusal` tells.
        """
        return self.attempt(
            ask, lambda grant: self._once(ask, grant, patience=patience, lasting=lasting)
        )

    def attempt(self, ask: Ask, once: Callable[[Grant], T | Refused]) -> T:
        """Call *once* with the credential of the moment until it is not refused, or for good.

        Raises what `failures.refusal` tells, and `failures.Unreachable` or `failures.BrokenOff`
        for what *once* raises as a fault of the network.
        """
        renewed = False
        begun = time.monotonic()
        for attempt in range(1, _ATTEMPTS + 1):
            self.cancel.check()
            grant = self._credentials.current()
            pause = 0.1 * 2**attempt * random.uniform(0.5, 1)  # noqa: S311
            try:
                answer = once(grant)
            except FAULTS as error:
                self.cancel.check()
                if _enough(attempt, begun) or not _passing(ask, error):
                    raise self.fault(ask, error) from error
            else:
                if not isinstance(answer, Refused):
                    return answer
                if answer.code == 401 and not renewed and self._credentials.refused(grant):
                    renewed = True
                    continue
                busy = answer.code == 429 or (answer.code >= 500 and ask.repeatable)
                if _enough(attempt, begun) or not busy:
                    raise self._refusal(ask, answer)
                pause = answer.pause or pause
            self.cancel.sleep(pause)
        raise AssertionError("the last attempt raises")

    def url(self, ask: Ask) -> str:
        """Where *ask* goes."""
        query = urlencode(ask.params)
        return f"{self.access.server}{ask.path}{f'?{query}' if query else ''}"

    def read(self, ask: Ask, response: httpx.Response, limit: int) -> bytes:
        """The body of *response*, at most *limit* bytes of it."""
        found = bytearray()
        with self.faults(ask):
            for chunk in response.iter_raw():
                self.cancel.check()
                found += chunk
                if len(found) >= limit:
                    break
            self.cancel.check()
        return bytes(found[:limit])

    @contextmanager
    def faults(self, ask: Ask) -> Generator[None]:
        """Turn faults of the network into our errors; a cancelled call raises the reason."""
        try:
            yield
        except FAULTS as error:
            self.cancel.check()
            raise self.fault(ask, error) from error

    def fault(self, ask: Ask, error: Exception) -> BuildpushError:
        """What *error* means, where connecting and breaking off are different troubles."""
        if isinstance(error, BuildpushError):
            return error
        said, place = reason(_origin(error)), f"{self.access.server} ({self.access.source})"
        if isinstance(error, _UNSENT):
            return _unreachable(f"the cluster at {place} cannot be reached: {said}", error, said)
        if isinstance(error, httpcore.TimeoutException):
            return Unreachable(
                f"the cluster at {place} did not answer in time ({ask.what})",
                hint="its API server, or a proxy in front of it, is overloaded or stuck",
            )
        return BrokenOff(f"the cluster at {place} broke off ({ask.what}): {said}")

    def _refusal(self, ask: Ask, answer: Refused) -> BuildpushError:
        return refusal(
            ask,
            answer.code,
            answer.body,
            server=self.access.server,
            source=self.access.source,
            redact=lambda text: plain(self.redact(text)),
        )

    def _once(
        self, ask: Ask, grant: Grant, *, patience: float | None, lasting: bool
    ) -> httpx.Response | Refused:
        client = self._door(grant).client
        headers: list[tuple[str, str]] = [*grant.headers]
        if ask.body is not None:
            headers.append(("Content-Type", ask.content_type))
        if lasting:
            headers.append(("Connection", "close"))
        request = client.build_request(
            ask.method,
            self.url(ask),
            headers=headers,
            content=ask.body,
            timeout=httpx.Timeout(CONNECT, read=patience, write=_WRITE, pool=None),
        )
        response = client.send(request, stream=True)
        self._warn(response)
        if 200 <= response.status_code < 300:
            return response
        try:
            body = self.read(ask, response, _REFUSAL)
        finally:
            response.close()
        return Refused(code=response.status_code, body=body, pause=_pause(response, body))

    def dial(self, grant: Grant) -> Wire:
        """A connection to the server, below HTTP."""
        parts = urlsplit(self.access.server)
        host, secure = parts.hostname or "", parts.scheme == "https"
        wire = self.dialler.open(host, parts.port or (443 if secure else 80), CONNECT)
        try:
            if secure:
                wire.secure(self._door(grant).tls, host, CONNECT)
        except BaseException:
            wire.close()
            raise
        return wire

    def _door(self, grant: Grant) -> _Door:
        with self._lock:
            if self.closed:
                self.cancel.check()
            for door in self._doors:
                if door.cert == grant.cert and door.key == grant.key:
                    return door
            tls = make_context(self.access, grant, self._environment)
            client = httpx.Client(
                transport=Pool(tls, self.dialler),
                cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
                trust_env=False,
                headers={
                    "User-Agent": f"buildpush/{__version__}",
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                },
            )
            door = _Door(cert=grant.cert, key=grant.key, tls=tls, client=client)
            self._doors.append(door)
            return door

    def _proxy(self) -> Proxy | None:
        url = self.access.proxy or Proxies.read(self._environment.variables).choose(
            self.access.server
        )
        if not url:
            return None
        try:
            proxy = Proxy.parse(url, lambda: default_context(self._environment))
        except ValueError as error:
            raise BackendUnavailableError(
                f"the proxy of {self.access.source} cannot be used: {error}",
                hint="look at proxy-url in the kubeconfig, and at HTTPS_PROXY and NO_PROXY",
            ) from error
        if proxy.authorization:
            self.redact.learn(proxy.authorization.removeprefix("Basic "))
            self.redact.learn(url.rpartition("@")[0].rpartition("/")[2].partition(":")[2])
        return proxy

    def _warn(self, response: httpx.Response) -> None:
        for header in response.headers.get_list("warning"):
            for found in _WARNING.findall(header):
                text = self.redact(re.sub(r"\\(.)", r"\1", found))
                with self._lock:
                    news = text not in self._warned and len(self._warned) < _WARNINGS
                    self._warned.add(text)
                if news:
                    self._on_warning(text)


def _guarded(access: Access) -> Access:
    """*access* without its credential where everybody on the way could read it, as kubectl does."""
    parts = urlsplit(access.server)
    if parts.scheme == "https" or is_loopback(parts.netloc) or access.user == User():
        return access
    source = f"{access.source} (which is not sent over plain http)"
    return evolve(access, user=User(), source=source)


def _enough(attempt: int, begun: float) -> bool:
    """Whether trying again is no longer ours: what takes long to fail, fails for long."""
    return attempt >= _ATTEMPTS or time.monotonic() - begun > _ENOUGH


def _pass_on(outer: CancelToken, inner: CancelToken) -> None:
    try:
        outer.check()
    except BuildpushError as error:
        inner.cancel(error)


def _passing(ask: Ask, error: Exception) -> bool:
    """Whether to try again: what cannot have been sent, or may be sent twice, and may pass."""
    if isinstance(error, BuildpushError) or isinstance(_root(error), ssl.SSLError):
        return False
    cause = _root(error)
    if isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_NONAME:
        return False
    return isinstance(error, _UNSENT) or ask.repeatable


def _origin(error: BaseException) -> BaseException:
    """What the system raised: httpcore's pool takes the cause of its own errors away."""
    if isinstance(error, (httpcore.NetworkError, httpcore.TimeoutException)):
        error = error.__cause__ or error.__context__ or error
    return error


def _root(error: BaseException) -> BaseException:
    error = _origin(error)
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _unreachable(message: str, error: Exception, said: str) -> BackendUnavailableError:
    if isinstance(_origin(error), ProxyRefusedError):
        return Unreachable(message, hint="look at proxy-url, HTTPS_PROXY and NO_PROXY")
    if "CERTIFICATE" in said.upper():
        return BackendUnavailableError(
            message, hint="look at certificate-authority and tls-server-name in the kubeconfig"
        )
    if re.search(r"WRONG_VERSION_NUMBER|RECORD_LAYER|HTTP_REQUEST", said):
        return BackendUnavailableError(message, hint="it does not speak TLS: look at server")
    return Unreachable(message, hint="is it up, and may this machine reach it? A VPN, perhaps?")


def _pause(response: httpx.Response, body: bytes) -> float:
    """What Retry-After asks for, or the Status, within bounds."""
    header = response.headers.get("retry-after", "").strip()
    plain = header.isascii() and header.isdigit()
    seconds = float(header) if plain else status_of(body).details.seconds
    return min(seconds, _LONGEST) if seconds > 0 else 0.0  # nor is NaN

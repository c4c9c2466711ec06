"""The wire: one httpx client per run whose requests a cancel can break. httpx is only here and in `pools`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Final

import httpx
from attrs import define, field, frozen

from .._version import __version__
from ..errors import RegistryError, RegistryUnavailableError
from ..runtime import CancelToken, HiddenBytes, Run
from ..runtime.retry import RetryPolicy
from ..runtime.sockets import Sockets, Watch
from .answers import Address, number_of, retry_after, safe_url
from .bodies import unpacking
from .breaking import breaking
from .ceiling import Ceilings
from .discretion import Discretion
from .pools import READ, Pools
from .reach import Guard, Peers, Reach, reach_of
from .trust import Trust, same_origin

CHUNK: Final = 1 << 20
"""Bytes handed to httpx at once, so that a cancel is noticed between them."""
SMALL: Final = 1 << 16
_LARGE: Final = 4 << 20
_CONNECT: Final = 10.0
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


class _Pieces(bytearray):
    """A body on its way in."""

    def __repr__(self) -> str:
        return f"{len(self)} bytes"


class _Request(httpx.Request):
    """A request whose repr hides what a signed URL grants."""

    def __repr__(self) -> str:
        return f"<Request({self.method!r}, {Address(self.url)!r})>"


def _quiet(request: httpx.Request) -> httpx.Request:
    """*request* itself: httpx makes those that redirects ask for, of its own class."""
    request.__class__ = _Request
    return request


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
        with breaking(self.method, self.url, self._cancel):
            pieces = self._response.iter_raw()
            for chunk in pieces:
                self._cancel.check()
                yield chunk
                done = self._response.num_bytes_downloaded
                # Chunks count whatever else is said (RFC 9112, 6.3); only the parser knows them.
                framed = bool(self.header("transfer-encoding"))
                left = 0 if framed else (number_of(self.header("content-length")) or 0) - done
                if left > _LARGE:
                    yield from self._rest(left)
                    return

    def _rest(self, left: int) -> Iterator[bytes]:
        """The *left* bytes that are still in the socket, when httpx has handed out what it had.

        Reading around its parser halves the time on the processor; the connection is spent.
        """
        stream = self._response.extensions["network_stream"]
        seconds = self._response.request.extensions["timeout"]["read"]
        while left > 0:
            chunk: bytes = stream.read(READ, seconds)[:left]
            self._cancel.check()
            if not chunk:
                return
            left -= len(chunk)
            yield chunk

    def read(self, limit: int = SMALL) -> bytes:
        """The body, cut off after *limit* bytes. No repr shows it: some repeat what was sent."""
        if self._body is None:
            found = _Pieces()
            unpack = unpacking(self.header("content-encoding"))
            with breaking(self.method, self.url, self._cancel):
                for chunk in map(HiddenBytes, self._response.iter_raw()):
                    self._cancel.check()
                    found += unpack(chunk, limit - len(found))
                    if len(found) >= limit:
                        break
            self._body = HiddenBytes(found[:limit])
        return self._body

    def settle(self) -> None:
        """Read what little is left, so that the connection can be used again."""
        length = number_of(self.header("content-length"))
        small = self.method == "HEAD" or (length is not None and length <= SMALL)
        if small and not self._response.is_stream_consumed:
            with suppress(RegistryUnavailableError):
                self.read()


class Transport:
    """Sends requests for one run. Thread-safe; close it when the run ends.

    A cancelled run shuts every socket down, so that no thread stays blocked in a read.
    *connections* is how many requests each host gets at once, from this process. A host that
    asks for a pause is not asked by anybody before its end.
    """

    def __init__(
        self,
        run: Run,
        trust: Trust,
        *,
        connections: int | None = None,
        policy: RetryPolicy | None = None,
    ) -> None:
        self._run = run
        self._trust = trust
        self._policy = policy or RetryPolicy()
        self._ceilings = Ceilings(run, connections)
        self._sockets = Sockets(run.cancel)
        self._discretion = Discretion()
        self._discretion.open()
        # Registries' session cookies would tie two accounts on one host together.
        nothing = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
        self._peers = Peers()
        self._pools = Pools(run, trust, self._ceilings)
        self._client = httpx.Client(
            transport=self._pools,
            cookies=nothing,
            timeout=self._times(self._policy.answer),
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
        sender: str = "",
        strict: bool = False,
    ) -> Generator[Reply]:
        """Send one request, follow redirects that keep its method, and give the answer.

        *behalf* is the host whose certificates count, the URL's own when it is empty. *sender*
        is the ``host:port`` that named the URL, if one did: it cannot name one that is nearer to
        us than itself, except, unless *strict*, in a private network by a name that TLS proves. A
        *strict* request's body, which holds a credential, is redirected to no other server.
        *patience* is how many seconds the answer may take instead of the policy's. Raises
        `RegistryUnavailableError` when there is no answer, or the run's reason when cancelled.
        """
        url = Address(url)
        self._run.cancel.check()
        with Watch(self._sockets) as watch:
            with breaking(method, url, self._run.cancel):
                request = self._request(method, url, headers or {}, body)
            request.extensions["behalf"] = behalf
            if patience is not None:
                request.extensions["timeout"] = self._times(patience).as_dict()
            response = self._follow(request, sender, watch, strict=strict)
        reply = Reply(
            method=method,
            url=Address(response.request.url),
            status=response.status_code,
            response=response,
            cancel=self._run.cancel,
        )
        try:
            self._heed(reply, response.request.url.netloc.decode("ascii"))
            yield reply
            reply.settle()
        finally:
            response.close()

    def _times(self, answer: float) -> httpx.Timeout:
        write = min(60.0, self._policy.commit)
        return httpx.Timeout(connect=min(answer, _CONNECT), read=answer, write=write, pool=None)

    def _heed(self, reply: Reply, host: str) -> None:
        """Make everybody wait who asks a host that wants fewer requests."""
        seconds = retry_after(reply) if reply.status == 429 else None
        if seconds is not None and seconds <= self._policy.longest_pause:
            self._ceilings.of(host).pause(self._run, seconds)

    def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None
    ) -> httpx.Request:
        if body is None:
            return _quiet(self._client.build_request(method, url, headers=dict(headers)))
        framing = {"Content-Length": str(body.size), "Content-Type": body.content_type}
        return _quiet(
            self._client.build_request(
                method,
                url,
                headers={**headers, **framing},
                content=_Stream(body, self._run.cancel),
            )
        )

    def _guard(
        self, request: httpx.Request, sender: str, watch: Watch, *, strict: bool
    ) -> Guard | Watch:
        """What looks at the connections made for *request*, which *sender* named."""
        url = Address(request.url)
        if self._pools.proxy_of(url):
            return watch  # the proxy has connected, and knows whom it may connect to
        least = Reach.MACHINE
        if sender:
            least = self._trust.nearest(url, self._peers.of(sender))
            if not strict and reach_of(request.url.host) is None:
                least = min(least, Reach.PRIVATE)
        guard = Guard(
            inner=watch,
            peers=self._peers,
            netloc=request.url.netloc.decode("ascii"),
            least=least,
        )
        guard.check(self._peers.of(guard.netloc))
        return guard

    def _follow(
        self, request: httpx.Request, sender: str, watch: Watch, *, strict: bool
    ) -> httpx.Response:
        """Send *request* and what it is redirected to; credentials stay with their origin."""
        for _ in range(_REDIRECTS):
            here = Address(request.url)
            proxy = self._pools.proxy_of(here)
            with breaking(request.method, here, self._run.cancel, proxy):
                request.extensions["trace"] = self._guard(request, sender, watch, strict=strict)
                with self._discretion:
                    response = self._client.send(request, stream=True, follow_redirects=False)
            following = response.next_request
            # A HEAD's redirect goes to storage, which signs its URLs for GET only: that it
            # exists is the answer.
            if following is None or following.method != request.method or request.method == "HEAD":
                return response
            response.close()
            _quiet(following).extensions = {**request.extensions}
            there = Address(following.url)
            reason = self._trust.objection(there, here)
            if strict and request.method == "POST" and not same_origin(there, here):
                reason = "which would carry a credential to another server"
            if reason:
                raise RegistryError(
                    f"{request.url.host} redirects to {safe_url(there)}, {reason}",
                    hint="list that host as insecure, if it may be trusted",
                )
            sender = request.url.netloc.decode("ascii")
            request = following
        raise RegistryError(
            f"{safe_url(str(request.url))} is redirected more than {_REDIRECTS} times"
        )

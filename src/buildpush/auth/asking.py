"""How a provider of credentials asks a cloud's servers: one bounded request that needs no run.

Nothing of a request or an answer is quoted in an error or a log: either may be a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode, urlsplit

from attrs import evolve, field, frozen

from ..errors import (
    AuthError,
    HttpEvidence,
    RateLimitedError,
    RegistryError,
    RegistryUnavailableError,
    StepTimeoutError,
)
from ..events import Event
from ..http.answers import FinalError, retry_after, safe_url
from ..http.trust import Trust, hostname, is_loopback, is_near, same_origin
from ..runtime import CancelToken, Deadline, Environment, Run
from ..runtime.retry import RetryPolicy, retrying

if TYPE_CHECKING:
    from ..http.transport import Body, Transport

__all__ = ["FORM", "JSON", "PATIENCE", "PROBE", "Answered", "ask", "form", "now"]

FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"
_LIMIT: Final = 1 << 20
_SECONDS: Final = 10.0
_TOTAL: Final = 30.0
PATIENCE: Final = RetryPolicy(
    attempts=3, first_wait=0.2, longest_wait=2.0, limited_wait=1.0, longest_pause=10.0
)
"""How servers are asked that surely are there."""
PROBE: Final = evolve(PATIENCE, attempts=2)
"""How servers are asked that may not be there."""


@frozen(kw_only=True)
class Answered:
    """One answer, whatever its status below 500. Its repr shows neither body nor headers."""

    method: str
    url: str = field(repr=safe_url)
    status: int
    data: bytes = field(repr=False)
    header: Callable[[str], str] = field(repr=False, eq=False)
    """The value of one header by its name in any case, empty when it is absent."""

    @property
    def evidence(self) -> HttpEvidence:
        """What may be shown of the exchange: nothing of its body, nor of a query's values."""
        return HttpEvidence(method=self.method, url=safe_url(self.url), status=self.status)


@frozen
class _Straight(Trust):
    """Goes nowhere else than it was sent: a redirect would carry keys to another server."""

    def objection(self, url: str, sender: str) -> str:
        return "" if same_origin(url, sender) else "which is another server"


def ask(
    method: str,
    url: str,
    *,
    about: str,
    environment: Environment,
    headers: Mapping[str, str] | None = None,
    body: bytes = b"",
    content_type: str = "",
    near: bool = False,
    seconds: float = _SECONDS,
    policy: RetryPolicy = PATIENCE,
    cancel: CancelToken | None = None,
) -> Answered:
    """Ask *url*, and give the answer when its status is below 500 and not 429.

    *about* says what is being tried, for messages: ``asking sts.googleapis.com for a token``.
    *near* is for servers that the provider itself names and that are this machine's or its
    cloud's own, as metadata servers are: no proxy is asked, and plain HTTP will do. A *body* goes
    with its *content_type*. *seconds* bounds one attempt; all of them have 30. Proxies and
    authorities are read from *environment*. Redirects to other servers are refused.

    Raises `AuthError` for an address that must not be asked, `RegistryUnavailableError` when there
    is no usable answer (`RateLimitedError` for a 429), *cancel*'s reason when that is cancelled.
    """
    _require_safe(url, about, near=near)
    content = (body, content_type) if content_type else None
    limit = CancelToken()
    undo = cancel.on_cancel(limit.cancel) if cancel is not None else _nothing
    run = Run(
        workdir=environment.temporary,
        cancel=limit,
        sink=_nowhere,
        environment=_direct(environment, url) if near else environment,
    )
    question = _Question(
        method=method,
        url=url,
        about=about,
        headers=headers or {},
        content=content,
        seconds=seconds,
    )
    try:
        with Deadline(limit, _TOTAL):
            return question.put(run, policy)
    except StepTimeoutError as error:
        raise RegistryUnavailableError(
            f"{about}: no answer within {_TOTAL:g} s", hint=_hint(url)
        ) from error
    finally:
        undo()
        if cancel is not None:
            cancel.check()


def form(fields: Mapping[str, str]) -> bytes:
    """*fields* as the body of a form, without those that are empty."""
    return urlencode({name: value for name, value in fields.items() if value}).encode()


def now() -> float:
    """Seconds since 1970, which expiries are told in."""
    return datetime.now(UTC).timestamp()


@frozen(kw_only=True)
class _Question:
    """One request and how to say what became of it."""

    method: str
    url: str
    about: str
    headers: Mapping[str, str] = field(repr=False)
    content: tuple[bytes, str] | None = field(repr=False)
    seconds: float

    def put(self, run: Run, policy: RetryPolicy) -> Answered:
        """Send it, again where that may help."""
        from ..http.transport import Body, Transport

        body = Body.of(*self.content) if self.content is not None else None
        transport = Transport(run, _Straight())
        try:
            return retrying(
                self.about, lambda: self._once(transport, body), run=run, policy=policy
            )
        finally:
            transport.close()

    def _once(self, transport: Transport, body: Body | None) -> Answered:
        try:
            with transport.send(
                self.method, self.url, headers=self.headers, body=body, patience=self.seconds
            ) as reply:
                answered = Answered(
                    method=reply.method,
                    url=reply.url,
                    status=reply.status,
                    data=reply.read(_LIMIT),
                    header=reply.header,
                )
                pause = retry_after(reply)
        except FinalError as error:
            raise FinalError(f"{self.about}: {error.message}", hint=_hint(self.url)) from error
        except RateLimitedError as error:
            raise _limited(f"{self.about}: {error.message}", error.retry_after) from error
        except RegistryUnavailableError as error:
            raise RegistryUnavailableError(
                f"{self.about}: {error.message}", hint=_hint(self.url)
            ) from error
        except RegistryError as error:
            raise AuthError(f"{self.about}: {error.message}") from error
        self._refuse(answered, pause)
        return answered

    def _refuse(self, answered: Answered, pause: float | None) -> None:
        """Raise for an answer that is none: the server is busy, broken, or talks without end."""
        proof = (answered.evidence,)
        if len(answered.data) >= _LIMIT:
            raise AuthError(f"{self.about}: the answer is longer than 1 MiB", evidence=proof)
        if answered.status == 429:
            wait = f", and asks for a pause of {pause:.0f} s" if pause is not None else ""
            said = f"{self.about}: it limits how often it is asked{wait}"
            raise _limited(said, pause, answered.evidence)
        if answered.status >= 500:
            raise RegistryUnavailableError(
                f"{self.about}: it answered HTTP {answered.status}", evidence=proof
            )


def _limited(message: str, pause: float | None, *evidence: HttpEvidence) -> RateLimitedError:
    error = RateLimitedError(message, evidence=evidence)
    error.retry_after = pause
    return error


def _require_safe(url: str, about: str, *, near: bool) -> None:
    """Refuse what would carry keys unencrypted, and addresses nobody can be asked at."""
    try:
        parts = urlsplit(url)
        netloc, _ = parts.netloc, parts.port
    except ValueError:
        parts, netloc = urlsplit(""), ""
    if not hostname(netloc) or parts.scheme not in ("http", "https"):
        raise AuthError(f"{about}: {safe_url(url)} is not an address that can be asked")
    if parts.scheme == "http" and not near and not is_loopback(netloc):
        raise AuthError(
            f"{about}: {safe_url(url)} is not encrypted", hint="credentials go to https:// only"
        )


def _direct(environment: Environment, url: str) -> Environment:
    """*environment*, in which the server of *url* is asked without a proxy."""
    known = environment.variables
    exempt = known.get("no_proxy") or known.get("NO_PROXY") or ""
    listed = ",".join(part for part in (exempt, hostname(urlsplit(url).netloc)) if part)
    return evolve(environment, variables={**known, "no_proxy": listed})


def _hint(url: str) -> str:
    host = hostname(urlsplit(url).netloc)
    if is_near(host):
        return f"does this machine have such a server? {host} is known to some clouds only"
    return f"may this machine reach {host}? Look at HTTPS_PROXY, NO_PROXY and SSL_CERT_FILE"


def _nothing() -> None:
    """What is undone where nothing was done."""


def _nowhere(_: Event) -> None:
    """A provider's questions have no display."""

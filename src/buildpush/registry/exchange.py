"""One request to one registry: its address, its credential, its 401 answered, its errors named."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final, TypeVar
from urllib.parse import urlsplit

from attrs import define, evolve, field, frozen

from ..auth import Keychain
from ..errors import (
    AuthError,
    BuildpushError,
    HttpEvidence,
    NotFoundError,
    RegistryUnavailableError,
)
from ..http.answers import Address, BrokenOffError
from ..http.bodies import parse_errors
from ..http.trust import Trust, same_origin
from ..oci import Repository
from ..runtime import Run
from ..runtime.retry import RetryPolicy, retrying
from .endpoints import Endpoints
from .failures import ACCOUNTED, Asked, failure
from .meanings import says_expired
from .token import Authorizer, Want

if TYPE_CHECKING:
    from ..http.transport import Body, Reply, Transport

T = TypeVar("T")

# Anonymously, with a token that turns out to be stale, with a fresh one, with a password.
_SENDS: Final = 4
_DOUBTS: Final = 2
_WRITES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def _no_headers() -> Mapping[str, str]:
    return {}


@frozen(kw_only=True)
class Call:
    """A request: *where* is a path below ``/v2/<repository>/``, or a whole URL given by a server.

    *about* says what is being tried, for messages: ``reading the manifest of …``. A body that
    does not *rewind* is not sent again by itself: when that is all it takes, `send` raises
    `ProofRenewedError`.
    """

    method: str
    where: str = field(converter=Address)
    want: Want
    about: str
    headers: Mapping[str, str] = field(factory=_no_headers)
    body: Body | None = None
    patience: float | None = None
    rewinds: bool = True


class ProofRenewedError(RegistryUnavailableError):
    """The credential was refused in the middle of something; there is a new one now."""


class _Attempt(threading.local):
    """Which try of the same thing this thread is at."""

    number = 1


@define(eq=False, kw_only=True)
class Exchange:
    """Everything one client's requests share. Thread-safe."""

    run: Run
    trust: Trust
    transport: Transport
    authorizer: Authorizer
    endpoints: Endpoints
    policy: RetryPolicy
    anonymous_fallback: bool = True
    _anonymous: set[Repository] = field(factory=set[Repository], init=False)
    _warned: set[tuple[str, str]] = field(factory=set[tuple[str, str]], init=False)
    _written: set[str] = field(factory=set[str], init=False)
    _doubts: dict[str, int] = field(factory=dict[str, int], init=False)
    _attempt: _Attempt = field(factory=_Attempt, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    @classmethod
    def open(
        cls,
        keychain: Keychain,
        run: Run,
        trust: Trust,
        policy: RetryPolicy,
        *,
        anonymous_fallback: bool = True,
        connections: int | None = None,
    ) -> Exchange:
        """Make the client of one run. This is what imports httpx."""
        from ..http.transport import Transport

        transport = Transport(run, trust, connections=connections, policy=policy)
        return cls(
            run=run,
            trust=trust,
            transport=transport,
            authorizer=Authorizer(keychain=keychain, run=run, trust=trust, transport=transport),
            endpoints=Endpoints(trust),
            policy=policy,
            anonymous_fallback=anonymous_fallback,
        )

    @contextmanager
    def send(self, call: Call) -> Generator[Reply]:
        """Send *call*, answering a 401 with a fresh credential; the reply, whatever its status.

        What is pulled with a credential that is refused is asked for once more without one.
        Raises `AuthError` when there is no proof to be had, `RegistryUnavailableError` when
        there is no answer.
        """
        with ExitStack() as open_:
            yield self._answer(call, open_)

    def _answer(self, call: Call, open_: ExitStack) -> Reply:
        """The reply to *call*, which stays open until *open_* is closed."""
        if call.want.access == "pull" and call.want.repository in self._anonymous:
            call = evolve(call, want=evolve(call.want, anonymous=True))
        refused: BuildpushError
        try:
            reply = self._proven(call, open_)
        except AuthError as error:
            # Only what a server refused: a keychain that cannot tell never means anonymous.
            answered = any(isinstance(proof, HttpEvidence) for proof in error.evidence)
            if not answered or not self._goes_on_anonymously(call):
                raise
            refused = error
        else:
            if reply.status not in (401, 403) or not self._goes_on_anonymously(call):
                self._note(call, reply)
                return reply
            refused = self.failure(call, reply)
            open_.close()
        return self._without_credential(call, open_, refused)

    def _goes_on_anonymously(self, call: Call) -> bool:
        """Whether a refused *call* may do without its credential: a pull, and it had one."""
        if call.want.access != "pull" or not self.anonymous_fallback or not self._is_ours(call):
            return False
        return self.authorizer.known(call.want) is not None

    def _without_credential(self, call: Call, open_: ExitStack, refused: BuildpushError) -> Reply:
        """Ask again as nobody; raises *refused* when nobody may do this either."""
        repository, credential = call.want.repository, self.authorizer.known(call.want)
        source = credential.source if credential is not None else ""
        with self._lock:
            again = (repository.host, source) in self._warned
            self._warned.add((repository.host, source))
        if not again:
            self.run.warn(
                f"{repository.host} refused the credential from {source} for a pull of"
                f" {repository}; it is asked again without one"
            )
        try:
            reply = self._proven(
                evolve(call, want=evolve(call.want, anonymous=True)), open_, refused=1
            )
        except AuthError:
            raise refused from None
        if reply.status in (401, 403):
            raise refused
        with self._lock:
            self._anonymous.add(repository)
        return reply

    def _proven(self, call: Call, open_: ExitStack, *, refused: int = 0) -> Reply:
        """The reply to *call*, with a 401 answered as long as there is something to offer.

        *refused* counts the proofs that were refused in a row.
        """
        ours = self._is_ours(call)
        proof = self.authorizer.header(call.want) if ours else ""
        if ours and not proof and call.method in _WRITES:
            # It may want no login; but nothing is pushed anonymously by mistake.
            self.authorizer.credential(call.want)
        for left in reversed(range(_SENDS)):
            with ExitStack() as attempt:
                reply = attempt.enter_context(self._once(call, proof))
                if reply.status in (401, 403):
                    # Its connection is free while a token is asked for, perhaps there, too.
                    reply.read()
                    attempt.close()
                again = self._again(call, reply, proof, refused) if ours and left else ""
                if not again:
                    open_.push(attempt.pop_all())
                    return reply
            if not call.rewinds:
                raise ProofRenewedError(f"{call.about}: the token was refused on the way")
            refused += bool(proof)
            proof = again
        raise AssertionError("the last attempt returns")

    def _again(self, call: Call, reply: Reply, proof: str, refused: int) -> str:
        """What to send *call* with instead of *proof*, which got *reply*; empty for nothing."""
        base = self.endpoints.base(call.want.repository.host)
        if not same_origin(reply.url, base):
            return ""  # who it redirected to has no business with our credentials
        if reply.status == 401:
            reply.read()
            return self.authorizer.answer(call.want, reply, proof, refused + bool(proof))
        if reply.status == 403 and proof and not refused and call.method != "HEAD":
            _, detail = parse_errors(reply.read())
            if says_expired(detail):
                return self.authorizer.renewed(call.want, proof)
        return ""

    def _note(self, call: Call, reply: Reply) -> None:
        """Remember that the registry took something from us."""
        if call.method in _WRITES and call.want.access == "push" and reply.status < 300:
            with self._lock:
                self._written.add(call.want.repository.host)
                self._doubts.pop(call.about, None)

    @contextmanager
    def _once(self, call: Call, proof: str) -> Generator[Reply]:
        host, url = call.want.repository.host, self.url(call)
        headers = {**call.headers, **({"Authorization": proof} if proof else {})}
        if self.endpoints.settled(host):
            with self._wire(call, url, headers) as reply:
                yield reply
            return
        # Plain HTTP is allowed here, and nothing is known yet: nothing secret is sent either.
        broken: BrokenOffError | None = None
        try:
            with self._wire(call, url, call.headers) as reply:
                if not _wants_tls(reply):
                    self.endpoints.settle(host, "http")
                    yield reply
                    return
        except BrokenOffError as error:
            if self.endpoints.settled(host):
                raise
            broken = error
        try:
            secure = Address(f"https{url.removeprefix('http')}")
            with self._wire(call, secure, call.headers) as reply:
                self.endpoints.settle(host, "https")
                yield reply
                return
        except RegistryUnavailableError as error:
            if self.endpoints.settled(host) or "CERTIFICATE" in error.message:
                raise
        if broken is not None:
            raise broken
        self.endpoints.settle(host, "http")  # its 400 meant something else
        with self._wire(call, url, call.headers) as reply:
            yield reply

    @contextmanager
    def _wire(self, call: Call, url: str, headers: Mapping[str, str]) -> Generator[Reply]:
        base = self.endpoints.base(call.want.repository.host)
        sender = "" if "://" not in call.where else urlsplit(base).netloc
        with self.transport.send(
            call.method,
            url,
            headers=headers,
            body=call.body,
            patience=call.patience,
            behalf=call.want.repository.host,
            sender=sender,
        ) as reply:
            yield reply

    def url(self, call: Call) -> str:
        """The whole URL of *call*."""
        if "://" in call.where:
            return call.where
        repository = call.want.repository
        base = self.endpoints.base(repository.host)
        return Address(f"{base}/v2/{repository.path}/{call.where}")

    def _is_ours(self, call: Call) -> bool:
        """Whether the registry itself is asked: credentials go nowhere else."""
        return same_origin(self.url(call), self.endpoints.base(call.want.repository.host))

    def failure(self, call: Call, reply: Reply) -> BuildpushError:
        """The error for a reply to *call* that nobody wanted."""
        want, account = call.want, None
        credential = self.authorizer.known(want)
        if reply.status == 401 and credential is None:
            # Nobody may have asked yet, of a registry whose challenge cannot be answered.
            credential = self.authorizer.credential(want)
        if reply.status in ACCOUNTED:
            account = self.authorizer.account(want)
        asked = Asked(
            about=call.about,
            repository=want.repository,
            access=want.access,
            credential=credential,
            redact=self.run.redact,
            account=account,
            attempt=self._attempt.number,
            doubtful=reply.status == 403 and self._doubts_it(call),
        )
        return failure(reply, asked)

    def _doubts_it(self, call: Call) -> bool:
        """Whether a 403 may be a slip: the token grants it, if it says, and writing went well.

        That is believed twice; each time a new token is asked for.
        """
        want = call.want
        granted = self.authorizer.granted(want)
        if want.access != "push" or not (granted is None or granted.allows(want.scopes[0])):
            return False
        with self._lock:
            doubts = self._doubts.get(call.about, 0)
            if want.repository.host not in self._written or doubts >= _DOUBTS:
                return False
            self._doubts[call.about] = doubts + 1
        self.authorizer.forget(want)
        return True

    def passed_over(self, mirror: Repository, error: BuildpushError) -> None:
        """Say that *mirror* could not be used; that it lacks something is no news."""
        if not isinstance(error, NotFoundError):
            self.run.warn(f"mirror {mirror} is passed over: {error}")

    def retry(self, what: str, attempt: Callable[[], T], policy: RetryPolicy | None = None) -> T:
        """Try *attempt* again while its errors are transient, as the client's policy says."""
        before, tries = self._attempt.number, itertools.count(1)

        def counted() -> T:
            self._attempt.number = next(tries)
            return attempt()

        try:
            return retrying(what, counted, run=self.run, policy=policy or self.policy)
        finally:
            self._attempt.number = before


def _wants_tls(reply: Reply) -> bool:
    """Whether a TLS server answered plain HTTP: 400, and words that an answer to HEAD lacks."""
    return reply.status == 400 and (reply.method == "HEAD" or b"HTTPS" in reply.read())

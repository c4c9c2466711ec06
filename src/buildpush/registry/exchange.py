"""One request to one registry: its address, its credential, its 401 answered, its errors named."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from attrs import define, field, frozen

from ..auth import Keychain
from ..errors import BuildpushError, NotFoundError, RegistryUnavailableError
from ..http.answers import BrokenOffError
from ..http.trust import Trust, same_origin
from ..oci import Repository
from ..runtime import Run
from ..runtime.retry import RetryPolicy, retrying
from .endpoints import Endpoints
from .failures import failure
from .token import Authorizer, Want

if TYPE_CHECKING:
    from ..http.transport import Body, Reply, Transport

T = TypeVar("T")

_SENDS: Final = 3  # anonymously, with a token that turns out to be stale, with a fresh one


def _no_headers() -> Mapping[str, str]:
    return {}


@frozen(kw_only=True)
class Call:
    """A request: *where* is a path below ``/v2/<repository>/``, or a whole URL given by a server.

    *about* says what is being tried, for messages: ``reading the manifest of …``.
    """

    method: str
    where: str
    want: Want
    about: str
    headers: Mapping[str, str] = field(factory=_no_headers)
    body: Body | None = None
    patience: float | None = None


@define(eq=False, kw_only=True)
class Exchange:
    """Everything one client's requests share. Thread-safe."""

    run: Run
    trust: Trust
    transport: Transport
    authorizer: Authorizer
    endpoints: Endpoints
    policy: RetryPolicy

    @classmethod
    def open(cls, keychain: Keychain, run: Run, trust: Trust, policy: RetryPolicy) -> Exchange:
        """Make the client of one run. This is what imports httpx."""
        from ..http.transport import Transport

        transport = Transport(run, trust)
        return cls(
            run=run,
            trust=trust,
            transport=transport,
            authorizer=Authorizer(keychain=keychain, run=run, trust=trust, transport=transport),
            endpoints=Endpoints(trust),
            policy=policy,
        )

    @contextmanager
    def send(self, call: Call) -> Generator[Reply]:
        """Send *call*, answering a 401 with a fresh credential; the reply, whatever its status.

        Raises `AuthError` when there is no proof to be had, `RegistryUnavailableError` when
        there is no answer.
        """
        ours = self._is_ours(call)
        proof = self.authorizer.header(call.want) if ours else ""
        for left in reversed(range(_SENDS)):
            with self._once(call, proof) as reply:
                again = ""
                if reply.status == 401 and ours and left:
                    reply.read()
                    again = self.authorizer.answer(call.want, reply, proof)
                if not again:
                    yield reply
                    return
            proof = again

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
            with self._wire(call, f"https{url.removeprefix('http')}", call.headers) as reply:
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
        with self.transport.send(
            call.method,
            url,
            headers=headers,
            body=call.body,
            patience=call.patience,
            behalf=call.want.repository.host,
        ) as reply:
            yield reply

    def url(self, call: Call) -> str:
        """The whole URL of *call*."""
        if "://" in call.where:
            return call.where
        repository = call.want.repository
        return f"{self.endpoints.base(repository.host)}/v2/{repository.path}/{call.where}"

    def _is_ours(self, call: Call) -> bool:
        """Whether the registry itself is asked: credentials go nowhere else."""
        return same_origin(self.url(call), self.endpoints.base(call.want.repository.host))

    def failure(self, call: Call, reply: Reply) -> BuildpushError:
        """The error for a reply to *call* that nobody wanted."""
        return failure(
            reply,
            call.about,
            repository=call.want.repository,
            access=call.want.access,
            credential=self.authorizer.credential(call.want),
            redact=self.run.redact,
        )

    def passed_over(self, mirror: Repository, error: BuildpushError) -> None:
        """Say that *mirror* could not be used; that it lacks something is no news."""
        if not isinstance(error, NotFoundError):
            self.run.warn(f"mirror {mirror} is passed over: {error}")

    def retry(self, what: str, attempt: Callable[[], T], policy: RetryPolicy | None = None) -> T:
        """Try *attempt* again while its errors are transient, as the client's policy says."""
        return retrying(what, attempt, run=self.run, policy=policy or self.policy)


def _wants_tls(reply: Reply) -> bool:
    """Whether a TLS server answered plain HTTP: 400, and words that an answer to HEAD lacks."""
    return reply.status == 400 and (reply.method == "HEAD" or b"HTTPS" in reply.read())

"""`LocalRegistry`: an OCI registry on a real loopback socket, for tests of what pushes and pulls.

    with LocalRegistry(auth="token", users={"ci": "s3cret"}) as registry:
        push_something_to(registry.reference("app:1.4"))
        assert registry.tags("app") == ("1.4",)

It follows the OCI distribution-spec 1.1 and, where that is silent, Distribution. It keeps blobs
in files and everything else in memory, logs every request, and misbehaves when asked to: see
`buildpush.testing.faults`.
"""

from __future__ import annotations

import hashlib
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from attrs import field, frozen

from ..oci import Digest
from ._access import Gate
from ._blobs import Blobs
from ._dialect import Dialect, Places
from ._manifests import Manifests
from ._messages import EarlyAnswerError, HangupError, Incoming, Response
from ._meter import Meter, Traffic
from ._policy import AuthKind, Policy, Scope
from ._protocol import Protocol, repository_of
from ._server import Server
from ._storage import Storage, StoredManifest
from ._tokens import Tokens, TokenServer
from .faults import Fault, Faults

__all__ = ["Dialect", "LocalRegistry", "Request", "TokenServer", "Traffic"]

_HIDDEN_HEADERS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})


@frozen(kw_only=True)
class Request:
    """One request the registry has seen.

    *path* is decoded, *query* is not. *status* is 0 when the connection was broken before an
    answer. *principal* is the user the request was made as, "" for nobody (or a wrong password).
    *scheme* is that of its Authorization header, in lower case. *bytes_received* counts the body.
    *headers* have lower-case names and no credentials. *at* is when it arrived, in seconds by the
    registry's clock. *certificate* is the SHA-256 of the client's certificate (DER) in hex.
    """

    method: str
    path: str
    query: str
    status: int
    principal: str
    bytes_received: int
    headers: Mapping[str, str] = field(repr=False, eq=False)
    scheme: str = ""
    at: float = field(default=0.0, repr=False, eq=False)
    certificate: str = field(default="", repr=False)

    @property
    def repository(self) -> str:
        """The repository its path is in, "" for none (``/v2/``, the token endpoint)."""
        return repository_of(self.path)


class LocalRegistry:
    """An OCI registry on ``127.0.0.1``. Use it in a ``with`` block.

    *auth* is ``none``, ``basic`` (Basic challenges) or ``token`` (Bearer challenges; the realm is
    ``/token`` on the same socket). *users* map names to passwords. *permissions* map users to
    (repository prefix, ``pull`` or ``push``); None lets every user do everything; with
    *anonymous_pull* everybody may pull. Tokens live *token_lifetime* seconds by *clock*;
    *tokens* says how else their server behaves. With *repositories*, only those exist, and a push
    to another is refused. *folder* keeps the blobs (a temporary one when None). *dialect* holds
    the choices the specification leaves to a registry. With *tls*, a server's context, it speaks
    HTTPS only (and asks for a client's certificate when the context does). *port* 0 is a free
    one. The log keeps the latest *log_limit* requests, None for all.
    """

    def __init__(
        self,
        *,
        auth: AuthKind = "none",
        users: Mapping[str, str] | None = None,
        permissions: Mapping[str, Iterable[Scope]] | None = None,
        anonymous_pull: bool = False,
        token_lifetime: float = 300.0,
        tokens: TokenServer | None = None,
        repositories: Iterable[str] | None = None,
        folder: Path | None = None,
        dialect: Dialect | None = None,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
        log_limit: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy = Policy(
            kind=auth,
            users=dict(users or {}),
            permissions=None
            if permissions is None
            else {user: frozenset(scopes) for user, scopes in permissions.items()},
            anonymous_pull=anonymous_pull,
        )
        self._lifetime = token_lifetime
        self._tokens = tokens or TokenServer()
        self._repositories = None if repositories is None else tuple(repositories)
        self._folder = folder
        self._dialect = dialect or Dialect()
        self._tls = tls
        self._port = port
        self._clock = clock
        self._lock = threading.Lock()
        self._log: deque[Request] = deque(maxlen=log_limit)
        self._running: _Running | None = None
        self._meter = Meter()
        self.faults = Faults()

    def __enter__(self) -> Self:
        with ExitStack() as undo:
            self._running = self._start(undo)
            undo.pop_all()
        return self

    def _start(self, undo: ExitStack) -> _Running:
        servers: list[Server] = []

        def listen(name: str, host: str, tls: ssl.SSLContext | None, port: int = 0) -> str:
            server = Server(self._answer, tls, name=name, meter=self._meter)
            undo.callback(server.close)
            servers.append(server)
            return f"http{'s' if tls else ''}://{host}:{server.start(host, port)}"

        here = listen("registry", "127.0.0.1", self._tls, self._port)
        places = Places(
            here=here,
            other_host=here.replace("127.0.0.1", "localhost"),
            other_port=(
                listen("other", "127.0.0.1", self._tls) if self._dialect.needs_other_port else ""
            ),
            dialect=self._dialect,
        )
        token_host = self._tokens.host
        realm = listen("tokens", token_host, self._tokens.tls) if token_host else here
        storage = Storage(self._folder, repositories=self._repositories)
        tokens = Tokens(
            policy=self._policy,
            server=self._tokens,
            lifetime=self._lifetime,
            clock=self._clock,
            bad_credentials=self._dialect.bad_credentials,
        )
        protocol = self._protocol(storage, tokens, places, self._tokens.realm or f"{realm}/token")
        return _Running(tuple(servers), storage, tokens, protocol, here, realm)

    def _protocol(self, storage: Storage, tokens: Tokens, places: Places, realm: str) -> Protocol:
        dialect = self._dialect
        return Protocol(
            gate=Gate(policy=self._policy, tokens=tokens, realm=realm, dialect=dialect),
            blobs=Blobs(storage=storage, dialect=dialect, places=places),
            manifests=Manifests(storage=storage, dialect=dialect, places=places),
            storage=storage,
            dialect=dialect,
            places=places,
        )

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Break every connection, end every thread and remove the temporary folder."""
        if self._running is not None:
            self.faults.close()
            for server in self._running.servers:
                server.close()
            self._running.storage.close()
            self._running = None  # last: requests under way still look here

    # --- where it is ---

    @property
    def host(self) -> str:
        """``127.0.0.1:PORT``, as it stands in references and in a docker config."""
        return self.url.partition("://")[2]

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``, or https."""
        return self._now.origin

    @property
    def token_url(self) -> str:
        """The address of the token endpoint."""
        return f"{self._now.token_origin}/token"

    def reference(self, name: str) -> str:
        """The text of a reference to *name* (``repo``, ``repo:tag``, ``repo@digest``) in here."""
        return f"{self.host}/{name}"

    # --- what happened ---

    @property
    def requests(self) -> tuple[Request, ...]:
        """Every request so far, in the order they were answered."""
        with self._lock:
            return tuple(self._log)

    def clear_log(self) -> None:
        """Forget the requests so far, and the peaks of `traffic`."""
        with self._lock:
            self._log.clear()
        self._meter.restart()

    def principals(self, repository: str, *methods: str) -> frozenset[str]:
        """Who made requests in *repository*, by these *methods* (none given: all); "" is nobody."""
        return frozenset(
            request.principal
            for request in self.requests
            if request.repository == repository and (not methods or request.method in methods)
        )

    @property
    def traffic(self) -> Traffic:
        """How many requests and connections there are, and were at most since `clear_log`."""
        return self._meter.traffic

    # --- what it holds ---

    @property
    def repositories(self) -> tuple[str, ...]:
        """Every repository that holds something, in lexical order."""
        return self._now.storage.repositories

    def tags(self, repository: str) -> tuple[str, ...]:
        """The tags of *repository*, in lexical order."""
        return self._now.storage.tags(repository) or ()

    def digest(self, repository: str, tag: str) -> Digest | None:
        """What *tag* points to."""
        found = self._now.storage.manifest(repository, tag)
        return None if found is None else Digest(found[0])

    def manifest(self, repository: str, target: str | Digest) -> bytes | None:
        """The exact bytes of the manifest a tag or digest names."""
        found = self._now.storage.manifest(repository, str(target))
        return None if found is None else found[1].data

    def blob(self, repository: str, digest: str | Digest) -> bytes | None:
        """The bytes of a blob that is visible in *repository*."""
        path = self._now.storage.blob(repository, str(digest))
        return None if path is None else path.read_bytes()

    @property
    def uploads_open(self) -> int:
        """How many uploads were begun and neither finished nor cancelled."""
        return self._now.storage.uploads_open

    # --- arranging ---

    def create_repository(self, repository: str) -> None:
        """Make an empty repository, as a registry's console does."""
        self._now.storage.create(repository)

    def delete_blob(self, repository: str, digest: str | Digest) -> bool:
        """Lose a blob, as a careless garbage collection does; whether it was there."""
        return self._now.storage.delete_blob(repository, str(digest))

    def add_blob(self, repository: str, data: bytes) -> Digest:
        """Put a blob without a request."""
        digest = Digest.of(data)
        self._now.storage.add_blob(repository, str(digest), data)
        return digest

    def add_manifest(
        self, repository: str, data: bytes, media_type: str, *, tag: str = ""
    ) -> Digest:
        """Put a manifest without a request, and without asking whether its blobs are there."""
        digest = Digest.of(data)
        stored = StoredManifest(data=data, media_type=media_type)
        self._now.storage.add_manifest(repository, str(digest), stored, tags=(tag,) if tag else ())
        return digest

    def inject(self, fault: Fault) -> Fault:
        """Arm *fault*; the same object, whose ``fired`` tells how often it struck."""
        return self.faults.add(fault)

    def identity_token(self, user: str) -> str:
        """An identity (refresh) token the token endpoint will accept for *user*."""
        return self._now.tokens.identity_token(user)

    def expire_tokens(self) -> None:
        """Make every access token issued so far stale at once."""
        self._now.tokens.expire()

    @property
    def _now(self) -> _Running:
        if self._running is None:
            raise RuntimeError("the registry is not running: use it in a with block")
        return self._running

    def _answer(self, incoming: Incoming) -> Response:
        if self._running is None:  # it came while the sockets were being opened
            raise HangupError(reset=True)
        status, at, protocol = 0, self._clock(), self._running.protocol
        try:
            try:
                response = self.faults.around(incoming, protocol.handle)
            except EarlyAnswerError as early:
                response = early.response
            response = protocol.challenged(incoming, response)
            status = response.status
        finally:
            self._record(incoming, status, at)
        return response

    def _record(self, incoming: Incoming, status: int, at: float) -> None:
        headers = {n: v for n, v in incoming.headers.items() if n not in _HIDDEN_HEADERS}
        proof = incoming.certificate
        request = Request(
            method=incoming.method,
            path=incoming.path,
            query=incoming.query,
            status=status,
            principal=incoming.principal,
            bytes_received=incoming.body.received,
            headers=headers,
            scheme=incoming.headers.get("authorization", "").partition(" ")[0].lower(),
            at=at,
            certificate=hashlib.sha256(proof).hexdigest() if proof else "",
        )
        with self._lock:
            self._log.append(request)


@frozen
class _Running:
    servers: tuple[Server, ...]
    storage: Storage
    tokens: Tokens
    protocol: Protocol
    origin: str
    token_origin: str


if __name__ == "__main__":
    # By name: it imports this module, which is another one while it runs as a program.
    import_module("buildpush.testing._serve").main()

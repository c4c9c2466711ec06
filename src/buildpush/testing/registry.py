"""`LocalRegistry`: an OCI registry on a real loopback socket, for tests of what pushes and pulls.

    with LocalRegistry(auth="token", users={"ci": "s3cret"}) as registry:
        push_something_to(registry.reference("app:1.4"))
        assert registry.tags("app") == ("1.4",)

It follows the OCI distribution-spec 1.1 and, where that is silent, Distribution. It keeps blobs
in files and everything else in memory, logs every request, and misbehaves when asked to: see
`buildpush.testing.faults`.
"""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from attrs import field, frozen

from ..oci import Digest
from ._access import AuthKind, Gate, Policy, Scope
from ._blobs import Blobs
from ._dialect import Dialect
from ._manifests import Manifests
from ._protocol import Protocol
from ._server import Incoming, Response, Server
from ._storage import Storage, StoredManifest
from .faults import Fault, Faults

__all__ = ["Dialect", "LocalRegistry", "Request"]

_HIDDEN_HEADERS: Final = frozenset({"authorization", "cookie", "proxy-authorization"})


@frozen(kw_only=True)
class Request:
    """One request the registry has seen.

    *path* is decoded, *query* is not. *status* is 0 when the connection was broken before an
    answer. *principal* is the user the request was made as, "" for nobody (or a wrong password).
    *bytes_received* counts the body. *headers* have lower-case names and no credentials.
    """

    method: str
    path: str
    query: str
    status: int
    principal: str
    bytes_received: int
    headers: Mapping[str, str] = field(repr=False, eq=False)


class LocalRegistry:
    """An OCI registry on ``127.0.0.1``. Use it in a ``with`` block.

    *auth* is ``none``, ``basic`` (Basic challenges) or ``token`` (Bearer challenges; the realm is
    ``/token`` on the same socket). *users* map names to passwords. *permissions* map users to
    (repository prefix, ``pull`` or ``push``); None lets every user do everything; with
    *anonymous_pull* everybody may pull. Tokens live *token_lifetime* seconds by *clock*.
    *folder* keeps the blobs (a temporary one when None). *dialect* holds the choices the
    specification leaves to a registry. With *tls*, a server's context, it speaks HTTPS only.
    """

    def __init__(
        self,
        *,
        auth: AuthKind = "none",
        users: Mapping[str, str] | None = None,
        permissions: Mapping[str, Iterable[Scope]] | None = None,
        anonymous_pull: bool = False,
        token_lifetime: float = 300.0,
        folder: Path | None = None,
        dialect: Dialect | None = None,
        tls: ssl.SSLContext | None = None,
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
        self._folder = folder
        self._dialect = dialect or Dialect()
        self._tls = tls
        self._clock = clock
        self._lock = threading.Lock()
        self._log: list[Request] = []
        self._running: _Running | None = None
        self.faults = Faults()

    def __enter__(self) -> Self:
        server = Server(self._answer, self._tls)
        port = server.start()
        origin = f"http{'s' if self._tls else ''}://127.0.0.1:{port}"
        storage = Storage(self._folder)
        gate = Gate(
            policy=self._policy,
            realm=f"{origin}/token",
            lifetime=self._lifetime,
            clock=self._clock,
        )
        protocol = Protocol(
            gate=gate,
            blobs=Blobs(storage=storage, dialect=self._dialect, origin=origin),
            manifests=Manifests(storage=storage, dialect=self._dialect, origin=origin),
        )
        self._running = _Running(server, storage, gate, protocol, origin)
        return self

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
            self._running.server.close()
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
        """Forget the requests so far."""
        with self._lock:
            self._log.clear()

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
        self._now.storage.add_manifest(repository, str(digest), stored, tag=tag)
        return digest

    def inject(self, fault: Fault) -> Fault:
        """Arm *fault*; the same object, whose ``fired`` tells how often it struck."""
        return self.faults.add(fault)

    def identity_token(self, user: str) -> str:
        """An identity (refresh) token the token endpoint will accept for *user*."""
        return self._now.gate.identity_token(user)

    def expire_tokens(self) -> None:
        """Make every access token issued so far stale at once."""
        self._now.gate.expire_tokens()

    @property
    def _now(self) -> _Running:
        if self._running is None:
            raise RuntimeError("the registry is not running: use it in a with block")
        return self._running

    def _answer(self, incoming: Incoming) -> Response:
        status = 0
        try:
            response = self.faults.around(incoming, self._now.protocol.handle)
            status = response.status
        finally:
            self._record(incoming, status)
        return response

    def _record(self, incoming: Incoming, status: int) -> None:
        headers = {n: v for n, v in incoming.headers.items() if n not in _HIDDEN_HEADERS}
        request = Request(
            method=incoming.method,
            path=incoming.path,
            query=incoming.query,
            status=status,
            principal=incoming.principal,
            bytes_received=incoming.body.received,
            headers=headers,
        )
        with self._lock:
            self._log.append(request)


@frozen
class _Running:
    server: Server
    storage: Storage
    gate: Gate
    protocol: Protocol
    origin: str

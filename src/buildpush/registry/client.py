"""The registry client: read and write manifests and blobs, verified, retried, cancellable.

Follows the OCI distribution-spec 1.1.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from attrs import evolve, field, frozen

from ..auth import Access, Keychain
from ..errors import (
    AuthError,
    DigestMismatchError,
    InvalidReferenceError,
    NotFoundError,
    RegistryError,
    RegistryUnavailableError,
)
from ..http.answers import number_of
from ..http.trust import Certificates, Trust
from ..oci import Digest, ImageReference, Repository
from ..oci.wire import MAX_MANIFEST, Descriptor, MediaType, parse_manifest
from ..runtime import Run
from ..runtime.retry import RetryPolicy
from .blobs import ONCE, reading
from .exchange import Call, Exchange
from .limits import Habits
from .listing import delete, list_tags
from .referrers import list_referrers
from .token import Want
from .uploads import Placed, Upload, has_blob

T = TypeVar("T")


def _nothing() -> None:
    pass


_ACCEPT: Final = {"Accept": ", ".join(MediaType.ACCEPT)}


@frozen(kw_only=True)
class Fetched:
    """A manifest or index as the registry holds it: its descriptor and its verified bytes."""

    descriptor: Descriptor
    data: bytes = field(repr=False)


class RegistryClient:
    """Talks to any number of registries for one run. Thread-safe; a context manager.

    *keychain* is asked per repository and access. Plain HTTP is spoken to this machine and to
    the hosts in *insecure* (``host`` or ``host:port``), whose certificates are not checked
    either; *certificates* holds authorities and client certificates by host. *mirrors* maps a
    host to what is asked first when pulling from it (``host`` or ``host/path``); what a mirror
    does not have, or cannot give, comes from the host itself. With *anonymous_fallback*, a pull
    whose credential is refused is tried once without one, with a warning; pushes never are.
    No host gets more than *connections* requests at once from all the clients of this process
    that say the same number; 1 is one after the other.
    Every method retries transient faults as *policy* says and raises the errors of
    `buildpush.errors`, or the run's reason when it is cancelled.
    """

    def __init__(
        self,
        keychain: Keychain,
        run: Run,
        *,
        insecure: frozenset[str] = frozenset(),
        certificates: Mapping[str, Certificates] | None = None,
        mirrors: Mapping[str, Sequence[str]] | None = None,
        policy: RetryPolicy | None = None,
        connections: int = 8,
        anonymous_fallback: bool = True,
    ) -> None:
        self._policy = policy or RetryPolicy()
        self._mirrors = {host: tuple(names) for host, names in (mirrors or {}).items()}
        self._run = run
        trust = Trust(insecure, certificates=certificates or {})
        self._exchange = Exchange.open(
            keychain,
            run,
            trust,
            self._policy,
            anonymous_fallback=anonymous_fallback,
            connections=max(1, connections),
        )
        self._habits = Habits()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._exchange.transport.close()

    def get_manifest(self, reference: ImageReference, *, access: Access = "pull") -> Fetched:
        """Read a manifest or index by tag or digest, at most 4 MiB.

        Raises `DigestMismatchError` when the bytes are not what was asked for, or not what the
        registry says they are; `NotFoundError` when there is none.
        """
        return self._somewhere(
            reference.repository,
            access,
            lambda place, policy: self._exchange.retry(
                f"reading {reference}",
                lambda: self._get_manifest(evolve(reference, repository=place), access),
                policy,
            ),
        )

    def head_manifest(
        self, reference: ImageReference, *, access: Access = "pull"
    ) -> Descriptor | None:
        """What a tag or digest names now, without reading it; None when it names nothing."""
        try:
            return self._somewhere(
                reference.repository,
                access,
                lambda place, policy: self._exchange.retry(
                    f"looking up {reference}",
                    lambda: self._head_manifest(evolve(reference, repository=place), access),
                    policy,
                ),
            )
        except NotFoundError:
            return None

    def get_blob(
        self, repository: Repository, descriptor: Descriptor
    ) -> AbstractContextManager[Iterator[bytes]]:
        """Open a blob; its pieces are verified as they stream.

        Iterating raises `DigestMismatchError` after the last piece when they are the wrong
        bytes: believe none of them before the iteration ends. A connection that breaks off is
        picked up where it stopped; `RegistryUnavailableError` when that keeps failing.
        """
        places = self._places(repository)
        return reading(self._exchange, places, descriptor, self._policy)

    def has_blob(self, repository: Repository, digest: Digest, *, access: Access = "push") -> bool:
        """Whether *repository* has the blob."""
        want = Want(repository=repository, access=access)
        descriptor = Descriptor(media_type="application/octet-stream", digest=digest, size=0)
        return self._exchange.retry(
            f"looking for {digest}", lambda: has_blob(self._exchange, want, descriptor)
        )

    def put_blob(
        self,
        repository: Repository,
        descriptor: Descriptor,
        open_body: Callable[[], Iterator[bytes]],
        *,
        mount_from: Sequence[Repository] | Repository | None = None,
        look_first: bool = True,
        source: Path | None = None,
        prepare: Callable[[], None] = _nothing,
    ) -> Placed:
        """Make sure *repository* has the blob: already there, mounted, or uploaded.

        *open_body* gives the bytes from the start each time it is called, *source* is the file
        they are in; *prepare* is called before that, once, with no request under way.
        *mount_from* are repositories that have the blob; they count only on the same host.
        ``look_first=False`` uploads even what the registry claims to have. Raises
        `BlobTooLargeError`, and `DigestMismatchError` when the bytes are not the blob's.
        """
        if mount_from is None or isinstance(mount_from, Repository):
            mount_from = (mount_from,) if mount_from is not None else ()
        upload = Upload(
            exchange=self._exchange,
            habits=self._habits,
            repository=repository,
            descriptor=descriptor,
            open_body=open_body,
            mount_from=mount_from if look_first else (),
            look_first=look_first,
            source=source,
            prepare=prepare,
        )
        return upload.place()

    def check_push(self, repository: Repository) -> None:
        """Prove that we may push to *repository*: begin an upload there, and cancel it.

        Raises what a push would: `AuthError`, `PermissionDeniedError`, `NotFoundError`.
        """
        Upload(
            exchange=self._exchange,
            habits=self._habits,
            repository=repository,
            descriptor=Descriptor(media_type="", digest=Digest.of(b""), size=0),
            open_body=lambda: iter(()),
            about=f"asking whether {repository} may be pushed to",
        ).prove()

    def referrers(self, repository: Repository, digest: Digest) -> tuple[Descriptor, ...]:
        """The manifests of *repository* whose subject is *digest*, from the registry itself.

        By the referrers API, or by the tag schema where the registry has no such API.
        """
        return list_referrers(
            self._exchange,
            repository,
            digest,
            lambda reference: self.get_manifest(reference).data,
        )

    def put_manifest(self, reference: ImageReference, data: bytes, media_type: str) -> Digest:
        """Store *data* under the reference's digest if it has one, else under its tag.

        Returns the digest of the bytes. Raises `DigestMismatchError` when the reference's
        digest, or the one the registry answers, is another.
        """
        digest = Digest.of(data) if reference.digest is None else reference.digest
        _require(digest, data, f"the manifest for {reference}")
        self._exchange.retry(
            f"writing {reference}", lambda: self._put_manifest(reference, data, media_type, digest)
        )
        return digest

    def list_tags(self, repository: Repository) -> tuple[str, ...]:
        """Every tag of *repository*, page by page, in the registry's order."""
        return list_tags(self._exchange, repository)

    def delete_manifest(self, reference: ImageReference) -> None:
        """Delete the manifest that a digest names, and its tags with it, or one tag alone.

        Raises `NotFoundError` when it is not there, and `RegistryError` when the registry
        deletes nothing, as many do not.
        """
        where = f"manifests/{reference.target}"
        delete(self._exchange, reference.repository, where, str(reference))

    def delete_blob(self, repository: Repository, digest: Digest) -> None:
        """Take a blob out of *repository*. Raises as `delete_manifest` does."""
        delete(self._exchange, repository, f"blobs/{digest}", f"blob {digest} of {repository}")

    def _get_manifest(self, reference: ImageReference, access: Access) -> Fetched:
        call = self._manifest_call("GET", reference, access, "reading")
        with self._exchange.send(call) as reply:
            if reply.status != 200:
                raise self._exchange.failure(call, reply)
            served = reply.header("content-type")
            promised = reply.header("docker-content-digest")
            data = reply.read(MAX_MANIFEST + 1)
            _complete(call, number_of(reply.header("content-length")), data)
        if len(data) > MAX_MANIFEST:
            raise RegistryError(f"{call.about}: it is larger than {MAX_MANIFEST >> 20} MiB")
        digest = reference.digest or _promised(call, promised) or Digest.of(data)
        _require(digest, data, f"what {reference.repository.host} sent for {reference}")
        document = parse_manifest(data, served)
        return Fetched(
            descriptor=Descriptor(
                media_type=document.media_type,
                digest=digest,
                size=len(data),
                artifact_type=document.artifact_type,
            ),
            data=data,
        )

    def _head_manifest(self, reference: ImageReference, access: Access) -> Descriptor:
        call = self._manifest_call("HEAD", reference, access, "looking up")
        with self._exchange.send(call) as reply:
            length = number_of(reply.header("content-length"))
            media_type = reply.header("content-type").partition(";")[0].strip()
            digest = _promised(call, reply.header("docker-content-digest"))
            if reply.status == 200 and digest is not None and length is not None:
                return Descriptor(media_type=media_type, digest=digest, size=length)
            if not 200 <= reply.status < 400 and reply.status != 405:
                raise self._exchange.failure(call, reply)
        return self._get_manifest(reference, access).descriptor

    def _put_manifest(
        self, reference: ImageReference, data: bytes, media_type: str, digest: Digest
    ) -> None:
        from ..http.transport import Body

        call = evolve(
            self._manifest_call("PUT", reference, "push", "writing"),
            headers={},
            body=Body.of(data, media_type),
        )
        with self._exchange.send(call) as reply:
            if reply.status not in (200, 201, 202):
                raise self._exchange.failure(call, reply)
            stored = reply.header("docker-content-digest")
        if stored and digest.algorithm == stored.partition(":")[0] and stored != str(digest):
            raise DigestMismatchError(
                f"{call.about}: {digest} was sent, and the registry stored {stored}"
            )

    def _manifest_call(
        self, method: str, reference: ImageReference, access: Access, verb: str
    ) -> Call:
        return Call(
            method=method,
            where=f"manifests/{reference.target}",
            want=Want(repository=reference.repository, access=access),
            about=f"{verb} {reference}",
            headers=_ACCEPT,
        )

    def _places(self, repository: Repository) -> list[Repository]:
        """Where to pull *repository* from: its host's mirrors, then the host itself."""
        places: list[Repository] = []
        for mirror in self._mirrors.get(repository.host, ()):
            host, _, prefix = mirror.partition("/")
            path = f"{prefix}/{repository.path}" if prefix else repository.path
            places.append(Repository(host, path))
        return [*places, repository]

    def _somewhere(
        self,
        repository: Repository,
        access: Access,
        attempt: Callable[[Repository, RetryPolicy], T],
    ) -> T:
        """Try the mirrors, once each, then the registry itself with all patience."""
        for place in self._places(repository)[:-1] if access == "pull" else ():
            try:
                return attempt(place, ONCE)
            except (RegistryError, AuthError) as error:
                self._exchange.passed_over(place, error)
        return attempt(repository, self._policy)


def _complete(call: Call, length: int | None, data: bytes) -> None:
    if length is not None and len(data) < min(length, MAX_MANIFEST):
        raise RegistryUnavailableError(f"{call.about}: only {len(data)} of {length} bytes arrived")


def _promised(call: Call, text: str) -> Digest | None:
    """The digest a registry says it serves, None when it says none."""
    try:
        return Digest(text) if text else None
    except InvalidReferenceError:
        raise RegistryError(
            f"{call.about}: the registry's Docker-Content-Digest is not a digest"
        ) from None


def _require(digest: Digest, data: bytes, what: str) -> None:
    found = hashlib.new(digest.algorithm, data).hexdigest()
    if found != digest.hex:
        raise DigestMismatchError(
            f"{what} hashes to {digest.algorithm}:{found}, not to {digest}",
            hint="a registry, proxy or mirror holds a corrupt or foreign copy",
        )

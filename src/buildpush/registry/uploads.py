"""Writing a blob: found there already, mounted from a neighbour, or sent in one request.

One POST and one PUT with a Content-Length is the form every registry understands
(distribution-spec, "POST then PUT").
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Final, Literal
from urllib.parse import quote, urljoin, urlsplit

from attrs import define, field

from ..errors import AuthError, DigestMismatchError, RegistryError, RegistryUnavailableError
from ..http.answers import evidence_of, safe_url
from ..oci import Repository
from ..oci.wire import Descriptor
from .exchange import Call, Exchange
from .token import Want

Placed = Literal["exists", "mounted", "uploaded"]

_COMMIT_SECONDS: Final = (
    300.0  # registries on object stores copy the whole blob before they answer
)


@define(eq=False, kw_only=True)
class Upload:
    """One blob on its way to one repository."""

    exchange: Exchange
    repository: Repository
    descriptor: Descriptor
    open_body: Callable[[], Iterator[bytes]] = field(repr=False)
    mount_from: Repository | None = None
    look_first: bool = True
    about: str = ""

    def place(self) -> Placed:
        """Make sure the blob is there, once; transient faults are the caller's to retry."""
        if self.look_first and has_blob(self.exchange, self._want(), self.descriptor):
            return "exists"
        location = ""
        if self._mountable():
            mounted, location = self._mount()
            if mounted:
                return "mounted"
        self._send(location or self._begin())
        return "uploaded"

    def prove(self) -> None:
        """Begin an upload and cancel it: whoever may do that may push."""
        location = self._begin()
        call = Call(method="DELETE", where=location, want=self._want(), about=self._about)
        # Some registries know no DELETE here; they forget an upload that nobody goes on with.
        with suppress(RegistryError, AuthError), self.exchange.send(call):
            pass

    def _want(self, also: Repository | None = None) -> Want:
        return Want(repository=self.repository, access="push", also=also)

    @property
    def _about(self) -> str:
        return self.about or f"uploading blob {self.descriptor.digest} to {self.repository}"

    def _mountable(self) -> bool:
        origin = self.mount_from
        return (
            origin is not None
            and origin.host == self.repository.host
            and origin != self.repository
        )

    def _mount(self) -> tuple[bool, str]:
        """Ask for a mount; whether it happened, else where an upload was begun, if one was."""
        assert self.mount_from is not None
        source = quote(self.mount_from.path, safe="/")
        call = Call(
            method="POST",
            where=f"blobs/uploads/?mount={self.descriptor.digest}&from={source}",
            want=self._want(also=self.mount_from),
            about=f"mounting blob {self.descriptor.digest} from {self.mount_from}"
            f" into {self.repository}",
        )
        try:
            with self.exchange.send(call) as reply:
                match reply.status:
                    case 201:
                        return True, ""
                    case 202:
                        return False, self._location(call, reply.url, reply.header("location"))
                    case status if 400 <= status < 500 and status not in (408, 429):
                        return False, ""
                    case _:
                        raise self.exchange.failure(call, reply)
        except AuthError:
            # The token service may refuse the neighbour's scope; ours is asked for on its own.
            return False, ""

    def _begin(self) -> str:
        call = Call(method="POST", where="blobs/uploads/", want=self._want(), about=self._about)
        with self.exchange.send(call) as reply:
            if reply.status != 202:
                raise self.exchange.failure(call, reply)
            return self._location(call, reply.url, reply.header("location"))

    def _location(self, call: Call, asked: str, location: str) -> str:
        """Where to send the bytes: the registry's own words, not one byte of them changed."""
        if not location:
            raise RegistryError(f"{call.about}: the registry began an upload, but says not where")
        here = urlsplit(self.exchange.endpoints.base(self.repository.host))
        try:
            url = urljoin(asked, location)
            there = urlsplit(url)
        except ValueError as error:
            raise RegistryError(f"{call.about}: its Location is not a URL: {error}") from error
        if (here.scheme, there.scheme) == ("https", "http") and here.netloc == there.netloc:
            # A registry behind a TLS proxy that does not know it: plain HTTP is never what it has.
            return f"https{url.removeprefix('http')}"
        reason = self.exchange.trust.objection(url, asked)
        if reason:
            raise RegistryError(
                f"{call.about}: the registry wants the bytes sent to {safe_url(url)}, {reason}",
                hint="the registry, or its proxy, should be told the address it is known by"
                " (X-Forwarded-Proto: https)",
            )
        return url

    def _send(self, location: str) -> None:
        from ..http.transport import Body

        digest = self.descriptor.digest
        call = Call(
            method="PUT",
            where=f"{location}{'&' if '?' in location else '?'}digest={digest}",
            want=self._want(),
            about=self._about,
            body=Body(open=self._verified, size=self.descriptor.size),
            patience=_COMMIT_SECONDS,
        )
        with self.exchange.send(call) as reply:
            if reply.status in (201, 204):
                return
            proof = evidence_of(reply, self.exchange.run.redact)
            if {"DIGEST_INVALID", "BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"} & {*proof.codes}:
                raise RegistryUnavailableError(
                    f"{call.about}: the registry lost bytes or the upload:"
                    f" {', '.join(proof.codes)}",
                    evidence=(proof,),
                )
            raise self.exchange.failure(call, reply)

    def _verified(self) -> Iterator[bytes]:
        """The body, whose last piece is held back until everything is known to be right."""
        hashed = hashlib.new(self.descriptor.digest.algorithm)
        sent, held = 0, b""
        for piece in self.open_body():
            hashed.update(piece)
            sent += len(piece)
            if held:
                yield held
            held = piece
        if sent != self.descriptor.size or hashed.hexdigest() != self.descriptor.digest.hex:
            raise DigestMismatchError(
                f"{self._about}: the blob to be sent has {sent} bytes that are not the"
                f" {self.descriptor.size} its digest names",
                hint="it changed on disk after it was made: build again",
            )
        if held:
            yield held


def has_blob(exchange: Exchange, want: Want, descriptor: Descriptor) -> bool:
    """Whether a repository has a blob."""
    call = Call(
        method="HEAD",
        where=f"blobs/{descriptor.digest}",
        want=want,
        about=f"looking for blob {descriptor.digest} in {want.repository}",
    )
    with exchange.send(call) as reply:
        if reply.status == 404:
            return False
        if reply.status < 400:  # a redirect to storage says that it is there
            return True
        raise exchange.failure(call, reply)

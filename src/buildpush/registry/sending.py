"""The bytes of an upload: in one request, else in chunks; gone on with, or begun anew, when it breaks.

One POST and one PUT with a Content-Length is the form every registry understands
(distribution-spec, "POST then PUT"). Chunks are for those that say 413, and for tokens that do
not live as long as one request. What arrived of a request that broke off is asked of the
registry; its answer is believed when it can be true, and only as long as that works.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, NoReturn
from urllib.parse import urljoin, urlsplit

from attrs import define, field, frozen

from ..errors import (
    AuthError,
    BlobTooLargeError,
    BuildpushError,
    HttpEvidence,
    RegistryError,
    RegistryUnavailableError,
)
from ..http.answers import Address, evidence_of, number_of, safe_url
from ..runtime.retry import Patience
from .exchange import Call, Exchange, ProofRenewedError
from .limits import Habits, chunk_size
from .outgoing import Outgoing, Reader
from .progress import size_text
from .token import Want

if TYPE_CHECKING:
    from ..http.transport import Body, Reply

__all__ = ["Sending", "Session", "begun"]

_RANGE: Final = re.compile(r"(?:bytes[= ])?0-([0-9]{1,18})")
_CORRUPT: Final = frozenset({"DIGEST_INVALID"})
_GONE: Final = frozenset({"BLOB_UPLOAD_UNKNOWN", "BLOB_UPLOAD_INVALID"})
_OUT_OF_STEP: Final = frozenset({"RANGE_INVALID", "SIZE_INVALID", "DIGEST_INVALID"}) | _GONE


@frozen(kw_only=True)
class Session:
    """An upload that the registry has begun: where to send bytes, and its least chunk in bytes."""

    location: str = field(converter=Address)
    minimum: int = 0


class _AnewError(RegistryUnavailableError):
    """The session is of no use any more; another one may do. It never leaves this file."""


@define(eq=False, kw_only=True)
class Sending:
    """One blob's bytes on their way. *arrived* asks whether the whole blob is there already."""

    exchange: Exchange
    habits: Habits
    want: Want
    outgoing: Outgoing
    begin: Callable[[], Session]
    arrived: Callable[[], bool]
    _session: Session = field(init=False)
    _confirmed: int = field(default=0, init=False)
    _chunk: int = field(default=0, init=False)
    _reader: Reader | None = field(default=None, init=False)
    _resumed: bool = field(default=False, init=False)
    _given_up: set[str] = field(factory=set[str], init=False)
    _refusals: int = field(default=0, init=False)

    def send(self, session: Session) -> None:
        """Send every byte, until the registry says that it has the blob.

        Raises the last error when the client's policy is used up. No reason to begin anew
        counts twice, so that this ends whatever the registry says.
        """
        self._session = session
        if self.habits.wants_chunks(self._host, self._size):
            self._cut(session)
        patience, reached = self._patience(), 0
        while True:
            try:
                if self._chunk:
                    self._in_chunks()
                else:
                    self._whole()
            except _AnewError:
                self._begin_again()
            except BuildpushError as error:
                if self._chunk and self._confirmed > reached:
                    patience, reached = self._patience(), self._confirmed
                self._wait(patience, error)
                if self._recover(error):
                    return
            else:
                return

    # --- the two ways ---

    def _whole(self) -> None:
        """Everything that is missing in one request, which also commits it."""
        offset = self._confirmed
        self.outgoing.furthest = offset
        self._commit(lambda: self.outgoing.rest(offset), offset)

    def _in_chunks(self) -> None:
        from ..http.transport import Body

        reader = self._reader
        if reader is None:
            reader = self._reader = Reader(self.outgoing)
        while self._confirmed < self._size:
            if self._confirmed == reader.start + len(reader.data):
                reader.fill(self._chunk)
            data, start = reader.data, reader.start
            self.outgoing.furthest = start + len(data)
            call = self._call(
                "PATCH",
                self._session.location,
                Body.of(data, "application/octet-stream"),
                {"Content-Range": f"{start}-{start + len(data) - 1}"},
            )
            with self.exchange.send(call) as reply:
                if reply.status not in (201, 202, 204):
                    self._refused(call, reply)
                # Not what its Range says: of registries that take chunks, some count wrongly.
                self._confirmed = start + len(data)
                self._move(call, reply)
        self._commit(lambda: iter(()), self._size)

    def _commit(self, rest: Callable[[], Iterator[bytes]], offset: int) -> None:
        from ..http.transport import Body

        location, size = self._session.location, self._size - offset
        call = self._call(
            "PUT",
            f"{location}{'&' if '?' in location else '?'}digest={self.outgoing.descriptor.digest}",
            Body(open=rest, size=size),
            {"Content-Range": f"{offset}-{self._size - 1}"} if offset and size else {},
        )
        with self.exchange.send(call) as reply:
            if reply.status not in (200, 201, 204):
                self._refused(call, reply)

    # --- what a registry says ---

    def _refused(self, call: Call, reply: Reply) -> NoReturn:
        """Raise what *reply* means for this upload."""
        proof = evidence_of(reply, self.exchange.run.redact)
        codes = {*proof.codes}
        if reply.status == 413:
            self._too_large(proof)
        if self._resumed and (reply.status == 416 or codes & _OUT_OF_STEP):
            self.habits.lied(self._host)
            self._anew("resumed", proof)
        if codes & _CORRUPT:
            self.outgoing.check()
            self._anew("corrupt", proof)
            raise RegistryError(
                f"{call.about}: the registry says twice that other bytes arrived than were sent",
                evidence=(proof,),
                hint="does a proxy in front of it change or cut uploads?",
            )
        if reply.status == 416 and self._chunk:
            self._chunk = min(self._chunk, chunk_size(self._size, 0))
            self._anew("range", proof)
        if codes & _GONE:
            raise RegistryUnavailableError(
                f"{call.about}: the registry lost the upload: {', '.join(proof.codes)}",
                evidence=(proof,),
            )
        raise self.exchange.failure(call, reply)

    def _too_large(self, proof: HttpEvidence) -> NoReturn:
        """Cut the blob into chunks, once; raises `BlobTooLargeError` when they are no help."""
        if not self._chunk:
            self.habits.refused(self._host, self._size - self._confirmed)
            self._cut(self._session)
            if self._chunk < self._size:
                raise _AnewError("in chunks")
        error = BlobTooLargeError(
            f"{self.outgoing.about}: {size_text(self._chunk or self._size)} in one request are too"
            f" much for {self._host}, or for a proxy in front of it",
            evidence=(proof,),
            hint="raise the limit there (nginx: client_max_body_size), or divide what makes this"
            " layer between several instructions",
        )
        error.digest, error.size = str(self.outgoing.descriptor.digest), self._size
        raise error

    def _anew(self, reason: str, proof: HttpEvidence) -> None:
        """Leave this session for another one, once for each *reason*."""
        if reason in self._given_up:
            return
        self._given_up.add(reason)
        said = ", ".join(proof.codes) or f"HTTP {proof.status}"
        self.exchange.run.warn(f"{self.outgoing.about}: {said}; sending it again from its start")
        raise _AnewError(reason)

    # --- going on ---

    def _recover(self, error: BuildpushError) -> bool:
        """After *error*: go on where the registry stands, or begin anew; whether all is done."""
        if isinstance(error, ProofRenewedError):
            self._refusals += 1
        whole = self.outgoing.furthest >= self._size
        offset = self._ask() if self.outgoing.furthest else None
        if offset is None and whole and self.arrived():
            return True
        if offset is None:
            self._begin_again()
        else:
            self._resumed, self._confirmed = True, offset
            if self._reader is not None:
                self._reader.skip(offset)
        if self._refusals > 1 and not offset and not self._chunk:
            # Its tokens live shorter than one request: a chunk is quicker.
            self._cut(self._session)
        return False

    def _ask(self) -> int | None:
        """How many bytes the registry has of this session; None when that cannot be known."""
        if not self.habits.resumes(self._host):
            return None
        call = self._call("GET", self._session.location)
        try:
            with self.exchange.send(call) as reply:
                found = _RANGE.fullmatch(reply.header("range").strip())
                if reply.status not in (200, 202, 204) or found is None:
                    return None
                self._move(call, reply)
        except (RegistryError, AuthError):
            return None
        # "0-0" is also what registries say that have nothing yet.
        offset = int(found[1]) + 1 if found[1] != "0" else 0
        if not self._confirmed <= offset <= self.outgoing.furthest:
            self.habits.lied(self._host)
            return None
        return offset

    def _begin_again(self) -> None:
        self._session = self.begin()
        self._confirmed, self._reader, self._resumed = 0, None, False
        self.outgoing.furthest = 0

    def _cut(self, session: Session) -> None:
        self._chunk = chunk_size(self._size, session.minimum)

    def _move(self, call: Call, reply: Reply) -> None:
        """Follow the session to where *reply* says it goes on."""
        if reply.header("location"):
            location = begun(self.exchange, call, reply).location
            self._session = Session(location=location, minimum=self._session.minimum)

    def _wait(self, patience: Patience, error: BuildpushError) -> None:
        try:
            patience.wait(error)
        except BuildpushError as last:
            seconds = patience.same_time
            if seconds is not None:
                last.hint = f"{last.hint}; " if last.hint else ""
                last.hint += (
                    f"three attempts ended after {seconds:.0f} s each: a proxy in front of the"
                    " registry may end requests that take longer"
                )
            raise

    def _patience(self) -> Patience:
        exchange = self.exchange
        return Patience(what=self.outgoing.about, run=exchange.run, policy=exchange.policy)

    def _call(
        self,
        method: str,
        where: str,
        body: Body | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Call:
        return Call(
            method=method,
            where=where,
            want=self.want,
            about=self.outgoing.about,
            headers=headers or {},
            body=body,
            patience=self.exchange.policy.commit if method == "PUT" else None,
            rewinds=body is None or not body.size,
        )

    @property
    def _size(self) -> int:
        return self.outgoing.descriptor.size

    @property
    def _host(self) -> str:
        return self.want.repository.host


def begun(exchange: Exchange, call: Call, reply: Reply) -> Session:
    """Where *reply* wants bytes sent: the registry's own words, not one byte of them changed."""
    about = call.about
    if not reply.header("location"):
        raise RegistryError(f"{about}: the registry began an upload, but says not where")
    url = _joined(reply, exchange.endpoints.base(call.want.repository.host))
    if not url:
        raise RegistryError(f"{about}: its Location is not a URL")
    reason = exchange.trust.objection(url, reply.url)
    if reason:
        raise RegistryError(
            f"{about}: the registry wants the bytes sent to {safe_url(url)}, {reason}",
            hint="the registry, or its proxy, should be told the address it is known by"
            " (X-Forwarded-Proto: https)",
        )
    minimum = number_of(reply.header("oci-chunk-min-length"))
    return Session(location=url, minimum=minimum or 0)


def _joined(reply: Reply, base: str) -> str:
    """Where *reply*, of the registry at *base*, points to; empty when that is no URL."""
    try:
        url = urljoin(reply.url, reply.header("location"))
        here, there = urlsplit(base), urlsplit(url)
    except ValueError:
        return ""
    if (here.scheme, there.scheme) == ("https", "http") and here.netloc == there.netloc:
        # A registry behind a TLS proxy that does not know it: plain HTTP is never what it has.
        url = f"https{url.removeprefix('http')}"
    return Address(url)

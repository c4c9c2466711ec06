"""Reading a blob: verified as it streams, picked up where it broke off."""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager

from attrs import define, field

from ..errors import BuildpushError, DigestMismatchError, RegistryUnavailableError
from ..oci import Repository
from ..oci.wire import Descriptor
from ..runtime.retry import RetryPolicy
from .exchange import Call, Exchange
from .token import Want


@contextmanager
def reading(
    exchange: Exchange, repository: Repository, descriptor: Descriptor, policy: RetryPolicy
) -> Generator[Iterator[bytes]]:
    """Open a blob; the first request is made here, so that a missing blob is known at once."""
    with ExitStack() as open_reply:
        download = _Download(
            exchange=exchange,
            call=Call(
                method="GET",
                where=f"blobs/{descriptor.digest}",
                want=Want(repository=repository, access="pull"),
                about=f"reading blob {descriptor.digest} of {repository}",
            ),
            descriptor=descriptor,
            policy=policy,
            reply=open_reply,
        )
        exchange.retry(download.call.about, download.open, policy)
        yield download.verified()


@define(eq=False, kw_only=True)
class _Download:
    exchange: Exchange
    call: Call
    descriptor: Descriptor
    policy: RetryPolicy
    reply: ExitStack
    done: int = 0
    _pieces: Iterator[bytes] = field(factory=lambda: iter(()))

    def verified(self) -> Iterator[bytes]:
        """Every piece of the blob; raises at the end, or before a byte too many."""
        digest, size = self.descriptor.digest, self.descriptor.size
        hashed = hashlib.new(digest.algorithm)
        while piece := self._next():
            self.done += len(piece)
            if self.done > size:
                raise DigestMismatchError(
                    f"{self.call.about}: more than the {size} bytes its manifest promises"
                )
            hashed.update(piece)
            yield piece
        if hashed.hexdigest() != digest.hex:
            raise DigestMismatchError(
                f"{self.call.about}: {self.done} bytes arrived, and they hash to"
                f" {digest.algorithm}:{hashed.hexdigest()}",
                hint="the registry or a proxy in front of it holds a corrupt copy",
            )

    def open(self) -> None:
        """Ask for what is missing: all of it, or the rest after what arrived."""
        self.reply.close()
        headers = {"Range": f"bytes={self.done}-"} if self.done else {}
        call = Call(
            method="GET",
            where=self.call.where,
            want=self.call.want,
            about=self.call.about,
            headers=headers,
        )
        answer = self.reply.enter_context(self.exchange.send(call))
        if answer.status == 206 and self.done:
            self._pieces = answer.chunks()
        elif answer.status == 200:
            self._pieces = _after(answer.chunks(), self.done)
        else:
            raise self.exchange.failure(call, answer)

    def _next(self) -> bytes:
        """The next piece, empty at the end; a broken connection is opened again."""
        try:
            return self._piece()
        except BuildpushError as error:
            if not error.retryable:
                raise
            first: list[BuildpushError] = [error]

        def again() -> bytes:
            if first:
                raise first.pop()  # so that the first wait comes before the first reopening
            self.open()
            return self._piece()

        return self.exchange.retry(self.call.about, again, self.policy)

    def _piece(self) -> bytes:
        piece = next(self._pieces, b"")
        if not piece and self.done < self.descriptor.size:
            raise RegistryUnavailableError(
                f"{self.call.about}: only {self.done} of {self.descriptor.size} bytes arrived"
            )
        return piece


def _after(pieces: Iterator[bytes], skip: int) -> Iterator[bytes]:
    """*pieces* without their first *skip* bytes: what a server without ranges sends again."""
    for piece in pieces:
        if len(piece) > skip:
            yield piece[skip:]
        skip = max(0, skip - len(piece))

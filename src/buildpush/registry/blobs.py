"""Reading a blob: verified as it streams, picked up where it broke off."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

from attrs import define, field

from ..errors import (
    AuthError,
    BuildpushError,
    DigestMismatchError,
    RegistryError,
    RegistryUnavailableError,
)
from ..oci import Repository
from ..oci.wire import Descriptor
from ..runtime.retry import RetryPolicy
from .exchange import Call, Exchange
from .token import Want

ONCE: Final = RetryPolicy(attempts=1)
"""The patience with a mirror: there is somebody else to ask."""

_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-")
_HEADWAY: Final = 1 << 20
"""Bytes that make a broken connection forgiven: less would never reach the end of a layer."""


@contextmanager
def reading(
    exchange: Exchange, places: Sequence[Repository], descriptor: Descriptor, policy: RetryPolicy
) -> Generator[Iterator[bytes]]:
    """Open a blob; the first request is made here, so that a missing blob is known at once.

    *places* are asked in order, all but the last (the registry itself) only once; a later one
    also takes over from one that breaks off in the middle.
    """
    with ExitStack() as reply:
        download = _Download(
            exchange=exchange,
            descriptor=descriptor,
            policy=policy,
            places=list(places),
            reply=reply,
        )
        download.start()
        yield download.verified()


@define(eq=False, kw_only=True)
class _Download:
    exchange: Exchange
    descriptor: Descriptor
    policy: RetryPolicy
    places: list[Repository]
    reply: ExitStack
    done: int = 0
    _pieces: Iterator[bytes] = field(factory=lambda: iter(()), init=False)
    _broken: int = field(default=0, init=False)
    _broken_at: int = field(default=0, init=False)

    @property
    def _about(self) -> str:
        return f"reading blob {self.descriptor.digest} of {self.places[0]}"

    def start(self) -> None:
        """Ask place after place until one has the blob."""
        while len(self.places) > 1:
            try:
                self.exchange.retry(self._about, self.open, ONCE)
            except (RegistryError, AuthError) as error:
                self._move_on(error)
            else:
                return
        self.exchange.retry(self._about, self.open, self.policy)

    def _move_on(self, error: BuildpushError) -> None:
        left = self.places.pop(0)
        self.exchange.passed_over(left, error)

    def verified(self) -> Iterator[bytes]:
        """Every piece of the blob; raises at the end, or before a byte too many."""
        digest, size = self.descriptor.digest, self.descriptor.size
        hashed = hashlib.new(digest.algorithm)
        while piece := self._next():
            self.done += len(piece)
            if self.done > size:
                raise DigestMismatchError(
                    f"{self._about}: more than the {size} bytes its manifest promises"
                )
            hashed.update(piece)
            yield piece
        if hashed.hexdigest() != digest.hex:
            raise DigestMismatchError(
                f"{self._about}: {self.done} bytes arrived, and they hash to"
                f" {digest.algorithm}:{hashed.hexdigest()}",
                hint="the registry or a proxy in front of it holds a corrupt copy",
            )

    def open(self) -> None:
        """Ask for what is missing: all of it, or the rest after what arrived."""
        self.reply.close()
        call = Call(
            method="GET",
            where=f"blobs/{self.descriptor.digest}",
            want=Want(repository=self.places[0], access="pull"),
            about=self._about,
            headers={"Range": f"bytes={self.done}-"} if self.done else {},
        )
        answer = self.reply.enter_context(self.exchange.send(call))
        begins = _begins(answer.header("content-range")) if answer.status == 206 else 0
        if answer.status == 206 and 0 <= begins <= self.done:
            self._pieces = _after(answer.chunks(), self.done - begins)
        elif answer.status == 200:
            self._pieces = _after(answer.chunks(), self.done)
        else:
            raise self.exchange.failure(call, answer)

    def _next(self) -> bytes:
        """The next piece, empty at the end; a broken connection is opened again."""
        try:
            return self._piece()
        except BuildpushError as error:
            if self.done == self.descriptor.size and error.retryable:
                return b""  # it broke after the last byte
            if not error.retryable or not self._forgiven():
                raise
            first = [error]
        if len(self.places) > 1:
            self._move_on(first[0])
            self.start()
            return self._next()

        def again() -> bytes:
            if first:
                raise first.pop()  # so that the first wait comes before the first reopening
            self.open()
            return self._piece()

        return self.exchange.retry(self._about, again, self.policy)

    def _forgiven(self) -> bool:
        """Whether to go on after a break: not when break follows break without headway."""
        if self.done - self._broken_at >= _HEADWAY:
            self._broken = 0
        self._broken, self._broken_at = self._broken + 1, self.done
        return self._broken < self.policy.attempts or len(self.places) > 1

    def _piece(self) -> bytes:
        piece = next(self._pieces, b"")
        if not piece and self.done < self.descriptor.size:
            raise RegistryUnavailableError(
                f"{self._about}: only {self.done} of {self.descriptor.size} bytes arrived"
            )
        return piece


def _begins(text: str) -> int:
    """The first byte of a Content-Range (RFC 9110, 14.4), -1 for one that cannot be read."""
    found = _RANGE.match(text)
    return int(found[1]) if found else -1


def _after(pieces: Iterator[bytes], skip: int) -> Iterator[bytes]:
    """*pieces* without their first *skip* bytes: what a server without ranges sends again."""
    for piece in pieces:
        if len(piece) > skip:
            yield piece[skip:]
        skip = max(0, skip - len(piece))

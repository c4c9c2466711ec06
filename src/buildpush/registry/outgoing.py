"""The bytes of a blob on their way out: hashed as they pass, the last piece kept until all is right."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from attrs import define, field

from ..errors import DigestMismatchError
from ..oci.wire import Descriptor

__all__ = ["Outgoing", "Reader"]


@define(eq=False, kw_only=True)
class Outgoing:
    """A blob that can be read from its start again and again; *source* is its file, if it has one.

    *furthest* is how many of its bytes may have arrived since it was last set.
    """

    about: str
    descriptor: Descriptor
    open_body: Callable[[], Iterator[bytes]] = field(repr=False)
    source: Path | None = None
    furthest: int = field(default=0, init=False)

    def rest(self, offset: int) -> Iterator[bytes]:
        """Every byte from *offset* on; raises `DigestMismatchError` before the last piece."""
        hashed = hashlib.new(self.descriptor.digest.algorithm)
        seen, held = 0, b""
        for piece in self.open_body():
            hashed.update(piece)
            seen += len(piece)
            if seen <= offset:
                continue
            if held:
                self.furthest = max(self.furthest, seen - len(piece))
                yield held
            held = piece[max(0, offset - seen + len(piece)) :]
        self.require(seen, hashed.hexdigest())
        self.furthest = seen
        if held:
            yield held

    def require(self, size: int, hexdigest: str) -> None:
        """Raise `DigestMismatchError` unless this is what the digest names."""
        digest = self.descriptor.digest
        if (size, hexdigest) == (self.descriptor.size, digest.hex):
            return
        what = f"{self.source}, the blob to be sent," if self.source else "the blob to be sent"
        raise DigestMismatchError(
            f"{self.about}: {what} has {size} bytes that are not the {self.descriptor.size} its"
            " digest names",
            hint="it changed on disk after it was made: build again",
        )


@define(eq=False)
class Reader:
    """One way through a blob, in chunks that are kept until they have arrived."""

    outgoing: Outgoing
    start: int = field(default=0, init=False)
    data: bytes = field(default=b"", init=False, repr=False)
    _pieces: Iterator[bytes] = field(init=False)
    _spare: bytearray = field(factory=bytearray, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._pieces = self.outgoing.rest(0)

    def fill(self, size: int) -> None:
        """Drop the chunk at hand, and read the next *size* bytes, fewer at the end."""
        self.start += len(self.data)
        while len(self._spare) < size:
            piece = next(self._pieces, b"")
            if not piece:
                break
            self._spare += piece
        self.data = bytes(self._spare[:size])
        del self._spare[:size]

    def skip(self, offset: int) -> None:
        """Drop what the other side has already: *offset* is within the chunk, or at its end."""
        self.data, self.start = self.data[offset - self.start :], offset

"""The bytes of a blob on their way out: the last piece is kept until all seems right.

A file is not hashed while it is sent: that would cost more than sending it, the registry hashes
it all the same, and refuses what is not the blob. What can be seen of the file must not change
meanwhile; what is refused is hashed then, to tell whose fault it is. Bytes that come from
elsewhere are hashed as they pass.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from attrs import define, field

from ..errors import DigestMismatchError
from ..oci.wire import Descriptor

__all__ = ["Outgoing", "Reader"]

_PIECE: Final = 1 << 20


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
        looks = self._looks()
        hashed = None if looks else hashlib.new(self.descriptor.digest.algorithm)
        seen, held = 0, b""
        for piece in self.open_body():
            if hashed is not None:
                hashed.update(piece)
            seen += len(piece)
            if seen <= offset:
                continue
            if held:
                self.furthest = max(self.furthest, seen - len(piece))
                yield held
            held = piece[max(0, offset - seen + len(piece)) :]
        if hashed is not None:
            self._require(seen, hashed.hexdigest())
        elif seen != self.descriptor.size or looks != self._looks():
            self.check()
        self.furthest = seen
        if held:
            yield held

    def check(self) -> None:
        """Hash the source, if it is a file; raises `DigestMismatchError` when it is not the blob."""
        if self.source is None:
            return
        hashed = hashlib.new(self.descriptor.digest.algorithm)
        size = 0
        with self.source.open("rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                hashed.update(piece)
                size += len(piece)
        self._require(size, hashed.hexdigest())

    def _looks(self) -> tuple[int, int, int] | None:
        """What changes when somebody writes to the source."""
        if self.source is None:
            return None
        found = self.source.stat()
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _require(self, size: int, hexdigest: str) -> None:
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

"""The context's tar as busybox reads it, and how it travels: packed, in pieces, with its digest."""

from __future__ import annotations

import hashlib
import importlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Protocol, cast

from attrs import define, field

from ....oci.tar import BLOCK, padding

__all__ = ["Sent", "gnu"]

_PIECE: Final = 1 << 20
_LONGEST_RECORDS: Final = 1 << 20
_NAME: Final = b"././@LongLink"


def gnu(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same archive with GNU's long names instead of PAX records, which busybox skips.

    It takes names and sizes that a header cannot hold from the records, and nothing else: there
    are no extended attributes in a build context, and its times are whole seconds.
    """
    source = _Source(chunks)
    records: dict[bytes, bytes] = {}
    while header := source.read(BLOCK):
        size = int(header[124:135].rstrip(b" \0") or b"0", 8) if header[156:157] != b"\0" else 0
        if header[156:157] == b"x":
            body = source.read(size + len(padding(size)))
            records = _records(body[:size])
            continue
        for key, flag in ((b"path", b"L"), (b"linkpath", b"K")):
            if key in records:
                yield _long(records[key], flag)
        if b"size" in records:
            size = int(records[b"size"])
            header = _large(header, size)
        records = {}
        yield header
        yield from source.pass_on(size + len(padding(size)))


def _records(body: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    while body:
        length, _, _ = body.partition(b" ")
        record, body = body[: int(length)], body[int(length) :]
        key, _, value = record[len(length) + 1 : -1].partition(b"=")
        found[key] = value
    return found


def _long(name: bytes, flag: bytes) -> bytes:
    body = name + b"\0"
    header = bytearray(BLOCK)
    header[0 : len(_NAME)] = _NAME
    header[100:108] = header[108:116] = header[116:124] = b"0000000\0"
    header[124:136] = b"%011o\0" % len(body)
    header[136:148] = b"%011o\0" % 0
    header[156:157] = flag
    header[257:265] = b"ustar  \0"
    return _summed(header) + body + padding(len(body))


def _large(header: bytes, size: int) -> bytes:
    """*header* with a size of more than 8 GiB, in GNU's base 256."""
    changed = bytearray(header)
    changed[124:136] = b"\x80" + size.to_bytes(11, "big")
    return _summed(changed)


def _summed(header: bytearray) -> bytes:
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@define(eq=False)
class _Source:
    """Reads exactly as much as is asked for from pieces of any size."""

    chunks: Iterable[bytes]
    _left: bytearray = field(factory=bytearray, init=False)
    _iterator: Iterator[bytes] = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._iterator = iter(self.chunks)

    def read(self, count: int) -> bytes:
        """*count* bytes, or none at the end."""
        while len(self._left) < count:
            chunk = next(self._iterator, None)
            if chunk is None:
                break
            self._left += chunk
        data = bytes(self._left[:count])
        del self._left[:count]
        return data

    def pass_on(self, count: int) -> Iterator[bytes]:
        """*count* bytes, in pieces as they come."""
        while count:
            if not self._left:
                chunk = next(self._iterator, b"")
                if len(chunk) <= count:
                    if not chunk:
                        return
                    count -= len(chunk)
                    yield chunk
                    continue
                self._left += chunk
            data = bytes(self._left[:count])
            del self._left[:count]
            count -= len(data)
            yield data


class _Deflate(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...
    def flush(self) -> bytes: ...


class _Zlib(Protocol):
    """What is used of zlib, and of `isal.isal_zlib`, which is five times as fast."""

    def compressobj(self, level: int, method: int, wbits: int) -> _Deflate: ...


def _gzip() -> _Deflate:
    wbits = zlib.MAX_WBITS | 16
    try:
        fast = cast("_Zlib", importlib.import_module("isal.isal_zlib"))
    except ImportError:  # not built for this kind of machine
        return zlib.compressobj(1, zlib.DEFLATED, wbits)
    return fast.compressobj(0, zlib.DEFLATED, wbits)


@define(eq=False, kw_only=True)
class Sent:
    """One sending of an archive: what goes through the wire, and then its digest."""

    chunks: Iterable[bytes]
    packed: bool
    _sum: Callable[[], str] = field(init=False, default=lambda: "")

    def pieces(self) -> Iterator[bytes]:
        """What is sent: pieces of at most 1 MiB, each after its size in a line; a 0 at the end."""
        digest = hashlib.sha256()
        self._sum = digest.hexdigest
        for piece in _cut(self._coded()):
            digest.update(piece)
            yield b"%d\n" % len(piece) + piece
        yield b"0\n"

    @property
    def digest(self) -> str:
        """The sha256 of what was sent so far, in hex; without the sizes."""
        return self._sum()

    def _coded(self) -> Iterator[bytes]:
        if not self.packed:
            yield from self.chunks
            return
        deflate = _gzip()
        for chunk in self.chunks:
            yield deflate.compress(chunk)
        yield deflate.flush()


def _cut(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of one size, so that their number is small, too."""
    kept = bytearray()
    for chunk in chunks:
        kept += chunk
        while len(kept) >= _PIECE:
            yield bytes(kept[:_PIECE])
            del kept[:_PIECE]
    if kept:
        yield bytes(kept)

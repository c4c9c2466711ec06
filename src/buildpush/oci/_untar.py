"""Reading tars that anybody may have made. Import `read` from `tar`.

Why not tarfile: it takes a damaged header for the end of the archive, spins for ever on a size
that is a lie, raises whatever it happens to meet, and takes longer.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, Final, cast

from ._entry import BLOCK, NO_XATTRS, XATTR, Entry, Kind, TarError

_KINDS: Final[Mapping[bytes, Kind]] = {
    b"0": "file",
    b"\0": "file",  # before POSIX
    b"7": "file",  # contiguous, once
    b"S": "file",  # GNU's sparse
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "char",
    b"4": "block",
    b"5": "dir",
    b"6": "fifo",
}
_BUFFER: Final = 1 << 20
_NAMES: Final = ("utf-8", "surrogateescape")
_MOST_RECORDS: Final = 1 << 20
_MOST_DIGITS: Final = 18
_FIELDS: Final = struct.Struct("100s8s8s8s12s12s8s1s100s8s64x8s8s155s12x")
_DECIMAL: Final = re.compile(rb"(-?)([0-9]{1,18})(?:\.([0-9]*))?")
_UNCLEAN: Final = re.compile(r"^/|^\.$|^\./|//|/\.(?:/|$)|/$|(?:^|/)\.\.(?:/|$)")
_Pieces = Sequence[tuple[int, int]]


def read(stream: BinaryIO) -> Iterator[tuple[Entry, BinaryIO]]:
    """Yield each entry of an uncompressed tar with its content, in the archive's order.

    Read a body before asking for the next entry; what is not read is skipped. Sparse files
    arrive expanded, names relative and clean. Entries that share a name are all delivered: the
    last one counts. Raises `TarError` for bytes that are no tar, and names an entry that would
    leave the archive's root or is of an unknown kind.
    """
    everywhere: dict[str, bytes] = {}
    special: dict[str, bytes] = {}
    while (block := _header(stream)) is not None:
        flag = block[156:157]
        if flag in b"xgLK":
            data = _special(stream, block)
            if flag == b"g":
                everywhere |= _parse_records(data)
            elif flag == b"x":
                special |= _parse_records(data)
            else:  # GNU's long name or link; PAX, if there is both, wins
                key = "path" if flag == b"L" else "linkpath"
                special.setdefault(key, data.partition(b"\0")[0])
            continue
        records, special = everywhere | special, {}
        entry, stored = _entry(block, records)
        body = _Body(stream, stored)
        pieces = _pieces(stream, block, records, body)
        if pieces is not None:
            chunks = _expanded(body, pieces, entry.size)
            yield entry, cast("BinaryIO", io.BufferedReader(_Chunks(chunks), _BUFFER))
        else:
            yield entry, cast("BinaryIO", body)
        body.skip(-stored % BLOCK)


def _header(stream: BinaryIO) -> bytes | None:
    """The next header block, its sum checked; None at the archive's end."""
    block = _read(stream, BLOCK)
    if not block or not any(block):
        return None
    if len(block) < BLOCK:
        raise TarError("the archive is damaged: it ends in the middle of a header")
    said = _integer(block[148:156])
    summed = sum(block) - sum(block[148:156]) + 8 * 32
    # Ancient writers summed signed bytes.
    if said != summed and said != summed - 256 * sum(byte > 127 for byte in block):
        raise TarError("the archive is damaged: a header's checksum is wrong")
    return block


def _read(stream: BinaryIO, size: int) -> bytes:
    """Read *size* bytes, fewer at the end only, and never ask for more than there may be."""
    data = stream.read(min(size, _BUFFER))
    if len(data) == size or not data:
        return data
    parts = [data]
    left = size - len(data)
    while left and (data := stream.read(min(left, _BUFFER))):
        parts.append(data)
        left -= len(data)
    return b"".join(parts)


def _special(stream: BinaryIO, block: bytes) -> bytes:
    """The content of an extended header."""
    size = _integer(block[124:136])
    if not 0 <= size <= _MOST_RECORDS:
        raise TarError("the archive is damaged: an extended header is larger than 1 MiB")
    body = _Body(stream, size)
    data = body.read()
    body.skip(-size % BLOCK)
    return data


def _integer(raw: bytes) -> int:
    """A number of a header: octal text, or GNU's base 256 for what is larger or negative."""
    if raw[0] & 0x80:
        number = int.from_bytes(raw, "big", signed=True)
        return number if raw[0] == 0xFF else number + (1 << (8 * len(raw) - 1))
    text = raw.partition(b"\0")[0].strip()
    if text.isdigit() and not (b"8" in text or b"9" in text):
        return int(text, 8)
    if text:
        raise TarError("the archive is damaged: a header's number is none")
    return 0


def _parse_records(data: bytes) -> dict[str, bytes]:
    """PAX records: length, space, key, ``=``, value, newline."""
    records: dict[str, bytes] = {}
    pieces: list[bytes] = []
    at = 0
    while at < len(data) and data[at]:
        digits, _, _ = data[at : at + 8].partition(b" ")
        end = at + int(digits) if digits.isdigit() else at
        key, equals, value = data[at + len(digits) + 1 : end - 1].partition(b"=")
        if not equals or data[end - 1 : end] != b"\n":
            raise TarError("the archive is damaged: an extended header's record is cut wrong")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            pieces.append(value)  # the one kind of record that repeats
        else:
            records[key.decode("utf-8", "surrogateescape")] = value
        at = end
    if pieces:
        records["GNU.sparse.map"] = b",".join(pieces)
    return records


def _entry(block: bytes, records: Mapping[str, bytes]) -> tuple[Entry, int]:
    """The entry that a header and its *records* describe, and how many bytes are stored."""
    name, mode, uid, gid, size, mtime, _, flag, link, magic, major, minor, prefix = _FIELDS.unpack(
        block
    )
    path: bytes = name.partition(b"\0")[0]
    if magic[:6] == b"ustar\0" and prefix[0]:
        path = prefix.partition(b"\0")[0] + b"/" + path
    text = (records.get("GNU.sparse.name") or records.get("path") or path).decode(*_NAMES)
    linked = (records.get("linkpath") or link.partition(b"\0")[0]).decode(*_NAMES)
    kind = _KINDS.get(flag)
    if kind is None:
        raise TarError(f"{text[:255]!r}: an entry of the unknown type {flag!r}")
    if kind == "file" and text.endswith("/"):
        kind = "dir"  # as before POSIX
    stored = _decimal("size", records, size) if kind == "file" else 0
    real = "GNU.sparse.realsize" if "GNU.sparse.realsize" in records else "GNU.sparse.size"
    device = kind in ("char", "block")
    if stored < 0:
        raise TarError(f"{text[:255]!r}: its size is negative")
    entry = Entry(
        name=_relative(text, text),
        kind=kind,
        mode=_integer(mode) & 0o7777,
        uid=_decimal("uid", records, uid) & 0xFFFFFFFF,
        gid=_decimal("gid", records, gid) & 0xFFFFFFFF,
        size=_decimal(real, records, block[483:495] if flag == b"S" else b"") or stored,
        mtime_ns=_nanoseconds(records, mtime),
        link=_link(kind, linked, text),
        major=_integer(major) if device else 0,
        minor=_integer(minor) if device else 0,
        xattrs={k[len(XATTR) :]: v for k, v in records.items() if k.startswith(XATTR)}
        if records
        else NO_XATTRS,
    )
    return entry, stored


def _decimal(key: str, records: Mapping[str, bytes], field: bytes) -> int:
    """The number of the PAX record *key*, or that of the header's *field*."""
    said = records.get(key)
    if not said:
        return _integer(field) if field else 0
    if not said.isdigit() or len(said) > _MOST_DIGITS:
        raise TarError(f"the archive is damaged: a PAX {key} is not a number")
    return int(said)


def _link(kind: Kind, target: str, entry: str) -> str:
    """A symlink's text as it is; a hard link's target as entries are named; else nothing."""
    if kind == "hardlink":
        return _relative(target, entry)
    return target if kind == "symlink" else ""


def _nanoseconds(records: Mapping[str, bytes], field: bytes) -> int:
    """PAX's decimal seconds, of which nine digits after the point count, or the header's."""
    said = records.get("mtime")
    if not said:
        return _integer(field) * 1_000_000_000
    match = _DECIMAL.fullmatch(said)
    if match is None:
        raise TarError("the archive is damaged: a PAX mtime is not a number of seconds")
    sign, whole, fraction = match.groups()
    total = int(whole) * 1_000_000_000 + int((fraction or b"")[:9].ljust(9, b"0"))
    return -total if sign else total


def _relative(name: str, entry: str) -> str:
    """*name* without leading slashes and needless parts; refuse one that climbs."""
    if not _UNCLEAN.search(name):
        return name
    parts: list[str] = []
    for part in name.split("/"):
        if part == "..":
            if not parts:
                raise TarError(
                    f"{entry[:255]!r}: an entry of a layer cannot leave its root with '..'"
                )
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


class _Body(io.RawIOBase):
    """The next *size* bytes of a stream."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        super().__init__()
        self._stream = stream
        self._left = size

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        want = self._left if size is None or size < 0 else min(size, self._left)
        data = _read(self._stream, want) if want else b""
        if len(data) < want:
            raise TarError("the archive is damaged: it ends in the middle of a file")
        self._left -= want
        return data

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        data = self.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def skip(self, padding: int) -> None:
        """Read what is left, and *padding* bytes more."""
        self._left += padding
        while self._left:
            self.read(min(self._left, _BUFFER))


# --- sparse files (GNU tar's manual, “Sparse Formats”) ---


def _pieces(
    stream: BinaryIO, block: bytes, records: Mapping[str, bytes], body: _Body
) -> _Pieces | None:
    """Where in a sparse file its stored pieces belong; None for a file that is not sparse."""
    if block[156:157] == b"S":
        return _old_pieces(stream, block)
    if records.get("GNU.sparse.major") == b"1":
        return _paired(_leading_numbers(body))
    if "GNU.sparse.map" in records:
        said = records["GNU.sparse.map"]
        return _paired([_number(text) for text in said.split(b",")] if said else [])
    return None


def _number(text: bytes) -> int:
    return _decimal("sparse map", {"sparse map": text or b"?"}, b"")


def _paired(numbers: Sequence[int]) -> _Pieces:
    if len(numbers) % 2:
        raise TarError("the archive is damaged: a sparse file's map is cut short")
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def _old_pieces(stream: BinaryIO, block: bytes) -> _Pieces:
    """The map of GNU's own format: four pieces in the header, 21 in each block that follows."""
    fields, more = block[386:482], block[482]
    pieces: list[tuple[int, int]] = []
    while True:
        for at in range(0, len(fields), 24):
            if fields[at]:
                piece = _integer(fields[at : at + 12]), _integer(fields[at + 12 : at + 24])
                pieces.append(piece)
        if not more:
            return pieces
        block = _read(stream, BLOCK)
        if len(block) < BLOCK or len(pieces) > _MOST_RECORDS:
            raise TarError("the archive is damaged: a sparse file's map does not end")
        fields, more = block[:504], block[504]


def _leading_numbers(body: _Body) -> Sequence[int]:
    """The map of PAX's sparse format 1.0: lines before the content, how many pieces first."""
    text = b""
    lines = 0
    while True:
        block = body.read(BLOCK)
        text += block
        lines += block.count(b"\n")
        if lines and lines > 2 * _number(text.partition(b"\n")[0]):
            break
        if len(block) < BLOCK or len(text) > _MOST_RECORDS:
            raise TarError("the archive is damaged: a sparse file's map does not end")
    count, *numbers = text.split(b"\n")
    return [_number(line) for line in numbers[: 2 * _number(count)]]


def _expanded(body: _Body, pieces: _Pieces, size: int) -> Iterator[bytes]:
    """The whole content, holes as zeros, in chunks of at most 1 MiB."""
    at = 0
    for start, length in (*pieces, (size, 0)):
        if start < at or length < 0 or start + length > size:
            raise TarError("the archive is damaged: a sparse file's pieces do not fit")
        while at < start:
            hole = min(start - at, _BUFFER)
            yield bytes(hole)
            at += hole
        while at < start + length:
            data = body.read(min(start + length - at, _BUFFER))
            if not data:
                raise TarError("the archive is damaged: a sparse file lacks a piece")
            yield data
            at += len(data)


class _Chunks(io.RawIOBase):
    """A stream of what an iterator yields."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        super().__init__()
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

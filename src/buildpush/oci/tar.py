"""Tar entries in and out of bytes: what layers are made of, deterministic and fast.

Standard library only: the sandbox's bare interpreter loads this module and the two that it
imports. Writes POSIX ustar, with PAX records where ustar cannot say it; reads what docker,
BuildKit and GNU tar write. The rules for names inside a layer are the OCI image-spec's, “layer.md”.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from ._entry import BLOCK, END, OPAQUE, WHITEOUT, XATTR, Entry, Kind, TarError
from ._untar import read

__all__ = [
    "BLOCK",
    "END",
    "OPAQUE",
    "WHITEOUT",
    "Entry",
    "Kind",
    "TarError",
    "pack",
    "padding",
    "read",
]

_FLAGS: Final[Mapping[Kind, bytes]] = {
    "file": b"0",
    "hardlink": b"1",
    "symlink": b"2",
    "char": b"3",
    "block": b"4",
    "dir": b"5",
    "fifo": b"6",
}
_HEADER: Final = struct.Struct("100s8s8s8s12s12s8s1s100s8s64x16s155s12x")
_MAGIC: Final = b"ustar\x0000"
_NO_DEVICE: Final = b"0000000\x000000000\0"
_MAX_ID: Final = 0o7777777
_MAX_NUMBER: Final = 0o77777777777


def padding(size: int) -> bytes:
    """The zero bytes after a body of *size* bytes."""
    return bytes(-size % BLOCK)


def pack(entry: Entry) -> bytes:
    """The header blocks of *entry*, the same bytes for the same entry always.

    Raises `ValueError` for what no archive can hold: a name with a NUL, an attribute's name with
    an equals sign, a negative size or owner, a device number over 2097151.
    """
    records: dict[str, bytes] = {}
    seconds, fraction = divmod(entry.mtime_ns, 1_000_000_000)
    if fraction or not 0 <= seconds <= _MAX_NUMBER:
        records["mtime"] = _seconds(entry.mtime_ns)
        seconds = min(max(seconds, 0), _MAX_NUMBER)
    size = _number(entry.size, _MAX_NUMBER, "size", records) if entry.kind == "file" else 0
    uid = _number(entry.uid, _MAX_ID, "uid", records)
    gid = _number(entry.gid, _MAX_ID, "gid", records)
    name = entry.name
    if entry.kind == "dir":
        name = f"{name}/" if name else "./"
    prefix, base = _name(name, records)
    link = _text(entry.link, "linkpath", records) if entry.link else b""
    for key, value in entry.xattrs.items():
        if "=" in key or "\0" in key:
            raise ValueError(f"{entry.name!r}: no archive can hold the attribute {key!r}")
        records[XATTR + key] = value
    device = _device(entry) if entry.kind in ("char", "block") else _NO_DEVICE
    header = _block(
        base,
        entry.mode & 0o7777,
        (uid, gid),
        size,
        seconds,
        _FLAGS[entry.kind],
        link,
        device,
        prefix,
    )
    return _pax(records) + header if records else header


def _number(value: int, most: int, key: str, records: dict[str, bytes]) -> int:
    """*value* as a header field, or 0 and the PAX record *key* when it is too large for one."""
    if 0 <= value <= most:
        return value
    if value < 0:
        raise ValueError(f"the {key} of an entry cannot be negative")
    records[key] = b"%d" % value
    return 0


def _block(
    name: bytes,
    mode: int,
    owner: tuple[int, int],
    size: int,
    seconds: int,
    flag: bytes,
    link: bytes,
    device: bytes,
    prefix: bytes,
) -> bytes:
    """One ustar header block; without user names, which no two machines agree on."""
    block = _HEADER.pack(
        name,
        b"%07o\0" % mode,
        b"%07o\0" % owner[0],
        b"%07o\0" % owner[1],
        b"%011o\0" % size,
        b"%011o\0" % seconds,
        b"        ",
        flag,
        link,
        _MAGIC,
        device,
        prefix,
    )
    return b"%b%06o\0 %b" % (block[:148], sum(block), block[156:])


def _name(name: str, records: dict[str, bytes]) -> tuple[bytes, bytes]:
    """Split *name* into ustar's prefix and name, or record it as PAX ``path``."""
    if len(name) <= 100 and name.isascii() and "\0" not in name:
        return b"", name.encode()
    raw = _text(name, "path", records, limit=256)
    if "path" in records or len(raw) <= 100:
        return b"", raw[:100]
    cut = raw.rfind(b"/", 0, min(156, len(raw) - 1))
    if cut <= 0 or len(raw) - cut - 1 > 100:
        records["path"] = raw
        return b"", raw[:100]
    return raw[:cut], raw[cut + 1 :]


def _text(text: str, key: str, records: dict[str, bytes], limit: int = 100) -> bytes:
    """*text* as a header field, and as the PAX record *key* when that field cannot hold it.

    PAX says UTF-8: a short name that is not UTF-8 goes raw into the field, where every reader
    takes bytes as they are; a long one has no better place than the record.
    """
    raw = text.encode("utf-8", "surrogateescape")
    if b"\0" in raw:
        raise ValueError(f"a name in an archive cannot hold a NUL: {text[:80]!r}")
    if len(raw) > limit or not (text.isascii() or _escaped(text)):
        records[key] = raw
        return raw[:100]
    return raw


def _escaped(text: str) -> bool:
    return any("\udc80" <= character <= "\udcff" for character in text)


def _device(entry: Entry) -> bytes:
    if not (0 <= entry.major <= _MAX_ID and 0 <= entry.minor <= _MAX_ID):
        raise ValueError(f"{entry.name!r}: the device number does not fit a tar header")
    return b"%07o\0%07o\0" % (entry.major, entry.minor)


def _seconds(nanoseconds: int) -> bytes:
    """Decimal seconds with no more digits than needed, as Go writes PAX times."""
    sign = b"-" if nanoseconds < 0 else b""
    whole, fraction = divmod(abs(nanoseconds), 1_000_000_000)
    digits = (b"%09d" % fraction).rstrip(b"0")
    return sign + b"%d" % whole + (b"." + digits if digits else b"")


def _pax(records: Mapping[str, bytes]) -> bytes:
    """An extended header (pax, “pax Extended Header”) with *records* in order of their keys."""
    body = b"".join(_record(key, records[key]) for key in sorted(records))
    header = _block(b"././@PaxHeader", 0o644, (0, 0), len(body), 0, b"x", b"", _NO_DEVICE, b"")
    return header + body + padding(len(body))


def _record(key: str, value: bytes) -> bytes:
    tail = b" %b=%b\n" % (key.encode("utf-8", "surrogateescape"), value)
    length = len(tail)
    total = length + len(str(length))
    total = length + len(
        str(total)
    )  # the length counts its own digits, of which one more may come
    return b"%d%b" % (total, tail)

"""`find_secrets`: search files, archives and texts for secrets that must not be there."""

from __future__ import annotations

import base64
import importlib
import io
import json
import sys
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Protocol, cast
from urllib.parse import quote, quote_plus

from attrs import frozen

__all__ = ["Finding", "find_secrets"]

_DEPTH: Final = 6
_SHORTEST_CORE: Final = 5
_GZIP: Final = b"\x1f\x8b"
_ZSTD: Final = b"\x28\xb5\x2f\xfd"
_ZIP_WINDOW: Final = 31


@frozen(kw_only=True)
class Finding:
    """A secret that got out: the *needle*'s position in the list, never the secret itself.

    *where* is a path, with ``!`` before each archive member or decompression; *form* is how it
    was written: raw, base64, url, json, hex or name.
    """

    needle: int
    where: str
    form: str


def find_secrets(needles: Sequence[str], *roots: Path | str | bytes) -> tuple[Finding, ...]:
    """Every place below *roots* where one of *needles* can be read.

    A `Path` is a file or a folder (links are not followed), ``str`` and ``bytes`` are content.
    Looks at names and contents, raw and as base64 (at any alignment, both alphabets), hex, URL-
    and JSON-encoded, also inside gzip, zstd and tar, nested. Each file is read whole. Raises
    `ValueError` for needles too short to be searched for.
    """
    if any(len(needle) < _SHORTEST_CORE for needle in needles):
        raise ValueError(f"a canary needs at least {_SHORTEST_CORE} characters")
    forms = [_forms(needle) for needle in needles]
    found: dict[Finding, None] = {}
    for where, data in _contents(roots):
        names = where.encode("utf-8", "surrogateescape")
        for number, spellings in enumerate(forms):
            if any(spelling in names for spelling in spellings["raw"]):
                found[Finding(needle=number, where=where, form="name")] = None
        for place, part in _unpacked(where, data, _DEPTH):
            for number, spellings in enumerate(forms):
                for form, candidates in spellings.items():
                    if any(candidate in part for candidate in candidates):
                        found[Finding(needle=number, where=place, form=form)] = None
    return tuple(found)


def _forms(needle: str) -> Mapping[str, frozenset[bytes]]:
    raw = needle.encode()
    quoted = {quote(needle, safe=""), quote(needle), quote_plus(needle)}
    escaped = {json.dumps(needle)[1:-1], json.dumps(needle, ensure_ascii=False)[1:-1]}
    return {
        "raw": frozenset({raw}),
        "base64": frozenset(_base64_cores(raw)),
        "url": frozenset(text.encode() for text in quoted) - {raw},
        "json": frozenset(text.encode() for text in escaped) - {raw},
        "hex": frozenset({raw.hex().encode(), raw.hex().upper().encode()}),
    }


def _base64_cores(raw: bytes) -> Iterator[bytes]:
    """The characters that stand for *raw* whatever precedes and follows it."""
    for before in range(3):
        padded = b"\0" * before + raw
        first, end = -(-before * 8 // 6), len(padded) * 8 // 6
        for encode in (base64.standard_b64encode, base64.urlsafe_b64encode):
            yield encode(padded)[first:end]


def _contents(roots: Sequence[Path | str | bytes]) -> Iterator[tuple[str, bytes]]:
    for number, root in enumerate(roots):
        match root:
            case str():
                yield f"text {number}", root.encode("utf-8", "surrogateescape")
            case bytes():
                yield f"bytes {number}", root
            case Path():
                yield from _files(root)


def _files(root: Path) -> Iterator[tuple[str, bytes]]:
    paths = sorted(root.rglob("*")) if root.is_dir() else [root]
    for path in paths:
        if path.is_symlink():
            yield str(path), bytes(path.readlink())
        elif path.is_file():
            yield str(path), path.read_bytes()
        elif path.is_dir():
            yield str(path), b""
        elif not path.exists():
            raise FileNotFoundError(path)


def _unpacked(where: str, data: bytes, depth: int) -> Iterator[tuple[str, bytes]]:
    yield where, data
    if depth == 0:
        return
    if data.startswith(_GZIP):
        yield from _unpacked(f"{where}!gunzip", _gunzip(data), depth - 1)
    elif data.startswith(_ZSTD):
        yield from _unpacked(f"{where}!unzstd", _unzstd(data), depth - 1)
    elif data[257:262] == b"ustar":
        for name, member in _members(data):
            if member[:4].startswith((_GZIP, _ZSTD)) or member[257:262] == b"ustar":
                yield from _unpacked(f"{where}!{name}", member, depth - 1)


def _gunzip(data: bytes) -> bytes:
    pieces: list[bytes] = []
    while data.startswith(_GZIP):
        inflate = zlib.decompressobj(_ZIP_WINDOW)
        try:
            pieces.append(inflate.decompress(data))
        except zlib.error:
            break  # not gzip after all; its raw bytes were searched
        data = inflate.unused_data
    return b"".join(pieces)


class _Zstd(Protocol):
    ZstdError: type[Exception]

    def decompress(self, data: bytes) -> bytes: ...


def _unzstd(data: bytes) -> bytes:
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    zstd = cast("_Zstd", importlib.import_module(name))
    try:
        return zstd.decompress(data)
    except zstd.ZstdError:
        return b""


def _members(data: bytes) -> Iterator[tuple[str, bytes]]:
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for member in archive:
                body = archive.extractfile(member) if member.isreg() else None
                if body is not None:
                    yield member.name, body.read()
    except tarfile.TarError:
        return  # a damaged archive: its raw bytes were searched

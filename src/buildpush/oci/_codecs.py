"""How layers are compressed and read back: ISA-L where it is installed, zlib, zstd."""

from __future__ import annotations

import gzip
import importlib
import io
import struct
import sys
import zlib
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import BinaryIO, Final, Protocol, cast

from ..errors import RegistryError, SpecError
from .wire import Compression

_READ: Final = 1 << 20
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
# No name, no time, no operating system: nothing that differs between two machines.
_GZIP_HEADER: Final = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_ISAL_LEVEL: Final = 2
_ZLIB_LEVEL: Final = 6
_ZSTD_LEVEL: Final = 3


class Codec(Protocol):
    """A running compression of one stream."""

    def compress(self, data: bytes | bytearray, /) -> bytes:
        """Take *data*; the compressed bytes that are ready."""
        ...

    def flush(self) -> bytes:
        """End the stream; the rest of the compressed bytes."""
        ...


class _Isal(Protocol):
    """What is used of `isal.isal_zlib`, whose own stubs leave the arguments untyped."""

    error: type[Exception]

    def compressobj(self, level: int, method: int, wbits: int) -> Codec: ...

    def crc32(self, data: bytes | bytearray, value: int, /) -> int: ...


class _Igzip(Protocol):
    """What is used of `isal.igzip`."""

    def IGzipFile(self, *, fileobj: io.FileIO, mode: str) -> BinaryIO: ...  # noqa: N802


class _Gzip:
    """One gzip member with a constant header (RFC 1952) around a raw deflate stream."""

    def __init__(self, deflate: Codec, crc32: Callable[[bytes | bytearray, int], int]) -> None:
        self._deflate = deflate
        self._crc32 = crc32
        self._crc = 0
        self._size = 0
        self._head = _GZIP_HEADER

    def compress(self, data: bytes | bytearray, /) -> bytes:
        head, self._head = self._head, b""
        self._crc = self._crc32(data, self._crc)
        self._size += len(data)
        return head + self._deflate.compress(data)

    def flush(self) -> bytes:
        tail = struct.pack("<LL", self._crc, self._size & 0xFFFFFFFF)
        return self._head + self._deflate.flush() + tail


def compressor(compression: Compression, *, level: int | None, strict: bool) -> Codec | None:
    """Start a compression; None for none. Raises `SpecError` for a level out of range."""
    match compression:
        case "none":
            return None
        case "zstd":
            _check_level("zstd", level, 1, 22)
            return _zstd().ZstdCompressor(_ZSTD_LEVEL if level is None else level)
        case "gzip":
            _check_level("gzip", level, 0, 9)
            isal = _isal() if level is None and not strict else None
            if isal is not None:
                return _Gzip(isal.compressobj(_ISAL_LEVEL, zlib.DEFLATED, -15), isal.crc32)
            deflate = zlib.compressobj(
                _ZLIB_LEVEL if level is None else level, zlib.DEFLATED, -zlib.MAX_WBITS
            )
            return _Gzip(deflate, zlib.crc32)


def _check_level(name: str, level: int | None, lowest: int, highest: int) -> None:
    if level is not None and not lowest <= level <= highest:
        raise SpecError(f"{name} has the levels {lowest} to {highest}, not {level}")


def _isal() -> _Isal | None:
    try:
        return cast("_Isal", importlib.import_module("isal.isal_zlib"))
    except ImportError:  # not built for this kind of machine
        return None


class _Zstd(Protocol):
    """What is used of `compression.zstd`, or of its backport, which checkers may not see."""

    ZstdError: type[Exception]

    def ZstdCompressor(self, level: int) -> Codec: ...  # noqa: N802

    def ZstdFile(self, file: BinaryIO, mode: str) -> BinaryIO: ...  # noqa: N802


def _zstd() -> _Zstd:
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    return cast("_Zstd", importlib.import_module(name))


def compression_by_magic(head: bytes) -> Compression:
    """What the first four bytes of a stream say about it."""
    if head.startswith(_GZIP_MAGIC):
        return "gzip"
    return "zstd" if head.startswith(_ZSTD_MAGIC) else "none"


@contextmanager
def decompressed(raw: io.FileIO, media_type: str) -> Generator[BinaryIO]:
    """Wrap *raw* by what its first bytes are; see `layer.open_layer` for the errors."""
    if "encrypted" in media_type:
        raise RegistryError(
            "the layer is encrypted, which is not supported", hint="use a base image in the clear"
        )
    compression = compression_by_magic(raw.read(4))
    raw.seek(0)
    if compression == "none":
        with io.BufferedReader(raw, _READ) as plain:
            yield cast("BinaryIO", plain)
        return
    stream, errors = _open_gzip(raw) if compression == "gzip" else _open_zstd(raw)
    with stream, io.BufferedReader(_Checked(stream, errors), _READ) as checked:
        yield cast("BinaryIO", checked)


_Errors = tuple[type[Exception], ...]


def _open_gzip(raw: io.FileIO) -> tuple[BinaryIO, _Errors]:
    faults: _Errors = (EOFError, zlib.error, gzip.BadGzipFile)
    isal = _isal()
    if isal is None:
        return cast("BinaryIO", gzip.GzipFile(fileobj=raw, mode="rb")), faults
    igzip = cast("_Igzip", importlib.import_module("isal.igzip"))
    return igzip.IGzipFile(fileobj=raw, mode="rb"), (*faults, isal.error)


def _open_zstd(raw: io.FileIO) -> tuple[BinaryIO, _Errors]:
    zstd = _zstd()
    return zstd.ZstdFile(cast("BinaryIO", raw), "rb"), (EOFError, zstd.ZstdError)


class _Checked(io.RawIOBase):
    """A decompressing stream whose many kinds of failure become one."""

    def __init__(self, stream: BinaryIO, errors: _Errors) -> None:
        super().__init__()
        self._stream = stream
        self._errors = errors

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview, /) -> int:  # type: ignore[override]
        try:
            data = self._stream.read(len(buffer))
        except self._errors as error:
            raise RegistryError(f"the layer's compressed data is damaged: {error}") from error
        buffer[: len(data)] = data
        return len(data)

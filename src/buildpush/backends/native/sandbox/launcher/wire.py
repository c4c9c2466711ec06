"""How the two ends of the launcher's pipes talk: frames of bytes in, lines of JSON out."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterable
from typing import IO, Any, Final

CHUNK: Final = 1 << 18
"""Bytes per frame of a layer."""
Job = dict[str, Any]
"""A job or message as JSON has it; `rootfs` writes what the launcher reads."""


class SetUpError(Exception):
    """The job cannot be carried out; the text is for the person who wrote the Dockerfile."""


class NotOverlayError(Exception):
    """These layers cannot be shown by an overlay; a plain copy will do."""


def frame(data: bytes) -> bytes:
    """*data* with its length before it; the empty frame ends a stream."""
    return len(data).to_bytes(4, "big") + data


def read_frame(stream: IO[bytes]) -> bytes:
    """The next frame's data. Raises `EOFError` when the other end has gone."""
    size = int.from_bytes(_exactly(stream, 4), "big")
    return _exactly(stream, size)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    data = stream.read(size)
    if len(data) != size:
        raise EOFError("the other end of the pipe has gone")
    return data


class FramedReader(io.RawIOBase):
    """One stream of frames, read as a file that ends where the empty frame is."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__()
        self._stream = stream
        self._rest = memoryview(b"")
        self._ended = False

    def readable(self) -> bool:
        """Yes."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill *buffer* with what the current frame still has; 0 at the end."""
        if not self._rest and not self._ended:
            self._rest = memoryview(read_frame(self._stream))
            self._ended = not self._rest
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def drain(self) -> None:
        """Read up to the end, so that the next message is the next thing in the pipe."""
        while not self._ended:
            self._ended = not read_frame(self._stream)
        self._rest = memoryview(b"")


def send(fd: int, **message: Any) -> None:
    """Write *message* to *fd* as one line of JSON."""
    write_all(fd, json.dumps(message).encode() + b"\n")


def write_all(fd: int, data: bytes) -> None:
    """Write the whole of *data* to *fd*."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def write_each(fd: int, chunks: Iterable[bytes]) -> None:
    """Write *chunks* to *fd*, small ones together."""
    pending: list[bytes] = []
    size = 0
    for chunk in chunks:
        pending.append(chunk)
        size += len(chunk)
        if size >= CHUNK:
            write_all(fd, b"".join(pending))
            pending, size = [], 0
    write_all(fd, b"".join(pending))

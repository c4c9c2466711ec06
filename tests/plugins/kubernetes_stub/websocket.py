"""The server's part of a WebSocket (RFC 6455): shake hands, read frames, write frames."""

from __future__ import annotations

import base64
import hashlib
import socket
import struct
import threading
from typing import BinaryIO, Final

from attrs import define, field

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_LIMIT: Final = 32 << 20


def accept_value(key: str) -> str:
    """What proves that the server understood the handshake."""
    return base64.b64encode(hashlib.sha1(key.encode() + _MAGIC).digest()).decode()


def unmasked(data: bytes, mask: bytes) -> bytes:
    """*data* without *mask*; by one large number, since a loop in Python is far too slow."""
    size = len(data)
    whole = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(whole, "little")).to_bytes(
        size, "little"
    )


@define(eq=False)
class WebSocket:
    """An open WebSocket, seen from the server."""

    socket: socket.socket
    _file: BinaryIO
    _lock: threading.Lock = field(factory=threading.Lock)
    _closed: bool = False
    received: int = 0

    def send(self, data: bytes, opcode: int = BINARY) -> None:
        """Send one whole message."""
        size = len(data)
        if size < 126:
            head = struct.pack("!BB", 0x80 | opcode, size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", 0x80 | opcode, 126, size)
        else:
            head = struct.pack("!BBQ", 0x80 | opcode, 127, size)
        with self._lock:
            self.socket.sendall(head + data)

    def close(self, code: int = 1000) -> None:
        """Say that nothing more will be sent."""
        if not self._closed:
            self._closed = True
            self.send(struct.pack("!H", code), CLOSE)

    def messages(self):
        """Each message the client sends, until it closes; a ping is answered.

        Raises `ConnectionError` where the connection breaks off.
        """
        whole = b""
        while True:
            final, opcode, data = self._frame()
            if opcode == PING:
                self.send(data, PONG)
            elif opcode == CLOSE:
                self.close()
                return
            elif opcode in (TEXT, BINARY, CONTINUATION):
                whole = whole + data if whole else data
                if final:
                    yield whole
                    whole = b""

    def _frame(self) -> tuple[bool, int, bytes]:
        first, second = self._read(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", self._read(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", self._read(8))
        if size > _LIMIT or not second & 0x80:
            raise ConnectionError("a frame that no client should send")
        mask = self._read(4)
        data = unmasked(self._read(size), mask)
        self.received += len(data)
        return bool(first & 0x80), first & 0x0F, data

    def _read(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) != size:
            raise ConnectionError("the client went away")
        return data

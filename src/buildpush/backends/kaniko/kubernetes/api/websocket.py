"""One WebSocket under way: sent and received at the same time, bounded, alive or ended."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Literal, Self

from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import State

from .....errors import BackendUnavailableError
from .....runtime import CancelToken
from .dialling import Wire
from .failures import BrokenOff
from .wire import Status, parse_json

__all__ = ["Session"]

PING: Final = 15.0
SILENCE: Final = 120.0
"""Seconds in which nothing may move in either direction. Long, since a command that does not
read its stdin for a while keeps the answers to our pings from us, too."""
_WAITING: Final = 1 << 19
_STATUS: Final = 1 << 20
_GOODBYE: Final = 5.0
_STREAMS: Final[dict[int, Literal["stdout", "stderr"]]] = {1: "stdout", 2: "stderr"}


class Session:
    """An open WebSocket to a command. A context manager: leaving it ends the connection.

    A thread of its own sends and receives, so that neither waits for the other; *on_output* is
    called from there, and what it raises is raised by `send` and `result`. websockets' own
    connections send while they hold the lock that receiving needs: a command that writes while
    it reads would stand still for ever.
    """

    def __init__(
        self,
        wire: Wire,
        protocol: ClientProtocol,
        *,
        on_output: Callable[[Literal["stdout", "stderr"], bytes], None],
        cancel: CancelToken,
        ping: float = PING,
        silence: float = SILENCE,
    ) -> None:
        self._wire = wire
        self._protocol = protocol
        self._on_output = on_output
        self._cancel = cancel
        self._ping = ping
        self._silence = silence
        self._changed = threading.Condition()
        self._queue: deque[bytes] = deque()
        self._waiting = 0
        self._over = False
        self._error: BaseException | None = None
        self._said = bytearray()
        self._ended: float | None = None
        self._channel = -1
        self._bell, self._ringer = socket.socketpair()
        self._bell.setblocking(False)
        self._ringer.setblocking(False)
        self._thread = threading.Thread(target=self._pump, daemon=True, name="buildpush-exec")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._wire.shut()
        self._ring()
        self._thread.join()
        self._wire.close()
        self._bell.close()
        self._ringer.close()

    def send(self, message: bytes) -> bool:
        """Send *message* when there is room; False when nobody reads it any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._waiting < _WAITING)
            if self._over:
                self._raise()
                return False
            self._queue.append(message)
            self._waiting += len(message)
        self._ring()
        return True

    def result(self) -> Status | None:
        """Wait for the end; what was said of it, None when the connection was lost before."""
        with self._changed:
            self._changed.wait_for(lambda: self._over)
        self._thread.join()
        self._raise()
        if not self._said:
            return None
        return parse_json(bytes(self._said), Status, "how the command ended")

    def _raise(self) -> None:
        self._cancel.check()
        if self._error is not None:
            raise self._error

    def _ring(self) -> None:
        with suppress(BlockingIOError, OSError):
            self._ringer.send(b"!")

    def _pump(self) -> None:
        """Move bytes until the end."""
        try:
            self._run()
        except OSError:
            # The connection is lost: that there is no Status says so.
            pass
        except BaseException as error:  # noqa: BLE001 - raised to the caller, by `_raise`
            self._error = error
        with self._changed:
            self._over = True
            self._queue.clear()
            self._changed.notify_all()

    def _run(self) -> None:
        poller = select.poll()
        poller.register(self._bell, select.POLLIN)
        moved = pinged = time.monotonic()
        self._receive(None)
        while True:
            fed = self._fill()
            took = self._wire.flush()
            data = self._wire.take()
            if data is not None and not self._receive(data):
                return
            now = time.monotonic()
            if fed or data is not None:
                moved = now
            if fed or took or data is not None:
                continue
            if self._ended is not None and now - self._ended > _GOODBYE:
                return
            if now - moved > self._silence:
                raise BrokenOff(
                    f"the cluster has been silent for {self._silence:g} s in the midst of a"
                    " command",
                    hint="the node, or the network between, is gone or stuck",
                )
            if now - max(moved, pinged) >= self._ping and self._protocol.state is State.OPEN:
                self._protocol.send_ping(b"?")
                pinged = now
                continue
            poller.register(
                self._wire.socket, select.POLLIN | (select.POLLOUT if self._wire.pending else 0)
            )
            poller.poll(min(self._ping, self._silence, _GOODBYE) * 1000)
            with suppress(BlockingIOError):
                self._bell.recv(4096)

    def _fill(self) -> bool:
        """Hand on what there is room for on the wire; whether there was something."""
        fed = False
        while self._wire.pending < _WAITING and self._protocol.state is State.OPEN:
            with self._changed:
                if not self._queue:
                    break
                message = self._queue.popleft()
                self._waiting -= len(message)
                self._changed.notify_all()
            self._protocol.send_binary(message)
            self._hand_on()
            fed = True
        self._hand_on()
        return fed

    def _hand_on(self) -> None:
        for data in self._protocol.data_to_send():
            self._wire.put(data)

    def _receive(self, data: bytes | None) -> bool:
        """Take in *data*, or what came with the handshake; whether there may be more."""
        if data == b"":
            self._protocol.receive_eof()
        elif data is not None:
            self._protocol.receive_data(data)
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._frame(event)
        self._hand_on()
        failure = self._protocol.parser_exc
        if failure is not None and not isinstance(failure, EOFError) and not self._said:
            raise BackendUnavailableError(
                "what the cluster sends in the midst of a command is no WebSocket message:"
                f" {type(failure).__name__}"
            )
        if self._protocol.close_rcvd is not None:
            self._wire.flush()
        return data != b"" and self._protocol.close_rcvd is None

    def _frame(self, frame: Frame) -> None:
        if frame.opcode not in (Opcode.BINARY, Opcode.TEXT, Opcode.CONT):
            return
        data = bytes(frame.data)
        if frame.opcode is not Opcode.CONT:
            self._channel, data = (data[0], data[1:]) if data else (-1, b"")
        if not data:
            return
        stream = _STREAMS.get(self._channel)
        if stream is not None:
            self._on_output(stream, data)
        elif self._channel == 3 and len(self._said) + len(data) <= _STATUS:
            self._said += data
            self._stop_feeding()

    def _stop_feeding(self) -> None:
        """The command has ended: what is left of its stdin is for nobody."""
        self._ended = time.monotonic()
        with self._changed:
            self._queue.clear()
            self._waiting = 0
            self._over = True
            self._changed.notify_all()

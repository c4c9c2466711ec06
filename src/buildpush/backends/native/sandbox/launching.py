"""The parent's end of the launcher: start it, feed it layers, hear its lines and its verdict."""

from __future__ import annotations

import json
import os
import select
import sys
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, Final

from attrs import Factory, define, field, frozen

from ....events import Stream
from ....oci import Digest
from ....oci.layer import open_layer
from ....runtime import CancelToken, Environment
from ....runtime.process import Child, start
from .launcher import processes, wire

LAUNCHER: Final = Path(__file__).parent.absolute() / "launcher" / "front.py"
_LINE_LIMIT: Final = 1 << 16
_CHUNK: Final = 1 << 20
_GRACE: Final = 2.0
OnLine = Callable[[Stream, str], None]


@frozen(kw_only=True)
class LayerFile:
    """A layer blob on disk: *diff_id* is the digest of its uncompressed tar."""

    diff_id: Digest
    path: Path
    media_type: str


@define(kw_only=True)
class Verdict:
    """What the launcher said: *exit_code* is None when no command was run to its end."""

    exit_code: int | None = None
    error: str = ""
    done: bool = False
    notes: list[str] = Factory(list[str])
    answer: Mapping[str, Any] = Factory(dict[str, Any])


def _no_line(_stream: Stream, _line: str) -> None: ...


def _no_chunk(_data: bytes) -> None: ...


@define(eq=False, kw_only=True)
class Launch:
    """One run of the launcher. *root* is where it keeps a chroot, swept when it was killed."""

    job: wire.Job
    environment: Environment
    cancel: CancelToken
    layers: Mapping[str, LayerFile] = field(factory=dict[str, LayerFile])
    on_line: OnLine = _no_line
    sink: Callable[[bytes], None] = _no_chunk
    root: Path | None = None
    _verdict: Verdict = field(factory=Verdict, init=False)
    _init: int | None = field(default=None, init=False)
    _fault: BaseException | None = field(default=None, init=False)

    def __call__(self) -> Verdict:
        """Do the job to its end and leave no process of it behind.

        Raises the reason when cancelled, what *on_line* and *sink* raise, and `BuildError` when
        the launcher ends without a verdict.
        """
        control, control_end = os.pipe()
        out, out_end = os.pipe()
        env = {
            name: value
            for name, value in self.environment.variables.items()
            if name == "LD_LIBRARY_PATH"  # some builds of Python find their own library by it
        }
        argv = [sys.executable, "-I", "-S", str(LAUNCHER), str(control_end), str(out_end)]
        ends = (control_end, out_end)
        with (
            os.fdopen(control, "rb") as messages,
            os.fdopen(out, "rb", buffering=0) as difference,
            _closing(ends) as close_ends,
            start(argv, cancel=self.cancel, env=env, pass_fds=ends, grace=_GRACE) as child,
        ):
            close_ends()
            pumps = self._pump(child)
            try:
                with suppress(BrokenPipeError):
                    child.stdin.write(wire.frame(json.dumps(self.job).encode()))
                    child.stdin.flush()
                self._listen(child, messages, difference)
            finally:
                self._end(child)
                for pump in pumps:
                    pump.join()
        self.cancel.check()
        if self._fault is not None:
            raise self._fault
        return self._verdict

    def _pump(self, child: Child) -> list[threading.Thread]:
        pipes: tuple[tuple[IO[bytes], Stream], ...] = (
            (child.stdout, "stdout"),
            (child.stderr, "stderr"),
        )
        pumps = [threading.Thread(target=self._lines, args=pipe, daemon=True) for pipe in pipes]
        for pump in pumps:
            pump.start()
        return pumps

    def _lines(self, pipe: IO[bytes], stream: Stream) -> None:
        """Pass on lines; a listener that raises is heard no more, but the pipe is emptied."""
        for raw in iter(lambda: pipe.readline(_LINE_LIMIT), b""):
            if self._fault is None:
                try:
                    self.on_line(stream, raw.decode("utf-8", "replace").rstrip("\r\n"))
                except BaseException as error:  # noqa: BLE001 - raised again by the caller
                    self._fault = error

    def _listen(self, child: Child, messages: Iterable[bytes], difference: BinaryIO) -> None:
        for line in messages:
            message: dict[str, Any] = json.loads(line)
            match message:
                case {"want": str(diff_id)}:
                    self._feed(child, self.layers[diff_id])
                case {"init": int(pid)}:
                    with suppress(OSError):  # it has gone already, or the kernel has no pidfds
                        self._init = os.pidfd_open(pid)
                case {"exit": int(code)}:
                    self._verdict.exit_code = code
                    if code == 0:
                        self._receive(difference)
                case {"error": str(text)}:
                    self._verdict.error = text
                case {"note": str(text)}:
                    self._verdict.notes.append(text)
                case {"done": True}:
                    self._verdict.done = True
                case _:
                    self._verdict.answer = message
                    self._verdict.done = True

    def _feed(self, child: Child, layer: LayerFile) -> None:
        with open_layer(layer.path, layer.media_type) as stream, suppress(BrokenPipeError):
            while data := stream.read(_CHUNK):
                self.cancel.check()
                child.stdin.write(wire.frame(data))
            child.stdin.write(wire.frame(b""))
            child.stdin.flush()

    def _receive(self, difference: BinaryIO) -> None:
        while data := difference.read(_CHUNK):
            self.cancel.check()
            self.sink(data)

    def _end(self, child: Child) -> None:
        """See the launcher and all that it started to their end."""
        if not self._verdict.done and not self._verdict.error:
            child.process.terminate()
        child.wait_or_kill(_GRACE)
        if self._init is not None:
            # Ready once the namespace's first process has gone, and with it all the others.
            poll = select.poll()
            poll.register(self._init, select.POLLIN)
            poll.poll()
            os.close(self._init)
        if self.root is not None:
            processes.end(processes.inside(str(self.root)))


@contextmanager
def _closing(descriptors: Iterable[int]) -> Generator[Callable[[], None]]:
    """Close *descriptors* once: when told to, or when the block is left."""
    left = list(descriptors)

    def close() -> None:
        while left:
            os.close(left.pop())

    try:
        yield close
    finally:
        close()

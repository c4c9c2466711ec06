"""What a program that the stub itself plays can do: write, look at its pod, wait, be stopped."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from attrs import define, field

from .output import Output


class Killed(BaseException):
    """The program was killed: nothing more runs. Its exit code is 137."""


@define(eq=False, kw_only=True)
class Console:
    """A played program's view of its container.

    *argv* are its arguments, *env* its variables; `path` says where a path of the container lies
    here; *architecture* is the node's. What it writes goes to the container's log.
    """

    argv: Sequence[str]
    env: Mapping[str, str]
    output: Output
    path: Callable[[str], Path]
    scratch: Path
    architecture: str = "amd64"
    memory: int | None = None
    oom: bool = False
    _term: threading.Event = field(factory=threading.Event)
    _killed: threading.Event = field(factory=threading.Event)
    _on_stop: list[Callable[[], None]] = field(factory=list)

    def out(self, line: str) -> None:
        """Write one line to stdout."""
        self._live()
        self.output.write(f"{line}\n".encode())

    def err(self, line: str) -> None:
        """Write one line to stderr."""
        self._live()
        self.output.write(f"{line}\n".encode(), "stderr")

    def log(self, message: str, level: str = "info") -> None:
        """Write a line as kaniko does with ``--log-format=json``."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        text = json.dumps({"level": level, "msg": message, "time": now}, separators=(",", ":"))
        for sign in "<>&":  # as Go does
            text = text.replace(sign, f"\\u{ord(sign):04x}")
        self.err(text)

    def terminate(self) -> None:
        """What a TERM does."""
        self._term.set()
        for stop in tuple(self._on_stop):
            stop()

    def kill(self) -> None:
        """What a KILL does."""
        self._killed.set()
        self.terminate()

    def on_stop(self, stop: Callable[[], None]) -> None:
        """Call *stop* when it is told to end."""
        self._on_stop.append(stop)
        if self._term.is_set():
            stop()

    @property
    def told_to_end(self) -> bool:
        """Whether a TERM has come."""
        self._live()
        return self._term.is_set()

    def wait(self, seconds: float | None = None) -> bool:
        """Sleep; True as soon as a TERM comes."""
        told = self._term.wait(seconds)
        self._live()
        return told

    def out_of_memory(self) -> int:
        """Be killed for want of memory: the container's end is OOMKilled."""
        self.oom = True
        raise Killed

    def _live(self) -> None:
        if self._killed.is_set():
            raise Killed

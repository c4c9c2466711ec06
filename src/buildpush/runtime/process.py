"""Run programs: stream their lines, keep a tail, die promptly. The only import of subprocess."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from attrs import define, frozen

from ..errors import CommandEvidence
from ..events import Stream
from . import CancelToken, Run

GRACE_SECONDS: Final = 2.0
TAIL_LINES: Final = 40
LINE_LIMIT: Final = 1 << 16
_CHUNK: Final = 1 << 16
_LINE_ENDS: Final = re.compile(rb"[\r\n]")
_SWEEP_LOOKS: Final = 200
_SWEEP_PAUSE: Final = 0.01


@define(eq=False)
class Child:
    """A running program and its three pipes, in bytes."""

    process: subprocess.Popen[bytes]
    stdin: IO[bytes]
    stdout: IO[bytes]
    stderr: IO[bytes]

    @property
    def pid(self) -> int:
        """The program's process id, which is also its process group's."""
        return self.process.pid

    def wait(self) -> int:
        """Wait for the end; the exit code, negative for a signal."""
        return self.process.wait()

    def wait_or_kill(self, grace: float) -> int:
        """Wait *grace* seconds for the end, then bring it about; the exit code."""
        try:
            return self.process.wait(grace)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


@contextmanager
def start(
    argv: Sequence[str],
    *,
    cancel: CancelToken,
    env: Mapping[str, str],
    cwd: Path | None = None,
    pass_fds: Sequence[int] = (),
    grace: float = GRACE_SECONDS,
) -> Generator[Child]:
    """Start *argv* in a process group of its own, and leave none of the group behind.

    Cancelling *cancel* sends SIGTERM to the group and, after *grace* seconds, SIGKILL; so does
    leaving the block while the program runs. Raises `FileNotFoundError` or `PermissionError`
    when the program cannot be started.
    """
    cancel.check()
    process = subprocess.Popen(
        list(argv),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=dict(env),
        cwd=cwd,
        pass_fds=tuple(pass_fds),
        start_new_session=True,
    )
    assert process.stdin and process.stdout and process.stderr
    undo = cancel.on_cancel(lambda: _signal(process.pid, signal.SIGTERM))
    timer = _killer(process, cancel, grace)
    try:
        yield Child(process, process.stdin, process.stdout, process.stderr)
    finally:
        undo()
        if process.poll() is None:
            _signal(process.pid, signal.SIGTERM)
            try:
                process.wait(grace)
            except subprocess.TimeoutExpired:
                _signal(process.pid, signal.SIGKILL)
                process.wait()
        _sweep(process.pid)
        timer()
        for pipe in (process.stdin, process.stdout, process.stderr):
            with suppress(BrokenPipeError):
                pipe.close()


def _killer(
    process: subprocess.Popen[bytes], cancel: CancelToken, grace: float
) -> Callable[[], None]:
    """Arrange for SIGKILL *grace* seconds after a cancel. Returns an undo."""
    over = threading.Event()

    def insist() -> None:
        if not over.wait(grace):
            _signal(process.pid, signal.SIGKILL)

    undo = cancel.on_cancel(threading.Thread(target=insist, daemon=True).start)

    def stop() -> None:
        undo()
        over.set()

    return stop


def _signal(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _sweep(group: int) -> None:
    """Kill the children that outlived their parent, and see them gone.

    They are not ours to wait for, and die a moment after the signal: /proc tells when.
    """
    try:
        os.killpg(group, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return
    for _ in range(_SWEEP_LOOKS):
        if not _has_living(group):
            return
        time.sleep(_SWEEP_PAUSE)


def _has_living(group: int) -> bool:
    """Whether a process of *group* still runs; what only waits to be reaped does not."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, of_group = entry.read_text().rpartition(")")[2].split()[:3]
            if int(of_group) == group and state not in "ZX":
                return True
    return False


@frozen(kw_only=True)
class Completed:
    """How a command ended; *stdout* holds its whole output when that was asked for."""

    exit_code: int
    evidence: CommandEvidence
    stdout: bytes = b""


def run_command(
    argv: Sequence[str],
    *,
    run: Run,
    env: Mapping[str, str],
    on_line: Callable[[Stream, str], None] | None = None,
    cwd: Path | None = None,
    stdin: bytes | Iterable[bytes] = b"",
    line_limit: int = LINE_LIMIT,
    verbatim: bool = False,
    grace: float = GRACE_SECONDS,
) -> Completed:
    """Run *argv* to its end, or until the run is cancelled, which raises the reason.

    Each redacted line goes to *on_line* (called from two threads) as soon as it is ended, by a
    line feed or by a carriage return, as progress is; the last 40 lines go into the evidence.
    Without *on_line*, stdout is collected and returned instead. A line of more than *line_limit*
    bytes arrives in pieces of that size. *verbatim* gives *on_line* what was written, secrets
    and all: for lines that are to be parsed, of which a redacted one may be broken.

    *stdin* may come in pieces, which are made as fast as they are read; what making them raises
    ends the command and is raised.
    """
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    collected: list[bytes] = []

    def pump(pipe: IO[bytes], stream: Stream) -> None:
        if on_line is None and stream == "stdout":
            collected.extend(_chunks(pipe))
            return
        for raw in _lines(_chunks(pipe), line_limit):
            text = raw.decode("utf-8", "replace")
            line = run.redact(text)
            tail.append(line)
            if on_line is not None:
                on_line(stream, text if verbatim else line)

    with start(argv, cancel=run.cancel, env=env, cwd=cwd, grace=grace) as child:
        pumps = [
            threading.Thread(target=pump, args=(child.stdout, "stdout"), daemon=True),
            threading.Thread(target=pump, args=(child.stderr, "stderr"), daemon=True),
        ]
        for thread in pumps:
            thread.start()
        _feed(child.stdin, (stdin,) if isinstance(stdin, bytes) else stdin)
        exit_code = child.wait()
        # A grandchild may hold the pipes open for ever: the leader's end is the command's end.
        for thread in pumps:
            thread.join(grace)
        _signal(child.pid, signal.SIGKILL)
        for thread in pumps:
            thread.join()
    run.cancel.check()
    return Completed(
        exit_code=exit_code,
        evidence=CommandEvidence(
            argv=tuple(run.redact(arg) for arg in argv), exit_code=exit_code, tail=tuple(tail)
        ),
        stdout=b"".join(collected),
    )


def _feed(pipe: IO[bytes], pieces: Iterable[bytes]) -> None:
    """Write *pieces* into *pipe*, or as many as its reader wants, and close it."""
    for piece in pieces:
        try:
            pipe.write(piece)
        except BrokenPipeError:
            break
    with suppress(BrokenPipeError):
        pipe.close()


def _chunks(pipe: IO[bytes]) -> Iterator[bytes]:
    """What comes out of *pipe*, as it comes."""
    while chunk := os.read(pipe.fileno(), _CHUNK):
        yield chunk


def _lines(chunks: Iterable[bytes], limit: int) -> Iterator[bytes]:
    """The lines of *chunks* without their ends, which are LF, CR LF or CR.

    What carriage returns would leave empty is no line.
    """
    pending = bytearray()
    returned = False
    for chunk in chunks:
        start = 0
        for end in _LINE_ENDS.finditer(chunk):
            pending += chunk[start : end.start()]
            start = end.end()
            feed = end.group() == b"\n"
            if pending or (feed and not returned):
                yield from _pieces(pending, limit)
            returned = not feed and (returned or bool(pending))
            pending.clear()
        pending += chunk[start:]
        if len(pending) >= limit:
            whole = len(pending) - len(pending) % limit
            yield from _pieces(pending[:whole], limit)
            del pending[:whole]
            returned = not pending
    if pending:
        yield bytes(pending)


def _pieces(line: bytearray, limit: int) -> Iterator[bytes]:
    yield bytes(line[:limit])
    for start in range(limit, len(line), limit):
        yield bytes(line[start : start + limit])

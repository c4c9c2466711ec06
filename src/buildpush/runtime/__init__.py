"""The edges: cancellation, deadlines, secrets, and the one value that carries them."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from attrs import Factory, define, evolve, field, frozen

from ..errors import BuildpushError, StepCancelledError, StepTimeoutError
from ..events import (
    Event,
    EventSink,
    Outcome,
    PhaseStarted,
    Stream,
    TaskFinished,
    TaskLog,
    TaskProgress,
    TaskStarted,
    Warned,
)
from .environment import Environment

__all__ = [
    "CancelToken",
    "Deadline",
    "Environment",
    "Hidden",
    "HiddenBytes",
    "Redactor",
    "Run",
    "Task",
]

_PROGRESS_SECONDS = 0.1
_SHORTEST_SECRET = 4
_SHORTEST_CORE = 10
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})


@define(eq=False)
class CancelToken:
    """A one-way switch shared by everything a run does. A deadline is a cancel with a reason."""

    _event: threading.Event = field(factory=threading.Event, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _callbacks: list[Callable[[], None]] = field(factory=list[Callable[[], None]], init=False)
    _error: BuildpushError | None = field(default=None, init=False)
    _ends: float | None = field(default=None, init=False)

    def cancel(self, error: BuildpushError | None = None) -> None:
        """Flip the switch. The first caller decides the reason; later calls do nothing."""
        with self._lock:
            if self._event.is_set():
                return
            self._error = error or StepCancelledError("the step was cancelled")
            self._event.set()
            callbacks = tuple(self._callbacks)
        for callback in callbacks:
            callback()

    def on_cancel(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Run *callback* when cancelled (now, if it already is). Returns an undo."""
        with self._lock:
            cancelled = self._event.is_set()
            if not cancelled:
                self._callbacks.append(callback)
        if cancelled:
            callback()
            return lambda: None
        return lambda: self._forget(callback)

    def _forget(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

    @property
    def cancelled(self) -> bool:
        """Whether the switch has been flipped."""
        return self._event.is_set()

    def ends_within(self, seconds: float) -> None:
        """Note that a deadline will flip the switch in *seconds*; the earliest one counts."""
        ends = time.monotonic() + seconds
        with self._lock:
            self._ends = ends if self._ends is None else min(self._ends, ends)

    def lasts(self, seconds: float) -> bool:
        """Whether *seconds* from now is before every deadline: what takes longer is in vain."""
        with self._lock:
            return self._ends is None or time.monotonic() + seconds < self._ends

    def sleep(self, seconds: float) -> None:
        """Wait, but no longer than until cancelled, which raises the reason."""
        self._event.wait(seconds)
        self.check()

    def check(self) -> None:
        """Raise the reason if cancelled. Call it in every loop that can be long."""
        if self._event.is_set():
            raise self._error or StepCancelledError("the step was cancelled")


@define(eq=False)
class Deadline:
    """Cancels *token* with `StepTimeoutError` after *seconds*, unless closed first."""

    token: CancelToken
    seconds: float | None
    _timer: threading.Timer | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        if self.seconds is not None:
            error = StepTimeoutError(
                f"the step ran past its limit of {self.seconds:g} s", hint="raise timeout"
            )
            self._timer = threading.Timer(self.seconds, self.token.cancel, [error])
            self._timer.daemon = True
            self.token.ends_within(self.seconds)
            self._timer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer.join()


class Hidden(str):
    """A string that is a secret: its repr, which tracebacks with local variables show, hides it."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class HiddenBytes(bytes):
    """Bytes that are, or may hold, a secret: their repr hides them, as that of `Hidden` does."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "b'***'"


@define(eq=False)
class Redactor:
    """Knows every secret of one run; whatever leaves the run as text goes through it.

    It is a net, not a licence: secrets travel by file or environment, never by argv. Values
    shorter than four characters are not learnt, since hiding them would garble every line.
    """

    _secrets: tuple[str, ...] = field(default=(), init=False, repr=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False, repr=False)

    def learn(self, secret: str) -> None:
        """Remember *secret*, each of its lines, and how these are written elsewhere.

        In base64, also within a text that quotes them; in URLs, JSON and HTML.
        """
        lines = {secret, *secret.splitlines()}
        found = lines | {base64.b64encode(s.encode()).decode() for s in lines}
        found |= {core for s in lines for core in _cores(s) if len(core) >= _SHORTEST_CORE}
        found |= {json.dumps(s, ensure_ascii=a)[1:-1] for s in lines for a in (True, False)}
        found |= {s.translate(_HTML) for s in lines}
        found |= {s.rstrip("=") for s in found} | {quote(s, safe="") for s in found}
        kept = {s for s in found if len(s.strip()) >= _SHORTEST_SECRET}
        with self._lock:
            # Longest first: a secret that contains another must go as a whole.
            self._secrets = tuple(sorted(kept | set(self._secrets), key=lambda s: (-len(s), s)))

    def __call__(self, text: str) -> str:
        """Return *text* with every learnt secret replaced by ``***``."""
        for secret in self._secrets:
            if secret in text:
                text = text.replace(secret, "***")
        return text

    def clean(self, event: Event) -> Event:
        """Return *event* with its text redacted."""
        match event:
            case TaskStarted(title=title):
                return evolve(event, title=self(title))
            case TaskLog(line=line):
                return evolve(event, line=self(line))
            case Warned(message=message):
                return evolve(event, message=self(message))
            case PhaseStarted() | TaskProgress() | TaskFinished():
                return event


def _cores(secret: str) -> Iterator[str]:
    """The characters that stand for *secret* in base64 whatever precedes and follows it."""
    data = secret.encode()
    for before in range(3):
        padded = b"\0" * before + data
        first, end = -(-before * 8 // 6), len(padded) * 8 // 6
        for encode in (base64.standard_b64encode, base64.urlsafe_b64encode):
            yield encode(padded)[first:end].decode()


@frozen(kw_only=True, eq=False)
class Run:
    """Everything one run may touch. Passed down explicitly; there are no globals.

    *workdir* is a private folder that is removed when the run ends, *sink* receives events from
    any thread, *clock* is monotonic seconds.
    """

    workdir: Path
    cancel: CancelToken
    sink: EventSink
    redact: Redactor = field(factory=Redactor)
    environment: Environment = field(factory=Environment.current)
    clock: Callable[[], float] = time.monotonic
    _started: float = field(init=False, default=Factory(lambda run: run.clock(), takes_self=True))

    @property
    def now(self) -> float:
        """Seconds since the run began: what every event's *at* holds."""
        return self.clock() - self._started

    def emit(self, event: Event) -> None:
        """Redact *event* and hand it to the display. Callable from any thread."""
        self.sink(self.redact.clean(event))

    def warn(self, message: str) -> None:
        """Tell the user something that does not stop the run."""
        self.emit(Warned(at=self.now, message=message))

    @contextmanager
    def task(self, task: str, title: str) -> Generator[Task]:
        """Announce a unit of work, and how it ended: failed if the block raises."""
        handle = Task(run=self, name=task)
        self.emit(TaskStarted(at=self.now, task=task, title=title))
        try:
            yield handle
        except BaseException:
            self.emit(TaskFinished(at=self.now, task=task, outcome="failed"))
            raise
        self.emit(TaskFinished(at=self.now, task=task, outcome=handle.outcome))


@define(eq=False, kw_only=True)
class Task:
    """A unit of work that is under way: where its progress and output lines go."""

    run: Run
    name: str
    outcome: Outcome = "done"
    _last: float = field(default=float("-inf"), init=False)

    def log(self, stream: Stream, line: str) -> None:
        """Pass on one line of output."""
        self.run.emit(TaskLog(at=self.run.now, task=self.name, stream=stream, line=line))

    def progress(self, done: int, total: int | None = None) -> None:
        """Say how many bytes have moved; passed on at most every 100 ms, and at the end."""
        now = self.run.now
        if now - self._last >= _PROGRESS_SECONDS or done == total:
            self._last = now
            self.run.emit(TaskProgress(at=now, task=self.name, done=done, total=total))

    def counting(self, chunks: Iterable[bytes], total: int | None = None) -> Iterator[bytes]:
        """Pass *chunks* on, reporting bytes and stopping when the run is cancelled."""
        done = 0
        for chunk in chunks:
            self.run.cancel.check()
            done += len(chunk)
            self.progress(done, total)
            yield chunk

"""Run an engine's command: events while it runs, evidence at its end, bounded questions to it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Protocol, TypeVar

from attrs import define, field

from ...errors import BackendUnavailableError, BuildpushError, StepTimeoutError
from ...events import Event, Stream, ignore
from ...runtime import CancelToken, Deadline, Environment, Run
from ...runtime.process import Completed, run_command

__all__ = ["Translator", "ask_all", "converse", "question"]

T = TypeVar("T")

LINE_LIMIT: Final = 16 << 20
"""Bytes of one line: BuildKit's JSON puts a whole chunk of a command's output into one."""
QUESTION_SECONDS: Final = 30.0


class Translator(Protocol):
    """Turns what a command prints into events. Pure, apart from what it remembers itself."""

    def line(self, stream: Stream, line: str, at: float) -> Iterable[Event]:
        """The events that one line means; *at* is seconds since the run began."""
        ...

    def finish(self, at: float) -> Iterable[Event]:
        """The events that close what is still open, once the command has ended."""
        ...


def converse(
    argv: Sequence[str],
    translator: Translator,
    *,
    run: Run,
    env: Mapping[str, str],
    cwd: Path | None = None,
    stdin: bytes | Iterable[bytes] = b"",
) -> Completed:
    """Run *argv* to its end, whatever its exit code, and emit each event as it happens.

    The translator sees every line as it was written, unredacted, one at a time although two
    threads read; `Run.emit` redacts what comes of it. A cancel kills the whole process group and
    raises the run's reason. Raises `BackendUnavailableError` when *argv* cannot be started, and
    what the translator raised, after the command has ended.
    """
    talk = _Conversation(translator, run)
    try:
        done = run_command(
            argv,
            run=run,
            env=env,
            on_line=talk.hear,
            cwd=cwd,
            stdin=stdin,
            line_limit=LINE_LIMIT,
            verbatim=True,
        )
    except BuildpushError:
        raise  # a timeout is an OSError too
    except OSError as error:
        raise _unstartable(argv, error) from error
    finally:
        talk.end()
    if talk.error is not None:
        raise talk.error
    return done


@define(eq=False)
class _Conversation:
    """One command's lines, from two threads, through one translator."""

    translator: Translator
    run: Run
    error: Exception | None = field(default=None, init=False)
    _ended: bool = field(default=False, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def hear(self, stream: Stream, line: str) -> None:
        with self._lock:
            if self._ended or self.error is not None:
                return  # the pipes are still drained, so that the command can end
            try:
                for event in self.translator.line(stream, line, self.run.now):
                    self.run.emit(event)
            except Exception as error:  # noqa: BLE001 - raised by the caller's thread
                self.error = error

    def end(self) -> None:
        with self._lock:
            self._ended = True
            for event in self.translator.finish(self.run.now):
                self.run.emit(event)


def question(
    argv: Sequence[str],
    *,
    environment: Environment,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    timeout: float = QUESTION_SECONDS,
    cancel: CancelToken | None = None,
) -> Completed:
    """Ask a command something short; its stdout and its exit code, whatever that is.

    *env* is *environment*'s variables unless given. Raises `BackendUnavailableError` when it
    cannot be started or has not ended after *timeout* seconds, or the reason of *cancel*.
    """
    token = CancelToken()
    undo = cancel.on_cancel(token.cancel) if cancel is not None else _nothing
    run = Run(workdir=environment.temporary, cancel=token, sink=ignore, environment=environment)
    variables = environment.variables if env is None else env
    try:
        with Deadline(token, timeout):
            return run_command(argv, run=run, env=variables, cwd=cwd, grace=0.5)
    except StepTimeoutError as error:
        raise BackendUnavailableError(
            f"{' '.join(argv[:3])} did not answer within {timeout:g} s",
            hint="is the engine that it asks hung, or far away?",
        ) from error
    except OSError as error:
        raise _unstartable(argv, error) from error
    finally:
        undo()
        if cancel is not None:
            cancel.check()


def ask_all(*questions: Callable[[], T]) -> tuple[T | BackendUnavailableError, ...]:
    """Ask everything at once, each in a thread; the answers in order.

    Where a question raises `BackendUnavailableError`, that is its answer; other errors are raised.
    """

    def ask(one: Callable[[], T]) -> T | BackendUnavailableError:
        try:
            return one()
        except BackendUnavailableError as error:
            return error

    with ThreadPoolExecutor(max_workers=max(1, len(questions))) as pool:
        return tuple(pool.map(ask, questions))


def _nothing() -> None:
    """Undo nothing."""


def _unstartable(argv: Sequence[str], error: OSError) -> BackendUnavailableError:
    if error.filename not in (None, argv[0]):
        return BackendUnavailableError(
            f"{argv[0]} cannot be started in {error.filename}: {error.strerror}"
        )
    if isinstance(error, FileNotFoundError):
        return BackendUnavailableError(
            f"{argv[0]} is not installed, or not in PATH", hint="install it"
        )
    return BackendUnavailableError(f"{argv[0]} cannot be started: {error.strerror}")

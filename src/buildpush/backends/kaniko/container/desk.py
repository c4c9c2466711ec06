"""The commands of one engine, asked on behalf of one run; and what of ours the engine holds."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Final

from attrs import define, field

from ....errors import BackendUnavailableError
from ....events import ignore
from ....runtime import CancelToken, Environment, Run
from ....runtime.process import Completed, run_command
from ...engine.command import question
from .creation import CREATED, LABELS, PREFIX
from .engines import Engine, addressed

__all__ = ["Desk", "last_words", "quiet_desk"]

_SECONDS: Final = 60.0
_AFTER_CANCEL: Final = 3.0
_REMOVAL_SECONDS: Final = 30.0


@define(eq=False, kw_only=True)
class Desk:
    """*variables* is the environment of the engine's commands."""

    engine: Engine
    variables: Mapping[str, str] = field(repr=False)
    run: Run

    def ask(self, *words: str, more: Mapping[str, str] | None = None) -> Completed:
        """Something short; a cancel ends it only after a moment.

        So that what was being made is known, and can be removed. Raises
        `BackendUnavailableError` when there is no answer for a minute.
        """
        with _patient(self.run.cancel) as cancel:
            return question(
                self.engine.command(*words),
                environment=self.run.environment,
                env={**self.variables, **(more or {})},
                timeout=_SECONDS,
                cancel=cancel,
            )

    def do(self, *words: str, pieces: Iterable[bytes] = ()) -> Completed:
        """A command that takes as long as it takes, and reads *pieces*; a cancel ends it."""
        return run_command(
            self.engine.command(*words),
            run=self.run,
            env=self.variables,
            stdin=pieces,
            on_line=lambda _stream, _line: None,
        )

    def remove(self, name: str) -> bool:
        """Remove a container, whatever it is doing and whatever was cancelled; whether it is gone.

        Raises `BackendUnavailableError` when there is no answer.
        """
        done = question(
            self.engine.command("rm", "--force", "--volumes", name),
            environment=self.run.environment,
            env=self.variables,
            timeout=_REMOVAL_SECONDS,
        )
        return done.exit_code == 0 or "no such container" in last_words(done).lower()

    def ours(self) -> Generator[tuple[str, datetime]]:
        """Every container of ours, whichever run made it, with when it was made.

        A container has the labels of its image, too: it must have a name of ours as well.
        """
        filters = [f"--filter=label={name}={value}" for name, value in LABELS.items()]
        filters.append(f"--filter=label={CREATED}")
        done = self.ask("ps", "--all", *filters, "--format", "{{.Names}}")
        if done.exit_code != 0:
            raise BackendUnavailableError(
                f"{self.engine.name} does not list its containers: {last_words(done)}",
                evidence=(done.evidence,),
            )
        for name in done.stdout.decode("utf-8", "replace").split():
            if not name.startswith(PREFIX):
                continue
            form = f'{{{{index .Config.Labels "{CREATED}"}}}}'
            made = self.ask("container", "inspect", "--format", form, name)
            with suppress(ValueError):  # it is gone meanwhile, or another one's
                when = datetime.fromisoformat(made.stdout.decode("utf-8", "replace").strip())
                if when.tzinfo is not None:
                    yield name, when


@contextmanager
def quiet_desk(engine: Engine, environment: Environment) -> Generator[Desk]:
    """A desk outside of any run: nobody is told of anything."""
    run = Run(
        workdir=environment.temporary, cancel=CancelToken(), sink=ignore, environment=environment
    )
    with addressed(engine, run) as variables:
        yield Desk(engine=engine, variables=variables, run=run)


def last_words(done: Completed) -> str:
    """The last line a command wrote, without what every line of it begins with."""
    lines = [line for line in done.evidence.tail if line.strip() and not _is_usage(line)]
    said = lines[-1].strip() if lines else done.evidence.ending
    for prefix in ("Error response from daemon: ", "docker: ", "Error: "):
        said = said.removeprefix(prefix)
    return said


def _is_usage(line: str) -> bool:
    return line.startswith(("See '", "Run '", "Usage:"))


@contextmanager
def _patient(cancel: CancelToken) -> Generator[CancelToken]:
    """A token that is flipped some seconds after *cancel*."""
    late = CancelToken()
    timer = threading.Timer(_AFTER_CANCEL, late.cancel)
    timer.daemon = True
    undo = cancel.on_cancel(timer.start)
    try:
        yield late
    finally:
        undo()
        timer.cancel()

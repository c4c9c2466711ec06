"""docker-credential-* programs: asked once per host, bounded in time, never quoted.

Follows the protocol of docker-credential-helpers: ``get`` reads a server's name from stdin and
writes JSON with Username and Secret.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import evolve, frozen
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import AuthError, StepTimeoutError
from ..events import Event
from ..runtime import CancelToken, Deadline, Environment, Redactor, Run
from ..runtime.process import Completed, run_command
from . import Credential

SECONDS: Final = 10.0
"""How long a helper may take: those that talk to a cloud need a moment, a stuck one none."""
_TOKEN_USER: Final = "<token>"  # noqa: S105 - docker's mark for an identity token, not a secret
_SAID: Final = 300
_TELLING: Final = re.compile("secret|password", re.IGNORECASE)


class HelperMissingError(AuthError):
    """The program is not on PATH."""


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    username: str = Field(default="", alias="Username")
    secret: str = Field(default="", alias="Secret", repr=False)


@frozen(kw_only=True)
class Helper:
    """One credential helper, named in the config file *source* as *name*."""

    name: str
    source: str
    environment: Environment
    cancel: CancelToken
    redact: Callable[[str], str]
    seconds: float = SECONDS

    @property
    def program(self) -> str:
        """What is looked up on PATH."""
        return f"docker-credential-{self.name}"

    def get(self, server: str) -> Credential | None:
        """Ask for the credential of *server*; None when the helper holds none.

        Raises `HelperMissingError` when the program is not on PATH, `AuthError` when it fails,
        is too slow or answers nonsense, and the run's reason when cancelled.
        """
        path = None if "/" in self.name else self.environment.which(self.program)
        if path is None:
            raise HelperMissingError(
                f"{self.source} names the credential helper {self.program}, which is not on PATH",
                hint=f"install {self.program}, or take it out of {self.source}; PATH is"
                f" {self.environment.variables.get('PATH', 'not set')}",
            )
        done = self._run(path, server)
        if done.exit_code != 0:
            if b"credentials not found" in done.stdout.lower():
                return None
            tail = tuple(line for line in done.evidence.tail if _is_plain(line))
            raise AuthError(
                f"the credential helper {self.program}, named in {self.source}, failed for"
                f" {server} with exit code {done.exit_code}{self._said(done)}",
                evidence=(evolve(done.evidence, tail=tail),),
                hint=f"run it by hand: echo {server} | {self.program} get",
            )
        return self._read(done.stdout, server)

    def _run(self, path: Path, server: str) -> Completed:
        """Run the helper under its own deadline; its output goes nowhere else."""
        limit = CancelToken()
        undo = self.cancel.on_cancel(limit.cancel)
        try:
            with Deadline(limit, self.seconds):
                return run_command(
                    (str(path), "get"),
                    run=Run(
                        workdir=Path(tempfile.gettempdir()),
                        cancel=limit,
                        sink=_nowhere,
                        redact=_Borrowed(self.redact),
                        environment=self.environment,
                    ),
                    env=self.environment.variables,
                    stdin=server.encode(),
                )
        except StepTimeoutError as error:
            raise AuthError(
                f"the credential helper {self.program}, named in {self.source}, gave no answer"
                f" for {server} within {self.seconds:g} s",
                hint="does it wait for somebody to unlock a keyring?",
            ) from error
        except OSError as error:
            raise AuthError(
                f"the credential helper {self.program} cannot be started: {error.strerror}"
            ) from error
        finally:
            undo()
            self.cancel.check()

    def _read(self, data: bytes, server: str) -> Credential | None:
        try:
            answer = _Answer.model_validate_json(data)
        except ValidationError:
            raise AuthError(
                f"the credential helper {self.program} answered {len(data)} bytes for {server}"
                " that are not its JSON"
            ) from None
        source = f"{self.program} ({self.source})"
        if not answer.secret:
            return None
        if answer.username == _TOKEN_USER:
            return Credential(identity_token=answer.secret, source=source)
        return Credential(username=answer.username, password=answer.secret, source=source)

    def _said(self, done: Completed) -> str:
        """The helper's own words (it writes its errors to stdout), unless they hold a secret."""
        text = " ".join(done.stdout.decode("utf-8", "replace").split())
        return f": {self.redact(text)[:_SAID]}" if _is_plain(text) else ""


def _is_plain(text: str) -> bool:
    """Whether *text* reads like a complaint: several words, none of them about a secret."""
    return len(text.split()) > 1 and _TELLING.search(text) is None


class _Borrowed(Redactor):
    """Another run's redactor, for a run that is only a process."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._borrowed = redact

    def __call__(self, text: str) -> str:
        return self._borrowed(text)


def _nowhere(_: Event) -> None:
    """A helper's run has no display."""

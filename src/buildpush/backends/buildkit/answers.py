"""Answers of buildx that stay true for long, kept on disk: every process it takes costs 0.1 s."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from attrs import field, frozen

from ...runtime import Environment
from ...runtime.environment import make_private

__all__ = ["Answers", "identity"]

_LIMIT = 1 << 16


def identity(path: Path) -> str:
    """What changes whenever the program at *path* is replaced."""
    status = path.stat()
    return f"{path} {status.st_ino} {status.st_size} {status.st_mtime_ns}"


@frozen
class Answers:
    """A folder of answers, one file each; what cannot be kept is asked again."""

    folder: Path = field()

    @classmethod
    def of(cls, environment: Environment) -> Answers:
        """Those in the cache folder."""
        return cls(environment.cache / "buildx")

    def get(self, question: str, ask: Callable[[], str], *, seconds: float | None = None) -> str:
        """The answer to *question*, asked only when it was never answered; empty is no answer.

        With *seconds*, answers older than that are asked for again.
        """
        path = self.folder / hashlib.sha256(question.encode()).hexdigest()[:32]
        with suppress(OSError, UnicodeDecodeError):
            kept = path.read_text()
            if kept and (seconds is None or _age(path) < seconds):
                return kept
        answer = ask()
        if answer and len(answer) < _LIMIT:
            self._keep(path, answer)
        return answer

    def _keep(self, path: Path, answer: str) -> None:
        part = path.with_name(f".{path.name}-{os.getpid()}-{id(answer):x}")
        with suppress(OSError):
            make_private(self.folder)
            part.write_text(answer)
            part.replace(path)


def _age(path: Path) -> float:
    """In seconds; the clock may have been set back meanwhile, which makes nothing newer."""
    return abs(datetime.now(tz=UTC).timestamp() - path.stat().st_mtime)

"""The complete log of a run, kept on disk: what was on nobody's screen is there afterwards."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Generator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from attrs import frozen

from ..errors import BuildpushError, LogEvidence
from ..events import Event, EventSink, ignore
from ..render.plain import PlainRenderer
from ..runtime.environment import make_private

__all__ = ["Journal", "journal"]

_KEPT: Final = 50


@frozen
class Journal:
    """Where a run's events are written: *path*, or nowhere, with the *reason*."""

    sink: EventSink
    path: Path | None = None
    reason: str = ""

    @contextmanager
    def named_in_errors(self) -> Generator[None]:
        """Let an error that passes say where the log is."""
        try:
            yield
        except BuildpushError as error:
            if self.path is not None:
                error.evidence = (*error.evidence, LogEvidence(path=str(self.path)))
            raise


@contextmanager
def journal(folder: Path) -> Generator[Journal]:
    """Write events as lines into a new file in *folder*, for this user's eyes only.

    The newest fifty logs are kept. A folder that cannot be written to costs the log, not the run.
    """
    try:
        make_private(folder)
        _forget_oldest(folder)
        handle, name = tempfile.mkstemp(
            prefix=f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-", suffix=".log", dir=folder
        )
    except OSError as error:
        yield Journal(ignore, reason=f"{error.filename}: {error.strerror}")
        return
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as stream:
        render, lock = PlainRenderer(stream), threading.Lock()

        def sink(event: Event) -> None:
            with lock, suppress(OSError, ValueError):  # full, or closed: the display goes on
                render(event)

        yield Journal(sink, path=Path(name))


def _forget_oldest(folder: Path) -> None:
    logs = sorted(folder.glob("*.log"))
    for old in logs[: max(0, len(logs) - _KEPT + 1)]:
        with suppress(FileNotFoundError):  # another run was faster
            old.unlink()

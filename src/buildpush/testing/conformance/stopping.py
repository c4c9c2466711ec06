"""Stopping: a cancelled or timed-out build ends soon, and nothing of it is left."""

from __future__ import annotations

import threading
import uuid
from pathlib import Path
from typing import Final

from ...errors import StepCancelledError, StepTimeoutError
from ...plan import Feature
from .workbench import Workbench

__all__ = ["StoppingTests", "processes_with"]

_BOUND: Final = 30.0
_LOOKS: Final = 100
_PAUSE: Final = 0.1
_TIMEOUT: Final = 6.0


class StoppingTests:
    """Part of `BackendConformance`."""

    def test_a_cancelled_run_is_over(self, bench: Workbench) -> None:
        """The event of its first line comes while it runs; afterwards its process is gone."""
        marker = f"sleep-{uuid.uuid4().hex}"
        if bench.refuses(Feature.RUN, _endless(marker)):
            return

        stopped = bench.stop(bench.step(_endless(marker)), when="started", within=_BOUND)

        assert isinstance(stopped.error, StepCancelledError), stopped.error
        _assert_gone(marker)
        _assert_clean(bench)

    def test_a_timeout_is_a_cancel_with_another_reason(self, bench: Workbench) -> None:
        """Wherever the build is then."""
        marker = f"sleep-{uuid.uuid4().hex}"
        if bench.refuses(Feature.RUN, _endless(marker)):
            return

        stopped = bench.fail(_endless(marker), timeout=_TIMEOUT)

        assert isinstance(stopped.error, StepTimeoutError), stopped.error
        _assert_gone(marker)
        _assert_clean(bench)

    def test_after_a_cancel_the_next_build_is_as_if_nothing_had_been(
        self, bench: Workbench
    ) -> None:
        """No lock is held, no half of a result is kept."""
        marker = f"sleep-{uuid.uuid4().hex}"
        if bench.refuses(Feature.RUN, _endless(marker)):
            return
        bench.stop(bench.step(_endless(marker)), when="started", within=_BOUND)

        built = bench.build("FROM $BASE\nRUN echo started\nRUN echo done >/done\n")

        assert built.image.text("done") == "done\n"

    def test_a_finished_build_leaves_no_files_of_its_own(self, bench: Workbench) -> None:
        """In the folder for temporary files."""
        bench.build("FROM scratch\nCOPY a /\n", {"a": ""})

        _assert_clean(bench)


def _endless(marker: str) -> str:
    # The marker is in the command line of the shell, which waits for its sleep.
    return f"FROM $BASE\nRUN echo started; sleep 3600; echo {marker}\n"


def processes_with(marker: str) -> list[str]:
    """The command lines on this machine that contain *marker*: of what runs for an engine here."""
    found: list[str] = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue
        if marker in line:
            found.append(line)
    return found


def _assert_gone(marker: str) -> None:
    """Engines take a moment to end what ran for us; it is a bounded one."""
    waiting = threading.Event()
    for _ in range(_LOOKS):
        if not processes_with(marker):
            return
        waiting.wait(_PAUSE)
    assert processes_with(marker) == []


def _assert_clean(bench: Workbench) -> None:
    assert sorted(path.name for path in bench.temporary.iterdir()) == []

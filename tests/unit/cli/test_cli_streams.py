"""Standard streams that are broken, full, closed or only know ASCII; and an early Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from buildpush import __main__
from buildpush.backends.native import NativeBackend
from buildpush.cli import main


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    return ["build", str(tmp_path), "--repo", "a.example/b", "--no-push"]


def shell(line: str, arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run *line*, in which ``"$@"`` is the command."""
    command = [sys.executable, "-W", "error", "-m", "buildpush", *arguments]
    return subprocess.run(
        ["/bin/sh", "-c", line, "sh", *command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_reader_that_has_gone(arguments: list[str], tmp_path: Path) -> None:
    """A broken pipe ends the command as it would end cat, without a traceback."""
    done = shell(
        f'mkfifo {tmp_path}/pipe; : <{tmp_path}/pipe & exec 3>{tmp_path}/pipe; wait; "$@" >&3',
        arguments,
    )

    assert done.returncode == 141
    assert "Traceback" not in done.stderr
    assert "the output could not be written" in done.stderr


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
def test_results_on_a_full_disk(arguments: list[str]) -> None:
    """What could not be printed is no success."""
    done = shell('"$@" >/dev/full', arguments)

    assert done.returncode == 1
    assert done.stderr.endswith("could not be written: [Errno 28] No space left on device\n")


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs /dev/full")
def test_progress_on_a_full_disk(arguments: list[str]) -> None:
    """Nobody can be told, but the exit code says that it did not go well."""
    assert shell('"$@" 2>/dev/full', arguments).returncode == 1


def test_closed_streams(arguments: list[str]) -> None:
    """Daemons that close both get the exit code."""
    assert shell('"$@" >&-', arguments).returncode == 0
    assert shell('"$@" 2>&-', arguments).returncode == 0
    assert shell('"$@" >&- 2>&-', arguments).returncode == 0


def test_a_locale_without_our_letters() -> None:
    """Help that holds an ellipsis is escaped, not refused."""
    done = shell('"$@"', ["build", "--help"], PYTHONIOENCODING="ascii")

    assert done.returncode == 0
    assert "\\u2026" in done.stdout


@pytest.mark.parametrize("command", ["plan", "doctor"])
def test_a_plan_that_is_stopped_prints_nothing(
    arguments: list[str],
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ctrl-C while a backend is probed is noticed before anything is printed."""
    probe = NativeBackend.probe

    def interrupted(backend: NativeBackend) -> Any:
        signal.raise_signal(signal.SIGINT)
        return probe(backend)

    monkeypatch.setattr(NativeBackend, "probe", interrupted)

    code = main(["doctor"] if command == "doctor" else ["plan", *arguments[1:4]])

    out, err = capsys.readouterr()
    assert (code, out) == (130, "")
    assert "stopped by SIGINT" in err


def test_an_interrupt_before_anything_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even then there is an exit code and no traceback."""

    def interrupted() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("buildpush.cli.main", interrupted)

    assert __main__.main() == 130

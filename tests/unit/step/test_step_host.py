"""A machine that refuses a step: cache, temporary folder, context. Never a bare OSError."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import pytest

from buildpush import BuildAndPushStep
from buildpush.backends.native.store import Store
from buildpush.cli import main
from buildpush.errors import LogEvidence, PlanError, SourceEvidence, SpecError
from buildpush.runtime import Environment


@pytest.fixture
def step(tmp_path: Path) -> BuildAndPushStep:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    return BuildAndPushStep(repo="a.example/b", context=folder, push=False)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.touch()
    return path


def test_a_cache_that_cannot_be_made(
    step: BuildAndPushStep, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the folder, and the variable that chooses another."""
    monkeypatch.setenv("BUILDPUSH_CACHE", str(file))

    with pytest.raises(PlanError, match=r"file: File exists|Not a directory") as caught:
        step.run()

    assert str(file) in caught.value.message
    assert "set BUILDPUSH_CACHE" in caught.value.hint


def test_a_disk_that_fills_up(step: BuildAndPushStep, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk is the machine's fault, not the Dockerfile's; the line is shown all the same."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Store, "adopt", full)

    with pytest.raises(PlanError, match="No space left on device") as caught:
        step.run()

    source, log = caught.value.evidence
    assert isinstance(log, LogEvidence)
    assert isinstance(source, SourceEvidence)
    assert source.first_line == 2
    assert "free some space" in caught.value.hint


def test_no_temporary_folder(step: BuildAndPushStep, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing temporary can be written, TMPDIR is the way out."""

    def nowhere() -> str:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", nowhere)

    with pytest.raises(PlanError, match="temporary") as caught:
        step.run()

    assert "TMPDIR" in caught.value.hint


def test_no_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each command says so when it is called from a folder that is gone."""
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()

    place = [str(tmp_path), "--repo", "a.example/b"]
    for argv in (["build", *place], ["plan", *place], ["doctor"]):
        assert main(argv) == 3
        assert "the current folder does not exist any more" in capsys.readouterr().err


def test_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom nobody has given a home is told to set one."""

    def homeless(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)

    with pytest.raises(PlanError, match="has no home folder") as caught:
        Environment.current()

    assert caught.value.hint == "set HOME"


def test_a_context_with_an_impossible_name() -> None:
    """What the system will not even look at is the input's fault."""
    step = BuildAndPushStep(repo="a.example/b", context=Path("x" * 5000))

    with pytest.raises(SpecError, match="File name too long"):
        step.plan()


def test_a_dockerfile_that_is_none(step: BuildAndPushStep) -> None:
    """A disk image called Dockerfile is refused before it is read."""
    with (Path(step.context) / "Dockerfile").open("wb") as sparse:
        sparse.truncate(1 << 40)

    with pytest.raises(SpecError, match="1099511627776 bytes"):
        step.plan()


def test_a_folder_that_is_closed_to_us(
    step: BuildAndPushStep, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that may not be looked into is named."""

    def closed(path: Path) -> bool:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "is_dir", closed)

    with pytest.raises(SpecError, match=r"cannot look at .*context: Permission denied"):
        step.plan()


@pytest.mark.parametrize("kind", ["oci", "docker"])
def test_an_output_to_a_device_leaves_it_alone(
    step: BuildAndPushStep, tmp_path: Path, kind: str
) -> None:
    """Nothing but files is replaced by an output: not /dev/stdout, not a pipe."""
    pipe = tmp_path / "pipe.tar"
    os.mkfifo(pipe)
    writing = BuildAndPushStep.parse(
        {
            "repo": "a.example/b",
            "context": str(step.context),
            "push": False,
            "outputs": [{"type": kind, "destination": str(pipe)}],
        }
    )

    with pytest.raises(SpecError, match="neither a file nor a folder"):
        writing.run()

    assert pipe.is_fifo()

"""The complete log of a run: what is in it, who may read it, how many are kept."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from buildpush import BuildAndPushStep, BuildError
from buildpush.errors import LogEvidence
from buildpush.events import TaskLog
from buildpush.step.journal import journal
from buildpush.testing import FakeBackend, LocalRegistry

LINE = "the compiler said no"


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    return folder


def test_every_line_of_a_run_is_in_its_log(context: Path) -> None:
    """The result names a file only its owner can read, with phases, lines and endings."""
    backend = FakeBackend(lines=(LINE,))
    with LocalRegistry() as registry:
        step = BuildAndPushStep(
            repo=f"{registry.host}/app", context=context, backend=backend, quiet=True
        )
        result = step.run()

    assert result.log is not None
    text = result.log.read_text()
    assert stat.S_IMODE(result.log.stat().st_mode) == 0o600
    assert [part in text for part in ("== build ==", LINE, "DONE   fake build", "== push ==")] == [
        True
    ] * 4


def test_an_error_says_where_the_log_is(context: Path) -> None:
    """The last piece of evidence is the file; it is part of the report."""
    backend = FakeBackend(lines=(LINE,), error=BuildError("no"))
    step = BuildAndPushStep(
        repo="r.example/app", context=context, backend=backend, skip_preflight=True
    )

    with pytest.raises(BuildError) as caught:
        step.run()

    log = caught.value.evidence[-1]
    assert isinstance(log, LogEvidence)
    assert LINE in Path(log.path).read_text()
    assert f"complete log: {log.path}" in caught.value.report()


def test_secrets_are_not_in_the_log(context: Path) -> None:
    """What the display would not show, the log does not hold."""
    secret = "canary-in-the-journal"
    backend = FakeBackend(lines=(f"password {secret}",))
    step = BuildAndPushStep(
        repo="r.example/app", context=context, backend=backend, secrets={"s": secret}, push=False
    )

    result = step.run()

    assert result.log is not None
    text = result.log.read_text()
    assert secret not in text
    assert "password ***" in text


def test_fifty_logs_are_kept(tmp_path: Path) -> None:
    """The oldest go first."""
    names = [f"20200101T0000{n:02d}Z-x.log" for n in range(60)]
    for name in names:
        (tmp_path / name).touch()

    with journal(tmp_path) as log:
        kept = sorted(path.name for path in tmp_path.iterdir())

    assert log.path is not None
    assert kept == [*names[11:], log.path.name]


def test_a_log_that_cannot_be_kept_costs_nothing_else(tmp_path: Path) -> None:
    """Events are passed over, and the reason is there."""
    (tmp_path / "file").touch()

    with journal(tmp_path / "file" / "logs") as log:
        log.sink(TaskLog(at=0.0, task="t", stream="stdout", line="x"))

    assert log.path is None
    assert log.reason == f"{tmp_path / 'file'}: File exists"

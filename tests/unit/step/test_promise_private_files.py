"""What is promised of the logins that a run writes for an engine: nobody reads or inherits them."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from buildpush import BuildAndPushStep
from buildpush.testing import FakeBackend

SCRIPT = '''
import sys
from pathlib import Path

import buildpush.backends
import buildpush.cli
from buildpush import BuildAndPushStep
from buildpush.auth.files import docker_config
from buildpush.backends.engine.folder import client_folder
from buildpush.oci import Repository
from buildpush.testing import FakeBackend


class Engine(FakeBackend):
    """Writes the logins for its client, and gets stuck."""

    def build(self, request, keychain, run):
        wants = [(reference.repository, "pull") for reference in request.references]
        with client_folder(run, config=docker_config(keychain, wants)) as folder:
            print(folder.path, flush=True)
            return super().build(request, keychain, run)


way, context, *argv = sys.argv[1:]
if way == "command":
    buildpush.backends.BackendCatalog.load = lambda *_: Engine(hangs=True)
    sys.exit(buildpush.cli.main(["build", context, *argv]))
BuildAndPushStep(
    repo="r.invalid/app", context=context, backend=Engine(hangs=True), skip_preflight=True
).run()
'''
"""A process that a signal ends while an engine's client is at work."""

LOGIN = '{"auths": {"r.invalid": {"auth": "Y2k6czNjcmV0"}}}'


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    return folder


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


@pytest.fixture
def config() -> Path:
    """The user's own file."""
    file = Path(os.environ["HOME"], ".docker", "config.json")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(LOGIN)
    return file


def ended_by(number: signal.Signals, way: str, context: Path) -> dict[str, int]:
    """The modes of what was written, from a process that *number* ended; by name."""
    argv = [sys.executable, "-c", SCRIPT, way, str(context)]
    if way == "command":
        argv += ["--repo", "r.invalid/app", "--backend", "native", "--skip-preflight"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            folder = Path(process.stdout.readline().decode().strip())
            written = {
                entry.relative_to(folder).as_posix(): stat.S_IMODE(entry.stat().st_mode)
                for entry in (folder, folder / "config.json")
            }
            assert "Y2k6czNjcmV0" in (folder / "config.json").read_text()
            process.send_signal(number)
            process.wait(20)
        finally:
            process.kill()
    return written


@pytest.mark.parametrize(
    ("way", "number"),
    [
        ("command", signal.SIGINT),
        ("command", signal.SIGTERM),
        ("python", signal.SIGINT),
    ],
)
def test_logins_for_an_engine_go_when_a_signal_ends_the_run(
    context: Path, temporary: Path, config: Path, way: str, number: signal.Signals
) -> None:
    """Until then only this user can read them; the user's own file is not touched."""
    before = (config.read_bytes(), config.stat().st_mtime_ns)

    written = ended_by(number, way, context)

    assert written == {".": 0o700, "config.json": 0o600}
    assert list(temporary.iterdir()) == []
    assert (config.read_bytes(), config.stat().st_mtime_ns) == before


@pytest.mark.parametrize(
    ("way", "number"),
    [
        ("command", signal.SIGKILL),
        ("python", signal.SIGKILL),
        ("python", signal.SIGTERM),
    ],
)
def test_logins_of_a_killed_run_go_with_the_next_run(
    context: Path, temporary: Path, config: Path, way: str, number: signal.Signals
) -> None:
    """A process that is not asked cannot clean up: whoever comes next does."""
    ended_by(number, way, context)
    left = list(temporary.rglob("config.json"))

    BuildAndPushStep(
        repo="r.invalid/app", context=context, backend=FakeBackend(), push=False
    ).run()

    assert len(left) == 1
    assert list(temporary.iterdir()) == []
    assert config.read_text() == LOGIN

"""However and whenever an engine's run is stopped, nothing of it goes on: not even in the engine.

Each backend is stopped while it pulls, while it executes RUN and while it pushes: by a cancel, by
a timeout, by Ctrl-C; and its engine is killed under it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import field, frozen

from buildpush import BuildAndPushStep, CancelToken
from buildpush.errors import BuildpushError, StepCancelledError, StepTimeoutError
from buildpush.events import Event, TaskLog
from buildpush.testing import LocalRegistry
from buildpush.testing.faults import Fault, Hang

pytestmark = pytest.mark.needs_root

BOUND = 10.0  # seconds from the stop to the end of everything
MARKER = "sleep 86399.75"
PHASES = ("pull", "run", "push")
BACKENDS = [
    pytest.param("buildx", marks=pytest.mark.needs_buildx),
    pytest.param("docker", marks=pytest.mark.needs_docker),
    pytest.param("docker-classic", marks=pytest.mark.needs_docker),
    pytest.param("buildah", marks=pytest.mark.needs_buildah),
]
ENGINES = {
    "buildx": "private_dockerd",
    "docker": "private_dockerd",
    "docker-classic": "dockerd_classic",
    "buildah": "buildah_root",
}


@frozen
class Scene:
    """A step that gets stuck in one phase, and a way to wait until it is."""

    backend: str
    engine: Any
    registry: LocalRegistry
    context: Path
    temporary: Path
    wait: Callable[[], bool]
    started: threading.Event = field(factory=threading.Event)

    @property
    def network(self) -> str:
        """The engines of the tests have no networks of their own."""
        return "default" if self.backend == "buildah" else "host"

    def step(self, timeout: float | None = None) -> BuildAndPushStep:
        return BuildAndPushStep(
            repo=self.registry.reference("acme/app"),
            context=self.context,
            timeout=timeout,
            backend=self.backend.partition("-")[0],
            network=self.network,
            retries=0,
        )

    def on_event(self, event: Event) -> None:
        if isinstance(event, TaskLog) and event.line.endswith("started"):
            self.started.set()

    def assert_nothing_is_left(self) -> None:
        assert eventually(lambda: marked_processes() == [])
        assert list(self.temporary.iterdir()) == []
        assert self.registry.tags("acme/app") == ()
        assert eventually(lambda: self.leftovers() == [])

    def leftovers(self) -> list[str]:
        """Containers, working or stopped, that the engine still has."""
        if self.backend == "buildah":
            argv = ["buildah", "containers", "--all", "--json"]
            done = subprocess.run(argv, capture_output=True, text=True, check=True)
            return [found["containername"] for found in json.loads(done.stdout) or []]
        found = json.loads(self.engine.api("GET", "/containers/json?all=1"))
        return [container["Id"] for container in found]


def eventually(holds: Callable[[], bool]) -> bool:
    """Whether *holds* does within the bound: engines clean up a moment after they were told."""
    end = time.monotonic() + BOUND
    while not holds():
        if time.monotonic() > end:
            return False
        threading.Event().wait(0.05)
    return True


def marked_processes() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except OSError:
                continue
            if MARKER in line and "pytest" not in line:
                found.append(line)
    return found


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(params=PHASES)
def phase(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture
def scene(
    request: pytest.FixtureRequest,
    backend: str,
    phase: str,
    tmp_path: Path,
    busybox_base: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Scene]:
    engine = request.getfixturevalue(ENGINES[backend])
    engine.activate(monkeypatch)
    if backend == "docker-classic":  # of what it has already, nothing would be pulled
        engine.api("POST", "/images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D")
        engine.api("POST", "/build/prune?all=true")
    context = tmp_path / "context"
    context.mkdir()
    (context / "file").write_bytes(os.urandom(3 << 20))
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with LocalRegistry() as registry:
        monkeypatch.setenv("TMPDIR", str(temporary))
        monkeypatch.setattr("tempfile.tempdir", str(temporary))
        base = busybox_base.push(registry.host, "base/busybox", "1")
        last = f"RUN echo started && {MARKER}" if phase == "run" else "RUN true"
        (context / "Dockerfile").write_text(f"FROM {base}\nCOPY file /\n{last}\n")
        started = threading.Event()

        def wait() -> bool:
            return started.wait(60)

        if phase == "pull":
            wait = registry.inject(Fault(Hang(), method="GET", path="/blobs/", times=None)).wait
        if phase == "push":
            fault = Fault(Hang(), method="PUT|PATCH", path="/blobs/uploads/", times=None)
            wait = registry.inject(fault).wait
        yield Scene(backend, engine, registry, context, temporary, wait, started)


def run_until(
    scene: Scene, step: BuildAndPushStep, stop: Callable[[], object], cancel: CancelToken
) -> BuildpushError:
    caught: list[BaseException] = []

    def work() -> None:
        try:
            step.run(on_event=scene.on_event, cancel=cancel)
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert scene.wait()
    stop()
    thread.join(BOUND)
    assert not thread.is_alive()
    (error,) = caught
    assert isinstance(error, BuildpushError)
    return error


def test_cancelling_leaves_nothing(scene: Scene) -> None:
    """Pulling, executing or pushing: after a cancel everything is gone, in the engine too."""
    cancel = CancelToken()

    error = run_until(scene, scene.step(), cancel.cancel, cancel)

    assert isinstance(error, StepCancelledError)
    scene.assert_nothing_is_left()


def test_a_timeout_leaves_nothing(scene: Scene) -> None:
    """The deadline is a cancel with another reason."""
    cancel = CancelToken()
    ended = threading.Event()
    cancel.on_cancel(ended.set)

    error = run_until(scene, scene.step(timeout=15.0), lambda: ended.wait(60), cancel)

    assert isinstance(error, StepTimeoutError)
    scene.assert_nothing_is_left()


def test_a_signal_leaves_nothing(scene: Scene) -> None:
    """Ctrl-C ends the command line with its exit code."""
    argv = (
        *(sys.executable, "-m", "buildpush", "build", str(scene.context)),
        *("--backend", scene.backend.partition("-")[0], "--network", scene.network),
        *("--repo", scene.registry.reference("acme/app")),
    )
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        pump = threading.Thread(target=watch, args=(process.stderr, scene))
        pump.start()
        assert scene.wait()
        process.send_signal(signal.SIGINT)
        assert process.wait(BOUND) == 130
        pump.join()

    scene.assert_nothing_is_left()


def watch(lines: Any, scene: Scene) -> None:
    for line in lines:
        scene.on_event(TaskLog(at=0.0, task="", stream="stderr", line=line.rstrip()))


@pytest.mark.parametrize("backend", BACKENDS[:2], indirect=True)
def test_a_killed_daemon_is_said_to_be_gone(scene: Scene) -> None:
    """The error comes at once and names the engine; no process or folder of ours is left."""
    error = run_until(scene, scene.step(), scene.engine.kill, CancelToken())

    assert not isinstance(error, StepCancelledError)
    said = error.report()
    assert "daemon" in said or "BuildKit" in said, said
    assert list(scene.temporary.iterdir()) == []
    assert scene.registry.tags("acme/app") == ()


@pytest.mark.needs_buildah
@pytest.mark.parametrize("backend", BACKENDS[3:], indirect=True)
def test_a_killed_buildah_is_said_to_be_killed(scene: Scene) -> None:
    """Somebody, perhaps the kernel for want of memory, ended it: the error says by which signal."""
    error = run_until(scene, scene.step(), kill_buildah, CancelToken())

    assert not isinstance(error, StepCancelledError)
    assert "signal 9" in error.report() or "SIGKILL" in error.report()
    scene.assert_nothing_is_left()


def kill_buildah() -> None:
    """End the buildah processes below this one."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if words[0].endswith(b"buildah") and parent == os.getpid():
            os.kill(int(entry.name), signal.SIGKILL)

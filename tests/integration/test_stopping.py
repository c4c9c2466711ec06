"""However and whenever a run is stopped, nothing of it is left: acceptance of clean endings."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest
from attrs import frozen

from buildpush import BuildAndPushStep, CancelToken
from buildpush.errors import BuildpushError, StepCancelledError, StepTimeoutError
from buildpush.events import Event, TaskLog
from buildpush.testing import LocalRegistry
from buildpush.testing.faults import Fault, Hang

pytestmark = pytest.mark.needs_root


class PushableImage(Protocol):
    def push(self, host: str, repository: str, tag: str) -> str: ...


BOUND = 5.0  # seconds from the stop to the end of everything
MARKER = "sleep 86399.25"


@frozen
class Scene:
    """A step that gets stuck in one phase, and a way to wait until it is."""

    registry: LocalRegistry
    context: Path
    temporary: Path
    base: str
    wait: Callable[[], bool]
    on_event: Callable[[Event], None]

    def step(self, timeout: float | None = None) -> BuildAndPushStep:
        return BuildAndPushStep(
            repo=self.registry.reference("acme/app"),
            context=self.context,
            build_args={"BASE": self.base},
            timeout=timeout,
            backend="native",
        )

    def assert_nothing_is_left(self, mounts: list[str]) -> None:
        assert marked_processes() == []
        assert mount_points() == mounts
        assert list(self.temporary.iterdir()) == []
        assert list(Path(os.environ["BUILDPUSH_CACHE"], "native", "v1", "work").iterdir()) == []
        assert self.registry.tags("acme/app") == ()


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


def mount_points() -> list[str]:
    """All but those of engines that other tests have started, and which come and go."""
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return sorted(point for point in points if "/tmp/bp-" not in point)


@pytest.fixture(params=["pull", "run", "push"])
def scene(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    local_registry: LocalRegistry,
    busybox_base: PushableImage,
    monkeypatch: pytest.MonkeyPatch,
) -> Scene:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    context = tmp_path / "context"
    context.mkdir()
    (context / "file").write_bytes(os.urandom(3 << 20))
    base = busybox_base.push(local_registry.host, "base/busybox", "1")
    started = threading.Event()
    last = f"RUN echo started && {MARKER}" if request.param == "run" else "RUN true"
    (context / "Dockerfile").write_text(f"ARG BASE\nFROM $BASE\nCOPY file /\n{last}\n")

    def on_event(event: Event) -> None:
        if isinstance(event, TaskLog) and event.line == "started":
            started.set()

    def wait() -> bool:
        return started.wait(60)

    if request.param == "pull":
        wait = local_registry.inject(Fault(Hang(), method="GET", path="/blobs/", times=None)).wait
    if request.param == "push":
        fault = Fault(Hang(), method="PUT|PATCH", path="/blobs/uploads/", times=None)
        wait = local_registry.inject(fault).wait
    return Scene(local_registry, context, temporary, base, wait, on_event)


def run_until_stopped(
    scene: Scene, step: BuildAndPushStep, stop: Callable[[], None], cancel: CancelToken
) -> BuildpushError:
    caught: list[BuildpushError] = []

    def work() -> None:
        try:
            step.run(on_event=scene.on_event, cancel=cancel)
        except BuildpushError as error:
            caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert scene.wait()
    stop()
    thread.join(BOUND)
    assert not thread.is_alive()
    return caught[0]


def test_cancelling_leaves_nothing(scene: Scene) -> None:
    """Pulling, executing or pushing: after a cancel everything is gone."""
    mounts = mount_points()
    cancel = CancelToken()

    error = run_until_stopped(scene, scene.step(), cancel.cancel, cancel)

    assert isinstance(error, StepCancelledError)
    scene.assert_nothing_is_left(mounts)


def test_a_timeout_leaves_nothing(scene: Scene) -> None:
    """The deadline is a cancel with another reason."""
    mounts = mount_points()
    cancel = CancelToken()
    ended = threading.Event()
    cancel.on_cancel(ended.set)

    error = run_until_stopped(
        scene, scene.step(timeout=6.0), lambda: assert_(ended.wait(30)), cancel
    )

    assert isinstance(error, StepTimeoutError)
    scene.assert_nothing_is_left(mounts)


def assert_(fact: bool) -> None:
    assert fact


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing(scene: Scene, number: signal.Signals, code: int) -> None:
    """Ctrl-C and a CI's SIGTERM end the command line cleanly, each with its exit code."""
    mounts = mount_points()
    argv = (
        *(sys.executable, "-m", "buildpush", "build", str(scene.context), "--backend", "native"),
        *("--repo", scene.registry.reference("acme/app"), "--build-arg", f"BASE={scene.base}"),
    )
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        pump = threading.Thread(target=watch, args=(process.stderr, scene))
        pump.start()
        assert scene.wait()
        process.send_signal(number)
        assert process.wait(BOUND) == code
        pump.join()

    scene.assert_nothing_is_left(mounts)


def watch(lines: object, scene: Scene) -> None:
    for line in lines:  # type: ignore[attr-defined]
        if line.rstrip().endswith("| started"):
            scene.on_event(TaskLog(at=0.0, task="", stream="stdout", line="started"))

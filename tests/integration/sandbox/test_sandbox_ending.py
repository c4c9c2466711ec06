"""However a run ends, nothing of it goes on: no process, no mount, no file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buildpush.backends.native.sandbox.rootfs import JobMount, RunJob, Sandbox
from buildpush.errors import BuildError, StepCancelledError
from buildpush.runtime import CancelToken

if TYPE_CHECKING:
    from conftest import Bench

pytestmark = pytest.mark.needs_root


def processes(marker: str) -> list[int]:
    """The ids of processes with *marker* as a word of their command line."""
    found: list[int] = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            words = (place / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if marker.encode() in words:
            found.append(int(place.name))
    return found


def launchers() -> list[int]:
    """The ids of the launcher that this process has started, and of its forks after it."""
    from buildpush.backends.native.sandbox.launcher.processes import descendants

    return [pid for pid in descendants(os.getpid()) if _is_launcher(pid)]


def _is_launcher(pid: int) -> bool:
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    # A fork that has not yet become another program still has our own command line.
    return b"front.py" in line or line == Path("/proc/self/cmdline").read_bytes()


def mounts() -> list[str]:
    """All but those of engines that other tests have started, and which come and go."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in lines if "/tmp/bp-" not in line]


class Started:
    """A command that says when it runs, and then goes on for ever, with kin."""

    def __init__(self, bench: Bench, **job: object) -> None:
        self.marker = f"9{os.getpid()}{id(self) % 1000}"
        self.cancel = CancelToken()
        self.error: BaseException | None = None
        self._running = threading.Event()
        script = (
            f"trap '' TERM; setsid sleep {self.marker} & (trap '' TERM; sleep {self.marker}) & "
            f"echo running; sleep {self.marker}; wait"
        )
        self._thread = threading.Thread(target=self._run, args=(bench, script, job))
        self._thread.start()
        assert self._running.wait(60)

    def _run(self, bench: Bench, script: str, job: dict[str, object]) -> None:
        work = bench.folder / f"work{self.marker}"
        work.mkdir()
        try:
            bench.sandbox.run(
                RunJob(argv=("/bin/sh", "-c", script), **job),  # type: ignore[arg-type]
                layers=bench.layers,
                layers_root=bench.folder / "layers",
                work=work,
                on_line=lambda stream, line: self._running.set(),
                sink=lambda data: None,
                cancel=self.cancel,
            )
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            self.error = error
        finally:
            self._running.set()
            self.left = processes(self.marker)
            bench.sandbox.remove(work)

    def join(self) -> BaseException | None:
        self._thread.join(60)
        assert not self._thread.is_alive()
        return self.error


def test_a_cancelled_command_leaves_no_process_and_no_mount(any_bench: Bench) -> None:
    """Though it ignores SIGTERM and has left its session."""
    before = mounts()
    started = Started(any_bench)

    started.cancel.cancel()
    error = started.join()

    assert isinstance(error, StepCancelledError)
    assert started.left == []
    assert mounts() == before


def test_a_killed_launcher_takes_everything_with_it(any_bench: Bench) -> None:
    """As the kernel's out-of-memory killer might do it."""
    before = mounts()
    started = Started(any_bench)

    os.kill(launchers()[0], signal.SIGKILL)
    error = started.join()

    assert isinstance(error, BuildError)
    assert "ended without an answer" in str(error)
    assert started.left == []
    assert mounts() == before


def test_a_cancelled_chroot_gives_a_cache_back(any_bench: Bench, folder: Path) -> None:
    """What was put into it is kept, on every rung."""
    (folder / "cache").mkdir()
    (folder / "cache" / "kept").write_text("x")
    mount = JobMount(kind="cache", source=folder / "cache", target="/cache")
    started = Started(any_bench, mounts=(mount,))

    started.cancel.cancel()
    started.join()

    assert (folder / "cache" / "kept").read_text() == "x"


def test_a_killed_parent_takes_everything_with_it(bench: Bench, folder: Path) -> None:
    """The launcher dies with it, and with the launcher the command."""
    marker = f"8{os.getpid()}"
    layer = bench.layers[0]
    program = f"""
        import pathlib, sys
        from buildpush.backends.native.sandbox.rootfs import LayerFile, RunJob, Rung, Sandbox
        from buildpush.oci import Digest
        from buildpush.runtime import CancelToken, Environment
        folder = pathlib.Path({str(folder)!r})
        (folder / "work").mkdir()
        layer = LayerFile(diff_id=Digest({str(layer.diff_id)!r}),
                          path=pathlib.Path({str(layer.path)!r}), media_type={layer.media_type!r})
        Sandbox.at(Rung.NAMESPACES, Environment.current()).run(
            RunJob(argv=("/bin/sh", "-c", "setsid sleep {marker} & echo on; sleep {marker}")),
            layers=[layer], layers_root=folder / "layers", work=folder / "work",
            on_line=lambda s, line: print(line, flush=True), sink=print, cancel=CancelToken())
    """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "on\n"
        parent.kill()

    # They die with the launcher, whose end nobody here can wait for.
    end = time.monotonic() + 30
    while processes(marker) and time.monotonic() < end:
        threading.Event().wait(0.02)
    assert processes(marker) == []
    bench.sandbox.remove(folder / "work")


def test_a_listener_that_fails_is_heard(any_bench: Bench, folder: Path) -> None:
    """Its own exception reaches the caller, in the caller's thread."""
    (folder / "work").mkdir()

    def fail(stream: str, line: str) -> None:
        raise RuntimeError(line)

    with pytest.raises(RuntimeError, match="said"):
        any_bench.sandbox.run(
            RunJob(argv=("/bin/sh", "-c", "echo said; seq 100000; exit 1")),
            layers=any_bench.layers,
            layers_root=folder / "layers",
            work=folder / "work",
            on_line=fail,
            sink=lambda data: None,
            cancel=CancelToken(),
        )


def test_a_sink_that_fails_is_heard(any_bench: Bench, folder: Path) -> None:
    """A full disk, say; the launcher ends."""
    (folder / "work").mkdir()

    def fail(data: bytes) -> None:
        raise OSError(28, "no space")

    with pytest.raises(OSError, match="no space"):
        any_bench.sandbox.run(
            RunJob(argv=("/bin/sh", "-c", "head -c 9000000 /dev/zero > /x")),
            layers=any_bench.layers,
            layers_root=folder / "layers",
            work=folder / "work",
            on_line=lambda stream, line: None,
            sink=fail,
            cancel=CancelToken(),
        )
    any_bench.sandbox.remove(folder / "work")


def test_nothing_is_left_in_the_work_folder(any_bench: Bench, folder: Path) -> None:
    """Whether the command succeeded or not."""
    for script in ("touch /x", "exit 1"):
        work = folder / script.replace(" ", "").replace("/", "")
        work.mkdir()
        any_bench.sandbox.run(
            RunJob(argv=("/bin/sh", "-c", script)),
            layers=any_bench.layers,
            layers_root=folder / "layers",
            work=work,
            on_line=lambda stream, line: None,
            sink=lambda data: None,
            cancel=CancelToken(),
        )

        assert list(work.iterdir()) == []


def test_no_secret_is_on_a_command_line_or_in_an_environment(bench: Bench, folder: Path) -> None:
    """Of any process that the outside can see."""
    secret = f"s3cret{os.getpid()}"
    (folder / "token").write_text(secret)
    mount = JobMount(kind="secret", source=folder / "token", target="/run/token")
    started = Started(bench, mounts=(mount,), env={"TOKEN": secret})
    try:
        seen = {pid: Path(f"/proc/{pid}/cmdline").read_bytes() for pid in launchers()}
        mine = {pid: Path(f"/proc/{pid}/environ").read_bytes() for pid in launchers()}
    finally:
        started.cancel.cancel()
        started.join()

    assert seen
    assert not [pid for pid, text in (seen | mine).items() if secret.encode() in text]
    assert secret not in repr(RunJob(argv=("x",), env={"TOKEN": secret}))


def test_remove_follows_no_link(bench: Bench, folder: Path) -> None:
    """It removes trees deeper than a path may be long, and what is not there is fine."""
    (folder / "kept").mkdir()
    (folder / "kept" / "file").touch()
    (folder / "tree").mkdir()
    (folder / "tree" / "link").symlink_to(folder / "kept")
    here = os.open(folder / "tree", os.O_RDONLY)
    for _ in range(60):
        os.mkdir("d" * 200, dir_fd=here)
        below = os.open("d" * 200, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)

    Sandbox.remove(bench.sandbox, folder / "tree")
    Sandbox.remove(bench.sandbox, folder / "tree")

    assert sorted(path.name for path in folder.iterdir() if path.name != "layers") == ["kept"]
    assert (folder / "kept" / "file").exists()

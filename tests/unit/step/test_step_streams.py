"""One run, looked at in five ways; and every way of stopping it."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from attrs import frozen

from buildpush import BuildAndPushStep, CancelToken, Capabilities, Keychain
from buildpush.errors import BuildError, StepCancelledError, StepTimeoutError
from buildpush.events import Event, Phase, RunState, TaskLog, TaskStarted
from buildpush.oci.layout import Layout
from buildpush.plan import Artifact, BuildRequest, Feature, LayoutArtifact
from buildpush.runtime import Run
from buildpush.runtime.process import run_command
from buildpush.testing import random_image


@frozen
class ShellBackend:
    """Runs a shell script and hands back a random image: a stand-in for an engine."""

    script: str

    def probe(self) -> Capabilities:
        return Capabilities(
            backend="shell", version="0", features=frozenset({Feature.EXPORT_LAYOUT})
        )

    def build(self, request: BuildRequest, keychain: Keychain, run: Run) -> Artifact:
        with run.task("build", "run the script") as task:
            done = run_command(
                ("sh", "-c", self.script),
                run=run,
                env={"PATH": "/usr/bin:/bin"},
                on_line=task.log,
                grace=0.2,
            )
            if done.exit_code:
                raise BuildError("the script failed", evidence=(done.evidence,))
        layout = Layout.create(run.workdir / "layout")
        return LayoutArtifact(path=layout.path, digest=random_image(layout))


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\n")
    return folder


class LongJob:
    """A step whose build starts a grandchild that ignores SIGTERM, and tells its pid."""

    def __init__(self, context: Path, tmp_path: Path, timeout: float | None = None) -> None:
        self.fifo = tmp_path / "started"
        os.mkfifo(self.fifo)
        child = f'trap "" TERM; echo $$ > {self.fifo}; while :; do sleep 0.1; done'
        self.step = BuildAndPushStep(
            repo="a.example/b",
            context=context,
            push=False,
            timeout=timeout,
            backend=ShellBackend(f"sh -c '{child}' & wait"),
        )
        self.pid = 0

    def wait_until_started(self) -> None:
        self.pid = int(self.fifo.read_text())

    def is_gone(self) -> bool:
        return is_gone(self.pid)


def is_gone(pid: int) -> bool:
    """Whether no program runs under *pid*: what nobody has reaped yet is gone too."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rpartition(")")[2].split()[0] == "Z"


@pytest.fixture
def long_job(context: Path, tmp_path: Path) -> LongJob:
    return LongJob(context, tmp_path)


def quick(context: Path, script: str = "echo a; echo b") -> BuildAndPushStep:
    return BuildAndPushStep(
        repo="a.example/b", context=context, push=False, backend=ShellBackend(script)
    )


def test_run_tells_every_event_in_the_callers_thread(context: Path) -> None:
    """A display needs no lock."""
    events: list[Event] = []
    threads: set[int] = set()

    def display(event: Event) -> None:
        events.append(event)
        threads.add(threading.get_ident())

    result = quick(context).run(on_event=display)

    state = RunState()
    for event in events:
        state = state.after(event)
    assert threads == {threading.get_ident()}
    assert [e.line for e in events if isinstance(e, TaskLog)] == ["a", "b"]
    assert state.tasks["build"].outcome == "done"
    assert state.phase is Phase.BUILD
    assert result.backend.backend == "shell"


def test_a_failure_raises_after_its_last_event(context: Path) -> None:
    """The stream cannot swallow an error, even if nobody asks for the result."""
    lines: list[str] = []

    with pytest.raises(BuildError) as caught, quick(context, "echo bad; exit 3").stream() as s:
        lines.extend(event.line for event in s if isinstance(event, TaskLog))

    assert lines == ["bad"]
    assert "exit code 3" in caught.value.report()


def test_leaving_a_stream_early_stops_the_build(long_job: LongJob) -> None:
    """Nobody has to remember to kill anything."""
    with long_job.step.stream() as stream:
        next(iter(stream))
        long_job.wait_until_started()

    assert long_job.is_gone()


def test_a_broken_display_stops_the_build_and_is_seen(long_job: LongJob) -> None:
    """The traceback reaches the caller, and no build goes on unwatched."""

    def display(event: Event) -> None:
        if isinstance(event, TaskStarted):
            long_job.wait_until_started()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        long_job.step.run(on_event=display)

    assert long_job.is_gone()


def test_a_token_cancels_from_another_thread(long_job: LongJob) -> None:
    """The reason is raised, never an error about a killed process."""
    token = CancelToken()

    def cancel_when_started() -> None:
        long_job.wait_until_started()
        token.cancel()

    thread = threading.Thread(target=cancel_when_started)
    thread.start()
    with pytest.raises(StepCancelledError):
        long_job.step.run(cancel=token)
    thread.join()

    assert long_job.is_gone()


def test_a_timeout_ends_everything(context: Path, tmp_path: Path) -> None:
    """The grandchild that ignores SIGTERM is gone too."""
    job = LongJob(context, tmp_path, timeout=1.0)
    reader = threading.Thread(target=job.wait_until_started)
    reader.start()

    with pytest.raises(StepTimeoutError, match="limit of 1 s"):
        job.step.run()

    reader.join()
    assert job.is_gone()


def test_a_run_leaves_no_temporary_folder(
    context: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Success and failure leave the same: nothing."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))

    quick(context).run()
    with pytest.raises(BuildError):
        quick(context, "exit 1").run()

    assert list(temporary.iterdir()) == []


def test_ctrl_c_stops_the_build(context: Path, tmp_path: Path) -> None:
    """A script that is interrupted leaves no process behind."""
    fifo = tmp_path / "started"
    os.mkfifo(fifo)
    script = f"sh -c 'echo $$ > {fifo}; sleep 600; true'; true"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_step_streams import ShellBackend\n"
        "from buildpush import BuildAndPushStep\n"
        "BuildAndPushStep(repo='a.example/b', context=sys.argv[2], push=False,"
        " backend=ShellBackend(sys.argv[3])).run()\n"
    )
    argv = (sys.executable, "-c", code, str(Path(__file__).parent), str(context), script)
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        pid = int(fifo.read_text())
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)

    assert "KeyboardInterrupt" in errors
    assert is_gone(pid)


@pytest.mark.anyio
async def test_arun_gives_the_result(context: Path) -> None:
    """asyncio and trio alike."""
    events: list[Event] = []

    result = await quick(context).arun(on_event=events.append)

    assert result.backend.backend == "shell"
    assert [e.line for e in events if isinstance(e, TaskLog)] == ["a", "b"]


@pytest.mark.anyio
async def test_an_error_of_arun_is_not_wrapped(context: Path) -> None:
    """No ExceptionGroup comes between the failure and its handler."""
    with pytest.raises(BuildError):
        await quick(context, "exit 1").arun()


@pytest.mark.anyio
async def test_cancelling_the_task_stops_the_build_first(long_job: LongJob) -> None:
    """Control does not return while something is still running."""
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:

            async def cancel_when_started() -> None:
                await anyio.to_thread.run_sync(long_job.wait_until_started)
                scope.cancel()

            group.start_soon(cancel_when_started)
            await long_job.step.arun()

    assert scope.cancelled_caught
    assert long_job.is_gone()


@pytest.mark.anyio
async def test_astream_ends_with_the_result(context: Path) -> None:
    """The events come in order, and the result is there after the last."""
    async with quick(context).astream() as stream:
        lines = [event.line async for event in stream if isinstance(event, TaskLog)]

    assert lines == ["a", "b"]
    assert stream.result.backend.backend == "shell"


@pytest.mark.anyio
async def test_leaving_astream_early_stops_the_build(long_job: LongJob) -> None:
    """The same promise as for the synchronous stream."""
    async with long_job.step.astream() as stream:
        await anext(aiter(stream))
        await anyio.to_thread.run_sync(long_job.wait_until_started)

    assert long_job.is_gone()


@pytest.mark.anyio
async def test_an_error_in_the_block_arrives_bare(long_job: LongJob) -> None:
    """The user's own exception is what the user sees."""

    async def fail_while_it_runs() -> None:
        async with long_job.step.astream():
            await anyio.to_thread.run_sync(long_job.wait_until_started)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail_while_it_runs()

    assert long_job.is_gone()


def test_a_step_can_be_run_from_many_threads(context: Path) -> None:
    """A step holds no state."""
    step = quick(context, "true")
    digests: list[str] = []

    def work() -> None:
        digests.append(str(step.run().digest))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(digests) == 4
    assert len(set(digests)) == 1

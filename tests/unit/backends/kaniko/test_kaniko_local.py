"""Where the executor may be run right here, and where it is not even started."""

from __future__ import annotations

import fcntl
import sys
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from buildpush.backends.kaniko.container.watching import Memory
from buildpush.backends.kaniko.local import LocalRunner
from buildpush.backends.kaniko.local.inside import Inside
from buildpush.backends.kaniko.runner import Command, Ending, Execution, Runner
from buildpush.dockerfile import parse
from buildpush.errors import BackendUnavailableError, StepCancelledError
from buildpush.events import Event
from buildpush.plan import BuildRequest, Feature
from buildpush.runtime import CancelToken, Environment, Run


class Silent:
    """A translator that cancels where it is asked to."""

    def __init__(self, cancel: CancelToken | None = None) -> None:
        self.lines: list[str] = []
        self.cancel = cancel

    def line(self, stream: str, line: str, at: float) -> tuple[Event, ...]:
        self.lines.append(line)
        if self.cancel is not None:
            self.cancel.cancel()
        return ()

    def finish(self, at: float) -> tuple[Event, ...]:
        return ()


class House:
    """A root folder with an executor that is a script, and mounts where it is told."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder = folder
        self.root = root
        self.context = folder / "context"
        self.work = folder / "work"
        self.kaniko = root / "kaniko"
        for path in (self.context, self.work, self.kaniko, root / "proc" / "self"):
            path.mkdir(parents=True)
        self.executor('echo "Kaniko version :  v1.28.3"')

    def executor(self, script: str) -> None:
        program = self.kaniko / "executor"
        program.write_text(f"#!/bin/sh\ntouch {self.folder}/started\n{script}\n")
        program.chmod(0o755)

    @property
    def started(self) -> bool:
        return (self.folder / "started").exists()

    def is_container(self) -> None:
        (self.root / ".dockerenv").touch()

    def mount(self, *places: Path) -> None:
        """Let *places* (or else nothing) be mounts."""
        lines = [f"1 0 0:1 / {self._inside(place)} rw - tmpfs t rw" for place in places]
        text = "\n".join(["1 0 0:1 / / rw - overlay overlay rw", *lines])
        (self.root / "proc" / "self" / "mountinfo").write_text(text)

    def _inside(self, place: Path) -> str:
        name = f"/{place.relative_to(self.root)}" if place.is_relative_to(self.root) else place
        return str(name).replace(" ", "\\040")

    def execute(self, translator: Silent | None = None, **more: Any) -> Ending:
        request = BuildRequest(
            context=self.context,
            dockerfile=parse("FROM scratch\n"),
            dockerfile_path=self.context / "Dockerfile",
        )
        execution = Execution(
            image="kaniko:1",
            request=request,
            command=lambda where: Command(
                words=("--context", where.context, "--digest-file", str(where.digest)),
                variables={"WHERE": str(where.private)},
            ),
            files={"Dockerfile": b"FROM scratch\n"},
            **more,
        )
        told = translator or Silent()
        cancel = told.cancel or CancelToken()
        run = Run(workdir=self.work, cancel=cancel, sink=lambda _: None)
        return LocalRunner(_root=self.root).execute(execution, told, run)


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path, tmp_path / "root")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    """A house that we could live in: everything of ours lies on what are mounts."""
    made = House(tmp_path, Path(tmp_path / "root"))
    monkeypatch.setattr(Inside, "_spared", lambda *_: True)
    made.is_container()
    return made


def test_it_is_a_runner() -> None:
    """The backend needs no more of it."""
    assert isinstance(LocalRunner(), Runner)


def test_without_an_executor_this_is_not_its_container(tmp_path: Path) -> None:
    """As on nearly every machine."""
    with pytest.raises(BackendUnavailableError, match=r"there is no .*/kaniko/executor"):
        LocalRunner(_root=tmp_path).probe("", ask_version=True)


def test_on_a_machine_nothing_is_started(house: House) -> None:
    """It would remove every file of it; so it is not even asked for its version."""
    before = sorted(house.root.rglob("*"))

    with pytest.raises(BackendUnavailableError, match="this is no container"):
        LocalRunner(_root=house.root).probe("", ask_version=True)
    with pytest.raises(BackendUnavailableError, match="this is no container"):
        house.execute()

    assert (house.started, sorted(house.root.rglob("*"))) == (False, before)


def test_where_it_would_remove_python_nothing_is_started(house: House) -> None:
    """What would go is listed."""
    house.is_container()

    with pytest.raises(BackendUnavailableError, match="with it") as raised:
        house.execute()

    assert not house.started
    assert f"{sys.executable} (Python)" in raised.value.message
    assert "below /kaniko" in raised.value.hint


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (".dockerenv", ""),
        ("run/.containerenv", ""),
        ("var/run/secrets/kubernetes.io/serviceaccount/token", ""),
        ("proc/self/cgroup", "0::/kubepods/besteffort/x"),
        ("proc/mounts", "overlay / overlay rw 0 0"),
        ("run/systemd/container", "podman"),
    ],
)
def test_a_container_is_known_as_the_executor_knows_it(house: House, file: str, text: str) -> None:
    """By any of its marks."""
    (house.root / file).parent.mkdir(parents=True, exist_ok=True)
    (house.root / file).write_text(text)

    with pytest.raises(BackendUnavailableError, match="removes everything"):
        Inside(environment=Environment.current(), root=house.root).check()


def test_what_lies_below_kaniko_or_on_a_mount_is_spared(house: House) -> None:
    """A mount point with a space is written in another way."""
    volume = house.root / "my volume"
    house.mount(volume)
    inside = Inside(environment=Environment.current(), root=house.root)

    inside.check_safe({"a": house.kaniko / "python", "b": volume / "python"})


@pytest.mark.parametrize("where", ["elsewhere", "usr/local/bin/python"])
def test_a_mount_over_a_part_of_the_system_is_none(house: House, where: str) -> None:
    """Images would lack what they have in the same place."""
    house.mount(house.root / "usr/local")
    inside = Inside(environment=Environment.current(), root=house.root)

    with pytest.raises(BackendUnavailableError, match="removes everything"):
        inside.check_safe({"Python": house.root / where})


def test_a_link_out_of_a_mount_leads_to_nothing(house: House) -> None:
    """What it names would be gone."""
    volume = house.root / "volume"
    house.mount(volume)
    volume.mkdir()
    (volume / "python").symlink_to(house.root / "bin" / "python")
    inside = Inside(environment=Environment.current(), root=house.root)

    with pytest.raises(BackendUnavailableError, match="volume/python"):
        inside.check_safe({"Python": volume / "python"})


def test_a_user_who_may_not_write_there_is_told(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executor would say it late, and in its own words."""
    monkeypatch.setattr("buildpush.backends.kaniko.local.inside._writable", lambda _: False)

    with pytest.raises(BackendUnavailableError, match="may not write to"):
        home.execute()


def test_a_probe_says_what_it_cannot_change(home: House) -> None:
    """The container has its network and its limits already."""
    found = LocalRunner(_root=home.root).probe("", ask_version=True)

    assert found.features == {Feature.EXPORT_LAYOUT, Feature.PUSH_DIRECTLY}
    assert (found.version, Feature.RESOURCES in found.notes) == ("v1.28.3", True)


def test_the_executor_finds_private_files_and_cleans_up(
    home: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it writes is read, and what it leaves in its folder is removed."""
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    home.executor(
        'cat "$WHERE/Dockerfile"; stat -c %a "$WHERE"; echo "$5"; echo $SSL_CERT_DIR;'
        f" echo sha256:1 > $4; mkdir -p {home.kaniko}/stages/0 {home.kaniko}/0;"
        f" touch {home.kaniko}/Dockerfile"
    )
    told = Silent()

    ending = home.execute(told, layout=home.work / "layout")

    assert (ending.exit_code, ending.digest) == (0, "sha256:1")
    assert told.lines == ["FROM scratch", "700", "--cleanup", f"{home.kaniko}/ssl/certs"]
    assert sorted(p.name for p in home.kaniko.iterdir()) == ["buildpush", "executor"]
    assert [p.name for p in (home.kaniko / "buildpush").iterdir()] == ["lock"]


def test_what_is_not_whole_or_not_roots_is_streamed(home: House) -> None:
    """Through the executor's input."""
    (home.context / ".dockerignore").write_text("dropped\n")
    (home.context / "dropped").touch()
    home.executor('echo "$2"; gzip -dc | tar -t')
    told = Silent()

    home.execute(told)

    assert told.lines == ["tar://stdin", "./", ".dockerignore"]


def test_a_second_build_at_the_same_time_is_refused(home: House) -> None:
    """There is only one root folder to unpack images over."""
    (home.kaniko / "buildpush").mkdir()
    with (home.kaniko / "buildpush" / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        with pytest.raises(BackendUnavailableError, match="another build is under way"):
            home.execute()

    assert not home.started


def test_after_a_build_that_was_broken_off_none_is_begun(home: House) -> None:
    """What it has left lying about would be part of the next image."""
    cancel = CancelToken()
    home.executor("echo begun; sleep 60 & sleep 60")

    with pytest.raises(StepCancelledError):
        home.execute(Silent(cancel))
    with pytest.raises(BackendUnavailableError, match="did not come to its end"):
        home.execute()


def test_the_preview_is_the_executors_command(home: House) -> None:
    """With what it must be told to leave nothing."""
    request = BuildRequest(
        context=Path("/workspace"),
        dockerfile=parse("FROM scratch\n"),
        dockerfile_path=Path("/workspace/Dockerfile"),
    )
    execution = Execution(
        image="",
        request=request,
        command=lambda where: Command(
            words=("--context", where.context), variables={"A": "two; words"}
        ),
        files={"Dockerfile": b"secret"},
    )

    assert LocalRunner().preview(execution) == (
        "# in /kaniko/buildpush/private: Dockerfile\n"
        "DOCKER_CONFIG=/kaniko/buildpush/private A='two; words' /kaniko/executor"
        " --context dir:///workspace"
        " --cleanup"
    )


@pytest.mark.parametrize(
    ("counts", "limits"),
    [
        ("memory.events", "memory.max"),
        ("memory/memory.oom_control", "memory/memory.limit_in_bytes"),
    ],
)
def test_the_kernel_counts_what_it_kills(tmp_path: Path, counts: str, limits: str) -> None:
    """In either version of cgroups."""
    (tmp_path / "memory").mkdir()
    (tmp_path / counts).write_text("oom 1\noom_kill 3\n")
    (tmp_path / limits).write_text("1048576\n")
    before = Memory.now(tmp_path)
    assert not before.ran_out()

    (tmp_path / counts).write_text("oom 1\noom_kill 4\n")

    assert (before.ran_out(), before.limit()) == (True, 1 << 20)


def test_where_nothing_is_counted_nothing_has_happened(tmp_path: Path) -> None:
    """And without a limit there is none to tell."""
    (tmp_path / "memory.max").write_text("max\n")

    memory = Memory.now(tmp_path)

    assert (memory.ran_out(), memory.limit()) == (False, None)


def test_memory_that_was_too_little_is_told(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the container's own limit."""
    monkeypatch.setattr(Memory, "ran_out", lambda _: True)
    monkeypatch.setattr(Memory, "limit", lambda _: 4096)
    home.executor("exit 137")

    ending = home.execute()

    assert (ending.exit_code, ending.cause, ending.limit) == (137, "out of memory", 4096)


def test_the_environment_is_not_our_own() -> None:
    """A container is known by a variable, too."""
    environment = evolve(Environment.current(), variables={"container": "oci"})

    with pytest.raises(BackendUnavailableError):
        Inside(environment=environment, root=Path("/nowhere")).check()

"""Steps of bake files, with a stand-in for buildx that prints what it is told to."""

from __future__ import annotations

import copy
import gc
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from buildpush import BuildAndPushStep, CancelToken, SpecError, StepCancelledError
from buildpush.errors import BackendUnavailableError, CommandEvidence, SourceEvidence
from buildpush.testing import FakeBackend


@frozen
class Buildx:
    """A program that prints *output*, and keeps what it was called with."""

    folder: Path

    @property
    def argv(self) -> list[str]:
        return (self.folder / "argv").read_text().splitlines()

    @property
    def environment(self) -> dict[str, str]:
        lines = (self.folder / "env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def prints(self, targets: dict[str, Any], *asked: str) -> None:
        group = {"default": {"targets": list(asked or targets)}}
        (self.folder / "output").write_text(json.dumps({"group": group, "target": targets}))

    def fails(self, words: str) -> None:
        (self.folder / "words").write_text(words)


@pytest.fixture
def buildx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Buildx:
    folder = tmp_path / "buildx"
    plugins = Path(os.environ["HOME"], ".docker", "cli-plugins")
    for made in (folder, plugins):
        made.mkdir(parents=True)
    script = plugins / "docker-buildx"
    script.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >{folder}/argv\nenv >{folder}/env\npwd >{folder}/cwd\n'
        f"[ -e {folder}/words ] && {{ cat {folder}/words >&2; exit 1; }}\ncat {folder}/output\n"
    )
    script.chmod(0o755)
    monkeypatch.chdir(tmp_path)
    return Buildx(folder)


def test_steps_by_target(buildx: Buildx, tmp_path: Path) -> None:
    """Each can be run by any backend, with settings that bake has no word for."""
    buildx.prints({"app": {"tags": ["a.example/app:1"], "target": "final"}})
    backend = FakeBackend()

    steps = BuildAndPushStep.from_bake(backend=backend, timeout="5m")

    assert steps == {
        "app": BuildAndPushStep(
            repo="a.example/app",
            tags=["1"],
            context=tmp_path,
            dockerfile=tmp_path / "Dockerfile",
            target="final",
            push=True,
            backend=backend,
            timeout=300,
        )
    }


def test_what_buildx_is_asked(buildx: Buildx, tmp_path: Path) -> None:
    """Files, overrides and targets as arguments; values of variables by environment only."""
    (tmp_path / "here").mkdir()
    buildx.prints({"app": {"tags": ["a.example/app:1"]}})

    BuildAndPushStep.from_bake(
        "a.hcl",
        Path("b.json"),
        targets=["app", "x-*"],
        overrides=["*.args.A=1"],
        variables={"VERSION": "secret", "COUNT": 3, "DEBUG": True},
        cwd="here",
    )

    assert buildx.argv == [
        "bake",
        "--print",
        "--progress=quiet",
        "--file=a.hcl",
        "--file=b.json",
        "--set=*.args.A=1",
        "--",
        "app",
        "x-*",
    ]
    asked = buildx.environment
    assert [asked[name] for name in ("VERSION", "COUNT", "DEBUG")] == ["secret", "3", "true"]
    assert (buildx.folder / "cwd").read_text().strip() == str(tmp_path / "here")


def test_the_users_configuration_is_left_alone(buildx: Buildx) -> None:
    """It gets a folder of its own, which is gone afterwards."""
    buildx.prints({"app": {"tags": ["a.example/app:1"]}})

    BuildAndPushStep.from_bake()

    asked = buildx.environment
    assert not asked["DOCKER_CONFIG"].startswith(os.environ["HOME"])
    assert asked["BUILDX_CONFIG"].startswith(asked["DOCKER_CONFIG"])
    assert not Path(asked["DOCKER_CONFIG"]).exists()


def test_an_inline_dockerfile_lives_as_long_as_its_step(buildx: Buildx) -> None:
    """Even when only a copy of the step is left; with the last of them it goes."""
    buildx.prints({"app": {"tags": ["a.example/app:1"], "dockerfile-inline": "FROM scratch\n"}})

    step = copy.copy(BuildAndPushStep.from_bake()["app"])
    path = step.dockerfile
    gc.collect()

    assert path.read_text() == "FROM scratch\n"
    del step
    gc.collect()
    assert not path.exists()


def test_steps_of_one_file_are_equal_whatever_their_folder(buildx: Buildx) -> None:
    """What keeps the folder is no setting."""
    buildx.prints({"app": {"tags": ["a.example/app:1"], "dockerfile-inline": "FROM scratch\n"}})
    step = BuildAndPushStep.from_bake()["app"]

    same = BuildAndPushStep.parse(step.model_dump(exclude_unset=True, exclude={"secrets"}))

    assert same == step
    assert "_keeper" not in repr(step) + str(step.model_dump())


def test_faults_name_the_target(buildx: Buildx) -> None:
    """Those that only the step finds, too."""
    buildx.prints({"app": {"tags": ["a.example/app:1"], "ulimits": ["files=1"]}})

    with pytest.raises(SpecError) as caught:
        BuildAndPushStep.from_bake()

    assert caught.value.message.startswith("target 'app': ulimits.0: unknown limit 'files'")


def test_a_broken_bake_file(buildx: Buildx, tmp_path: Path) -> None:
    """The error has the words of buildx, and shows the lines."""
    (tmp_path / "docker-bake.hcl").write_text('target "app" {\n  tags = [\n}\n')
    buildx.fails("noise\nERROR: docker-bake.hcl:2,9-3,1: Missing item; it is missing.\n")

    with pytest.raises(SpecError) as caught:
        BuildAndPushStep.from_bake()

    assert caught.value.message == "docker-bake.hcl:2,9-3,1: Missing item; it is missing."
    (evidence,) = caught.value.evidence
    assert isinstance(evidence, SourceEvidence)
    assert (evidence.first_line, evidence.last_line) == (2, 3)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("ERROR: failed to find target x\n", "failed to find target x"),
        ("ERROR: gone.hcl:1,1-2: Where is it\n", "gone.hcl:1,1-2: Where is it"),
        ("panic: oh no\n", "buildx could not resolve the bake file"),
    ],
)
def test_other_failures_of_buildx(buildx: Buildx, words: str, message: str) -> None:
    """What it printed is the evidence."""
    buildx.fails(words)

    with pytest.raises(SpecError) as caught:
        BuildAndPushStep.from_bake()

    assert caught.value.message == message
    (evidence,) = caught.value.evidence
    assert isinstance(evidence, CommandEvidence)
    assert evidence.tail == (words.strip(),)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"targets": ["https://x.example/a.git"]}, "not the name of a target"),
        ({"targets": ["--push"]}, None),
        ({"cwd": "missing"}, "cwd: no such folder: missing"),
    ],
)
def test_arguments_that_make_no_sense(buildx: Buildx, arguments: Any, words: str | None) -> None:
    """Nothing is fetched, and a target that looks like an option is none."""
    buildx.prints({"app": {"tags": ["a.example/app:1"]}})
    if words is None:
        BuildAndPushStep.from_bake(**arguments)
        assert buildx.argv[-2:] == ["--", "--push"]
        return

    with pytest.raises(SpecError, match=words):
        BuildAndPushStep.from_bake(**arguments)


@pytest.mark.parametrize("file", ["-", "", "https://x.example/docker-bake.hcl"])
def test_files_that_are_none(buildx: Buildx, file: str) -> None:
    """They would have to be read or fetched by somebody else."""
    with pytest.raises(SpecError, match="a bake file is a file of this machine"):
        BuildAndPushStep.from_bake(file)


def test_without_buildx(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("buildpush.step.bake.buildx_plugin", lambda _: None)

    with pytest.raises(BackendUnavailableError) as caught:
        BuildAndPushStep.from_bake()

    assert "docker-buildx-plugin" in caught.value.hint


def test_a_cancel_ends_buildx(buildx: Buildx) -> None:
    """However long it would have taken."""
    script = Path(os.environ["HOME"], ".docker", "cli-plugins", "docker-buildx")
    script.write_text(f"#!/bin/sh\necho $$ >{buildx.folder}/pid\nexec sleep 300\n")
    cancel = CancelToken()

    def stop() -> None:
        while not (buildx.folder / "pid").exists():
            threading.Event().wait(0.01)
        cancel.cancel()

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(StepCancelledError):
        BuildAndPushStep.from_bake(cancel=cancel)
    thread.join()

    pid = int((buildx.folder / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists()

"""The command bake, with a stand-in for buildx that prints what it is told to."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from buildpush.cli import main
from buildpush.testing import LocalRegistry


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to build, where buildx prints the file ``resolved.json``."""
    plugins = Path(os.environ["HOME"], ".docker", "cli-plugins")
    plugins.mkdir(parents=True)
    script = plugins / "docker-buildx"
    script.write_text(
        f'#!/bin/sh\nprintf "%s\\n" "$@" >{tmp_path}/argv\n'
        f'echo "$VERSION" >{tmp_path}/version\ncat {tmp_path}/resolved.json\n'
    )
    script.chmod(0o755)
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    (tmp_path / "broken").write_text("FROM scratch\nCOPY missing /\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def resolve(project: Path, **targets: dict[str, Any]) -> None:
    (project / "resolved.json").write_text(json.dumps({"target": targets}))


def test_references_are_printed(
    project: Path, local_registry: LocalRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """A target that is not pushed is named with its digest; progress says which is under way."""
    repository = local_registry.reference("acme/app")
    resolve(
        project,
        app={"tags": [f"{repository}:1", f"{repository}:2"]},
        dry={"output": [{"type": "cacheonly"}]},
    )

    code = main(["bake"])

    out, err = capsys.readouterr()
    digest = local_registry.digest("acme/app", "1")
    assert code == 0
    assert out.splitlines()[:2] == [f"{repository}:1@{digest}", f"{repository}:2@{digest}"]
    assert out.splitlines()[2].startswith("dry sha256:")
    assert err.startswith("target app\n")
    assert "target dry\n" in err


def test_what_was_pushed_is_said_though_a_later_target_fails(
    project: Path, local_registry: LocalRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is in the registry, after all."""
    repository = local_registry.reference("acme/app")
    resolve(
        project,
        app={"tags": [f"{repository}:1"]},
        bad={"tags": [f"{repository}:2"], "dockerfile": "broken"},
    )

    code = main(["bake"])

    out, err = capsys.readouterr()
    assert code == 5
    assert out == f"{repository}:1@{local_registry.digest('acme/app', '1')}\n"
    assert "target bad failed" in err


def test_results_as_json(
    project: Path, local_registry: LocalRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """By target, each as build has it."""
    resolve(project, app={"tags": [local_registry.reference("acme/app")]})

    main(["bake", "--json", "--progress", "none"])

    out, err = capsys.readouterr()
    assert json.loads(out)["app"]["digest"] == str(local_registry.digest("acme/app", "latest"))
    assert err == ""


def test_print_builds_nothing(
    project: Path, local_registry: LocalRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """It shows what was set, and what is secret as asterisks."""
    tag = local_registry.reference("acme/app")
    resolve(project, app={"tags": [tag], "secret": ["id=a,env=VERSION"]})

    code = main(["bake", "--print", "--var", "VERSION=hunter2", "--backend", "native"])

    out = capsys.readouterr().out
    assert code == 0
    assert json.loads(out)["app"] == {
        "repo": tag,
        "tags": ["latest"],
        "context": str(project),
        "dockerfile": str(project / "Dockerfile"),
        "secrets": {"a": {"value": "**********"}},
        "push": True,
        "backend": "native",
    }
    assert "hunter2" not in out
    assert local_registry.requests == ()


def test_options_reach_buildx_and_the_steps(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """No option is read and forgotten."""
    resolve(project, app={"tags": ["a.example/b"]})

    main(
        [
            *("bake", "app", "-f", "a.hcl", "-f", "b.hcl", "--set", "app.pull=true", "--print"),
            *("--var", "VERSION=7", "--no-push", "--insecure", "a.example", "--timeout", "1m"),
        ]
    )

    step = json.loads(capsys.readouterr().out)["app"]
    assert (step["push"], step["insecure"], step["timeout"]) == (False, ["a.example"], 60.0)
    assert (project / "version").read_text() == "7\n"
    assert (project / "argv").read_text().splitlines()[3:] == [
        "--file=a.hcl",
        "--file=b.hcl",
        "--set=app.pull=true",
        "--",
        "app",
    ]


def test_the_first_failure_ends_the_command(
    project: Path, local_registry: LocalRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its target is named, and the exit code is that of build."""
    repository = local_registry.reference("acme/app")
    resolve(
        project,
        bad={"tags": [f"{repository}:bad"], "dockerfile": "broken"},
        good={"tags": [f"{repository}:good"]},
    )

    code = main(["bake", "--progress", "none"])

    out, err = capsys.readouterr()
    assert (code, out) == (5, "")
    assert err.startswith("buildpush: target bad failed\n")
    assert local_registry.digest("acme/app", "good") is None


@pytest.mark.parametrize(
    ("argv", "code"), [(["bake"], 2), (["bake", "--var", "novalue"], 2), (["bake", "a b"], 2)]
)
def test_mistakes_exit_with_two(
    argv: list[str], code: int, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A bake file that is wrong, a variable without a value, a target that can be none."""
    resolve(project, app={"call": "check"})

    assert main(argv) == code
    assert "spec-invalid: " in capsys.readouterr().err


def test_without_buildx(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another host may have it."""
    monkeypatch.setattr("buildpush.step.bake.buildx_plugin", lambda _: None)

    assert main(["bake"]) == 3
    assert "docker-buildx-plugin" in capsys.readouterr().err


def test_nothing_is_pushed_when_a_target_cannot_be_built_at_all(
    project: Path, local_registry: LocalRegistry, capsys: pytest.CaptureFixture[str]
) -> None:
    """All targets are planned before the first is built."""
    repository = local_registry.reference("acme/app")
    resolve(
        project,
        app={"tags": [f"{repository}:1"]},
        bad={"tags": [f"{repository}:2"], "dockerfile": "nowhere"},
    )

    code = main(["bake", "--progress", "none"])

    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("buildpush: target bad failed\n")
    assert local_registry.tags("acme/app") == ()

"""``harness`` and ``plugin``: files and variables of others, run from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from buildpush.cli import main
from buildpush.testing import LocalRegistry

CANARY = "hunter2-canary"


@pytest.fixture
def registry() -> Iterator[LocalRegistry]:
    with LocalRegistry() as registry:
        yield registry


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a Dockerfile, nobody logged in, and no variables of plugins."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nARG TOKEN\nCOPY Dockerfile /\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "none"))
    return tmp_path


def steps(folder: Path, host: str) -> str:
    text = "".join(
        f"- step:\n    identifier: {name}\n    type: BuildAndPushDockerRegistry\n    spec:\n"
        f"      connectorRef: hub\n      repo: {host}/{name}\n      tags: [{tag}]\n"
        '      buildArgs: {TOKEN: <+secrets.getValue("npm")>}\n'
        for name, tag in (("one", "<+codebase.tag>"), ("two", "<+input>"))
    )
    (folder / "steps.yaml").write_text(text)
    return "steps.yaml"


def test_every_step_of_a_file_is_run(
    registry: LocalRegistry,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NPM", CANARY)
    file = steps(folder, registry.host)

    code = main(
        f"harness {file} --backend native --set codebase.tag=1.10 --input two.spec.tags=b"
        " --secret id=npm,env=NPM --json".split()
    )

    out, err = capsys.readouterr()
    assert code == 0
    assert [(row["name"], row["status"]) for row in json.loads(out)] == [
        ("one", "success"),
        ("two", "success"),
    ]
    assert (registry.tags("one"), registry.tags("two")) == (("1.10",), ("b",))
    assert "step one" in err
    assert CANARY not in out + err


def test_one_step_of_a_file_is_run_and_what_fails_is_told(
    registry: LocalRegistry, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "npm").write_text(f"{CANARY}\n")
    file = steps(folder, registry.host)
    given = ["harness", file, "--backend", "native", "--secret", "id=npm,src=npm"]

    assert main([*given, "--step", "two", "--input", "tags=c"]) == 0
    assert "two   success  1" in capsys.readouterr().out
    assert registry.tags("two") == ("c",)

    assert main([*given, "--step", "two"]) == 2
    out, err = capsys.readouterr()
    assert "two   failed" in out
    assert "expression-unresolved" in err
    assert "steps.yaml:15: two.spec.tags[0]: an input is needed" in err
    assert main([*given, "--step", "three"]) == 2
    assert "there are: one, two" in capsys.readouterr().err


def test_a_file_is_planned(
    registry: LocalRegistry, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "npm").write_text(CANARY)
    file = steps(folder, registry.host)
    given = ["harness", file, "--backend", "native", "--secret", "id=npm,src=npm"]

    assert main([*given, "--plan", "--set", "codebase.tag=x", "--input", "tags=c"]) == 0

    out = capsys.readouterr().out
    assert f"{registry.host}/one:x" in out
    assert "hub: no connectors were given" in out
    assert CANARY not in out
    assert not registry.tags("one")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("npm", "expected key=value"),
        ("id=npm", "expected id=NAME"),
        ("id=npm,env=NOBODY", "NOBODY is not set"),
        ("id=npm,src=nowhere", "file of npm cannot be read"),
    ],
)
def test_a_secret_is_a_variable_or_a_file(
    folder: Path, capsys: pytest.CaptureFixture[str], option: str, message: str
) -> None:
    assert main(["harness", steps(folder, "r.test"), "--secret", option]) == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def plugin(registry: LocalRegistry, monkeypatch: pytest.MonkeyPatch) -> LocalRegistry:
    """The variables of a plugin's run."""
    monkeypatch.setenv("PLUGIN_REPO", f"{registry.host}/app")
    monkeypatch.setenv("PLUGIN_TAGS", "1.10,latest")
    monkeypatch.setenv("PLUGIN_DAEMON_OFF", "true")
    return registry


@pytest.mark.parametrize("program", ["docker", "buildx", "kaniko"])
def test_a_plugin_pushes_and_prints_what_it_pushed(
    plugin: LocalRegistry, capsys: pytest.CaptureFixture[str], program: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("PLUGIN_INSECURE" if program != "kaniko" else "PLUGIN_REGISTRY", "true")
    if program == "kaniko":
        monkeypatch.setenv("PLUGIN_REGISTRY", plugin.host)

    assert main(["plugin", program, "--backend", "native", "--progress", "none"]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        f"{plugin.host}/app:{tag}@{plugin.digest('app', tag)}" for tag in ("1.10", "latest")
    ]


def test_a_plugin_tells_everything_as_json(
    plugin: LocalRegistry,
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PLUGIN_ARTIFACT_FILE", "out/artifact.json")
    monkeypatch.setenv("PLUGIN_SQUASH", "true")

    assert main(["plugin", "--backend", "native", "--json"]) == 0

    told = json.loads(capsys.readouterr().out)
    assert told["digest"] == str(plugin.digest("app", "latest"))
    assert told["files"] == [str(folder / "out" / "artifact.json")]
    assert told["remarks"] == ["PLUGIN_SQUASH: does nothing without PLUGIN_EXPERIMENTAL"]
    assert told["skipped"] == ""


def test_a_plugin_with_nothing_to_do_says_so(
    plugin: LocalRegistry, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUGIN_AUTO_TAG", "true")
    monkeypatch.delenv("PLUGIN_TAGS")
    monkeypatch.setenv("DRONE_COMMIT_REF", "refs/heads/feature")
    monkeypatch.setenv("DRONE_REPO_BRANCH", "main")

    assert main(["plugin", "--backend", "native"]) == 0

    out, err = capsys.readouterr()
    assert out == ""
    assert "nothing to do: what is built is neither a git tag nor the default branch" in err
    assert not plugin.tags("app")


def test_a_plugin_is_planned_and_strict_refuses(
    plugin: LocalRegistry, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUGIN_SQUASH", "true")

    assert main(["plugin", "--backend", "native", "--plan"]) == 0
    assert "PLUGIN_SQUASH: does nothing" in capsys.readouterr().out
    assert main(["plugin", "--backend", "native", "--strict"]) == 2
    assert "PLUGIN_SQUASH: does nothing" in capsys.readouterr().err
    assert not plugin.tags("app")


def test_a_tag_that_is_there_keeps_a_cloud_plugin_from_building(
    plugin: LocalRegistry, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLUGIN_REGISTRY", plugin.host)
    monkeypatch.setenv("PLUGIN_ACCESS_KEY", "AKIA")
    monkeypatch.setenv("PLUGIN_SECRET_KEY", CANARY)
    assert main(["plugin", "ecr", "--backend", "native", "--progress", "none"]) == 0
    first = plugin.digest("app", "latest")
    monkeypatch.setenv("PLUGIN_SKIP_PUSH_IF_TAG_EXISTS", "true")
    monkeypatch.setenv("PLUGIN_BUILD_ARGS", "TOKEN=other")
    capsys.readouterr()

    assert main(["plugin", "ecr", "--backend", "native", "--progress", "none"]) == 0

    assert "nothing to do" in capsys.readouterr().err
    assert plugin.digest("app", "latest") == first

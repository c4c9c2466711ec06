"""What doctor says of the surroundings: engines, buildx, logins; and never a secret."""

from __future__ import annotations

import base64
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest

from buildpush.backends import BackendCatalog
from buildpush.cli import main
from buildpush.cli.doctor import look_around
from buildpush.runtime import Environment


@pytest.fixture
def login(tmp_path: Path) -> Path:
    """A home whose user is logged in, with a secret that must not be shown."""
    folder = Path(os.environ["HOME"], ".docker")
    folder.mkdir()
    secret = base64.b64encode(b"me:hunter2").decode()
    config = {
        "auths": {"ghcr.io": {"auth": secret}, "https://index.docker.io/v1/": {"auth": secret}},
        "credHelpers": {"eu.gcr.io": "gone"},
        "credsStore": "here",
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A credential helper that nobody may ask."""
    program = tmp_path / "bin" / "docker-credential-here"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/asked\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return program


@pytest.fixture(autouse=True)
def _no_backends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probing them is another test's subject."""
    monkeypatch.setattr(BackendCatalog, "discover", lambda: BackendCatalog({}))


def as_json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert main(["doctor", "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_logins(login: Path, helper: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Files, registries and helpers by name; a helper that is not installed is told."""
    main(["doctor"])

    out = capsys.readouterr().out
    assert (
        "    ~/.docker/config.json: ghcr.io; docker.io; eu.gcr.io by docker-credential-gone, which"
        " is not installed; all registries by docker-credential-here\n"
    ) in out
    assert "hunter2" not in out
    assert base64.b64encode(b"me:hunter2").decode() not in out
    assert not (helper.parents[1] / "asked").exists()


def test_logins_as_json(login: Path, helper: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same for a program."""
    docker, *others = as_json(capsys)["credentials"]

    assert docker == {
        "source": "~/.docker/config.json",
        "there": True,
        "registries": ["ghcr.io", "docker.io"],
        "helpers": {
            "eu.gcr.io": {"name": "gone", "installed": False},
            "": {"name": "here", "installed": True},
        },
    }
    assert [login["source"] for login in others] == [
        f"/run/containers/{os.getuid()}/auth.json",
        "~/.config/containers/auth.json",
    ]


def test_every_place_that_credentials_are_looked_for_in(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that are not there, and those that cannot be read, too."""
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", '{"auths": {"secret.example": {"auth": "hunter2"}}}')
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "containers").mkdir()
    (tmp_path / "containers" / "auth.json").write_text("{}")

    main(["doctor"])

    out = capsys.readouterr().out
    assert "DOCKER_AUTH_CONFIG is malformed: auths.secret.example.auth is not base64" in out
    assert "    ~/.docker/config.json: no such file\n" in out
    assert f"    {tmp_path}/containers/auth.json: nothing in it\n" in out
    assert "hunter2" not in out


def test_a_login_that_cannot_be_read_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It has a problem instead of registries."""
    monkeypatch.setenv("DOCKER_AUTH_CONFIG", "[")

    broken, *_ = as_json(capsys)["credentials"]

    assert broken["source"] == "DOCKER_AUTH_CONFIG"
    assert "is not JSON" in broken["problem"]


def test_engines(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The one that docker speaks to, and every other socket; a password in an address is hidden."""
    monkeypatch.setenv("DOCKER_HOST", "ssh://me:hunter2@engine.example")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "docker.sock"))

        engines = as_json(capsys)["engines"]
        main(["doctor"])

    assert engines[0] == {
        "name": "DOCKER_HOST",
        "host": "ssh://me:…@engine.example",
        "chosen": True,
    }
    rootless = {"name": "rootless", "host": f"unix://{tmp_path}/docker.sock", "chosen": False}
    assert rootless in engines
    out = capsys.readouterr().out
    assert "    DOCKER_HOST: ssh://me:…@engine.example (the one that docker speaks to)" in out


def test_no_engine(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Why docker would speak to none."""
    monkeypatch.setenv("DOCKER_CONTEXT", "nowhere")

    main(["doctor"])

    assert "    none for docker: " in capsys.readouterr().out


def test_buildx(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where it is, or that it is not."""
    plugin = Path(os.environ["HOME"], ".docker", "cli-plugins", "docker-buildx")
    plugin.parent.mkdir(parents=True)
    plugin.touch(0o755)

    assert as_json(capsys)["buildx"] == str(plugin)
    monkeypatch.setattr("buildpush.cli.doctor.buildx_plugin", lambda _: None)
    assert look_around(Environment.current()).buildx == ""

"""The private client configuration, as real docker commands see it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from buildpush.backends.engine import buildx_plugin, client_folder, current
from buildpush.runtime import CancelToken, Environment, Run
from buildpush.testing import snapshot_tree

pytestmark = pytest.mark.needs_buildx


def docker(*argv: str, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        ("docker", *argv), env=dict(env or os.environ), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def home(dockerd: Any, buildx_plugin: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user with a context, two builders, a plugin, a login and a password store."""
    monkeypatch.setenv("PATH", dockerd.env["PATH"])
    home = Path(os.environ["HOME"])
    plugins = home / ".docker" / "cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-buildx").symlink_to(buildx_plugin)
    docker("context", "create", "mine", "--docker", f"host={dockerd.host}")
    docker("context", "use", "mine")
    docker("buildx", "create", "--name", "near", "--driver", "docker-container", "mine")
    docker("buildx", "create", "--name", "far", "--driver", "remote", "tcp://far:1", "--use")
    config = home / ".docker" / "config.json"
    logins = {"auths": {"ghcr.io": {"auth": "bWU6aHVudGVyMjI="}}, "credsStore": "none-such"}
    config.write_text(json.dumps({**json.loads(config.read_text()), **logins}))
    return home


@pytest.fixture
def run(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    (tmp_path / "work").mkdir()
    monkeypatch.setenv("BUILDPUSH_CACHE", str(tmp_path / "cache"))
    return Run(workdir=tmp_path / "work", cancel=CancelToken(), sink=lambda _: None)


@pytest.mark.parametrize("named", [True, False])
def test_plugins_contexts_and_builders_are_found(run: Run, named: bool) -> None:
    """With the engine named, or as the user's own configuration names it."""
    endpoint = current(run.environment) if named else None

    with client_folder(run, config="{}", endpoint=endpoint) as client:
        version = docker("version", "--format", "{{.Server.Version}}", env=client.variables)
        context = docker("context", "show", env=client.variables)
        builders = docker("buildx", "ls", "--format", "{{.Name}}", env=client.variables)
        used = docker("buildx", "inspect", env=client.variables)
        near = docker("buildx", "inspect", "near", env=client.variables)

    assert version.startswith("28.")
    assert context == "mine"
    assert {"near", "far", "mine"} <= set(builders.split())
    assert used.startswith("Name:          far\n")
    assert "Driver:        docker-container" in near


def test_nothing_of_the_users_is_written(run: Run, home: Path) -> None:
    """Although buildx builds, creates, uses and removes builders."""
    before = snapshot_tree(home)
    (run.workdir / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    output = f"type=oci,dest={run.workdir}/image.tar"

    with client_folder(run, config="{}") as client:
        env = client.variables
        docker("buildx", "create", "--name", "more", "--driver", "remote", "tcp://x:1", env=env)
        docker("buildx", "use", "more", env=env)
        docker("buildx", "rm", "near", env=env)
        docker(
            *("buildx", "build", "--builder", "mine", "--output", output, str(run.workdir)),
            env=env,
        )
        path = client.path

    assert (run.workdir / "image.tar").stat().st_size > 0
    assert not path.exists()
    assert snapshot_tree(home) == before


def test_the_plugin_itself_finds_the_builders(run: Run) -> None:
    """Run without docker, which takes longer to start than the plugin."""
    plugin = buildx_plugin(run.environment)

    with client_folder(run, config="{}") as client:
        done = subprocess.run(
            (str(plugin), "ls", "--format", "{{.Name}}"),
            env=dict(client.variables),
            capture_output=True,
            text=True,
            check=True,
        )

    assert {"near", "far", "mine"} <= set(done.stdout.split())


def helper(folder: Path, name: str) -> Path:
    """A password store that says who asks."""
    asked = folder / f"asked-{name}"
    program = folder / f"docker-credential-{name}"
    program.write_text(
        f'#!/bin/sh\ntouch {asked}\necho \'{{"Username":"me","Secret":"hunter22"}}\'\n'
    )
    program.chmod(0o755)
    return asked


@pytest.mark.parametrize("private", [True, False])
def test_the_desktops_password_store_is_not_asked(
    run: Run, dockerd: Any, tmp_path: Path, private: bool
) -> None:
    """Which docker does by itself when a config holds no login: that is the control."""
    asked = helper(tmp_path, "secretservice")
    environment = Environment.current()
    variables = {**environment.variables, "PATH": f"{tmp_path}:{dockerd.env['PATH']}"}

    with client_folder(run, config="{}") as client:
        if not private:
            (client.path / "config.json").write_text('{"auths": {}}')
        subprocess.run(
            ("docker", "pull", "127.0.0.1:1/nothing"),
            env={**client.variables, "PATH": variables["PATH"], "DOCKER_HOST": dockerd.host},
            capture_output=True,
            check=False,
        )

    assert asked.exists() is not private

"""The fixtures: each engine is what it says, private, and gone afterwards."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest


def said(env: dict[str, str], *argv: str | Path) -> str:
    done = subprocess.run(argv, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def ping_for_ever(engine: Any) -> None:
    while True:
        engine.api("GET", "/_ping")


@pytest.mark.needs_docker
def test_a_newer_dockerd_with_its_own_client_and_buildx(
    dockerd: Any, buildx_plugin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its images lie in containerd's store."""
    dockerd.activate(monkeypatch)

    info = json.loads(dockerd.api("GET", "/info"))
    client = said(dict(os.environ), "docker", "version", "--format", "{{.Client.Version}}")
    plugin = said(dict(os.environ), "docker", "buildx", "version")

    assert (
        info["Driver"] == "overlayfs"
        and ["driver-type", "io.containerd.snapshotter.v1"] in (info["DriverStatus"])
    )
    assert (client.split(".")[0], info["ServerVersion"].split(".")[0]) == ("28", "28")
    assert said({}, buildx_plugin, "version") == plugin


@pytest.mark.needs_docker
def test_the_releases_dockerd_has_the_classic_store(
    dockerd_classic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And no buildx, whichever docker is first in the PATH of the tests."""
    dockerd_classic.activate(monkeypatch)

    info = json.loads(dockerd_classic.api("GET", "/info"))
    client = said(dict(os.environ), "docker", "version", "--format", "{{.Client.Version}}")

    assert "io.containerd.snapshotter.v1" not in json.dumps(info)
    assert info["ExperimentalBuild"] is True
    assert info["ServerVersion"] == client


@pytest.mark.needs_docker
def test_one_more_dockerd_may_be_killed(private_dockerd: Any, dockerd: Any) -> None:
    """The other goes on."""
    private_dockerd.kill()

    with pytest.raises(OSError):
        ping_for_ever(private_dockerd)
    assert dockerd.api("GET", "/_ping") == b"OK"


@pytest.mark.needs_buildah
def test_buildah_finds_its_private_storage(
    buildah_root: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And writes nowhere else."""
    buildah_root.activate(monkeypatch)

    info = json.loads(said(dict(os.environ), "buildah", "info"))
    said(dict(os.environ), "buildah", "from", "scratch")

    assert info["store"]["GraphRoot"] == str(buildah_root.root)
    assert info["store"]["RunRoot"] == str(buildah_root.runroot)
    assert (buildah_root.root).is_dir()

"""Every way in which the docker backend builds, on real daemons: a fixture that goes through them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

WAYS = ("new-plugin", "new-classic", "old-plugin", "old-cli", "old-classic")
"""The daemon (28 with containerd's store, 20.10 with the classic one), and how it is asked."""


@frozen(kw_only=True)
class DockerWay:
    """A daemon that the environment names, and what of its clients is there."""

    name: str
    engine: Any

    @property
    def is_classic(self) -> bool:
        """Whether there is no BuildKit."""
        return self.name.endswith("-classic")

    @property
    def has_containerd(self) -> bool:
        """Whether the daemon has containerd's image store."""
        return self.name.startswith("new-")

    def images(self) -> set[str]:
        """The names of all images in the daemon, and the ids of those without one."""
        found = json.loads(self.engine.api("GET", "/images/json"))
        return {name for image in found for name in image["RepoTags"] or [image["Id"]]}

    def containers(self) -> list[str]:
        """All containers, running or not."""
        return [
            found["Id"] for found in json.loads(self.engine.api("GET", "/containers/json?all=1"))
        ]

    def remove(self, name: str) -> None:
        """Forget an image."""
        self.engine.api("DELETE", f"/images/{name}?force=1")


@pytest.fixture(params=WAYS)
def docker_way(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    buildx_plugin: Path,
) -> Iterator[DockerWay]:
    """Each way in turn; what a test leaves of containers is a failure."""
    name: str = request.param
    engine = request.getfixturevalue("dockerd" if name.startswith("new-") else "dockerd_classic")
    engine.activate(monkeypatch)
    # Whatever this machine has beside the engines is out of the way.
    folder = tmp_path / "docker-config"
    (folder / "cli-plugins").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    monkeypatch.setattr("buildpush.backends.engine.folder._SYSTEM_PLUGINS", ())
    if name.endswith("-plugin"):
        (folder / "cli-plugins" / "docker-buildx").symlink_to(buildx_plugin)
    if name.endswith("-classic"):
        monkeypatch.setenv("PATH", str(tmp_path))
    way = DockerWay(name=name, engine=engine)
    before = way.containers()
    yield way
    assert way.containers() == before

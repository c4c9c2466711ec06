"""The docker backend passes the suite that every backend has to pass, on both of its stores."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from buildpush.backends.docker import DockerBackend
from buildpush.testing.conformance import BackendConformance

pytestmark = pytest.mark.needs_docker


class Engine(Protocol):
    def activate(self, monkeypatch: pytest.MonkeyPatch) -> None: ...
    def api(self, method: str, path: str) -> bytes: ...


class DockerConformance(BackendConformance):
    """The fixtures' daemons have no networks: RUN takes the machine's."""

    @pytest.fixture
    def step_settings(self) -> Mapping[str, Any]:
        return {"network": "host"}


class TestDocker(DockerConformance):
    """dockerd 28, whose images containerd keeps, and buildx."""

    @pytest.fixture
    def backend(self, dockerd: Engine, monkeypatch: pytest.MonkeyPatch) -> DockerBackend:
        dockerd.activate(monkeypatch)
        return DockerBackend()

    @pytest.fixture
    def forget_cache(self, dockerd: Engine) -> Callable[[], None]:
        return lambda: forget(dockerd)


class TestDockerClassicStore(DockerConformance):
    """The release's own dockerd, with its classic store and the BuildKit client of its CLI."""

    @pytest.fixture
    def backend(self, dockerd_classic: Engine, monkeypatch: pytest.MonkeyPatch) -> DockerBackend:
        dockerd_classic.activate(monkeypatch)
        return DockerBackend()

    @pytest.fixture
    def forget_cache(self, dockerd_classic: Engine) -> Callable[[], None]:
        return lambda: forget(dockerd_classic)


class TestDockerClassicBuilder(DockerConformance):
    """The same daemon where no client for its BuildKit is found: the Engine API's own builder."""

    @pytest.fixture
    def busybox(self) -> Path:
        return Path("/bin/busybox")

    @pytest.fixture
    def backend(
        self, dockerd_classic: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> DockerBackend:
        dockerd_classic.activate(monkeypatch)
        monkeypatch.setenv("PATH", str(tmp_path))
        return DockerBackend()

    @pytest.fixture
    def forget_cache(self, dockerd_classic: Engine) -> Callable[[], None]:
        return lambda: forget(dockerd_classic)


def forget(engine: Engine) -> None:
    """Remove every image and all of the build cache."""
    engine.api("POST", "/images/prune?filters=%7B%22dangling%22%3A%5B%22false%22%5D%7D")
    engine.api("POST", "/build/prune?all=true")

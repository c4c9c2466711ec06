"""The buildx backend passes the suite that every backend has to pass."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import pytest

from buildpush.backends.buildx import BuildxBackend
from buildpush.testing.conformance import BackendConformance

pytestmark = pytest.mark.needs_buildx


class Engine(Protocol):
    def activate(self, monkeypatch: pytest.MonkeyPatch) -> None: ...
    def api(self, method: str, path: str) -> bytes: ...


class TestBuildx(BackendConformance):
    """With the BuildKit that is part of dockerd 28, whose images containerd keeps."""

    @pytest.fixture
    def backend(self, dockerd: Engine, monkeypatch: pytest.MonkeyPatch) -> BuildxBackend:
        dockerd.activate(monkeypatch)
        return BuildxBackend()

    @pytest.fixture
    def step_settings(self) -> Mapping[str, Any]:
        return {"network": "host"}

    @pytest.fixture
    def forget_cache(self, dockerd: Engine) -> Callable[[], None]:
        return lambda: (dockerd.api("POST", "/build/prune?all=true"), None)[1]

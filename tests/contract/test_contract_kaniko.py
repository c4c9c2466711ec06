"""The kaniko backend passes the suite that every backend has to pass, with every executor at hand.

No registry of packages has an executor: without BUILDPUSH_TEST_KANIKO this is skipped.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest
from kaniko_executors import ARCHIVES, kaniko_backend
from kaniko_fixtures import load_kaniko

from buildpush.backends.kaniko import KanikoBackend
from buildpush.testing.conformance import BackendConformance

pytestmark = pytest.mark.needs_docker


class Engine(Protocol):
    env: dict[str, str]

    def activate(self, monkeypatch: pytest.MonkeyPatch) -> None: ...


class TestKanikoInContainers(BackendConformance):
    """An executor in dockerd 28's containers, on this machine's network."""

    @pytest.fixture(
        params=ARCHIVES or [None], ids=lambda archive: archive.stem if archive else "none"
    )
    def backend(
        self,
        request: pytest.FixtureRequest,
        kaniko_archives: tuple[Path, ...],
        dockerd: Engine,
        monkeypatch: pytest.MonkeyPatch,
    ) -> KanikoBackend:
        image = load_kaniko(request.param, dockerd.env).name
        dockerd.activate(monkeypatch)
        return kaniko_backend(image)

    @pytest.fixture(autouse=True)
    def token_services(self, request: pytest.FixtureRequest) -> None:
        """Chainguard's client of registries asks none that a private address names, as ours."""
        name = request.node.name
        if "test_credentials_are_used" in name and "chainguard" in name:
            reason = "Chainguard's executor asks no token service at a private address"
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))

    @pytest.fixture
    def forget_cache(self) -> Callable[[], None]:
        """Nothing: each container is a fresh one."""
        return lambda: None

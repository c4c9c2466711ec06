"""The buildah backend passes the suite that every backend has to pass."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from typing import Protocol

import pytest

from buildpush.backends.buildah import BuildahBackend
from buildpush.testing.conformance import BackendConformance

pytestmark = pytest.mark.needs_buildah


class Storage(Protocol):
    def activate(self, monkeypatch: pytest.MonkeyPatch) -> None: ...


class TestBuildah(BackendConformance):
    """The release's own buildah, as root."""

    @pytest.fixture
    def backend(self, buildah_root: Storage, monkeypatch: pytest.MonkeyPatch) -> BuildahBackend:
        buildah_root.activate(monkeypatch)
        return BuildahBackend()

    @pytest.fixture
    def forget_cache(self) -> Callable[[], None]:
        return remove_images


def remove_images() -> None:
    argv = ["buildah", "rmi", "--all", "--force"]
    subprocess.run(argv, env=dict(os.environ), check=True, capture_output=True)

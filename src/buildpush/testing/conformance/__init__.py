"""`BackendConformance`: what every backend owes, as tests to inherit.

    class TestPodman(BackendConformance):
        @pytest.fixture
        def backend(self) -> PodmanBackend:
            return PodmanBackend()

A backend that passes claims what it can, refuses the rest before anything is done, ends when it is
told to, says why it failed, keeps secrets, and hands over the image that the Dockerfile describes.
`KeychainConformance` is the same for keychains.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from ...backends import Backend
from ...runtime import Environment
from ..registry import LocalRegistry
from .failing import FailingTests
from .honouring import HonouringTests
from .keychains import KeychainConformance
from .probing import ProbingTests
from .pulled import ImageFile, PulledImage, pull_image
from .secrecy import SecrecyTests
from .shell import Busybox, is_static
from .stopping import StoppingTests
from .truth import TruthTests
from .workbench import Counted, Workbench

__all__ = [
    "BackendConformance",
    "ImageFile",
    "KeychainConformance",
    "PulledImage",
    "Workbench",
    "pull_image",
]


class BackendConformance(
    ProbingTests, HonouringTests, TruthTests, FailingTests, StoppingTests, SecrecyTests
):
    """Inherit it, override the fixture *backend*, and pytest runs the whole suite.

    The other fixtures may be overridden too: *registry* (a `LocalRegistry`, to which the engine
    has to find its way), *busybox* (a statically linked busybox, for a base image with a shell),
    *step_settings* (what every step needs to work here, such as ``network``) and *forget_cache*
    (removes what the engine remembers of earlier builds on its own disk, so that a cache in a
    registry can be seen at work). What is not claimed has to be refused: no test skips.
    """

    @pytest.fixture
    def backend(self) -> Backend:
        """The backend under test: to be overridden."""
        pytest.fail("override the fixture `backend`", pytrace=False)

    @pytest.fixture
    def registry(self) -> Iterator[LocalRegistry]:
        """Where base images come from and images go."""
        with LocalRegistry() as registry:
            yield registry

    @pytest.fixture
    def busybox(self) -> Path:
        """A statically linked busybox: Debian has it in the package busybox-static."""
        found = Environment.current().which("busybox")
        if found is None or not is_static(found):
            pytest.fail("no static busybox here: override the fixture `busybox`", pytrace=False)
        return found

    @pytest.fixture
    def step_settings(self) -> Mapping[str, Any]:
        """Nothing: for engines that need no special setting here."""
        return {}

    @pytest.fixture
    def forget_cache(self) -> Callable[[], None]:
        """Do nothing: for backends without a cache of their own, or without one in registries."""
        return lambda: None

    @pytest.fixture
    def bench(
        self,
        request: pytest.FixtureRequest,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        backend: Backend,
        registry: LocalRegistry,
        step_settings: Mapping[str, Any],
        forget_cache: Callable[[], None],
    ) -> Iterator[Workbench]:
        """Where the tests build: with a cache and a folder for temporary files of their own."""
        for name in ("context", "tmp", "cache"):
            (tmp_path / name).mkdir()
        monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
        monkeypatch.setattr("tempfile.tempdir", None)
        monkeypatch.setenv("BUILDPUSH_CACHE", str(tmp_path / "cache"))

        made: list[Busybox] = []

        def make_base_in(place: LocalRegistry) -> str:
            if not made:
                made.append(Busybox(request.getfixturevalue("busybox")))
            return made[0].put(place, "base/busybox", "1")

        with ExitStack() as closing:
            yield Workbench(
                backend=Counted(backend),
                registry=registry,
                folder=tmp_path,
                temporary=tmp_path / "tmp",
                repository=_repository(tmp_path),
                make_base=lambda: make_base_in(registry),
                make_base_in=make_base_in,
                settings=step_settings,
                forget_cache=forget_cache,
                closing=closing,
            )


def _repository(folder: Path) -> str:
    """A repository path that no other test uses."""
    words = re.sub(r"[^a-z0-9]+", "-", folder.name.lower()).strip("-")
    return f"conformance/{words}"

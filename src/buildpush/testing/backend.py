"""`FakeBackend`: a backend that builds nothing, for tests of what is around a build."""

from __future__ import annotations

import threading
from pathlib import Path

from attrs import define, field

from ..auth import Keychain
from ..errors import BackendUnavailableError, BuildpushError
from ..oci import Digest, Platform
from ..oci.layout import Layout
from ..plan import Artifact, BuildRequest, Capabilities, Feature, LayoutArtifact
from ..runtime import Run
from .images import random_image, random_index

__all__ = ["FakeBackend"]


def _everything() -> Capabilities:
    return Capabilities(
        backend="fake",
        version="1",
        features=frozenset(Feature) - {Feature.PUSH_DIRECTLY, Feature.EXPORT_FILES},
        platforms=(Platform("linux", "amd64"), Platform("linux", "arm64")),
    )


@define(eq=False, kw_only=True)
class FakeBackend:
    """A `Backend` that answers every request with a small image, and remembers what it was asked.

    *image* is (layout, digest) of the image to hand out; without it each build writes a random
    one (an index when several platforms are asked for) into the run's workdir; *seed* chooses
    which. *lines* are logged first. Then it raises *error*, if there is one, or *hangs* until
    the run is cancelled. *unavailable* makes `probe` refuse, with that reason. *started* is set
    when a build has logged its lines.
    """

    capabilities: Capabilities = field(factory=_everything)
    image: tuple[Path, Digest] | None = None
    seed: int = 0
    lines: tuple[str, ...] = ()
    error: BuildpushError | None = None
    hangs: bool = False
    unavailable: str = ""
    requests: list[BuildRequest] = field(factory=list[BuildRequest], init=False)
    keychains: list[Keychain] = field(factory=list[Keychain], init=False)
    probes: int = field(default=0, init=False)
    started: threading.Event = field(factory=threading.Event, init=False)

    def probe(self) -> Capabilities:
        """Say what *capabilities* say, or raise `BackendUnavailableError`."""
        self.probes += 1
        if self.unavailable:
            raise BackendUnavailableError(self.unavailable)
        return self.capabilities

    def build(self, request: BuildRequest, keychain: Keychain, run: Run) -> Artifact:
        """Hand out the image; or raise *error*, or the reason of the run's cancellation."""
        self.requests.append(request)
        self.keychains.append(keychain)
        with run.task("fake", "fake build") as task:
            for line in self.lines:
                task.log("stdout", line)
            self.started.set()
            if self.error is not None:
                raise self.error
            while self.hangs:
                run.cancel.sleep(3600.0)
            return self._artifact(request, run)

    def _artifact(self, request: BuildRequest, run: Run) -> LayoutArtifact:
        if self.image is not None:
            path, digest = self.image
            return LayoutArtifact(path=path, digest=digest)
        layout = Layout.create(run.workdir / f"fake-image-{len(self.requests)}")
        if len(request.platforms) > 1:
            digest = random_index(layout, request.platforms, seed=self.seed)
        else:
            platform = next(iter(request.platforms), None)
            digest = random_image(layout, seed=self.seed, platform=platform)
        return LayoutArtifact(path=layout.path, digest=digest)

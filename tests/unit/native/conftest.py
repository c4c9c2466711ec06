"""A workshop that builds Dockerfiles without root: contexts, a store, and what was said."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest
from attrs import define, evolve, field

from buildpush.auth import Chain
from buildpush.backends.native import NativeBackend
from buildpush.dockerfile import parse
from buildpush.events import Event, TaskFinished, TaskStarted, Warned
from buildpush.plan import BuildRequest, LayoutArtifact
from buildpush.runtime import CancelToken, Environment, Run


@define
class Built:
    """An artifact, read."""

    artifact: LayoutArtifact

    def blob(self, digest: str) -> bytes:
        return (self.artifact.path / "blobs" / digest.replace(":", "/")).read_bytes()

    def json(self, digest: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.blob(digest))
        return found

    @property
    def manifest(self) -> dict[str, Any]:
        return self.json(str(self.artifact.digest))

    @property
    def config(self) -> dict[str, Any]:
        return self.json(self.manifest["config"]["digest"])

    def files(self, number: int = -1) -> dict[str, bytes]:
        """The regular files of a layer."""
        data = gzip.decompress(self.blob(self.manifest["layers"][number]["digest"]))
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            return {
                m.name: body.read()
                for m in archive.getmembers()
                if (body := archive.extractfile(m)) is not None
            }

    def member(self, name: str, number: int = -1) -> tarfile.TarInfo:
        data = gzip.decompress(self.blob(self.manifest["layers"][number]["digest"]))
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            return archive.getmember(name)


@define
class Workshop:
    """Builds with one context and one store."""

    root: Path
    events: list[Event] = field(factory=list[Event])
    runs: int = 0

    @property
    def context(self) -> Path:
        return self.root / "context"

    @property
    def store(self) -> Path:
        return self.root / "cache" / "native" / "v1"

    def file(self, name: str, text: str = "") -> Path:
        path = self.context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, cancel: CancelToken | None = None) -> Run:
        self.runs += 1
        workdir = self.root / f"run{self.runs}"
        workdir.mkdir(mode=0o700)
        self.events = []
        return Run(
            workdir=workdir,
            cancel=cancel or CancelToken(),
            sink=self.events.append,
            environment=evolve(Environment.current(), cache=self.root / "cache", cwd=self.root),
        )

    def build(self, text: str, *, cancel: CancelToken | None = None, **settings: Any) -> Built:
        request = BuildRequest(
            context=self.context,
            dockerfile=parse(text),
            dockerfile_path=self.context / "Dockerfile",
            **settings,
        )
        return Built(NativeBackend().build(request, Chain(()), self.run(cancel)))

    @property
    def outcomes(self) -> dict[str, str]:
        titles = {e.task: e.title for e in self.events if isinstance(e, TaskStarted)}
        return {titles[e.task]: e.outcome for e in self.events if isinstance(e, TaskFinished)}

    @property
    def warnings(self) -> list[str]:
        return [e.message for e in self.events if isinstance(e, Warned)]


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    (tmp_path / "context").mkdir()
    return Workshop(root=tmp_path)

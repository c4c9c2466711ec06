"""The same build several times at once, from one empty cache."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from buildpush import BuildAndPushStep


def test_builds_at_once_give_one_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one build is making the others wait for, so that all have the same digest."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nWORKDIR /made\nCOPY Dockerfile /\n")
    monkeypatch.setenv("BUILDPUSH_CACHE", str(tmp_path / "cache"))
    step = BuildAndPushStep(repo="a.example/b", context=tmp_path, push=False)
    together = threading.Barrier(4)

    def build(_: int) -> str:
        together.wait()
        return str(step.run().digest)

    with ThreadPoolExecutor(4) as pool:
        digests = set(pool.map(build, range(4)))

    assert len(digests) == 1

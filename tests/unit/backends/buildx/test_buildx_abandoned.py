"""Which builders the next run may remove: those of processes of this machine that are no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Self, cast

import pytest

from buildpush.backends.buildx import abandoned
from buildpush.backends.engine.endpoints import Endpoint
from buildpush.events import Event, Warned
from buildpush.runtime import CancelToken, Run


def dead_process() -> int:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    return ended.pid


class Engine:
    """An engine with containers of these names; it notes what is deleted."""

    def __init__(self, *names: str) -> None:
        self.names = names
        self.deleted: list[str] = []

    def __call__(self, *_: object, **__: object) -> Engine:
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def call(self, method: str, path: str, **_: object) -> bytes:
        if method == "DELETE":
            self.deleted.append(path)
            return b""
        return json.dumps([{"Names": [f"/{name}"]} for name in self.names]).encode()


def test_only_the_dead_of_this_machine_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others may be anybody's: another machine shares the engine, or a person made them."""
    events: list[Event] = []
    run = Run(workdir=tmp_path, cancel=CancelToken(), sink=events.append)
    mine = abandoned.new_name()
    dead = mine.replace(f"-{os.getpid()}-", f"-{dead_process()}-")
    other = dead.replace("buildpush-", "buildpush-0", 1)[: len(dead)]
    names = (mine, dead, other, "buildpush-0a1b2c", "ci")
    engine = Engine(*(f"buildx_buildkit_{name}0" for name in names))
    monkeypatch.setattr(abandoned, "EngineApi", cast("Any", engine))

    abandoned.remove_abandoned(Endpoint(name="x", host="unix:///x"), run)

    container = f"buildx_buildkit_{dead}0"
    assert engine.deleted == [f"/containers/{container}", f"/volumes/{container}_state"]
    assert [dead in e.message for e in events if isinstance(e, Warned)] == [True]


def test_an_engine_that_is_not_there_does_not_matter(tmp_path: Path) -> None:
    """The run will hear of it soon enough."""
    events: list[Event] = []
    run = Run(workdir=tmp_path, cancel=CancelToken(), sink=events.append)

    abandoned.remove_abandoned(Endpoint(name="x", host=f"unix://{tmp_path}/none"), run)

    assert events == []


def test_without_proc_nobody_is_known_to_be_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS."""
    monkeypatch.setattr(abandoned, "_PROCESSES", (Path("/none"), Path("/none")))

    assert str(os.getpid()) not in abandoned.new_name().split("-")

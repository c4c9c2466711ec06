"""What buildx is asked of an engine, and for how long the answer is kept."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

from buildpush.backends.buildkit.answers import Answers
from buildpush.backends.buildkit.asking import inspect_engine, is_here
from buildpush.backends.engine.api import EngineInfo, EngineVersion
from buildpush.backends.engine.endpoints import Endpoint
from buildpush.runtime import Environment

HERE = EngineInfo(
    driver="overlayfs", containerd_store=True, rootless=False, kernel=os.uname().release
)
ENGINE = EngineVersion(version="28.5.2", api="1.51", os="linux", arch="amd64", podman=False)
SOCKET = Endpoint(name="default", host="unix:///run/docker.sock")
ARM64 = (
    "enabled\nflags: OCF\noffset 0\nmagic 7f454c460201010000000000000000000200b700\n"
    "mask ffffffffffffff00fffffffffffffffffeffffff\n"
)
TABLE = """\
Name:   default
Driver: docker

Nodes:
Name:             default
Endpoint:         default
Status:           running
Platforms:        linux/amd64, linux/amd64/v2, linux/arm64
"""


@pytest.fixture
def binfmt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel that has an emulator for arm64."""
    folder = tmp_path / "binfmt"
    folder.mkdir()
    (folder / "status").write_text("enabled\n")
    (folder / "any-name").write_text(ARM64)
    monkeypatch.setattr("buildpush.runtime.platforms.BINFMT", folder)
    return folder


@pytest.fixture
def plugin(tmp_path: Path) -> Path:
    """A buildx that counts how often it is asked."""
    path = tmp_path / "docker-buildx"
    path.write_text(f"#!/bin/sh\necho >> {tmp_path}/asked\ncat <<'END'\n{TABLE}END\n")
    path.chmod(0o755)
    return path


def platforms(plugin: Path, info: EngineInfo) -> list[str]:
    found = inspect_engine(plugin, SOCKET, ENGINE, info, Environment.current())
    return [str(platform) for platform in found.platforms]


def asked(plugin: Path) -> int:
    return len((plugin.parent / "asked").read_text())


def test_an_answer_is_kept_until_the_emulators_change(plugin: Path, binfmt: Path) -> None:
    """And one that BuildKit remembers although it is gone is left out."""
    with_emulator = [platforms(plugin, HERE), platforms(plugin, HERE)]
    before = asked(plugin)
    (binfmt / "any-name").unlink()
    without = platforms(plugin, HERE)

    assert with_emulator == [["linux/amd64", "linux/amd64/v2", "linux/arm64"]] * 2
    assert before == 1
    assert without == ["linux/amd64", "linux/amd64/v2"]
    assert asked(plugin) == 2


def test_another_kernel_is_believed_for_ten_minutes(plugin: Path, binfmt: Path) -> None:
    """A virtual machine's emulators cannot be seen from here."""
    (binfmt / "any-name").unlink()
    elsewhere = evolve(HERE, kernel="6.6.0-linuxkit")
    cache = Environment.current().cache / "buildx"

    first = platforms(plugin, elsewhere)
    platforms(plugin, elsewhere)
    kept = asked(plugin)
    for path in cache.iterdir():
        os.utime(path, (path.stat().st_mtime - 601,) * 2)
    platforms(plugin, elsewhere)

    assert "linux/arm64" in first
    assert kept == 1
    assert asked(plugin) == 2


@pytest.mark.parametrize(
    ("host", "kernel", "here"),
    [
        ("unix:///run/docker.sock", os.uname().release, True),
        ("unix:///run/docker.sock", "6.6.0-linuxkit", False),
        ("tcp://127.0.0.1:2375", os.uname().release, False),
    ],
)
def test_an_engine_is_here_when_its_kernel_is(host: str, kernel: str, here: bool) -> None:
    """A socket alone may lead into a virtual machine."""
    endpoint = Endpoint(name="x", host=host)

    assert is_here(endpoint, evolve(HERE, kernel=kernel)) is here


def test_what_cannot_be_kept_is_asked_again(tmp_path: Path) -> None:
    """A folder that cannot be written to costs time, and nothing else."""
    (tmp_path / "file").write_text("")
    answers = Answers(tmp_path / "file" / "folder")
    words: Iterator[str] = iter(("one", "two"))

    assert [answers.get("q", lambda: next(words)) for _ in range(2)] == ["one", "two"]

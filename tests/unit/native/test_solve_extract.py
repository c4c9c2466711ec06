"""Files of a source put into a folder of this machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildpush.backends.native.copying.context import ContextSource
from buildpush.backends.native.copying.extract import extract
from buildpush.errors import BuildError


def nothing() -> None:
    pass


@pytest.fixture
def source(tmp_path: Path) -> ContextSource:
    root = tmp_path / "in"
    (root / "d" / "e").mkdir(parents=True)
    (root / "d" / "f").write_bytes(b"x" * 200_000)
    (root / "d" / "f").chmod(0o741)
    os.utime(root / "d" / "f", ns=(1, 5_000_000_000))
    (root / "d" / "g").hardlink_to(root / "d" / "f")
    (root / "d" / "l").symlink_to("f")
    (root / "d" / "e").chmod(0o500)
    os.mkfifo(root / "d" / "p")
    (root / "to").symlink_to("d")
    return ContextSource(root)


def test_a_folder_is_copied_whole(source: ContextSource, tmp_path: Path) -> None:
    """Contents, modes, times, links and pipes."""
    extract(source, "/d", tmp_path / "out", nothing, owners=False)

    out = tmp_path / "out"
    assert sorted(p.name for p in out.iterdir()) == ["e", "f", "g", "l", "p"]
    found = (out / "f").stat()
    assert (found.st_size, found.st_mode & 0o777, found.st_mtime) == (200_000, 0o741, 5)
    assert (out / "g").samefile(out / "f")
    assert (out / "l").readlink() == Path("f")
    assert (out / "p").is_fifo()
    assert (out / "e").stat().st_mode & 0o777 == 0o500


def test_a_single_file_behind_a_link(source: ContextSource, tmp_path: Path) -> None:
    """Links on the way are followed inside the source."""
    extract(source, "to/f", tmp_path / "out", nothing, owners=False)

    assert (tmp_path / "out").stat().st_size == 200_000


def test_what_is_not_there(source: ContextSource, tmp_path: Path) -> None:
    """`BuildError` names it."""
    with pytest.raises(BuildError, match='"/d/none": not found'):
        extract(source, "/d/none", tmp_path / "out", nothing, owners=False)


def test_it_can_be_stopped(source: ContextSource, tmp_path: Path) -> None:
    """Before the next file."""

    class Stopped(Exception):
        pass

    def stop() -> None:
        raise Stopped

    with pytest.raises(Stopped):
        extract(source, "/", tmp_path / "out", stop, owners=False)

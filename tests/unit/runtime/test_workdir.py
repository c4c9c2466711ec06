"""The folder of a run is private, and goes even when the run was killed."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from buildpush.runtime.workdir import workdir

KILLED = """
import os, signal, sys
from pathlib import Path
from buildpush.runtime.workdir import workdir

with workdir(Path(sys.argv[1]), os.getuid()) as folder:
    (folder / "secret").touch()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def folders(place: Path) -> list[Path]:
    return sorted(place.glob("buildpush-*"))


def test_it_is_private_and_goes(tmp_path: Path) -> None:
    """Whatever is in it, and however the block ends."""

    def fail() -> None:
        with workdir(tmp_path, os.getuid()) as folder:
            assert folder.stat().st_mode & 0o777 == 0o700
            (folder / "deep").mkdir()
            raise KeyError

    with pytest.raises(KeyError):
        fail()

    assert folders(tmp_path) == []


def test_a_killed_runs_folder_goes_with_the_next(tmp_path: Path) -> None:
    """It may hold secrets."""
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    left = folders(tmp_path)

    with workdir(tmp_path, os.getuid()) as folder:
        assert (done.returncode, len(left)) == (-signal.SIGKILL, 1)
        assert folders(tmp_path) == [folder]


def test_other_folders_stay(tmp_path: Path) -> None:
    """Those of runs under way, those of other programs and users, and what only looks like one."""
    foreign = tmp_path / "buildpush-foreign"
    foreign.mkdir()
    link = tmp_path / "buildpush-link"
    link.symlink_to(tmp_path)
    (tmp_path / "lock").touch()

    with workdir(tmp_path, os.getuid()) as one, workdir(tmp_path, os.getuid()) as two:
        assert one.is_dir()
        assert two.is_dir()

    (foreign / "lock").touch()
    with workdir(tmp_path, os.getuid() + 1):
        assert foreign.is_dir()
    assert link.is_symlink()
    assert (tmp_path / "lock").is_file()


def test_what_cannot_be_removed_does_not_keep_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that something is mounted on stays, secrets go, and a later run tries again."""
    subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    (left,) = folders(tmp_path)
    for number in range(10):
        (left / f"mounted-{number}").mkdir()
        (left / f"secrets-{number}").mkdir()
        (left / f"secrets-{number}" / "key").touch()

    def busy(path: Any, **more: Any) -> None:
        if "mounted" in str(path):
            raise OSError(errno.EBUSY, "busy")
        remove(path, **more)

    remove = os.rmdir
    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", busy)
        with workdir(tmp_path, os.getuid()):
            assert {path.name.partition("-")[0] for path in left.iterdir()} == {"lock", "mounted"}
    with workdir(tmp_path, os.getuid()):
        assert not left.exists()


def test_a_folder_is_locked_until_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run that begins meanwhile must not remove what is being removed."""
    taken: list[bool] = []
    room = sys.modules["buildpush.runtime.workdir"]
    remove = room._remove

    def watched(folder: Path) -> None:
        with (folder / "lock").open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                taken.append(True)
            except BlockingIOError:
                taken.append(False)
        remove(folder)

    monkeypatch.setattr(room, "_remove", watched)

    with workdir(tmp_path, os.getuid()):
        pass

    assert taken == [False]
    assert list(tmp_path.iterdir()) == []

"""An OSError that nobody claimed names a folder and a way out."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from attrs import evolve

from buildpush.errors import PlanError, StepTimeoutError
from buildpush.runtime import Environment
from buildpush.runtime.host import host_fault, host_faults, is_of_host


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return evolve(Environment.current(), cache=tmp_path / "cache", temporary=tmp_path / "tmp")


def os_error(number: int, path: object = None) -> OSError:
    return OSError(number, os.strerror(number), path)


def test_a_folder_of_the_cache_is_named(environment: Environment) -> None:
    """What cannot be made in the cache points to BUILDPUSH_CACHE."""
    path = environment.cache / "native" / "v1"

    fault = host_fault(os_error(errno.EROFS, str(path)), environment)

    assert fault.message == f"{path}: Read-only file system"
    assert fault.hint == (
        f"the cache is {environment.cache}: set BUILDPUSH_CACHE to a usable folder"
    )


def test_a_parent_of_the_cache_counts(environment: Environment) -> None:
    """That the cache's parent cannot be made is the cache's fault."""
    error = os_error(errno.EACCES, str(environment.cache.parent))

    assert "BUILDPUSH_CACHE" in host_fault(error, environment).hint


def test_the_temporary_folder_is_named(environment: Environment) -> None:
    """What cannot be made among temporary files points to TMPDIR."""
    path = os.fsencode(environment.temporary / "buildpush-1")

    fault = host_fault(os_error(errno.ENOSPC, path), environment)

    assert fault.hint == (
        f"the temporary folder is {environment.temporary}: "
        "free some space, or set TMPDIR to a larger folder"
    )


@pytest.mark.parametrize("full", ["cache", "temporary"])
def test_a_full_disk_without_a_path(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    """A failed write names no file: of our folders the one with the least room is meant."""
    place: Path = getattr(environment, full)
    place.mkdir()
    monkeypatch.setattr(os, "statvfs", _rooms(place))

    fault = host_fault(os_error(errno.ENOSPC), environment)

    assert fault.message == f"{place}: No space left on device"
    assert "free some space" in fault.hint


class _Room(NamedTuple):
    f_bavail: int
    f_frsize: int


def _rooms(full: Path) -> Callable[[Path], _Room]:
    def statvfs(place: Path) -> _Room:
        if not place.exists():
            raise FileNotFoundError(errno.ENOENT, "No such file or directory", str(place))
        return _Room(0 if place == full else 9, 4096)

    return statvfs


def test_a_path_of_somebody_else(environment: Environment) -> None:
    """A file outside of our folders is named, and no variable is blamed."""
    fault = host_fault(os_error(errno.EIO, "/elsewhere/file"), environment)

    assert (fault.message, fault.hint) == ("/elsewhere/file: Input/output error", "")


def test_too_many_open_files(environment: Environment) -> None:
    """The limit is the fault, not the file that came last."""
    fault = host_fault(os_error(errno.EMFILE, "/x"), environment)

    assert fault.hint == "raise the limit of open files: ulimit -n"


def test_an_error_without_anything(environment: Environment) -> None:
    """There is always something to read."""
    assert host_fault(OSError(), environment).message == "this machine refused: OSError"


def test_what_is_turned_into_ours(environment: Environment) -> None:
    """Bare errors of the system are; ours that are TimeoutErrors too, and sockets', are not."""
    with pytest.raises(PlanError, match="Permission denied"), host_faults(environment):
        raise os_error(errno.EACCES, "/x")
    with pytest.raises(StepTimeoutError), host_faults(environment):
        raise StepTimeoutError("late")
    with pytest.raises(ConnectionResetError), host_faults(environment):
        raise ConnectionResetError


@pytest.mark.parametrize(
    ("number", "expected"), [(errno.ENOSPC, True), (errno.EMFILE, True), (errno.EACCES, False)]
)
def test_the_machines_own_limits(number: int, expected: bool) -> None:
    """A full disk is the machine's fault even in the middle of somebody's COPY."""
    assert is_of_host(os_error(number)) is expected

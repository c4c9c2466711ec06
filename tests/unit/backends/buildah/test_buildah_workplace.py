"""The folders of one run of buildah."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from buildpush.auth import Chain
from buildpush.backends.buildah.probing import Buildah
from buildpush.backends.buildah.workplace import Workplace
from buildpush.dockerfile import parse
from buildpush.plan import BuildRequest
from buildpush.runtime import CancelToken, Environment, Run
from buildpush.testing import RecordingSink


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    """Of a run whose folder has too long a name for an agent's socket to be in it."""
    workdir = tmp_path / ("deep" * 20)
    workdir.mkdir()
    request = BuildRequest(
        context=tmp_path,
        dockerfile=parse("FROM scratch\n"),
        dockerfile_path=tmp_path / "Dockerfile",
        ssh={"default": tmp_path / "agent"},
    )
    run = Run(
        workdir=workdir,
        cancel=CancelToken(),
        sink=RecordingSink(),
        environment=Environment.current(),
    )
    return Workplace(
        buildah=Buildah(program="buildah", version=(1, 28)),
        request=request,
        keychain=Chain(()),
        run=run,
    )


def test_a_folder_for_sockets_beside_other_peoples_is_private(place: Workplace) -> None:
    """And goes, although it is not in the run's own."""
    outer = place.scratch.parent

    place.make()
    try:
        assert not outer.is_relative_to(place.folder)
        assert stat.S_IMODE(outer.stat().st_mode) == 0o700
    finally:
        place.clear()

    assert not outer.exists()


def test_a_folder_that_somebody_else_has_made_is_not_used(place: Workplace) -> None:
    """Its owner could put other folders into the places of ours."""
    outer = place.scratch.parent
    outer.mkdir()
    try:
        with pytest.raises(FileExistsError):
            place.make()
    finally:
        outer.rmdir()

"""The parent's side: what the launcher is told, which ids a user has, what is refused."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from attrs import evolve

from buildpush.backends.native.sandbox import rootfs
from buildpush.backends.native.sandbox.launching import Launch
from buildpush.backends.native.sandbox.rootfs import JobMount, Rung, RunJob, Sandbox
from buildpush.errors import (
    BackendUnavailableError,
    BuildError,
    StepCancelledError,
    UnsupportedFeatureError,
)
from buildpush.runtime import CancelToken, Environment

SUBUID = "root:1:2\nme:100000:65536\nother:1:1\n\nbroken:x\n1234:300000:10\nme:a:b\n"


def test_subordinate_ids_are_found_by_name_and_number() -> None:
    """As subuid(5) allows; damaged lines do not count."""
    assert rootfs.parse_subordinate(SUBUID, "me", 1234) == [(100000, 65536), (300000, 10)]
    assert rootfs.parse_subordinate(SUBUID, "nobody", 9) == []


def test_ids_are_laid_out_one_after_the_other() -> None:
    """Root is the user himself."""
    assert rootfs.lay_out(1234, [(100000, 65536), (300000, 10)]) == [
        (0, 1234, 1),
        (1, 100000, 65536),
        (65537, 300000, 10),
    ]


def test_root_maps_the_ids_he_has() -> None:
    """All of them, each to itself."""
    ids, fault = rootfs.subordinate_ids(evolve(Environment.current(), uid=0))

    assert fault == ""
    assert ids is not None and ids["uid"][0][:2] == (0, 0)


def test_a_user_without_the_programs_is_told_what_to_install() -> None:
    """Which is not root's case."""
    environment = evolve(Environment.current(), uid=64_999, variables={"PATH": "/nonexistent"})

    assert rootfs.subordinate_ids(environment) == (
        None,
        "no user namespace: newuidmap is missing (install uidmap or shadow-utils)",
    )


def test_a_user_without_ids_is_told_how_to_get_some(tmp_path: Path) -> None:
    """With the command that gives them."""
    for name in ("newuidmap", "newgidmap"):
        (tmp_path / name).touch(mode=0o755)
    environment = evolve(Environment.current(), uid=64_999, variables={"PATH": str(tmp_path)})

    ids, fault = rootfs.subordinate_ids(environment)

    assert ids is None
    assert fault.startswith("no user namespace: 64999 has no ids in /etc/subuid (give 65536 of")


def test_a_user_with_ids_gets_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the programs that are allowed to map them."""
    for name in ("newuidmap", "newgidmap"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setattr(rootfs, "parse_subordinate", lambda text, user, uid: [(7, 8)])
    environment = evolve(
        Environment.current(), uid=64_999, gid=64_998, variables={"PATH": str(tmp_path)}
    )

    ids, _ = rootfs.subordinate_ids(environment)

    assert ids == {
        "programs": {"uid": f"{tmp_path}/newuidmap", "gid": f"{tmp_path}/newgidmap"},
        "uid": [(0, 64_999, 1), (1, 7, 8)],
        "gid": [(0, 64_998, 1), (1, 7, 8)],
    }


def test_a_jobs_repr_shows_no_variable() -> None:
    """They may be secret."""
    assert "s3cret" not in repr(RunJob(argv=("x",), env={"TOKEN": "s3cret"}))


def test_a_job_is_told_in_absolute_paths(tmp_path: Path) -> None:
    """A relative target starts at the working directory."""
    mount = JobMount(kind="bind", source=tmp_path, target="here", readonly=True)

    told = rootfs.encode(RunJob(argv=("x",), workdir="/w", mounts=(mount,)), (), tmp_path)

    assert told["mounts"] == [
        {
            "kind": "bind",
            "target": "/w/here",
            "source": str(tmp_path),
            "layers": None,
            "subpath": "",
            "readonly": True,
            "mode": None,
            "uid": None,
            "gid": None,
            "size": None,
        }
    ]


def run(sandbox: Sandbox, job: RunJob, folder: Path) -> int:
    return sandbox.run(
        job,
        layers=(),
        layers_root=folder / "layers",
        work=folder,
        on_line=lambda stream, line: None,
        sink=lambda data: None,
        cancel=CancelToken(),
    )


@pytest.mark.parametrize(
    ("rung", "job", "message"),
    [
        (Rung.NONE, RunJob(argv=("x",)), "RUN cannot be executed here: no luck"),
        (Rung.NAMESPACES, RunJob(argv=("x",), security="insecure"), "insecure is not offered"),
        (
            Rung.CHROOT,
            RunJob(argv=("x",), network="none"),
            "network=none needs namespaces: no luck",
        ),
    ],
)
def test_what_a_rung_cannot_do_is_refused(
    tmp_path: Path, rung: Rung, job: RunJob, message: str
) -> None:
    """Before any process is started."""
    sandbox = Sandbox(rung=rung, environment=Environment.current(), reason="no luck")

    with pytest.raises(UnsupportedFeatureError, match=message):
        run(sandbox, job, tmp_path)


def test_root_alone_may_stand_on_the_rungs_of_root() -> None:
    """Everybody may stand on none."""
    user = evolve(Environment.current(), uid=64_999)

    with pytest.raises(BackendUnavailableError, match="not root, so no namespaces"):
        Sandbox.at(Rung.NAMESPACES, user)
    assert Sandbox.at(Rung.NONE, user).rung is Rung.NONE


def test_removing_needs_no_launcher_as_oneself(tmp_path: Path) -> None:
    """Nor when there is nothing to remove."""
    (tmp_path / "tree").mkdir()
    sandbox = Sandbox(rung=Rung.NAMESPACES, environment=Environment.current())

    sandbox.remove(tmp_path / "tree")
    evolve(sandbox, rung=Rung.ROOTLESS).remove(tmp_path / "tree")

    assert not (tmp_path / "tree").exists()


@pytest.mark.parametrize("rung", [Rung.NAMESPACES, Rung.ROOTLESS, Rung.CHROOT, Rung.NONE])
def test_a_rung_out_of_reach_is_explained(rung: Rung) -> None:
    """With what the kernel said."""
    assert "Operation not permitted" in rootfs.explain(rung, "Operation not permitted")


def test_a_cache_that_cannot_be_made_does_not_stop_a_probe(tmp_path: Path) -> None:
    """Things are then tried in the folder for temporary files."""
    (tmp_path / "file").touch()
    environment = evolve(Environment.current(), cache=tmp_path / "file" / "cache")

    assert rootfs.place_to_try(environment) == environment.temporary


def test_a_cache_of_somebody_else_is_not_tried_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cache that is there and cannot be written: the temporary folder, no error."""
    environment = evolve(Environment.current(), cache=tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)

    assert rootfs.place_to_try(environment) == environment.temporary


def test_a_launcher_that_cannot_read_its_job_ends_without_an_answer() -> None:
    """And says what its interpreter said."""
    lines: list[str] = []
    launch = Launch(
        job={"task": "no such task"},
        environment=Environment.current(),
        cancel=CancelToken(),
        on_line=lambda stream, line: lines.append(line),
    )

    verdict = launch()

    assert (verdict.done, verdict.exit_code) == (False, None)
    assert "KeyError" in lines[-1]
    assert "KeyError" in str(rootfs.failure(verdict, lines))
    assert isinstance(rootfs.failure(verdict, ()), BuildError)


def test_a_cancelled_launch_does_not_start() -> None:
    """It raises the reason."""
    cancel = CancelToken()
    cancel.cancel()

    with pytest.raises(StepCancelledError):
        Launch(job={}, environment=Environment.current(), cancel=cancel)()

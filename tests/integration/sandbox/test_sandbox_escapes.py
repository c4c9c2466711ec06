"""What a hostile base image or command tries, as root in namespaces: nothing of it gets out."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from buildpush.backends.native.sandbox.launcher import syscalls
from buildpush.backends.native.sandbox.rootfs import JobMount, Rung, Sandbox

if TYPE_CHECKING:
    from buildpush.runtime import Environment
    from conftest import Bench, LayerMaker

pytestmark = pytest.mark.needs_root


@pytest.mark.parametrize("place", ["/elsewhere", "../elsewhere", "/etc/proc"])
def test_an_image_whose_proc_is_a_link_does_not_get_the_kernels_switches(
    bench: Bench, layer: Callable[[], LayerMaker], place: str
) -> None:
    """The masks follow /proc to where the image's symlink leads."""
    without = layer().add(".wh.proc", b"").done()
    linked = layer().symlink("proc", place).done()
    hostile = evolve(bench, layers=(*bench.layers, without, linked))

    outcome = hostile.sh(
        "cat /proc/sys/kernel/hostname; echo own > /proc/sys/kernel/hostname; cat /proc/keys"
    )

    assert outcome.stdout == ["buildkitsandbox"]
    assert "Read-only file system" in outcome.stderr[0]


@pytest.mark.parametrize("overlay", [True, False])
@pytest.mark.parametrize("place", ["", "dev/", "tmp/", "context/", "cache/"])
def test_a_command_cannot_open_devices_that_it_makes(
    bench: Bench, place: str, overlay: bool, tmp_path: Path
) -> None:
    """No file system that a command can write to lets devices be opened: root may make nodes."""
    mounts = (
        JobMount(kind="tmpfs", target="/tmp"),
        JobMount(kind="bind", source=tmp_path, target="/context"),
        JobMount(kind="cache", source=tmp_path, target="/cache"),
    )
    bench.sandbox = evolve(bench.sandbox, overlay=overlay)

    outcome = bench.sh(f"mknod /{place}node c 1 3 && echo made; cat /{place}node", mounts=mounts)

    assert outcome.stdout == ["made"]
    assert outcome.stderr == [f"cat: can't open '/{place}node': Permission denied"]


def test_devices_of_a_base_image_are_not_the_machines(
    bench: Bench, layer: Callable[[], LayerMaker]
) -> None:
    """A device node in a layer is a file without meaning; those in /dev work."""
    evil = layer().add("node", kind=tarfile.CHRTYPE, mode=0o666, device=(1, 3)).done()
    hostile = evolve(bench, layers=(*bench.layers, evil))

    outcome = hostile.sh("cat /node; echo gone > /dev/null; head -c 2 /dev/zero | wc -c")

    assert outcome.stdout == ["2"]
    assert outcome.stderr == ["cat: can't open '/node': Permission denied"]


def test_a_command_shares_no_session_keyring_with_its_caller(
    forked: Callable[[Callable[[], object]], tuple[int, str]],
) -> None:
    """Keys that whoever builds has in the kernel stay out of reach, as under runc."""

    def session() -> int:
        get_keyring_id, session_keyring = 0, -3
        return int(
            syscalls._libc().syscall(syscalls._keyctl_number(), get_keyring_id, session_keyring, 0)
        )

    def body() -> object:
        before = session()
        syscalls.leave_keyring()
        return "alike" if session() == before else "apart"

    assert forked(body)[1] == "apart"


def test_a_user_in_a_chroot_cannot_point_the_cleaning_at_other_files(
    bench: Bench, environment: Environment, tmp_path: Path
) -> None:
    """Root puts the mounts back after the command, and follows no link that it left behind."""
    precious = tmp_path / "deep" / "cache"
    precious.mkdir(parents=True)
    (precious / "file").write_text("precious")
    tmp_path.chmod(0o755)
    bench.sandbox = Sandbox.at(Rung.CHROOT, environment)
    mount = JobMount(kind="tmpfs", target="/home/app/a/deep/cache")
    cache = tmp_path / "lent"
    cache.mkdir()
    lent = JobMount(kind="cache", source=cache, target="/home/app/a/deep/lent")

    bench.sh(f"mv /home/app/a /home/app/b && ln -s {tmp_path} /home/app/a", mounts=(mount, lent))

    assert (precious / "file").read_text() == "precious"

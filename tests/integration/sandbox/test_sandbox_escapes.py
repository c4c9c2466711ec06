"""What a hostile base image or command tries, as root in namespaces: nothing of it gets out."""

from __future__ import annotations

import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from attrs import evolve

from buildpush.backends.native.sandbox.rootfs import JobMount

if TYPE_CHECKING:
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

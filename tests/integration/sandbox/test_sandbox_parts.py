"""The launcher's steps one by one, each in a fork that it may spoil."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from buildpush.backends.native.sandbox.launcher import (
    command,
    identity,
    namespaces,
    syscalls,
    system,
)
from buildpush.backends.native.sandbox.launcher.identity import Identity

pytestmark = pytest.mark.needs_root
Forked = Callable[[Callable[[], object]], tuple[int, str]]

EVERYTHING = {"uid": [(0, 0, 4294967295)], "gid": [(0, 0, 4294967295)]}


def capabilities() -> dict[str, str]:
    """The sets of this process, by name."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return {line[3:6]: line[8:] for line in lines if line.startswith("Cap")}


def test_becoming_root_leaves_dockers_capabilities(forked: Forked) -> None:
    """In every set but those that are handed down."""

    def body() -> object:
        identity.become(Identity(0, 0, (5, 0), "/"))
        return os.getresuid(), sorted(os.getgroups()), sorted(capabilities().items())

    assert forked(body)[1] == str(
        (
            (0, 0, 0),
            [0, 5],
            [
                ("Amb", "0" * 16),
                ("Bnd", "00000000a80425fb"),
                ("Eff", "00000000a80425fb"),
                ("Inh", "0" * 16),
                ("Prm", "00000000a80425fb"),
            ],
        )
    )


def test_becoming_a_user_leaves_none(forked: Forked) -> None:
    """And no way back."""

    def body() -> object:
        identity.become(Identity(1000, 1001, (), "/"))
        return os.getresuid(), os.getresgid(), os.getgroups(), capabilities()["Eff"]

    assert forked(body)[1] == str(((1000,) * 3, (1001,) * 3, [1001], "0" * 16))


def test_an_id_that_is_not_mapped_is_named(forked: Forked) -> None:
    """A user namespace may have few."""

    def body() -> object:
        few = {"uid": [(0, 0, 1)], "gid": [(0, 0, 2)]}
        namespaces.enter("rootless", few, network=False)
        identity.become(Identity(7, 1, (), "/"))
        return None

    def group() -> object:
        few = {"uid": [(0, 0, 1)], "gid": [(0, 0, 1)]}
        namespaces.enter("rootless", few, network=False)
        identity.become(Identity(0, 7, (), "/"))
        return None

    assert (
        forked(body)[1] == "SetUpError: user 7 cannot be taken here: [Errno 22] Invalid argument"
    )
    assert forked(group)[1].startswith("SetUpError: group 7 cannot be taken here")


def test_a_network_namespace_of_its_own_has_a_loopback(forked: Forked) -> None:
    """Nothing else, and it is up."""

    def body() -> object:
        namespaces.enter("namespaces", None, network=True)
        syscalls.raise_loopback()
        with socket.create_server(("127.0.0.1", 0)):
            return [name for _, name in socket.if_nameindex()]

    assert forked(body)[1].startswith("['lo'")


def test_a_user_namespace_maps_what_it_is_told(forked: Forked) -> None:
    """By writing the maps, where one has the right."""

    def body() -> object:
        namespaces.enter("rootless", EVERYTHING, network=False)
        return Path("/proc/self/uid_map").read_text().split(), os.getuid()

    assert forked(body)[1] == "(['0', '0', '4294967295'], 0)"


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("#!/bin/sh\necho no such range >&2\nexit 1\n", "{}: no such range"),
        ("#!/bin/sh\nexit 3\n", "{}: exit code 3"),
    ],
)
def test_a_map_that_is_refused_is_told(
    forked: Forked, tmp_path: Path, program: str, said: str
) -> None:
    """In the words of the program that refuses."""
    path = tmp_path / "newuidmap"
    path.write_text(program)
    path.chmod(0o755)
    ids = {
        "programs": {"uid": str(path), "gid": str(path)},
        "uid": [(0, 0, 1)],
        "gid": [(0, 0, 1)],
    }

    def body() -> object:
        namespaces.enter("rootless", ids, network=False)
        return None

    assert forked(body)[1] == f"SetUpError: {said.format(path)}"


def test_a_map_that_cannot_be_written_is_told(forked: Forked) -> None:
    """By the kernel's reason."""

    def body() -> object:
        overlapping = [(0, 0, 10), (5, 5, 10)]
        namespaces.enter("rootless", {"uid": overlapping, "gid": overlapping}, network=False)
        return None

    assert forked(body)[1].startswith("SetUpError: [Errno 22]")


def test_a_refused_namespace_is_told(forked: Forked) -> None:
    """With the name of the call."""

    def body() -> object:
        syscalls.limit_capabilities(identity.CAPABILITIES)
        namespaces.enter("namespaces", None, network=False)
        return None

    assert forked(body)[1] == "SetUpError: unshare: Operation not permitted"


def test_a_program_is_executed(forked: Forked) -> None:
    """With its environment, and nothing else."""

    def body() -> object:
        os.dup2(2, 1)
        command.execute(["env"], {"PATH": "/usr/bin:/bin", "A": "b"})

    assert forked(body) == (0, "PATH=/usr/bin:/bin\nA=b\n")


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["none"], 127, 'exec: "none": executable file not found in $PATH'),
        (["./none"], 127, 'exec: "./none": no such file or directory'),
        (["./closed"], 126, 'exec: "./closed": permission denied'),
        (["closed"], 126, 'exec: "closed": permission denied'),
        (["./garbage"], 126, 'exec: "./garbage": exec format error'),
        (["./orphan"], 127, 'exec: "./orphan": no such file or directory'),
        (["./closed/x"], 127, 'exec: "./closed/x": not a directory'),
    ],
)
def test_what_cannot_be_executed_is_126_or_127(
    forked: Forked, tmp_path: Path, argv: list[str], code: int, said: str
) -> None:
    """As a shell has it, and worded as docker does."""
    for name, mode, text in (
        ("closed", 0o644, "x"),
        ("garbage", 0o755, "\0garbage"),
        ("orphan", 0o755, "#!/no/such/interpreter\n"),
    ):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(mode)

    def body() -> object:
        os.chdir(tmp_path)
        command.execute(argv, {"PATH": str(tmp_path)})

    assert forked(body) == (code, f"{said}\n")


def test_a_root_is_furnished(forked: Forked, tmp_path: Path) -> None:
    """With what the kernel has to offer, and job mounts last."""
    root, tray = tmp_path / "root", tmp_path / "tray"
    for folder in (root, tray, tmp_path / "shown"):
        folder.mkdir()
    mounts = [
        {"kind": "bind", "source": str(tmp_path / "shown"), "target": "/a/b", "readonly": True},
        {"kind": "tmpfs", "source": None, "target": "/a", "size": 4096, "mode": 0o700},
    ]

    def body() -> object:
        namespaces.enter("namespaces", None, network=False)
        system.fill_tray(str(tray), "box", [])
        system.build(str(root), str(tray), mounts, None)
        below = system.mounted_below(str(root))
        found = [
            (root / "dev" / "null").is_char_device(),
            (root / "proc" / "sys" / "kernel" / "ostype").read_text(),
            (root / "sys" / "kernel").is_dir(),
            (root / "etc" / "hosts").read_text()[:9],
            os.statvfs(root / "a" / "b").f_flag & os.ST_RDONLY,
            oct((root / "a").stat().st_mode & 0o777),
        ]
        system.unmount_below(str(root))
        return [*found, len(below) > 20, system.mounted_below(str(root))]

    assert forked(body)[1] == str([True, "Linux\n", True, "127.0.0.1", 1, "0o700", True, []])


def test_a_mount_that_is_refused_is_named(forked: Forked, tmp_path: Path) -> None:
    """By kind and target."""
    (tmp_path / "root").mkdir()
    (tmp_path / "tray").mkdir()
    mounts = [{"kind": "bind", "source": str(tmp_path / "none"), "target": "/here"}]

    def body() -> object:
        namespaces.enter("namespaces", None, network=False)
        system.fill_tray(str(tmp_path / "tray"), "box", [])
        system.build(str(tmp_path / "root"), str(tmp_path / "tray"), mounts, None)
        return None

    said = forked(body)[1]
    assert said.startswith("SetUpError: the bind mount on /here failed: mount bind on")
    assert said.endswith("No such file or directory")


def test_a_mount_can_be_made_read_only_by_older_kernels(
    forked: Forked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the restrictions it has already."""
    monkeypatch.setattr(syscalls, "_SYS_MOUNT_SETATTR", 9999)

    def body() -> object:
        namespaces.enter("namespaces", None, network=False)
        syscalls.mount("t", str(tmp_path), "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NODEV)
        syscalls.forbid(str(tmp_path), syscalls.MS_RDONLY)
        flags = os.statvfs(tmp_path).f_flag
        return flags & os.ST_RDONLY, flags & os.ST_NOSUID, flags & os.ST_NODEV

    assert forked(body)[1] == "(1, 2, 4)"

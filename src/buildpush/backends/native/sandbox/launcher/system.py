"""The mounts that make a folder of files a system to run in; all in a mount namespace."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
from collections.abc import Sequence
from typing import Final

from . import paths, syscalls
from .stubs import Shape, Stubs
from .wire import Job, SetUpError

_STRICT: Final = syscalls.MS_NOSUID | syscalls.MS_NODEV | syscalls.MS_NOEXEC
DEVICES: Final = {"null": 3, "zero": 5, "full": 7, "random": 8, "urandom": 9}
"""The devices every program may expect, and their minor numbers (the major is 1)."""
_LINKS: Final = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
# What Docker hides or makes unwritable, since root in here is root, or nearly so, out there.
_MASKED: Final = (
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
    "timer_stats",
)
_MASKED_IN_SYS: Final = ("devices/virtual/powercap", "firmware")
_READ_ONLY: Final = ("bus", "fs", "irq", "sys", "sysrq-trigger")
ESSENTIAL: Final = ("/proc", "/sys", "/dev")
"""Every container needs these: where an image lacks them, they stay in it, as with BuildKit."""
_POINTS: Final[tuple[tuple[str, Shape], ...]] = (
    ("/proc", "dir"),
    ("/sys", "dir"),
    ("/dev", "dir"),
    ("/etc/resolv.conf", "file"),
    ("/etc/hosts", "file"),
)
_SHM_SIZE: Final = 64 << 20


def mount_points(mounts: Sequence[Job]) -> list[tuple[str, Shape]]:
    """Every path that has to exist in the root before things can be mounted on it."""
    wanted: list[tuple[str, Shape]] = [(mount["target"], shape_of(mount)) for mount in mounts]
    return [*_POINTS, *wanted]


def shape_of(mount: Job) -> Shape:
    """Whether *mount* wants a directory or a file to lie on."""
    if mount["kind"] == "tmpfs" or os.path.isdir(mount["source"]):
        return "dir"
    return "file"


def hosts(hostname: str, extra: Sequence[Sequence[str]]) -> str:
    """The text of /etc/hosts as BuildKit writes it; *extra* are pairs of a name and an address."""
    rows = [f"127.0.0.1\tlocalhost {hostname}", "::1\tlocalhost ip6-localhost ip6-loopback"]
    return "\n".join([*rows, *(f"{address}\t{name}" for name, address in extra), ""])


def fill_tray(tray: str, hostname: str, extra: Sequence[Sequence[str]]) -> None:
    """Write the files that every RUN sees to *tray*: ``hosts`` and ``resolv.conf``."""
    with open(f"{tray}/hosts", "w", encoding="utf-8") as file:
        file.write(hosts(hostname, extra))
    try:
        shutil.copyfile("/etc/resolv.conf", f"{tray}/resolv.conf")
    except OSError:  # a machine without one asks its own port 53, and so shall the command
        with open(f"{tray}/resolv.conf", "wb"):
            pass
    for name in ("hosts", "resolv.conf"):
        os.chmod(f"{tray}/{name}", 0o644)


def build(root: str, tray: str, mounts: Sequence[Job], shm_size: int | None) -> None:
    """Mount all that belongs into *root*: the kernel's file systems, then *mounts* in order."""
    syscalls.bind(root, root)
    # Root may make device nodes, and a layer may bring some: only those in /dev are devices.
    syscalls.forbid(root, syscalls.MS_NODEV)
    stubs = Stubs(root)
    # Where an image has a symlink, what is mounted lies where the link leads: so must the masks.
    proc, sys, dev = (stubs.provide(f"/{name}", "dir") for name in ("proc", "sys", "dev"))
    mount_proc(proc)
    _sys(sys)
    _dev(dev, shm_size)
    _mask(proc, sys, f"{dev}/null")
    for name in ("resolv.conf", "hosts"):
        target = stubs.provide(f"/etc/{name}", "file")
        syscalls.bind(f"{tray}/{name}", target, readonly=True)
    for mount in sorted(mounts, key=lambda mount: len(paths.split(mount["target"]))):
        _place(stubs, mount)


def mount_proc(target: str) -> None:
    """Show the processes of this pid namespace at *target*."""
    try:
        syscalls.mount("proc", target, "proc", _STRICT)
    except PermissionError:
        # A container that hides parts of its /proc lets nobody in it mount a whole one.
        syscalls.bind("/proc", target)


def _sys(target: str) -> None:
    try:
        syscalls.mount("sysfs", target, "sysfs", _STRICT | syscalls.MS_RDONLY)
    except PermissionError:  # only the owner of the network namespace may
        syscalls.bind("/sys", target, readonly=True)
        return
    with contextlib.suppress(OSError):  # for runtimes that size themselves by their cgroup
        syscalls.bind("/sys/fs/cgroup", f"{target}/fs/cgroup", readonly=True)


def _dev(target: str, shm_size: int | None) -> None:
    hardened = syscalls.MS_NOSUID | syscalls.MS_NODEV
    syscalls.mount("tmpfs", target, "tmpfs", hardened, "mode=755,size=65536k")
    for name in (*DEVICES, "tty"):
        if os.path.exists(f"/dev/{name}"):
            with open(f"{target}/{name}", "wb"):
                pass
            syscalls.bind(f"/dev/{name}", f"{target}/{name}")
    for name, link in _LINKS.items():
        os.symlink(link, f"{target}/{name}")
    for name in ("pts", "shm", "mqueue"):
        os.mkdir(f"{target}/{name}")
    pts = "newinstance,ptmxmode=0666,mode=0620"
    try:
        syscalls.mount(
            "devpts", f"{target}/pts", "devpts", _STRICT & ~syscalls.MS_NODEV, f"{pts},gid=5"
        )
    except OSError:  # group 5, tty, is not mapped
        with contextlib.suppress(OSError):
            syscalls.mount("devpts", f"{target}/pts", "devpts", _STRICT & ~syscalls.MS_NODEV, pts)
    size = f"mode=1777,size={shm_size or _SHM_SIZE}"
    syscalls.mount("shm", f"{target}/shm", "tmpfs", _STRICT, size)
    with contextlib.suppress(OSError):  # kernels may lack it, programs rarely want it
        syscalls.mount("mqueue", f"{target}/mqueue", "mqueue", _STRICT)


def _mask(proc: str, sys: str, null: str) -> None:
    masked = [f"{proc}/{name}" for name in _MASKED] + [f"{sys}/{name}" for name in _MASKED_IN_SYS]
    for path in masked:
        found = paths.lstat(path)
        with contextlib.suppress(OSError):
            if found is not None and stat.S_ISDIR(found.st_mode):
                syscalls.mount("tmpfs", path, "tmpfs", syscalls.MS_RDONLY, "size=0")
            elif found is not None:
                syscalls.bind(null, path)
    for name in _READ_ONLY:
        path = f"{proc}/{name}"
        if paths.lstat(path) is not None:
            with contextlib.suppress(OSError):
                syscalls.bind(path, path, readonly=True)


def mounted_below(folder: str) -> list[str]:
    """Where in *folder* something is mounted, the innermost and latest first."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        points = [unescaped(line.split()[4]) for line in file]
    return [point for point in reversed(points) if point.startswith(f"{folder}/")]


def unescaped(text: str) -> str:
    """Return *text* of a mount table, in which blanks and backslashes are octal numbers."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def unmount_below(folder: str) -> None:
    """Unmount all that is mounted in *folder*, in this mount namespace."""
    for point in mounted_below(folder):
        syscalls.unmount(point)


def _place(stubs: Stubs, mount: Job) -> None:
    try:
        target = stubs.provide(mount["target"], shape_of(mount))
        if mount["kind"] == "tmpfs":
            mode, size = mount.get("mode"), mount.get("size")
            data = f"mode={0o1777 if mode is None else mode:o}"
            syscalls.mount(
                "tmpfs",
                target,
                "tmpfs",
                syscalls.MS_NOSUID | syscalls.MS_NODEV,
                data + (f",size={size}" if size else ""),
            )
        else:
            syscalls.bind(mount["source"], target, readonly=bool(mount.get("readonly")))
            syscalls.forbid(target, syscalls.MS_NODEV)
    except OSError as error:
        raise SetUpError(
            f"the {mount['kind']} mount on {mount['target']} failed: {error.args[-1]}"
        ) from error

"""The system calls that Python does not wrap: namespaces, mounts, capabilities.

Every function raises `OSError` with the call's name and its subject when the kernel refuses.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import socket
import struct
from typing import Final

CLONE_NEWNS: Final = 0x0002_0000
CLONE_NEWUTS: Final = 0x0400_0000
CLONE_NEWIPC: Final = 0x0800_0000
CLONE_NEWUSER: Final = 0x1000_0000
CLONE_NEWPID: Final = 0x2000_0000
CLONE_NEWNET: Final = 0x4000_0000

MS_RDONLY: Final = 1
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_REMOUNT: Final = 32
MS_NOATIME: Final = 1024
MS_NODIRATIME: Final = 2048
MS_BIND: Final = 4096
MS_REC: Final = 16384
MS_PRIVATE: Final = 1 << 18
MS_RELATIME: Final = 1 << 21
MNT_DETACH: Final = 2

_PR_SET_PDEATHSIG: Final = 1
_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
_KEYCTL_JOIN_SESSION_KEYRING: Final = 1
_CAPABILITY_VERSION_3: Final = 0x2008_0522
_SYS_MOUNT_SETATTR: Final = 442
_AT_RECURSIVE: Final = 0x8000
# What may be forbidden to a mount: the attribute's number and the flag of older kernels agree.
_FORBIDDABLE: Final = MS_RDONLY | MS_NODEV
_SIOCGIFFLAGS: Final = 0x8913
_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1
# What a statvfs flag says about a mount, and the mount flag that keeps it so. A user namespace
# may not lift them, so a remount has to repeat them.
_KEPT: Final = (
    (1, MS_RDONLY),
    (2, MS_NOSUID),
    (4, MS_NODEV),
    (8, MS_NOEXEC),
    (1024, MS_NOATIME),
    (2048, MS_NODIRATIME),
    (4096, MS_RELATIME),
)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    """Exchange the namespaces that *flags* (CLONE_NEW…) name for new ones."""
    _checked(_libc().unshare(flags), "unshare")


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """Put what *source* and *kind* name on *target*; all as the system call takes them."""
    _checked(
        _libc().mount(
            os.fsencode(source),
            os.fsencode(target),
            kind.encode() or None,
            ctypes.c_ulong(flags),
            os.fsencode(data) or None,
        ),
        f"mount {kind or 'bind'} on {target}",
    )


def unmount(target: str) -> None:
    """Detach what is mounted on *target*; it goes away when nobody uses it any more."""
    _checked(_libc().umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def pivot_root(new_root: str) -> None:
    """Make the mount point *new_root* the root of this mount namespace and drop the old one."""
    os.chdir(new_root)
    # Both arguments may name one place: the old root then lies over the new one, and goes.
    libc = _libc()
    _checked(libc.syscall(_pivot_root_number(), b".", b"."), f"pivot_root {new_root}")
    unmount(".")
    os.chdir("/")


def _pivot_root_number() -> int:
    numbers = {
        "x86_64": 155,
        "i386": 217,
        "i686": 217,
        "ppc64le": 203,
        "s390x": 217,
        "armv7l": 218,
    }
    return numbers.get(os.uname().machine, 41)  # 41: arm64, riscv64, loongarch64


def bind(source: str, target: str, *, readonly: bool = False) -> None:
    """Bind the tree at *source* over *target*, with what is mounted below it."""
    mount(source, target, flags=MS_BIND | MS_REC)
    if readonly:
        forbid(target, MS_RDONLY)


def forbid(target: str, flags: int) -> None:
    """Add *flags* (of MS_RDONLY and MS_NODEV) to the mount at *target*.

    To those below it as well, where the kernel can.
    """
    assert not flags & ~_FORBIDDABLE
    attributes = struct.pack("=QQQQ", flags, 0, 0, 0)
    at_here = ctypes.c_long(-100)
    done = _libc().syscall(
        ctypes.c_long(_SYS_MOUNT_SETATTR),
        at_here,
        os.fsencode(target),
        ctypes.c_ulong(_AT_RECURSIVE),
        attributes,
        ctypes.c_ulong(len(attributes)),
    )
    if done == 0:
        return
    had = os.statvfs(target).f_flag
    kept = sum(flag for bit, flag in _KEPT if had & bit)
    mount("none", target, flags=MS_REMOUNT | MS_BIND | flags | kept)


def die_with_parent(number: int) -> None:
    """Have the kernel send this process signal *number* when its parent ends."""
    _prctl(_PR_SET_PDEATHSIG, number)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, first: int = 0, second: int = 0) -> int:
    arguments = (ctypes.c_ulong(value) for value in (first, second, 0, 0))
    return _checked(_libc().prctl(option, *arguments), f"prctl {option}")


def limit_capabilities(kept: frozenset[int]) -> None:
    """Leave this process, and all it will ever start, no capability outside of *kept* (numbers).

    Inheritable and ambient sets end empty, as Docker has them. A process without CAP_SETPCAP
    keeps its bounding set; the other sets are limited all the same.
    """
    last = 0
    while last < 64 and _libc().prctl(_PR_CAPBSET_READ, ctypes.c_ulong(last), 0, 0, 0) >= 0:
        if last not in kept:
            try:
                _prctl(_PR_CAPBSET_DROP, last)
            except PermissionError:
                break
        last += 1
    with contextlib.suppress(OSError):  # a kernel without ambient capabilities has none to clear
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    permitted = permitted_capabilities() & sum(1 << number for number in kept)
    _capset(permitted)


def permitted_capabilities() -> int:
    """The capabilities that this process may use, as a bit set."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    data = ctypes.create_string_buffer(24)
    _checked(_libc().capget(header, data), "capget")
    _, low, _, _, high, _ = struct.unpack("=6I", data.raw)
    return int(high) << 32 | int(low)


def _capset(permitted: int) -> None:
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    low, high = permitted & 0xFFFF_FFFF, permitted >> 32
    data = struct.pack("=6I", low, low, 0, high, high, 0)
    _checked(_libc().capset(header, data), "capset")


def leave_keyring() -> None:
    """Give this process an empty session keyring; kernels without keys have none to give."""
    _libc().syscall(_keyctl_number(), _KEYCTL_JOIN_SESSION_KEYRING, None)


def _keyctl_number() -> int:
    numbers = {
        "x86_64": 250,
        "i386": 288,
        "i686": 288,
        "ppc64le": 271,
        "s390x": 280,
        "armv7l": 311,
    }
    return numbers.get(os.uname().machine, 219)  # 219: arm64, riscv64, loongarch64


def raise_loopback() -> None:
    """Bring up ``lo`` in a network namespace that is new."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(probe, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(probe, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))

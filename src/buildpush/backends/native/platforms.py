"""For which platforms this machine's kernel executes programs: its own, and binfmt's."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ...oci import Platform

__all__ = ["runnable"]

_BINFMT: Final = Path("/proc/sys/fs/binfmt_misc")
_ALSO: Final = {"amd64": ("386",)}
# What qemu's packages call their entries → architecture and variant.
_QEMU: Final = {
    "x86_64": ("amd64", ""),
    "i386": ("386", ""),
    "aarch64": ("arm64", ""),
    "arm": ("arm", "v7"),
    "ppc64le": ("ppc64le", ""),
    "s390x": ("s390x", ""),
    "riscv64": ("riscv64", ""),
    "mips64el": ("mips64le", ""),
    "loongarch64": ("loong64", ""),
}


def runnable(host: Platform, binfmt: Path = _BINFMT) -> tuple[Platform, ...]:
    """*host* first, then what it runs besides: 32-bit programs, and those binfmt_misc knows.

    Only entries with the flag F count: without it the interpreter is looked for in the image.
    """
    found = [host]
    found += [Platform.of(host.os, name) for name in _ALSO.get(host.architecture, ())]
    for name, (architecture, variant) in _QEMU.items():
        if _is_usable(binfmt / f"qemu-{name}"):
            found.append(Platform.of(host.os, architecture, variant))
    return tuple(dict.fromkeys(found))


def _is_usable(entry: Path) -> bool:
    try:
        lines = entry.read_text().splitlines()
    except OSError:
        return False
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags:")), "")
    return "enabled" in lines and "F" in flags

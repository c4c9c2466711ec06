"""For which platforms this machine's kernel executes programs: its own, and binfmt_misc's."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from ..oci import Platform

__all__ = ["BINFMT", "emulators", "runnable"]

BINFMT: Final = Path("/proc/sys/fs/binfmt_misc")
"""Where the kernel lists the interpreters that it starts for programs it cannot execute."""

_ALSO: Final = {"amd64": ("386",)}
# Architecture → what its programs begin with: bits, byte order, ELF's number for the machine.
_ELF: Final[Mapping[str, tuple[int, str, int]]] = {
    "amd64": (64, "<", 62),
    "386": (32, "<", 3),
    "arm64": (64, "<", 183),
    "arm": (32, "<", 40),
    "ppc64le": (64, "<", 21),
    "s390x": (64, ">", 22),
    "riscv64": (64, "<", 243),
    "mips64le": (64, "<", 8),
    "loong64": (64, "<", 258),
}
_VARIANTS: Final = {"arm": ("v7", "v6")}
_READ: Final = 256
_EXECUTABLE: Final = 2


def runnable(host: Platform, binfmt: Path | None = None) -> tuple[Platform, ...]:
    """*host* first, then what it runs besides: 32-bit programs, and those binfmt_misc knows.

    An entry counts for what it matches, whatever it is called, and only with the flag F: without
    it the interpreter is looked for in the image.
    """
    found = [host]
    found += [Platform.of(host.os, name) for name in _ALSO.get(host.architecture, ())]
    entries = [_fields(text) for _, text in _entries(binfmt or BINFMT)]
    usable = [entry for entry in entries if "enabled" in entry and "F" in entry.get("flags:", "")]
    for architecture in _ELF:
        header = _header(architecture)
        if any(_matches(entry, header) for entry in usable):
            for variant in _VARIANTS.get(architecture, ("",)):
                found.append(Platform.of(host.os, architecture, variant))
    return tuple(dict.fromkeys(found))


def emulators(binfmt: Path | None = None) -> str:
    """All that binfmt_misc says, which changes when `runnable` may; empty where it is not seen."""
    return "\n".join(f"{name}: {text}" for name, text in _entries(binfmt or BINFMT))


def _entries(folder: Path) -> Iterator[tuple[str, str]]:
    """What every file says, in the order of names; nothing when interpreters are turned off."""
    try:
        if (folder / "status").read_text().strip() != "enabled":
            return
        paths = sorted(folder.iterdir())
    except OSError:
        return
    for path in paths:
        try:
            yield path.name, path.read_text()
        except OSError:  # "register" can only be written, and an entry may be gone by now
            continue


def _fields(text: str) -> dict[str, str]:
    words = (line.partition(" ") for line in text.splitlines())
    return {name: value for name, _, value in words}


def _header(architecture: str) -> bytes:
    """The beginning of a program for *architecture*, as much of it as the kernel looks at."""
    bits, order, machine = _ELF[architecture]
    names = (2 if bits == 64 else 1, 1 if order == "<" else 2, 1)
    start = b"\x7fELF" + bytes(names) + bytes(9)
    return (start + struct.pack(f"{order}HHI", _EXECUTABLE, machine, 1)).ljust(_READ, b"\0")


def _matches(entry: Mapping[str, str], header: bytes) -> bool:
    """Whether the kernel would give a program that begins with *header* to this interpreter."""
    try:
        offset = int(entry.get("offset", "0"))
        magic = bytes.fromhex(entry.get("magic", ""))
        mask = bytes.fromhex(entry.get("mask", "")) or b"\xff" * len(magic)
    except ValueError:
        return False
    seen = header[offset : offset + len(magic)]
    if not magic or len(seen) != len(magic) or len(mask) != len(magic):
        return False
    return all((a ^ b) & m == 0 for a, b, m in zip(seen, magic, mask, strict=True))

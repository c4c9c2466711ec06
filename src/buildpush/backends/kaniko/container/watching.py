"""Whether the kernel has killed something for want of memory in the container that we are in."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from attrs import frozen

__all__ = ["Memory"]

_CGROUP: Final = Path("/sys/fs/cgroup")
_COUNTS: Final = ("memory.events", "memory/memory.oom_control")
_LIMITS: Final = ("memory.max", "memory/memory.limit_in_bytes")
_UNLIMITED: Final = 1 << 60


@frozen
class Memory:
    """How often it had happened at one moment; *folder* is where cgroups are mounted."""

    kills: int
    folder: Path = _CGROUP

    @classmethod
    def now(cls, folder: Path = _CGROUP) -> Memory:
        """Count; nothing where the kernel does not say (cgroup v1 or v2)."""
        return cls(_kills(folder), folder)

    def ran_out(self) -> bool:
        """Whether it has happened since."""
        return _kills(self.folder) > self.kills

    def limit(self) -> int | None:
        """What may be used, in bytes; None where all may be, or it is not known."""
        for name in _LIMITS:
            text = _read(self.folder / name).strip()
            if text.isdecimal() and int(text) < _UNLIMITED:
                return int(text)
        return None


def _kills(folder: Path) -> int:
    for name in _COUNTS:
        for line in _read(folder / name).splitlines():
            word, _, number = line.partition(" ")
            if word == "oom_kill" and number.strip().isdecimal():
                return int(number)
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""

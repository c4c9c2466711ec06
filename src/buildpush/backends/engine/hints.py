"""What to do about a RUN that failed: what its exit code and its last lines suggest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

__all__ = ["after_run"]

_UNSTARTED: Final = re.compile(
    r"unable to start container process: exec: .*(?:no such file|not found)", re.IGNORECASE
)
_ABSENT: Final = "the program is not in the image, or not in its PATH"
_CODES: Final = {
    126: "is the file executable, and its interpreter in the image?",
    127: _ABSENT,
    137: "it was killed: was there enough memory?",
    139: "it crashed (segmentation fault)",
}


def after_run(code: int, lines: Sequence[str], *, room: str, platforms: str = "") -> str:
    """The next move after a RUN that ended with *code* and wrote *lines* last; or nothing.

    *room* says where room can be made on the engine's disk, *platforms* what was built for.
    """
    said = "\n".join(lines).lower()
    if "exec format error" in said:
        return (
            f"this machine cannot execute programs for {platforms or 'that platform'}: install"
            " QEMU's binfmt handlers on the builder, or use a builder of that platform"
        )
    if "no space left on device" in said:
        return f"the disk (or /dev/shm) is full: {room}, or raise shm_size"
    if _UNSTARTED.search(said):
        return _ABSENT
    return _CODES.get(code, "")

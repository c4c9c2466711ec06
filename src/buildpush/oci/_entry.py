"""What an entry of a layer is. Import it from `tar`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)
"""What closes an archive."""
WHITEOUT: Final = ".wh."
"""A file of this prefix deletes its namesake of the layers below."""
OPAQUE: Final = ".wh..wh..opq"
"""A file of this name hides all that the layers below have in its directory."""

Kind = Literal["file", "dir", "symlink", "hardlink", "char", "block", "fifo"]

XATTR: Final = "SCHILY.xattr."
"""The prefix of PAX records that hold extended attributes."""
NO_XATTRS: Final[Mapping[str, bytes]] = {}


class TarError(ValueError):
    """Bytes that are no tar, or an entry that has no place in a layer."""


class Entry(NamedTuple):
    """One file of an archive.

    *name* is relative, without leading ``./`` or ``/`` and without trailing slash; the root is
    ``""``. Bytes that are not UTF-8 are surrogate escapes. *link* is a symlink's text or the
    name of a hard link's first entry; *size* (bytes) is 0 unless *kind* is ``file``.
    """

    name: str
    kind: Kind
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime_ns: int = 0
    link: str = ""
    major: int = 0
    minor: int = 0
    xattrs: Mapping[str, bytes] = NO_XATTRS

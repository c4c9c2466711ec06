"""``RUN --mount`` with its variables expanded and every default filled in. Pure."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Mapping
from typing import Final, Literal, cast

from attrs import frozen

from ....dockerfile.faults import Fault
from ....dockerfile.instructions import Mount
from ....dockerfile.mounts import expand_mount
from ....dockerfile.quantities import size_in_bytes, truth

__all__ = ["MountSpec", "parse_mount"]

MountType = Literal["bind", "cache", "tmpfs", "secret", "ssh"]
Sharing = Literal["shared", "private", "locked"]

_ALIASES: Final = {"src": "source", "dst": "target", "destination": "target"}
_ALIASES_OF_FLAGS: Final = {"ro": "readonly", "rw": "readwrite"}


@frozen(kw_only=True)
class MountSpec:
    """One mount of a RUN. *target* is absolute, or empty where the kind has a default.

    *origin* is the text of ``from``, empty for the build context (or, for a cache, nothing);
    *env* the variable that gets a secret; *mode*, *uid* and *gid* are None where unset; *size*
    is in bytes.
    """

    type: MountType
    target: str = ""
    origin: str = ""
    source: str = ""
    read_only: bool = True
    id: str = ""
    sharing: Sharing = "shared"
    required: bool = False
    env: str | None = None
    mode: int | None = None
    uid: int | None = None
    gid: int | None = None
    size: int | None = None


def parse_mount(mount: Mount, expand: Callable[[str], str], *, workdir: str) -> MountSpec:
    """Check *mount*, whose values pass through *expand*; relative targets start at *workdir*.

    Raises `ValueError` with what is wrong.
    """
    try:
        mount = expand_mount(mount, expand)
    except Fault as error:
        raise ValueError(error.message) from error
    kind = cast("MountType", mount.type)
    values = {_ALIASES.get(key, key): value for key, value in mount.options}
    spec = MountSpec(
        type=kind,
        target=_target(kind, values.get("target", ""), workdir),
        origin=values.get("from", ""),
        source=values.get("source", ""),
        read_only=_read_only(mount, default=kind not in ("cache", "tmpfs")),
        id=_identity(kind, values),
        sharing=cast("Sharing", values.get("sharing", "").lower() or "shared"),
        required="required" in values and truth(values["required"] or "true"),
        env=values.get("env"),
        mode=int(values["mode"], 8) if values.get("mode") else None,
        uid=int(values["uid"]) if values.get("uid") else None,
        gid=int(values["gid"]) if values.get("gid") else None,
        size=size_in_bytes(values["size"]) if values.get("size") else None,
    )
    if spec.target == "/":
        raise ValueError('invalid mount target "/"')
    if kind == "ssh" and spec.source:
        raise ValueError("ssh mounts have no source")
    return spec


def _read_only(mount: Mount, *, default: bool) -> bool:
    """The last word on it: ``ro``, ``rw=false`` and so on."""
    chosen = default
    for key, value in mount.options:
        match _ALIASES_OF_FLAGS.get(key, key):
            case "readonly":
                chosen = truth(value or "true")
            case "readwrite":
                chosen = not truth(value or "true")
            case _:
                pass
    return chosen


def _identity(kind: MountType, values: Mapping[str, str]) -> str:
    """What a secret, an agent or a cache is known by, with the defaults BuildKit has."""
    given = values.get("id", "")
    target = values.get("target", "")
    match kind:
        case "secret":
            return values.get("source") or given or posixpath.basename(target)
        case "ssh":
            return given or "default"
        case "cache":
            return given or posixpath.normpath(target or ".")
        case "bind" | "tmpfs":
            return given


def _target(kind: MountType, target: str, workdir: str) -> str:
    if not target and kind in ("secret", "ssh"):
        return ""
    joined = posixpath.normpath(posixpath.join("/", workdir, target))
    return re.sub("^/+", "/", joined)

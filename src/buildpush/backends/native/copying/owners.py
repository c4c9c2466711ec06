"""``--chown``: user and group names, looked up in the image that is being built."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from attrs import frozen

__all__ = ["Owner", "owner_of"]

_ID: Final = re.compile(r"[0-9]{1,10}")
_MAX_ID: Final = 2**31 - 1


@frozen(kw_only=True)
class Owner:
    """A numeric owner. *unknown* are the names the image does not know: BuildKit takes root."""

    uid: int = 0
    gid: int = 0
    unknown: tuple[str, ...] = ()


def owner_of(text: str, read: Callable[[str], bytes | None]) -> Owner:
    """Resolve ``user[:group]`` as BuildKit's ``COPY --chown`` does.

    *read* gives a file of the image, or None when there is none; it is asked only for names. A
    number needs no lookup and is its own group; a name brings its primary group, a colon with
    nothing after it the group 0.
    """
    user, colon, group = text.partition(":")
    unknown: list[str] = []
    uid = gid = _number(user)
    if uid < 0:
        uid, gid = next(_ids(read("/etc/passwd"), user, (2, 3)), (-1, -1))
        if uid < 0:
            unknown.append(user)
    if colon:
        wanted = _number(group)
        if wanted < 0:
            wanted = next(_ids(read("/etc/group"), group, (2,)), (-1,))[0]
        if wanted >= 0:
            gid = wanted
        elif group:
            unknown.append(group)
        else:
            gid = 0
    return Owner(uid=max(uid, 0), gid=max(gid, 0), unknown=tuple(unknown))


def _number(text: str) -> int:
    """*text* as an id, or -1 when it is a name."""
    if text == "root":
        return 0
    return int(text) if _ID.fullmatch(text) and int(text) <= _MAX_ID else -1


def _ids(data: bytes | None, name: str, columns: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """The numbers in *columns* of every line of a passwd or group file that is about *name*."""
    for line in (data or b"").decode("utf-8", "surrogateescape").splitlines():
        fields = line.strip().split(":")
        if name and fields[0] == name:
            row = [fields[at] if at < len(fields) else "" for at in columns]
            yield tuple(int(text) if _ID.fullmatch(text) else 0 for text in row)

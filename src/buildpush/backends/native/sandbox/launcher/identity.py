"""Who a command runs as: users and groups of the image, capabilities, limits."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from . import paths, syscalls
from .wire import SetUpError

CAPABILITIES: Final = frozenset({0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31})
"""Docker's default fourteen: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap,
net_bind_service, net_raw, sys_chroot, mknod, audit_write, setfcap."""
DEFAULT_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MAX_FILE: Final = 10 << 20
_MAX_ID: Final = (1 << 32) - 2


class Identity(NamedTuple):
    """Ids to run with, and the home that goes with them."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


def lookup(user: str, passwd: str, group: str) -> Identity:
    """Find ``name|uid[:group|gid]`` in the text of /etc/passwd and /etc/group, as runc does.

    A number needs no entry, and no user at all is root. Without a group, the user's own and his
    supplementary ones count; two numbers bring no supplementary group. Raises `SetUpError` for a
    name without an entry.
    """
    name, _, wanted = user.partition(":")
    name = name or "0"
    users = _entries(passwd, 7)
    found = next((row for row in users if row[0] == name), None)
    if found is None and name.isdigit():
        found = next((row for row in users if row[2] == name), None)
    if found is None and not name.isdigit():
        raise SetUpError(f"unable to find user {name}: no matching entries in passwd file")
    uid = _number(found[2] if found else name)
    gid = _number(found[3] if found else "0")
    home = (found[5] if found else "") or "/"
    groups = _entries(group, 4)
    if wanted:
        return Identity(uid, _group(wanted, groups), (), home)
    if found is None:
        return Identity(uid, gid, (), home)
    member = {_number(row[2]) for row in groups if found[0] in row[3].split(",")}
    return Identity(uid, gid, tuple(sorted(member)), home)


def _group(wanted: str, groups: Sequence[Sequence[str]]) -> int:
    found = next((row for row in groups if row[0] == wanted), None)
    if found is not None:
        return _number(found[2])
    if not wanted.isdigit():
        raise SetUpError(f"unable to find group {wanted}: no matching entries in group file")
    return _number(wanted)


def _number(text: str) -> int:
    if not text.isdigit() or int(text) > _MAX_ID:
        raise SetUpError(f"{text[:40]!r} is not a user or group id")
    return int(text)


def _entries(text: str, fields: int) -> list[list[str]]:
    """The well-formed lines of a passwd or group file."""
    rows = [line.split(":") for line in text.splitlines()]
    return [
        [*row, *[""] * (fields - len(row))]
        for row in rows
        if len(row) >= 3 and row[0] and row[2].isdigit() and not row[0].startswith("#")
    ]


def of_root(user: str, root: str) -> Identity:
    """Look *user* up in the files of the image at *root*."""
    return lookup(user, _read(root, "etc/passwd"), _read(root, "etc/group"))


def _read(root: str, name: str) -> str:
    path = paths.inside(root, name)
    found = paths.lstat(path)
    if found is None or not stat.S_ISREG(found.st_mode):
        return ""
    if found.st_size > _MAX_FILE:
        raise SetUpError(f"/{name} is larger than {_MAX_FILE} bytes")
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def surroundings(env: Mapping[str, str], identity: Identity) -> dict[str, str]:
    """*env* with the PATH and HOME that a command gets when the image sets none."""
    return {"PATH": DEFAULT_PATH, **env, "HOME": env.get("HOME") or identity.home}


def limit(ulimits: Sequence[tuple[str, int, int]]) -> None:
    """Set resource limits by name (``nofile``); -1 is no limit. Raises `SetUpError`."""
    for name, soft, hard in ulimits:
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is None:
            raise SetUpError(f"ulimit {name!r} is unknown here")
        limits = tuple(resource.RLIM_INFINITY if value < 0 else value for value in (soft, hard))
        try:
            resource.setrlimit(number, (limits[0], limits[1]))
        except (ValueError, OSError) as error:
            raise SetUpError(f"ulimit {name}={soft}:{hard} is refused: {error}") from error


def become(identity: Identity) -> None:
    """Turn this process into *identity*, with Docker's default capabilities when that is root."""
    groups = dict.fromkeys((identity.gid, *identity.groups))
    try:
        os.setgroups(list(groups))
        os.setresgid(identity.gid, identity.gid, identity.gid)
    except OSError as error:
        raise SetUpError(f"group {identity.gid} cannot be taken here: {error}") from error
    try:
        # Before the user changes: then there is no right to change the bounding set any more.
        syscalls.limit_capabilities(CAPABILITIES)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    except OSError as error:
        raise SetUpError(f"user {identity.uid} cannot be taken here: {error}") from error

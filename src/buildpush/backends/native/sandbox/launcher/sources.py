"""What a job's mounts show: folders, cache folders, private copies of secrets, other images."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Sequence

from . import overlay, paths
from .copying import copy_tree
from .relay import start_relay
from .unpack import Style
from .wire import Job, NotOverlayError, SetUpError

Stack = Callable[[str, Sequence[str]], str]
"""From a new folder and diff ids to the path that shows these layers as one tree, writable."""


def prepare(mount: Job, folder: str, tray: str, style: Style, stack: Stack) -> Job:
    """Return *mount* with a ``source`` that only has to be bound.

    *folder* may be made and used, *tray* is private memory. Raises `SetUpError` when the source
    is not there.
    """
    match mount["kind"]:
        case "secret":
            return {**mount, "source": _secret(mount, folder, tray), "readonly": True}
        case "ssh":
            place = f"{tray}/{os.path.basename(folder)}.sock"
            return {**mount, "source": place, "agent": mount["source"], "readonly": False}
        case "tmpfs":
            return mount
        case "cache":
            _own_cache(mount)
            return {**mount, "source": _below(mount, mount["source"])}
        case _ if mount.get("layers") is not None:
            return {**mount, "source": _below(mount, stack(folder, mount["layers"]))}
        case _:
            source = _below(mount, mount["source"])
            return {**mount, "source": _forgetful(mount, source, folder, style)}


def _below(mount: Job, source: str) -> str:
    path = paths.inside(source, mount.get("subpath") or "")
    if paths.lstat(path) is None:
        raise SetUpError(
            f"the {mount['kind']} mount on {mount['target']} has no source: "
            f"{mount.get('subpath') or source!r} does not exist"
        )
    return path


def start_agents(mounts: Sequence[Job]) -> None:
    """Offer the agents of *mounts* as sockets of their own; ends with this process."""
    for mount in mounts:
        if "agent" in mount:
            start_relay(mount["agent"], mount["source"])
            _describe(mount["source"], mount, 0o600)


def _secret(mount: Job, folder: str, tray: str) -> str:
    path = f"{tray}/{os.path.basename(folder)}"
    try:
        shutil.copyfile(mount["source"], path)
    except OSError as error:
        raise SetUpError(
            f"the secret for {mount['target']} cannot be read: {error.strerror}"
        ) from error
    _describe(path, mount, 0o400)
    return path


def _describe(path: str, mount: Job, default: int) -> None:
    mode = mount.get("mode")
    os.chmod(path, default if mode is None else mode)
    os.chown(path, mount.get("uid") or 0, mount.get("gid") or 0)


def _own_cache(mount: Job) -> None:
    """Give a cache that nothing was put into yet the owner and mode that were asked for."""
    source = mount["source"]
    if paths.is_directory(source) and not os.listdir(source):
        mode = mount.get("mode")
        os.chown(source, mount.get("uid") or 0, mount.get("gid") or 0)
        os.chmod(source, 0o755 if mode is None else mode)


def _forgetful(mount: Job, source: str, folder: str, style: Style) -> str:
    """What to show of *source*: itself, or something that takes writes and forgets them."""
    if style == "plain" or mount.get("readonly"):
        return source
    os.makedirs(folder)
    if paths.is_directory(source):
        with contextlib.suppress(NotOverlayError):
            return overlay.mount(folder, [source], style, writable=True)
    copy_tree(source, f"{folder}/copy", without=os.path.dirname(folder))
    return f"{folder}/copy"

"""Put files of a source into a folder of this machine: what a bind mount shows to a RUN."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from ....errors import BuildError
from ..tree import Node, resolve
from .sources import Source

__all__ = ["extract"]


def extract(
    source: Source, path: str, destination: Path, check: Callable[[], None], *, owners: bool
) -> None:
    """Write *path* of *source*, a file or a whole folder, as the new *destination*.

    *owners* gives files their owners, which takes root. Raises `BuildError` when there is
    nothing at *path*.
    """
    real = resolve(source.listing.get, path)
    top = source.listing.get(real)
    if top is None:
        raise BuildError(f'"/{path.lstrip("/")}": not found', hint=source.why_missing(path))
    files: list[tuple[Node, Path]] = []
    folders: list[tuple[Node, Path]] = []
    stack = [(top, destination)]
    while stack:
        check()
        node, target = stack.pop()
        match node.kind:
            case "dir":
                target.mkdir(mode=0o700)
                folders.append((node, target))
                stack += [
                    (child, target / child.path.rpartition("/")[2])
                    for child in source.listing.children(node.path)
                ]
            case "file" | "hardlink":
                files.append((node, target))
            case "symlink":
                target.symlink_to(node.link)
                _settle(node, target, owners=owners)
            case "fifo":
                os.mkfifo(target)
                _settle(node, target, owners=owners)
            case "char" | "block":
                pass  # the launcher's /dev has the devices a RUN may use
    _write_files(source, files, check, owners=owners)
    for node, target in reversed(folders):
        _settle(node, target, owners=owners)


def _write_files(
    source: Source,
    files: list[tuple[Node, Path]],
    check: Callable[[], None],
    *,
    owners: bool,
) -> None:
    inode = source.listing.inode
    if source.streamed:
        files.sort(key=lambda pair: inode(pair[0].path))
    written: dict[int, Path] = {}
    single: list[tuple[Node, Path]] = []
    twins: list[tuple[Path, Path]] = []
    for node, target in files:
        number = inode(node.path)
        if number >= 0 and number in written:
            twins.append((written[number], target))
            continue
        written[number] = target
        single.append((node, target))
    bodies = source.bodies([node.path for node, _ in single], check)
    for (node, target), body in zip(single, bodies, strict=True):
        with target.open("xb") as stream:
            if isinstance(body, bytes):
                stream.write(body)
            else:
                shutil.copyfileobj(body, stream, 1 << 20)
        _settle(node, target, owners=owners)
    for first, target in twins:
        target.hardlink_to(first)


def _settle(node: Node, target: Path, *, owners: bool) -> None:
    """Give *target* the owner, attributes, mode and time of *node*, in the order that keeps them."""
    if owners:
        os.chown(target, node.uid, node.gid, follow_symlinks=False)
        for name, value in node.xattrs.items():
            with suppress(OSError):
                os.setxattr(target, name, value, follow_symlinks=False)
    if node.kind != "symlink":
        target.chmod(node.mode)
    os.utime(target, ns=(node.mtime_ns, node.mtime_ns), follow_symlinks=False)

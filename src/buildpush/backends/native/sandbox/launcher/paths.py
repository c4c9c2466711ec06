"""Paths inside a root file system: nothing here ever leaves it, whatever its symlinks say."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import Final

_MAX_LINKS: Final = 40
_DIRECTORY: Final = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def split(path: str) -> list[str]:
    """The names in *path*, without empty ones and ``.``."""
    return [part for part in path.split("/") if part not in ("", ".")]


def resolve(root: str, path: str, *, follow: bool = True) -> list[str]:
    """The names that lead from *root* to *path* once every symlink in it is followed.

    Absolute links start again at *root* and ``..`` stops there, as in a chroot. What does not
    exist is taken as it is written. The last name is followed only when *follow* is set.
    Raises `OSError` (ELOOP) for links in a circle.
    """
    todo = split(path)[::-1]
    done: list[str] = []
    links = 0
    while todo:
        name = todo.pop()
        if name == "..":
            del done[-1:]
            continue
        target = _link(join(root, [*done, name])) if todo or follow else None
        if target is None:
            done.append(name)
            continue
        links += 1
        if links > _MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        if target.startswith("/"):
            done = []
        todo += split(target)[::-1]
    return done


def _link(path: str) -> str | None:
    """The text of the symlink at *path*; None when there is no symlink."""
    try:
        return os.readlink(path)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.ENOENT, errno.ENOTDIR):
            return None
        raise


def join(root: str, names: list[str]) -> str:
    """*root* and *names* as one path."""
    return "/".join([root, *names])


def inside(root: str, path: str, *, follow: bool = True) -> str:
    """The path on this side of *path* in *root*; free of symlinks (see `resolve`)."""
    return join(root, resolve(root, path, follow=follow))


def open_directory(root: int, names: list[str]) -> int:
    """Open the directory *names* below the descriptor *root*, refusing symlinks on the way."""
    current = os.dup(root)
    for name in names:
        try:
            below = os.open(name, _DIRECTORY, dir_fd=current)
        finally:
            os.close(current)
        current = below
    return current


def lstat(path: str) -> os.stat_result | None:
    """What is at *path*, not followed; None when nothing is."""
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None


def is_directory(path: str) -> bool:
    """Whether a directory, not a link to one, is at *path*."""
    found = lstat(path)
    return found is not None and stat.S_ISDIR(found.st_mode)


def remove_tree(path: str) -> None:
    """Remove whatever is at *path*, following no symlink; nothing there is fine."""
    found = lstat(path)
    if found is None:
        return
    if not stat.S_ISDIR(found.st_mode):
        os.unlink(path)
        return
    # A tree may be deeper than paths may be long, so every step is relative to its parent.
    parent = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove_below(parent, os.path.basename(path))
    finally:
        os.close(parent)


def remove_below(parent: int, name: str) -> None:
    """Remove *name* in the directory open as *parent*, with everything under it."""
    try:
        os.unlink(name, dir_fd=parent)
    except (IsADirectoryError, PermissionError):
        pass
    else:
        return
    stack: list[tuple[int, str, Iterator[str]]] = []
    try:
        _enter(stack, parent, name)
        while stack:
            current, here, names = stack[-1]
            below = next(names, None)
            if below is None:
                stack.pop()
                os.close(current)
                os.rmdir(here, dir_fd=stack[-1][0] if stack else parent)
            elif not _unlinked(current, below):
                _enter(stack, current, below)
    finally:
        for current, _, _ in stack:
            os.close(current)


def _unlinked(directory: int, name: str) -> bool:
    if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        return False
    os.unlink(name, dir_fd=directory)
    return True


def _enter(stack: list[tuple[int, str, Iterator[str]]], parent: int, name: str) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        opened = os.open(name, flags, dir_fd=parent)
    except PermissionError:  # its owner may still let himself in
        os.chmod(name, 0o700, dir_fd=parent)
        opened = os.open(name, flags, dir_fd=parent)
    stack.append((opened, name, iter(os.listdir(opened))))

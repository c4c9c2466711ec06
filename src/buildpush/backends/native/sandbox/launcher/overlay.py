"""One root file system from many layers: an overlay where the kernel has it, else a plain copy."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import Final

from . import layers, paths, syscalls
from .unpack import Style
from .wire import NotOverlayError

MAX_LOWER: Final = 490
"""More lower directories than this no kernel takes (its own limit is 500)."""
_NO_SUCH_OPTION: Final = errno.EINVAL


def options(count: int, style: Style, *, upper: bool) -> tuple[str, ...]:
    """Mount data to try in turn, from most to least exact, for *count* lower directories.

    The lower directories are the symlinks ``l/0`` (lowest) to ``l/<count - 1>`` of the current
    folder, since the whole text has to fit one page. Everything that lets an overlay keep files
    otherwise than as themselves is switched off: what is above must be the difference.
    """
    lower = ":".join(f"l/{number}" for number in reversed(range(count)))
    data = f"lowerdir={lower}"
    if upper:
        data += ",upperdir=upper,workdir=scratch"
    if style == "user":
        data += ",userxattr"
    exact = f"{data},redirect_dir=nofollow,index=off,metacopy=off"
    # volatile: nothing below has to outlive a power cut, so package managers need not wait
    # for the disk.
    return (*((f"{exact},volatile",) if upper else ()), exact, data)


def mount(folder: str, lower: Sequence[str], style: Style, *, writable: bool) -> str:
    """Mount *lower* (lowest first) as an overlay and return where: ``folder/merged``.

    Uses *folder*, which must exist, for everything the overlay needs; with *writable*, what
    changes is in ``folder/upper``. Changes the current folder of the process. Raises
    `NotOverlayError` with the kernel's reason when there can be no overlay.
    """
    if len(lower) > MAX_LOWER:
        raise NotOverlayError(f"{len(lower)} layers are more than an overlay takes")
    for name in ("l", "merged", *(("upper", "scratch") if writable else ())):
        os.mkdir(f"{folder}/{name}", 0o700)
    if writable:
        layers.copy_attributes(lower[-1], f"{folder}/upper")
    for number, path in enumerate(lower):
        os.symlink(path, f"{folder}/l/{number}")
    merged = f"{folder}/merged"
    if len(lower) == 1 and not writable:
        syscalls.bind(lower[0], merged, readonly=True)
        return merged
    os.chdir(folder)
    try:
        _mount_first(options(len(lower), style, upper=writable), merged, writable=writable)
    finally:
        os.chdir("/")
    return merged


def _mount_first(choices: Sequence[str], merged: str, *, writable: bool) -> None:
    flags = 0 if writable else syscalls.MS_RDONLY
    for number, data in enumerate(choices):
        try:
            syscalls.mount("overlay", merged, "overlay", flags, data)
        except OSError as error:
            if error.errno == _NO_SUCH_OPTION and number + 1 < len(choices):
                continue
            raise NotOverlayError(f"overlay: {os.strerror(error.errno or 0)}") from error
        return


def stack(
    folder: str, unpacked: Sequence[str], style: Style, *, writable: bool
) -> tuple[str, list[str]]:
    """Mount unpacked layers (see `layers.unpacked`) in *folder*: the path, and what is lower.

    An image without layers gets an empty folder as its only one.
    """
    os.makedirs(folder)
    lower = [f"{path}/root" for path in unpacked]
    fix = f"{folder}/fix"
    os.mkdir(fix)
    if not lower or layers.mend(unpacked, fix, style):
        if lower:
            layers.copy_attributes(lower[-1], fix)
        else:
            os.chmod(fix, 0o755)
        lower.append(fix)
    return mount(folder, lower, style, writable=writable), lower


def base_view(folder: str, lower: Sequence[str], style: Style) -> str:
    """A read-only look at what was there before, to compare with."""
    os.makedirs(folder)
    return mount(folder, lower, style, writable=False)


def supported(folder: str, style: Style) -> str:
    """Try an overlay under *folder*; empty when it works, else the reason why not."""
    trial = f"{folder}/overlay"
    os.makedirs(f"{trial}/lower")
    os.chmod(f"{trial}/lower", 0o755)
    try:
        merged = mount(trial, [f"{trial}/lower"], style, writable=True)
    except NotOverlayError as error:
        return str(error)
    with open(f"{merged}/file", "wb"):
        pass
    os.unlink(f"{merged}/file")
    syscalls.unmount(merged)
    paths.remove_tree(trial)
    return ""

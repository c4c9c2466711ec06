"""Unpacked layers: made once per content, shared by every RUN, stacked into an overlay."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Callable, Generator, Sequence
from typing import IO, Any, Final

from . import paths
from .unpack import OVERLAY_PREFIXES, Style, Unpacker
from .wire import NotOverlayError

_SUFFIX: Final = {"trusted": "", "user": ".user", "plain": ".plain"}
Fetch = Callable[[str], IO[bytes]]
"""From a diff id to the layer's uncompressed tar."""


def folder_name(diff_id: str, style: Style) -> str:
    """The name that the unpacked layer *diff_id* has among its like."""
    return diff_id.partition(":")[2] + _SUFFIX[style]


def unpacked(diff_id: str, layers_root: str, work: str, style: Style, fetch: Fetch) -> str:
    """The folder that holds layer *diff_id*, unpacked now unless it is already there.

    It is filled in *work* (of the same file system as *layers_root*) and moved into place whole,
    so a crash leaves nothing half done and of two processes that race one wins. In it, ``root``
    is the overlay's lower directory and ``about.json`` says what an overlay has to know.
    """
    final = f"{layers_root}/{folder_name(diff_id, style)}"
    if _is_sound(final):
        return final
    draft = f"{work}/unpacking"
    paths.remove_tree(draft)
    os.makedirs(f"{draft}/root")
    os.chmod(f"{draft}/root", 0o755)
    with Unpacker(f"{draft}/root", style) as unpacker:
        unpacker.apply(fetch(diff_id), diff_id)
        note = {"implicit": sorted(unpacker.implicit), "boot": _boot()}
    with open(f"{draft}/about.json", "w", encoding="utf-8", errors="surrogateescape") as file:
        json.dump(note, file, ensure_ascii=False)
    with _locked(layers_root):
        if not _is_sound(final):
            if paths.is_directory(final):
                os.rename(final, f"{work}/unsound-{os.path.basename(final)}")
            os.rename(draft, final)
    return final


def _is_sound(folder: str) -> bool:
    """Whether *folder* was unpacked since this machine started.

    Waiting for the disk after each layer would cost more than the unpacking. Without that, a
    power cut may leave empty files behind, and a copy of the cache that was carried here from
    another machine may have lost its owners: neither has this machine's boot id.
    """
    return paths.is_directory(folder) and about(folder).get("boot") == _boot()


def _boot() -> str:
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


@contextlib.contextmanager
def _locked(folder: str) -> Generator[None]:
    lock = os.open(f"{folder}/.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def about(folder: str) -> dict[str, Any]:
    """What was noted of the unpacked layer in *folder*; nothing when that cannot be read."""
    try:
        with open(f"{folder}/about.json", encoding="utf-8", errors="surrogateescape") as file:
            note: dict[str, Any] = json.load(file)
    except (OSError, ValueError):
        return {}
    return note


def implicit_directories(folder: str) -> list[str]:
    """The directories of an unpacked layer that its tar does not describe."""
    names: list[str] = about(folder)["implicit"]
    return names


def mend(folders: Sequence[str], fix: str, style: Style) -> bool:
    """Give directories that a layer only implies the attributes of the layers below.

    *folders* are unpacked layers, lowest first. Fills *fix*, which has to lie on top of them;
    False when there is nothing to mend. Raises `NotOverlayError` when such a directory is a
    symlink below: then the entries belong where the link leads, which only a copy can show.
    """
    implied = {folder: set(implicit_directories(folder)) for folder in folders}
    wanted = sorted(set[str]().union(*implied.values()), key=lambda name: name.split("/"))
    for name in wanted:
        names = name.split("/")
        for depth in range(1, len(names) + 1):
            there = "/".join([fix, *names[:depth]])
            if paths.is_directory(there):
                continue
            source = _described(folders, implied, names[:depth], style)
            if source is None:
                break
            os.mkdir(there)
            copy_attributes(source, there)
    return bool(os.listdir(fix)) if wanted else False


def _described(
    folders: Sequence[str], implied: dict[str, set[str]], names: Sequence[str], style: Style
) -> str | None:
    """Where the directory *names* is described, as an overlay of *folders* would find it.

    None when the overlay shows no directory there.
    """
    best: str | None = None
    explicit: set[int] = set()
    for folder in reversed(folders):
        path = f"{folder}/root"
        opaque = False
        for depth, name in enumerate(names):
            path = f"{path}/{name}"
            found = paths.lstat(path)
            if found is None:
                break
            if not stat.S_ISDIR(found.st_mode):
                if best is not None and depth not in explicit and stat.S_ISLNK(found.st_mode):
                    raise NotOverlayError(f"{'/'.join(names[: depth + 1])!r} is a symlink below")
                return best
            if "/".join(names[: depth + 1]) not in implied[folder]:
                explicit.add(depth)
            opaque = opaque or _is_opaque(path, style)
        else:
            best = path
            if len(names) - 1 in explicit:
                return best
        if opaque:
            return best
    return best


def _is_opaque(path: str, style: Style) -> bool:
    with contextlib.suppress(OSError):
        return os.getxattr(path, f"{style}.overlay.opaque") == b"y"
    return False


def copy_attributes(source: str, target: str) -> None:
    """Give the directory *target* the owner, mode, attributes and times of *source*."""
    found = os.lstat(source)
    os.chown(target, found.st_uid, found.st_gid)
    os.chmod(target, stat.S_IMODE(found.st_mode))
    for key in os.listxattr(source, follow_symlinks=False):
        if not key.startswith(OVERLAY_PREFIXES):
            with contextlib.suppress(OSError):
                value = os.getxattr(source, key, follow_symlinks=False)
                os.setxattr(target, key, value, follow_symlinks=False)
    os.utime(target, ns=(found.st_mtime_ns, found.st_mtime_ns))

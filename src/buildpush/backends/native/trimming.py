"""Keep the store bounded: what was used least recently goes, when no build is under way."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

__all__ = ["touch_layers", "trim"]

_DAY: Final = 86_400.0
_UNUSED_DAYS: Final = 30
_LAYERS_SHARE: Final = 1.0
"""How much unpacked layers may take, as a part of what the blobs may."""


def trim(root: Path, limit: int, remove: Callable[[Path], None], now: float) -> None:
    """Drop from the store at *root* whatever exceeds *limit* bytes, least recently used first.

    Unpacked layers have a limit of their own, as large; *remove* deletes them, whoever owns their
    files. Records that nobody asked for in 30 days go, too. Those two are looked at once a day,
    since measuring them takes time. *now* is in seconds since 1970. The caller holds the store's
    lock for itself.
    """
    _clear_strays(root)
    for path in (root / "locks").glob("*"):
        path.unlink(missing_ok=True)
    blobs = ((p, p.stat().st_size, p.stat().st_atime) for p in root.glob("blobs/*/*"))
    for path in _surplus(blobs, limit):
        path.unlink(missing_ok=True)
    marker = root / "trimmed"
    if marker.exists() and now - marker.stat().st_mtime < _DAY:
        return
    marker.touch()
    for folder in ("steps", "indexes", "origins", "digests"):
        for path in (root / folder).glob("*"):
            if now - path.stat().st_mtime > _UNUSED_DAYS * _DAY:
                path.unlink(missing_ok=True)
    layers = [(p, _size(p), p.stat().st_mtime) for p in (root / "layers").iterdir() if p.is_dir()]
    for path in _surplus(layers, int(limit * _LAYERS_SHARE)):
        remove(path)


def touch_layers(root: Path, names: Iterable[str]) -> None:
    """Note that the unpacked layers *names* (hex diff ids) in the folder *root* were used now."""
    for name in names:
        for path in root.glob(f"{name}*"):
            with suppress(OSError):
                os.utime(path)


def _clear_strays(root: Path) -> None:
    """Remove what was being written when a process died."""
    for stray in (*root.glob("*/.new-*"), *root.glob("blobs/*/.new-*")):
        shutil.rmtree(stray) if stray.is_dir() else stray.unlink(missing_ok=True)


def _surplus(entries: Iterable[tuple[Path, int, float]], limit: int) -> list[Path]:
    """The least recently used paths without which the rest fits into *limit* bytes."""
    found = sorted(entries, key=lambda entry: entry[2])
    total = sum(size for _, size, _ in found)
    surplus: list[Path] = []
    for path, size, _ in found:
        if total <= limit:
            break
        surplus.append(path)
        total -= size
    return surplus


def _size(folder: Path) -> int:
    """Bytes on disk below *folder*, as far as this user can see."""
    total = 0
    for path, _, files in os.walk(folder, onerror=None):
        for name in files:
            with suppress(OSError):
                total += os.lstat(os.path.join(path, name)).st_blocks * 512  # noqa: PTH118 - hot
    return total

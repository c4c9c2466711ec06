"""For tests of code that uses buildpush: a registry, a backend, a sink, images, and searches.

Everything here runs without root and without a network. Names are imported when first used, so
that the pytest plugin costs nobody anything.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .backend import FakeBackend
    from .canaries import Finding, find_secrets
    from .faults import (
        DropUpload,
        Fault,
        FlipByte,
        Hang,
        ReplaceHeaders,
        Reset,
        Slow,
        Status,
        Truncate,
        WrongDigest,
    )
    from .images import random_image, random_index
    from .registry import Dialect, LocalRegistry, Request
    from .sink import RecordingSink
    from .snapshots import FileState, snapshot_tree

__all__ = [
    "Dialect",
    "DropUpload",
    "FakeBackend",
    "Fault",
    "FileState",
    "Finding",
    "FlipByte",
    "Hang",
    "LocalRegistry",
    "RecordingSink",
    "ReplaceHeaders",
    "Request",
    "Reset",
    "Slow",
    "Status",
    "Truncate",
    "WrongDigest",
    "find_secrets",
    "random_image",
    "random_index",
    "snapshot_tree",
]

_HOMES: Final = {
    "backend": ("FakeBackend",),
    "canaries": (
        "Finding",
        "find_secrets",
    ),
    "faults": (
        "DropUpload",
        "Fault",
        "FlipByte",
        "Hang",
        "ReplaceHeaders",
        "Reset",
        "Slow",
        "Status",
        "Truncate",
        "WrongDigest",
    ),
    "images": (
        "random_image",
        "random_index",
    ),
    "registry": (
        "Dialect",
        "LocalRegistry",
        "Request",
    ),
    "sink": ("RecordingSink",),
    "snapshots": (
        "FileState",
        "snapshot_tree",
    ),
}


def __getattr__(name: str) -> object:
    """Import a public name when it is first asked for (PEP 562)."""
    home = next((module for module, names in _HOMES.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found: object = getattr(import_module(f".{home}", __name__), name)
    return found


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *__all__})

"""For tests of code that uses buildpush: a registry, a backend, a sink, images, and searches.

`BackendConformance` is for whoever writes a backend. Everything else runs without root and
without a network. Names are imported when first used, so that the pytest plugin costs nobody
anything.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .backend import FakeBackend
    from .canaries import Finding, find_secrets
    from .certificates import PrivateCa
    from .conformance import BackendConformance, ImageFile, PulledImage, pull_image
    from .faults import (
        Close,
        CorruptUpload,
        DropUpload,
        Fault,
        FlipByte,
        Hang,
        Present,
        RateLimit,
        ReplaceHeaders,
        Reset,
        Slow,
        Status,
        Truncate,
        WrongDigest,
    )
    from .images import random_image, random_index
    from .registry import Dialect, LocalRegistry, Request, TokenServer, Traffic
    from .sink import RecordingSink
    from .snapshots import FileState, snapshot_tree

__all__ = [
    "BackendConformance",
    "Close",
    "CorruptUpload",
    "Dialect",
    "DropUpload",
    "FakeBackend",
    "Fault",
    "FileState",
    "Finding",
    "FlipByte",
    "Hang",
    "ImageFile",
    "LocalRegistry",
    "Present",
    "PrivateCa",
    "PulledImage",
    "RateLimit",
    "RecordingSink",
    "ReplaceHeaders",
    "Request",
    "Reset",
    "Slow",
    "Status",
    "TokenServer",
    "Traffic",
    "Truncate",
    "WrongDigest",
    "find_secrets",
    "pull_image",
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
    "certificates": ("PrivateCa",),
    "conformance": (
        "BackendConformance",
        "ImageFile",
        "PulledImage",
        "pull_image",
    ),
    "faults": (
        "Close",
        "CorruptUpload",
        "DropUpload",
        "Fault",
        "FlipByte",
        "Hang",
        "Present",
        "RateLimit",
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
        "TokenServer",
        "Traffic",
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

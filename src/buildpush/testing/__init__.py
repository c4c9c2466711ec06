"""For tests of code that uses buildpush: a registry, a backend, a sink, images, and searches.

Everything here runs without root and without a network. Names are imported when first used, so
that the pytest plugin costs nobody anything.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
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
    from .registry import Dialect, LocalRegistry, Request
    from .sink import RecordingSink

__all__ = [
    "Dialect",
    "DropUpload",
    "Fault",
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
]

_HOMES: Final = {
    "Dialect": "registry",
    "LocalRegistry": "registry",
    "RecordingSink": "sink",
    "Request": "registry",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f".{_HOMES.get(name, 'faults')}", __name__)
    found: object = getattr(module, name)
    return found

"""Tests that need a cloud's own library: `nox -s interop` runs them, elsewhere they may skip.

That session sets BUILDPUSH_REQUIRE_EXTRAS=1: a library that is missing there is a failure.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import Final, TypeVar

import pytest

# Read here, before a test's clean environment takes it away.
_REQUIRED: Final = os.environ.get("BUILDPUSH_REQUIRE_EXTRAS") == "1"
_Test = TypeVar("_Test", bound=Callable[..., object])


def needs_library(name: str) -> Callable[[_Test], _Test]:
    """Skip the test where the module *name* is missing, unless all of them have to be there."""
    return pytest.mark.skipif(
        not _REQUIRED and not _installed(name),
        reason=f"{name} is not installed here: nox -s interop runs this",
    )


def need_library(name: str) -> None:
    """Skip the whole file where the module *name* is missing, unless all have to be there."""
    if not _REQUIRED and not _installed(name):
        pytest.skip(
            f"{name} is not installed here: nox -s interop runs this", allow_module_level=True
        )


def _installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the package it is in
        return False

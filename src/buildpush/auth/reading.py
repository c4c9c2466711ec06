"""The setting auth: keychains, or the names of installed ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from ..errors import PlanError
from . import Credential, Keychain

__all__ = ["read_keychains"]


def read_keychains(value: object) -> tuple[Keychain, ...]:
    """The keychains that *value*, the setting auth, is or names; raises `ValueError` for others."""
    if isinstance(value, Credential):
        raise ValueError("a credential needs to know for what: use StaticKeychain(prefix=…)")
    if isinstance(value, Keychain):
        return (value,)
    if isinstance(value, str):
        return (_named(value),)
    if not isinstance(value, list | tuple):
        raise ValueError("expected keychains: names, or objects with resolve(repository, access)")
    found: list[Keychain] = []
    for item in cast("Sequence[object]", value):
        found.extend(read_keychains(item))
    return tuple(found)


def _named(name: str) -> Keychain:
    """The keychain called *name*, which is not quoted: it may be a password in the wrong place."""
    from .catalog import KeychainCatalog

    catalog = KeychainCatalog.discover()
    if name not in catalog.entries:
        installed = ", ".join(sorted(catalog.entries)) or "none"
        raise ValueError(f"no keychain has the name that was given; installed: {installed}")
    try:
        return catalog.load(name)
    except PlanError as error:
        raise ValueError(error.message) from error

"""Repositories that have to be made before anybody can push to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from ..oci import Repository
from . import Chain, Keychain

__all__ = ["RepositoryMaker", "makers"]


@runtime_checkable
class RepositoryMaker(Protocol):
    """A keychain that can also make repositories; beside `Keychain.resolve`."""

    @property
    def create_repository(self) -> bool:
        """Whether pushes are to make repositories that do not exist."""
        ...

    def makes(self, repository: Repository) -> bool:
        """Whether *repository* is in a registry whose repositories this one can make."""
        ...

    def ensure_repository(self, repository: Repository) -> bool | None:
        """Make *repository* unless it exists: True if it was made, False if it was there.

        None when its registry is not this one's business, or makes repositories by itself.
        Raises `AuthError` when it may not.
        """
        ...


def makers(keychain: Keychain) -> Iterator[RepositoryMaker]:
    """Every maker in *keychain*: itself, its links, and what it wraps as ``inner``."""
    if isinstance(keychain, RepositoryMaker):
        yield keychain
    elif isinstance(keychain, Chain):
        for link in keychain.keychains:
            yield from makers(link)
    else:
        inner: object = getattr(keychain, "inner", None)
        if isinstance(inner, Keychain):
            yield from makers(inner)

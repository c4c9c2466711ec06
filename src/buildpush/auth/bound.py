"""What a run lends its keychains, and what it tells them: warnings, an end, a refused login."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from typing import Protocol, Self, runtime_checkable

from attrs import evolve

from ..runtime import CancelToken
from . import Chain, Credential, Keychain, PullOnly

__all__ = ["Bindable", "Lent", "Renewing", "refused", "unheard", "within"]


@runtime_checkable
class Bindable(Protocol):
    """A keychain that can be a run's; beside `Keychain.resolve`."""

    def within(self, warn: Callable[[str], None], cancel: CancelToken) -> Keychain:
        """One run's keychain, of the same logins: it warns *warn*, and stops with *cancel*."""
        ...


@runtime_checkable
class Renewing(Protocol):
    """A keychain that holds logins, and can get new ones; beside `Keychain.resolve`."""

    def refused(self, credential: Credential) -> None:
        """Forget *credential*, if it is held: a registry refused it before its time."""
        ...


def unheard(_: str) -> None:
    """Where warnings go when nobody listens."""


class Lent:
    """Makes a keychain with a ``cancel``, and perhaps a ``warn``, `Bindable`."""

    __slots__ = ()

    def within(self, warn: Callable[[str], None], cancel: CancelToken) -> Self:
        """A copy that holds the same logins; a ``warn`` that its maker gave stays.

        A ``warn`` comes with ``_warned``, the texts that were said already.
        """
        lent = copy(self)
        lends: dict[str, object] = {"cancel": cancel}
        if getattr(self, "warn", None) is unheard:
            lends |= {"warn": warn, "_warned": set[str]()}
        # What a subclass without slots added, attrs does not copy.
        for name, value in {**getattr(self, "__dict__", {}), **lends}.items():
            setattr(lent, name, value)
        return lent


def within(keychain: Keychain, warn: Callable[[str], None], cancel: CancelToken) -> Keychain:
    """*keychain* as one run uses it: every part of it that can be bound, is."""
    if isinstance(keychain, Chain):
        return Chain(tuple(within(link, warn, cancel) for link in keychain.keychains))
    if isinstance(keychain, PullOnly):
        return evolve(keychain, inner=within(keychain.inner, warn, cancel))
    return keychain.within(warn, cancel) if isinstance(keychain, Bindable) else keychain


def refused(keychain: Keychain, credential: Credential) -> None:
    """Tell every part of *keychain* that a registry refused *credential*."""
    if isinstance(keychain, Chain):
        for link in keychain.keychains:
            refused(link, credential)
    elif isinstance(keychain, PullOnly):
        refused(keychain.inner, credential)
    elif isinstance(keychain, Renewing):
        keychain.refused(credential)

"""Keychains by name: what distributions register under the entry point ``buildpush.auth``."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from attrs import frozen

from ..errors import PlanError
from . import Keychain

__all__ = ["GROUP", "KeychainCatalog", "KeychainFactory", "keychains", "named"]

GROUP: Final = "buildpush.auth"

KeychainFactory = Callable[[], object]
"""What an entry point names: called without arguments, it makes a `Keychain`."""


@frozen
class KeychainCatalog:
    """Names mapped to keychains that are not imported until they are asked for."""

    entries: Mapping[str, tuple[EntryPoint, ...]]

    @classmethod
    def discover(cls) -> KeychainCatalog:
        """Read the entry points of every installed distribution. Imports none of them."""
        found: dict[str, tuple[EntryPoint, ...]] = {}
        for point in entry_points(group=GROUP):
            found[point.name] = (*found.get(point.name, ()), point)
        return cls(found)

    def load(self, name: str) -> Keychain:
        """Import and make the keychain called *name*.

        Raises `PlanError` when there is none, when two distributions claim the name, when it
        cannot be imported, or when what it makes is no keychain.
        """
        match self.entries.get(name, ()):
            case ():
                raise PlanError(
                    f"no keychain is called {name!r}",
                    hint=f"installed: {', '.join(sorted(self.entries)) or 'none'}",
                )
            case (point,):
                pass
            case points:
                claims = ", ".join(sorted(map(_distribution, points)))
                raise PlanError(f"keychain {name!r} is claimed by {claims}", hint="uninstall one")
        try:
            factory: KeychainFactory = point.load()
        except (ImportError, AttributeError) as error:
            raise PlanError(f"keychain {name!r} cannot be imported: {error}") from error
        made = factory()
        if not isinstance(made, Keychain):
            raise PlanError(
                f"keychain {name!r} of {_distribution(point)} is no keychain: it has no resolve()"
            )
        return made


def named(name: str) -> Keychain:
    """The keychain called *name*, as `KeychainCatalog.load` makes it; raises `PlanError`."""
    return KeychainCatalog.discover().load(name)


def keychains(auth: Iterable[Keychain | str]) -> tuple[Keychain, ...]:
    """*auth* as a step takes it, names turned into the keychains they stand for."""
    return tuple(named(one) if isinstance(one, str) else one for one in auth)


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "?"

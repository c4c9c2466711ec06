"""What a look at an installation of buildx is about, and what it finds: two frozen values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from attrs import field, frozen

from ...oci import Platform
from ..buildkit.argv import Client
from ..buildkit.inspection import version_of
from ..engine.endpoints import Endpoint
from .builders import Builder
from .instances import DOCKER

__all__ = ["Choice", "Situation"]

_RESOURCES: Final = (0, 35)


@frozen(kw_only=True)
class Choice:
    """Which builder: a name, one to be created, or the engine of a docker context or address."""

    builder: str = ""
    context: str = ""
    host: str = ""
    create: Builder | None = None


@frozen(kw_only=True)
class Situation:
    """What was found: all that building needs to know of this installation.

    *builder* is the name to give to buildx, empty for one that is created for each run. *store*
    says whether the driver docker has the containerd image store. *version* is buildx's,
    *buildkit* BuildKit's, empty where it does not say.
    """

    plugin: Path
    version: str
    driver: str
    builder: str = ""
    endpoint: Endpoint | None = None
    store: bool = False
    rootless: bool = False
    engine: str = ""
    buildkit: str = ""
    platforms: tuple[Platform, ...] = ()
    labels: Mapping[str, str] = field(factory=dict[str, str])
    entitlements: frozenset[str] = frozenset()

    @property
    def numbers(self) -> tuple[int, ...]:
        """The version of buildx, to be compared."""
        return version_of(self.version)

    @property
    def client(self) -> Client:
        """How this buildx wants to be spoken to."""
        return Client(
            buildx=self.numbers,
            resources=self.numbers >= _RESOURCES and self.driver != DOCKER,
            store=self.driver == DOCKER and self.store,
        )

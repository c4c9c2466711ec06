"""Who builds. One protocol, and the lookup from a name to a backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Final, Protocol, runtime_checkable

from attrs import frozen

from ..auth import Keychain
from ..errors import BackendUnavailableError, PlanError
from ..plan import Artifact, BuildRequest, Capabilities
from ..runtime import Run

__all__ = ["AUTO_ORDER", "Backend", "BackendCatalog", "BackendFactory"]

GROUP: Final = "buildpush.backends"
AUTO_ORDER: Final = ("native", "buildx", "docker", "buildah", "kaniko")
"""The names ``backend="auto"`` tries: least privilege and least set-up first."""


@runtime_checkable
class Backend(Protocol):
    """Turns a `BuildRequest` into an `Artifact`."""

    def probe(self) -> Capabilities:
        """Say what can be done here and now, or raise `BackendUnavailableError`."""
        ...

    def build(self, request: BuildRequest, keychain: Keychain, run: Run) -> Artifact:
        """Build *request*, pulling with *keychain*, reporting to *run*; or raise `BuildError`."""
        ...


BackendFactory = Callable[[], Backend]


@frozen
class BackendCatalog:
    """Names mapped to backends that are not imported until they are asked for."""

    entries: Mapping[str, tuple[EntryPoint, ...]]

    @classmethod
    def discover(cls) -> BackendCatalog:
        """Read the entry points of every installed distribution. Imports none of them."""
        found: dict[str, tuple[EntryPoint, ...]] = {}
        for point in entry_points(group=GROUP):
            found[point.name] = (*found.get(point.name, ()), point)
        return cls(found)

    def load(self, name: str) -> Backend:
        """Import and make the backend called *name*.

        Raises `PlanError` when there is none or when two distributions claim the name, and
        `BackendUnavailableError` when it cannot be imported.
        """
        match self.entries.get(name, ()):
            case ():
                known = ", ".join(sorted(self.entries)) or "none"
                raise PlanError(f"no backend is called {name!r}", hint=f"installed: {known}")
            case (point,):
                pass
            case points:
                claims = ", ".join(sorted(p.dist.name if p.dist else "?" for p in points))
                raise PlanError(f"backend {name!r} is claimed by {claims}", hint="uninstall one")
        try:
            factory: BackendFactory = point.load()
        except ImportError as error:
            raise BackendUnavailableError(
                f"backend {name!r} cannot be imported: {error}"
            ) from error
        return factory()

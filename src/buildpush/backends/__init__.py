"""Who builds. One protocol, and the lookup from a name to a backend."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from importlib.metadata import EntryPoint, entry_points
from typing import Final, Protocol, runtime_checkable

from attrs import evolve, frozen

from ..auth import Keychain
from ..errors import BackendUnavailableError, BuildpushError, PlanError
from ..plan import Artifact, BuildRequest, Capabilities, Plan
from ..runtime import Run

__all__ = [
    "AUTO_ORDER",
    "Backend",
    "BackendCatalog",
    "BackendFactory",
    "Previewing",
    "Sweeping",
    "choose",
]

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


@runtime_checkable
class Previewing(Protocol):
    """A backend that can say beforehand what exactly it would start."""

    def preview(self, request: BuildRequest) -> str:
        """The commands or manifests for *request*, as text without secrets. Starts nothing.

        Raises `UnsupportedFeatureError` for what the backend would ignore or do wrongly.
        """
        ...


@runtime_checkable
class Sweeping(Protocol):
    """A backend, or a part of one, that finds again what clients that were killed have left."""

    def gc(self, *, older_than: timedelta) -> tuple[str, ...]:
        """Remove what is older than that, whoever made it; the names of what was removed.

        Raises `BackendUnavailableError` where it cannot look, and `AuthError` where it may not.
        """
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
        `BackendUnavailableError` when it is one of ours and not here, or cannot be imported.
        """
        match self.entries.get(name, ()):
            case ():
                hint = f"installed: {', '.join(sorted(self.entries)) or 'none'}"
                if name in AUTO_ORDER:
                    raise BackendUnavailableError(
                        f"backend {name!r} is not part of this installation", hint=hint
                    )
                raise PlanError(f"no backend is called {name!r}", hint=hint)
            case (point,):
                pass
            case points:
                claims = ", ".join(sorted(p.dist.name if p.dist else "?" for p in points))
                raise PlanError(f"backend {name!r} is claimed by {claims}", hint="uninstall one")
        try:
            factory: BackendFactory = point.load()
        except (ImportError, AttributeError) as error:
            raise BackendUnavailableError(
                f"backend {name!r} cannot be imported: {error}"
            ) from error
        return factory()


def choose(
    names: Sequence[str], catalog: BackendCatalog, plan: Callable[[Backend], Plan]
) -> tuple[Backend, Plan]:
    """The first of *names* that is installed, works here and can carry out the plan.

    The plan keeps the reasons why earlier ones were passed over. Where only one could be asked,
    its own error is raised; else a `PlanError` that lists every refusal, in order.
    """
    refusals: list[tuple[str, BuildpushError]] = []
    for name in names:
        if len(names) > 1 and name not in catalog.entries:
            continue
        try:
            backend = catalog.load(name)
            made = plan(backend)
        except PlanError as error:
            refusals.append((name, error))
        else:
            passed_over = tuple(f"{refused}: {error.message}" for refused, error in refusals)
            return backend, evolve(made, passed_over=passed_over)
    if len(refusals) == 1:
        raise refusals[0][1]
    reasons = "; ".join(f"{name}: {error.message}" for name, error in refusals)
    raise PlanError(
        f"no backend can do this here: {reasons or 'none is installed'}",
        evidence=tuple(dict.fromkeys(p for _, error in refusals for p in error.evidence)),
        hint="; ".join(dict.fromkeys(error.hint for _, error in refusals if error.hint)),
    )

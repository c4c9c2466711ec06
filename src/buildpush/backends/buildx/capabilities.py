"""From what was found of an installation to what it can do. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ...plan import Capabilities
from ..buildkit.features import features_of
from .instances import DOCKER
from .situation import Situation

__all__ = ["capabilities"]


def capabilities(found: Situation) -> Capabilities:
    """What buildx can do with the builder that was found."""
    features, notes = features_of(
        driver=found.driver,
        client=found.client,
        containerd_store=found.store,
        buildkit=found.buildkit,
        engine=found.engine,
        entitlements=found.entitlements,
    )
    return Capabilities(
        backend="buildx",
        version=found.version,
        features=features,
        platforms=found.platforms,
        needs_daemon=True,
        # Handing the image to the client takes longer than compressing it twice would.
        slow_export="always",
        notes=notes,
        remarks=tuple(_remarks(found)),
    )


def _remarks(found: Situation) -> Iterator[str]:
    whose = f"builder {found.builder}" if found.builder else "a builder made for each run"
    yield f"{whose} (driver {found.driver})"
    if found.driver == DOCKER and found.engine:
        store = "containerd's" if found.store else "docker's classic"
        yield f"docker {found.engine} with {store} image store"
    elif found.engine:
        yield f"docker {found.engine} runs it"
    if found.buildkit:
        yield f"BuildKit {found.buildkit.removeprefix('v')}"
    if found.rootless:
        yield "the engine runs without root"

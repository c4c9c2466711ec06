"""What each way of building can do, by version: what was tried on real daemons.

The classic builder ignores a here-document, ``--link``, ``--exclude`` and ``--checksum`` in
silence since docker 23; so these are features that it does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ...oci import Platform
from ...plan import Feature
from ..buildkit.features import features_of
from .ways import Setup, Way

__all__ = ["features", "platforms", "remarks"]

_BY_DAEMON: Final = frozenset({Feature.EXPORT_LAYOUT, Feature.PUSH_DIRECTLY, Feature.LOCAL_CACHE})
_CLASSIC: Final = _BY_DAEMON | {
    Feature.RUN,
    Feature.TARGET,
    Feature.RUN_NETWORK,
    Feature.NO_NETWORK,
    Feature.NAMED_NETWORK,
    Feature.ADD_HOSTS,
    Feature.SHM_SIZE,
    Feature.ULIMITS,
    Feature.CGROUP_PARENT,
    Feature.RESOURCES,
    Feature.ADD_URL,
    Feature.CACHE_IMPORT,
}


def features(setup: Setup) -> tuple[frozenset[Feature], Mapping[Feature, str]]:
    """What can be done with *setup*, and why not the rest."""
    if setup.way is not Way.CLASSIC:
        found, lacking = features_of(
            driver="docker",
            client=setup.buildkit_client,
            containerd_store=setup.info.containerd_store,
            engine=setup.version.version,
        )
        own = _BY_DAEMON | {Feature.EXPORT_FILES}
        return found | own, {f: why for f, why in lacking.items() if f not in own}
    found = _CLASSIC | ({Feature.SQUASH} if setup.info.experimental else frozenset[Feature]())
    why = f"the classic builder cannot, and {setup.why}"
    lacking = dict.fromkeys(frozenset(Feature) - found, why)
    if Feature.SQUASH in lacking:
        lacking[Feature.SQUASH] = "only with the daemon's experimental features"
    return found, lacking


def remarks(setup: Setup) -> tuple[str, ...]:
    """What else is worth knowing of this installation."""
    info, version = setup.info, setup.version
    store = "containerd's image store" if info.containerd_store else f"{info.driver} store"
    found = [f"{setup.endpoint.host} ({setup.endpoint.name}), {store}", setup.way.value]
    if setup.why:
        found[-1] += f": {setup.why}"
    if info.rootless:
        found.append("the daemon is rootless")
    if version.podman:
        found.append(
            f"podman {version.version} answers in docker's place: it builds and pushes by itself,"
            " and buildah is the better backend for it"
        )
    return tuple(found)


def platforms(setup: Setup) -> tuple[Platform, ...]:
    """The platforms that RUN can be executed for, the daemon's own first."""
    return tuple(dict.fromkeys((setup.platform, *setup.emulated)))

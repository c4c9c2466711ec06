"""What each way of building can do, by version: what was tried on real daemons.

The classic builder ignores a here-document, ``--link``, ``--exclude`` and ``--checksum`` in
silence since docker 23; so these are features that it does not have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

from ...oci import Platform
from ...plan import Feature
from .ways import Setup, Way, numbers

__all__ = ["features", "notes", "platforms", "remarks", "slow_export"]

_BY_DAEMON: Final = frozenset({Feature.EXPORT_LAYOUT, Feature.PUSH_DIRECTLY, Feature.LOCAL_CACHE})
_CLASSIC: Final = _BY_DAEMON | {
    Feature.RUN,
    Feature.TARGET,
    Feature.RUN_NETWORK,
    Feature.NAMED_NETWORK,
    Feature.ADD_HOSTS,
    Feature.SHM_SIZE,
    Feature.ULIMITS,
    Feature.CGROUP_PARENT,
    Feature.RESOURCES,
    Feature.ADD_URL,
    Feature.CACHE_IMPORT,
}
_BUILDKIT: Final = frozenset(
    {
        Feature.RUN_MOUNTS,
        Feature.SECRETS,
        Feature.SSH,
        Feature.STEP_NETWORK,
        Feature.CUSTOM_SYNTAX,
        Feature.EXPORT_FILES,
        Feature.FOREIGN_PLATFORM,
    }
)
_SINCE: Final[Mapping[tuple[int, ...], frozenset[Feature]]] = {
    (23,): frozenset({Feature.HEREDOCS, Feature.COPY_FLAGS, Feature.ADD_GIT}),
    (24,): frozenset({Feature.SOURCE_DATE_EPOCH}),
    (26,): frozenset({Feature.REPRODUCIBLE}),
}
"""What came with the BuildKit of a daemon's version."""
_BY_PLUGIN: Final = frozenset({Feature.BUILD_CONTEXTS, Feature.NO_CACHE_FILTER})
_BY_CONTAINERD: Final = frozenset(
    {
        Feature.MULTI_PLATFORM,
        Feature.ANNOTATIONS,
        Feature.REGISTRY_CACHE,
        Feature.CACHE_BACKENDS,
        Feature.PROVENANCE,
        Feature.SBOM,
    }
)
"""What needs an image store that holds indexes and attestations."""


def features(setup: Setup) -> frozenset[Feature]:
    """What can be done with *setup*."""
    if setup.way is not Way.CLASSIC:
        return _buildkit(setup)
    squash = {Feature.SQUASH} if setup.info.experimental else set[Feature]()
    return _CLASSIC | squash


def _buildkit(setup: Setup) -> frozenset[Feature]:
    """What the BuildKit of this daemon does for this client."""
    found = _CLASSIC - {Feature.RESOURCES, Feature.NAMED_NETWORK} | _BUILDKIT
    version = numbers(setup.version.version)
    for first, added in _SINCE.items():
        if version >= first:
            found |= added
    if setup.way is Way.PLUGIN:
        found |= _BY_PLUGIN
        if setup.info.containerd_store:
            found |= _BY_CONTAINERD
    return found


def notes(setup: Setup) -> Mapping[Feature, str]:
    """Why it cannot do the rest, where the table of fits has no better words."""
    missing = frozenset(Feature) - features(setup)
    if setup.way is Way.CLASSIC:
        found = dict.fromkeys(missing, f"the classic builder cannot, and {setup.why}")
        found[Feature.SQUASH] = "only with the daemon's experimental features"
        return {feature: found[feature] for feature in missing}
    return {}


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


def slow_export(setup: Setup) -> Literal["never", "with a base", "always"]:
    """When handing over a layout takes longer than letting the daemon push."""
    return "never" if setup.info.containerd_store else "with a base"


def platforms(setup: Setup) -> tuple[Platform, ...]:
    """The platforms that RUN can be executed for."""
    return (setup.platform,)

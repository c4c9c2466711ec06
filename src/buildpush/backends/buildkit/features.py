"""What a BuildKit can do, by its driver, its versions and where it keeps images. Pure.

What is said here was tried with dockerd 28.5 (both image stores) and 20.10; which versions
between them brought what is as far as their release notes are remembered.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Final

from ...plan import CANNOT, Feature
from .argv import FIRST_CLIENT, Client

__all__ = ["buildkit_version", "features_of"]

_DOCKER: Final = "docker"

# Versions of docker's engine, and the BuildKit each has inside; the last that is not newer counts.
_INSIDE: Final[tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]] = (
    ((18, 9), (0, 3)), ((19, 3), (0, 6)), ((20, 10), (0, 8)), ((23,), (0, 10)), ((24,), (0, 11)),
    ((25,), (0, 12)), ((26, 1), (0, 13)), ((27,), (0, 14)), ((27, 3), (0, 16)), ((28,), (0, 20)),
    ((28, 2), (0, 22)), ((28, 4), (0, 24)), ((28, 5), (0, 25)), ((29,), (0, 26)),
)  # fmt: skip

# Since which BuildKit (and the Dockerfile frontend in it).
_SINCE: Final[Mapping[Feature, tuple[int, ...]]] = {
    Feature.STEP_NETWORK: (0, 9),
    Feature.HEREDOCS: (0, 10),
    Feature.COPY_LINK: (0, 10),
    Feature.BUILD_CONTEXTS: (0, 10),
    Feature.SHM_SIZE: (0, 10),
    Feature.ULIMITS: (0, 10),
    Feature.CGROUP_PARENT: (0, 10),
    Feature.COMPRESSION: (0, 10),
    Feature.ANNOTATIONS: (0, 11),
    Feature.PROVENANCE: (0, 11),
    Feature.SBOM: (0, 11),
    Feature.EXPORT_LAYOUT: (0, 11),
    Feature.LAYOUT_CONTEXTS: (0, 11),
    Feature.ADD_GIT: (0, 12),
    Feature.ADD_CHECKSUM: (0, 12),
    Feature.EXPORT_FILES: (0, 13),  # several outputs at once
    Feature.SOURCE_DATE_EPOCH: (0, 13),
    Feature.REPRODUCIBLE: (0, 13),
    Feature.ADD_UNPACK: (0, 21),
    Feature.COPY_EXCLUDE: (0, 25),
    Feature.COPY_PARENTS: (0, 26),
    Feature.INSECURE_RUN: (0, 26),
}

# Since which buildx; the docker CLI 20.10 is older than all of them.
_CLIENT_SINCE: Final[Mapping[Feature, tuple[int, ...]]] = {
    Feature.MULTI_PLATFORM: (0, 1),
    Feature.PUSH_DIRECTLY: (0, 1),
    Feature.REGISTRY_CACHE: (0, 1),
    Feature.CACHE_BACKENDS: (0, 1),
    Feature.EXPORT_LAYOUT: (0, 1),
    Feature.COMPRESSION: (0, 1),
    Feature.EXPORT_FILES: (0, 1),
    Feature.SOURCE_DATE_EPOCH: (0, 10),
    Feature.REPRODUCIBLE: (0, 10),
    Feature.NO_CACHE_FILTER: (0, 8),
    Feature.BUILD_CONTEXTS: (0, 8),
    Feature.LAYOUT_CONTEXTS: (0, 9),
    Feature.SHM_SIZE: (0, 7),
    Feature.ULIMITS: (0, 7),
    Feature.CGROUP_PARENT: (0, 7),
    Feature.STEP_NETWORK: (0, 1),
    Feature.PROVENANCE: (0, 10),
    Feature.SBOM: (0, 10),
    Feature.ANNOTATIONS: (0, 12),
}

# What docker's classic image store has no room for.
_STORED: Final = (
    Feature.MULTI_PLATFORM,
    Feature.EXPORT_LAYOUT,
    Feature.REGISTRY_CACHE,
    Feature.CACHE_BACKENDS,
    Feature.PROVENANCE,
    Feature.SBOM,
    Feature.ANNOTATIONS,
    Feature.COMPRESSION,
    Feature.SOURCE_DATE_EPOCH,
    Feature.REPRODUCIBLE,
)

# Features of the Dockerfile's frontend, of which a newer one may be named in the file.
_BY_SYNTAX: Final = (Feature.ADD_UNPACK, Feature.COPY_EXCLUDE, Feature.COPY_PARENTS)


def buildkit_version(buildkit: str, engine: str = "") -> tuple[int, ...]:
    """BuildKit's version, to be compared; empty when nobody says.

    *buildkit* is its own word; where that is none (a distribution's dockerd may say ``v0.0.0``),
    the version of the docker *engine* that it is part of tells.
    """
    own = _numbers(buildkit)
    if any(own):
        return own
    outer = _numbers(engine)
    inside = [inner for since, inner in _INSIDE if since <= outer]
    return inside[-1] if inside else ()


def features_of(
    *,
    driver: str,
    client: Client,
    containerd_store: bool = False,
    buildkit: str = "",
    engine: str = "",
    entitlements: Collection[str] = (),
) -> tuple[frozenset[Feature], Mapping[Feature, str]]:
    """What can be done, and why not the rest.

    *driver* is buildx's name for where BuildKit runs; with ``docker``, *engine* is the daemon's
    version and *containerd_store* says which image store it has. *buildkit* is BuildKit's version,
    assumed to be a new one when nobody says. *entitlements* are what the builder's configuration
    allows beyond the ordinary (``security.insecure``).
    """
    version = buildkit_version(buildkit, engine if driver == _DOCKER else "")
    lacking: dict[Feature, str] = dict(CANNOT["buildx"])
    if driver == _DOCKER and not containerd_store:
        lacking |= dict.fromkeys(
            _STORED, "docker's classic image store cannot: turn on its containerd image store"
        )
    shown = ".".join(map(str, version[:2]))
    for feature, since in _SINCE.items():
        if version and version < since:
            newer = ", or # syntax=docker/dockerfile:1" if feature in _BY_SYNTAX else ""
            lacking[feature] = f"BuildKit {shown} is too old: {_dotted(since)} can{newer}"
    for feature, since in _CLIENT_SINCE.items():
        if client == FIRST_CLIENT:
            lacking[feature] = "the docker CLI's own client cannot: install buildx"
        elif client.buildx < since:
            lacking[feature] = f"buildx is too old: {_dotted(since)} can"
    if "security.insecure" not in entitlements:
        lacking[Feature.INSECURE_RUN] = "the builder's configuration does not allow it"
    if not client.resources:
        lacking[Feature.RESOURCES] = "this version of buildx has nothing like it"
    return frozenset(feature for feature in Feature if feature not in lacking), lacking


def _numbers(text: str) -> tuple[int, ...]:
    found = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return tuple(int(part or 0) for part in found.groups()) if found else ()


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))

"""How well each backend can do what a setting asks: one table, and how to read it.

A row says what a setting means, which `Feature` it needs, and what a backend does that only
comes close. `CANNOT` says what each of our backends never can; a probe (`Capabilities`) has the
last word about the backend that is chosen, the table about the others, as alternatives.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Final

from attrs import field, frozen

from .values import Capabilities, Feature

__all__ = ["BACKENDS", "CANNOT", "ROWS", "Fit", "Row", "Verdict", "able", "expect", "judge"]

BACKENDS: Final = ("native", "buildx", "docker", "buildah", "kaniko")
"""The backends the table knows, in the order in which they are tried and offered."""


class Fit(Enum):
    """How well a backend does what was asked."""

    EXACT = "exact"
    APPROXIMATED = "approximated"
    REFUSED = "refused"


@frozen
class Verdict:
    """A fit, and in words how it is reached or why not."""

    fit: Fit
    how: str = ""


@frozen(kw_only=True)
class Row:
    """What a setting needs.

    *how* says how it is done; *close* which backends only come close although they have the
    *feature*, *instead* what those without it do in its place; *refused* why nobody does it.
    """

    feature: Feature | None = None
    how: str = ""
    close: Mapping[str, str] = field(factory=dict[str, str])
    instead: Mapping[str, str] = field(factory=dict[str, str])
    refused: str = ""


_BY_BUILDPUSH: Final = Row(how="done by buildpush itself")
_PUSHED_BY_US: Final = Row(feature=Feature.EXPORT_LAYOUT, how="buildpush pushes, from a layout")
_CONNECTOR: Final = Row(
    refused="a connector is known only to Harness: give the full repository name and, in auth,"
    " a credential"
)
_NO_SNAPSHOTS: Final = "no effect: it takes no snapshots of the whole file system"

ROWS: Final[Mapping[str, Row]] = {
    "repo": _BY_BUILDPUSH,
    "tags": _BY_BUILDPUSH,
    "context": Row(),
    "dockerfile": Row(),
    "target": Row(feature=Feature.TARGET),
    "build_args": Row(),
    "labels": Row(),
    "annotations": Row(feature=Feature.ANNOTATIONS),
    "platforms": Row(how="one image for the platform"),
    "platforms: several": Row(
        feature=Feature.MULTI_PLATFORM,
        how="an index of images",
        close={
            "kaniko": "one run for each; in a cluster each image also gets a tag, 1.4-linux-arm64"
        },
    ),
    "platforms: foreign": Row(
        feature=Feature.FOREIGN_PLATFORM, how="RUN only where this machine can execute it"
    ),
    "build_contexts": Row(feature=Feature.BUILD_CONTEXTS),
    "build_contexts: layouts": Row(feature=Feature.LAYOUT_CONTEXTS),
    "secrets": Row(
        feature=Feature.SECRETS,
        close={"kaniko": "any RUN could read it: all share a container, with kaniko itself"},
    ),
    "env_docker_secrets": Row(how="added to secrets"),
    "file_docker_secrets": Row(how="added to secrets"),
    "ssh": Row(feature=Feature.SSH),
    "network": Row(
        feature=Feature.RUN_NETWORK,
        close={"kaniko": "for kaniko itself, too; in a cluster the pod's own settings decide"},
    ),
    "network: none": Row(feature=Feature.NO_NETWORK),
    "network: by name": Row(feature=Feature.NAMED_NETWORK),
    "add_hosts": Row(feature=Feature.ADD_HOSTS),
    "shm_size": Row(feature=Feature.SHM_SIZE),
    "ulimits": Row(feature=Feature.ULIMITS),
    "cgroup_parent": Row(feature=Feature.CGROUP_PARENT),
    "resources": Row(feature=Feature.RESOURCES),
    "resources: requests": Row(
        feature=Feature.RESOURCES,
        close={
            **dict.fromkeys(("buildx", "docker", "buildah"), "no scheduler keeps the promise"),
            "kaniko": "only a cluster keeps the promise",
        },
    ),
    "run_as_user": Row(
        feature=Feature.RUN_AS_USER,
        close={"kaniko": "the images that there are work for root only"},
        instead={
            "native": "it runs as the user who calls it",
            "buildah": "it runs as the user who calls it",
        },
    ),
    "no_cache": Row(),
    "no_cache_filter": Row(feature=Feature.NO_CACHE_FILTER),
    "pull": Row(how="base images are looked up in their registry"),
    "caching": Row(feature=Feature.LOCAL_CACHE, how="finished steps are kept on this machine"),
    "cache_from": Row(
        feature=Feature.CACHE_IMPORT,
        close=dict.fromkeys(
            ("buildah", "kaniko"), "the whole repository is searched, whatever the tag"
        ),
    ),
    "cache_from: elsewhere": Row(feature=Feature.CACHE_BACKENDS),
    "cache_to": Row(
        feature=Feature.REGISTRY_CACHE,
        close=dict.fromkeys(("buildah", "kaniko"), "a repository, whatever the tag"),
    ),
    "cache_to: elsewhere": Row(feature=Feature.CACHE_BACKENDS),
    "remote_cache_repo": Row(feature=Feature.REGISTRY_CACHE, how="read and written"),
    "outputs": Row(feature=Feature.EXPORT_LAYOUT, how="written by buildpush from the layout"),
    "outputs: local": Row(feature=Feature.EXPORT_FILES),
    "push": _BY_BUILDPUSH,
    "delivery": _BY_BUILDPUSH,
    "compression": Row(
        feature=Feature.COMPRESSION,
        close={
            **dict.fromkeys(
                ("buildx", "docker"), "layers of the base image are compressed anew, too"
            ),
            "kaniko": "gzip; zstd by osscontainertools' 1.28.1 and later",
        },
    ),
    "compression_level": Row(feature=Feature.COMPRESSION),
    "reproducible": Row(
        feature=Feature.REPRODUCIBLE,
        close={
            "buildah": "every timestamp in new layers becomes the same",
            "kaniko": "every timestamp becomes 0, by older ones in base layers too",
        },
    ),
    "reproducible: strict": Row(feature=Feature.STRICTLY_REPRODUCIBLE),
    "source_date_epoch": Row(
        feature=Feature.SOURCE_DATE_EPOCH,
        close={"buildah": "every timestamp in new layers is set to it"},
    ),
    "provenance": Row(feature=Feature.PROVENANCE),
    "sbom": Row(feature=Feature.SBOM),
    "squash": Row(
        feature=Feature.SQUASH, close={"buildah": "no step of it is kept for later builds"}
    ),
    "optimize": Row(
        close=dict.fromkeys(("native", "buildx", "docker", "buildah"), _NO_SNAPSHOTS),
        how="snapshots in redo mode",
    ),
    "mirrors": Row(feature=Feature.MIRRORS),
    "insecure": Row(
        feature=Feature.INSECURE_REGISTRIES,
        instead={
            "buildx": "for pushing; for base images the builder's own configuration decides",
            "docker": "for what buildpush does itself; else the daemon's own list decides",
        },
    ),
    "registries": Row(
        feature=Feature.CERTIFICATES,
        instead={
            "buildx": "for what buildpush does itself; else the builder's configuration decides",
            "docker": "for what buildpush does itself; else the daemon's own list decides",
            "buildah": "for what buildpush does itself; else /etc/containers/certs.d decides",
        },
    ),
    "retries": Row(how="for what buildpush does itself"),
    "max_connections": Row(how="for what buildpush does itself"),
    "anonymous_fallback": Row(how="for what buildpush does itself"),
    "skip_preflight": _BY_BUILDPUSH,
    "destinations": _BY_BUILDPUSH,
    "on_partial": Row(how="where buildpush pushes"),
    "mount": Row(how="where buildpush pushes"),
    "on_existing_tag": _PUSHED_BY_US,
    "expect_current": _PUSHED_BY_US,
    "media_types": _PUSHED_BY_US,
    "timeout": _BY_BUILDPUSH,
    "quiet": _BY_BUILDPUSH,
    "hidden": _BY_BUILDPUSH,
    "remarks": _BY_BUILDPUSH,
    "connector_ref": _CONNECTOR,
    "registry_ref": _CONNECTOR,
    "base_image_connector_refs": _CONNECTOR,
    "env_variables": Row(how="a step turns them into settings when it is made"),
}
"""Every setting; after a colon, the kinds of values that need more than the rest."""

_NOTHING: Final = "it has nothing like it"
_ENDED: Final = "it is not built in"

_BUILDKIT: Final[Mapping[Feature, str]] = {
    Feature.NAMED_NETWORK: "BuildKit knows the networks default, none and host",
    Feature.RUN_AS_USER: "its daemon decides",
    Feature.STRICTLY_REPRODUCIBLE: "its compression differs between versions",
    Feature.SQUASH: "BuildKit does not squash",
    Feature.MIRRORS: "mirrors are part of a builder's own configuration",
    Feature.INSECURE_REGISTRIES: "they are part of a builder's own configuration",
    Feature.CERTIFICATES: "they are part of a builder's own configuration",
    Feature.DEVICES: "only the experimental Dockerfile frontends know RUN --device",
    Feature.REMOTE_CONTEXT: "the build context is a folder here",
}

CANNOT: Final[Mapping[str, Mapping[Feature, str]]] = {
    "native": {
        Feature.INSECURE_RUN: "its sandbox has no way out",
        Feature.EXPORT_FILES: "it exports images, not their files",
        Feature.NAMED_NETWORK: "it has no networks of its own",
        Feature.CGROUP_PARENT: "it makes no cgroups",
        Feature.RESOURCES: "it makes no cgroups",
        Feature.DEVICES: "it gives RUN only the harmless ones",
        Feature.RUN_AS_USER: "it runs as the user who calls it",
        Feature.REMOTE_CONTEXT: _ENDED,
        Feature.CUSTOM_SYNTAX: "it reads Dockerfiles itself",
        Feature.CACHE_IMPORT: _ENDED,
        Feature.REGISTRY_CACHE: _ENDED,
        Feature.CACHE_BACKENDS: _ENDED,
        Feature.PROVENANCE: _ENDED,
        Feature.SBOM: _ENDED,
        Feature.SQUASH: _ENDED,
        Feature.PUSH_DIRECTLY: "buildpush pushes what it builds",
    },
    "buildx": _BUILDKIT,
    "docker": {
        **_BUILDKIT,
        Feature.INSECURE_RUN: "its daemon's BuildKit is not configured for it",
    },
    "buildah": {
        Feature.CERTIFICATES: "they are read from /etc/containers/certs.d",
        Feature.DEVICES: _NOTHING,
        Feature.ADD_UNPACK: _NOTHING,
        Feature.NAMED_NETWORK: "its networks are default, none and host",
        Feature.LAYOUT_CONTEXTS: "it takes folders and images only",
        Feature.REMOTE_CONTEXT: "the build context is a folder here",
        Feature.INSECURE_RUN: _NOTHING,
        Feature.CUSTOM_SYNTAX: _NOTHING,
        Feature.NO_CACHE_FILTER: _NOTHING,
        Feature.CACHE_BACKENDS: "its caches are repositories",
        Feature.STRICTLY_REPRODUCIBLE: "its compression differs between versions",
        Feature.PROVENANCE: _NOTHING,
        Feature.SBOM: "it writes a file beside the image, not an attestation",
        Feature.RUN_AS_USER: "it runs as the user who calls it",
    },
    "kaniko": {
        Feature.SSH: "it has no --ssh",
        Feature.STAGE_MOUNTS: "it mounts nothing of other stages or images",
        Feature.TMPFS_MOUNTS: "it ignores such a mount",
        Feature.NO_NETWORK: "RUN shares the network that base images are fetched by",
        Feature.STEP_NETWORK: "it ignores RUN --network",
        Feature.INSECURE_RUN: "it ignores RUN --security",
        Feature.DEVICES: "it ignores RUN --device",
        Feature.COPY_EXCLUDE: "it ignores the flag",
        Feature.COPY_PARENTS: "it ignores the flag",
        Feature.ADD_CHECKSUM: "it ignores the flag",
        Feature.ADD_UNPACK: "it ignores the flag",
        Feature.ADD_GIT: "it fetches the URL as a file",
        Feature.CUSTOM_SYNTAX: "it reads Dockerfiles itself",
        Feature.BUILD_CONTEXTS: "it has no --build-context",
        Feature.LAYOUT_CONTEXTS: "it has no --build-context",
        Feature.REMOTE_CONTEXT: "the build context is a folder here",
        Feature.NO_CACHE_FILTER: "it has no --no-cache-filter",
        Feature.LOCAL_CACHE: "its container keeps nothing: use remote_cache_repo",
        Feature.CACHE_BACKENDS: "its cache is a repository",
        Feature.STRICTLY_REPRODUCIBLE: "its compression differs between versions",
        Feature.SOURCE_DATE_EPOCH: "its only timestamp is 0",
        Feature.PROVENANCE: "it makes no attestations",
        Feature.SBOM: "it makes no attestations",
        Feature.EXPORT_FILES: "it exports images",
    },
}
"""What a backend of ours never can, and why. What is not listed, it can where it runs well."""


def judge(key: str, backend: Capabilities) -> Verdict:
    """How well *backend*, as probed, does what the row *key* asks."""
    row = ROWS[key]
    name = backend.backend
    if row.refused:
        return Verdict(Fit.REFUSED, row.refused)
    if row.feature is not None and row.feature not in backend.features:
        if name in row.instead:
            return Verdict(Fit.APPROXIMATED, row.instead[name])
        return Verdict(Fit.REFUSED, reason(row.feature, backend))
    if name in row.close:
        return Verdict(Fit.APPROXIMATED, row.close[name])
    return Verdict(Fit.EXACT, row.how)


def expect(key: str, name: str) -> Verdict:
    """How well the backend *name* does what the row *key* asks, as far as the table knows."""
    return judge(key, assumed(name))


def assumed(name: str) -> Capabilities:
    """What the backend *name* can do where nothing on the machine stands in its way."""
    lacking = CANNOT[name]
    return Capabilities(
        backend=name, version="", features=frozenset(f for f in Feature if f not in lacking)
    )


def reason(feature: Feature, backend: Capabilities) -> str:
    """Why *backend* lacks *feature*: what its probe said, else what the table knows."""
    return backend.notes.get(feature) or CANNOT.get(backend.backend, {}).get(feature, "")


def able(keys: Iterable[str], features: Iterable[Feature], *, but: str) -> tuple[str, ...]:
    """The other backends of the table that do all of *keys* and have all of *features*."""
    keys, features = tuple(keys), frozenset(features)
    return tuple(
        name
        for name in BACKENDS
        if name != but
        and not features & CANNOT[name].keys()
        and all(expect(key, name).fit is not Fit.REFUSED for key in keys)
    )

"""What a BuildKit can do."""

from __future__ import annotations

from typing import Any

import pytest

from buildpush.backends.buildkit.argv import FIRST_CLIENT, Client
from buildpush.backends.buildkit.features import buildkit_version, features_of
from buildpush.plan import Feature

NEW: dict[str, Any] = {"driver": "docker-container", "client": Client(), "buildkit": "v0.26.2"}
STORE: dict[str, Any] = {
    "driver": "docker", "client": Client(), "engine": "28.5.2", "containerd_store": True
}  # fmt: skip
CLASSIC: dict[str, Any] = {**STORE, "containerd_store": False}
FIRST: dict[str, Any] = {"driver": "docker", "client": FIRST_CLIENT, "engine": "20.10.24+dfsg1"}

BASIC = {
    Feature.RUN, Feature.SECRETS, Feature.SSH, Feature.TARGET, Feature.RUN_MOUNTS,
    Feature.STAGE_MOUNTS, Feature.TMPFS_MOUNTS, Feature.NO_NETWORK,
    Feature.FOREIGN_PLATFORM, Feature.RUN_NETWORK, Feature.ADD_HOSTS, Feature.ADD_URL,
    Feature.CUSTOM_SYNTAX, Feature.LOCAL_CACHE, Feature.CACHE_IMPORT,
}  # fmt: skip
NEWER = {
    Feature.HEREDOCS, Feature.STEP_NETWORK, Feature.COPY_LINK, Feature.COPY_EXCLUDE,
    Feature.ADD_CHECKSUM, Feature.ADD_UNPACK, Feature.BUILD_CONTEXTS, Feature.LAYOUT_CONTEXTS,
    Feature.SHM_SIZE, Feature.ULIMITS, Feature.CGROUP_PARENT, Feature.ADD_GIT,
    Feature.NO_CACHE_FILTER, Feature.EXPORT_FILES, Feature.PUSH_DIRECTLY,
}  # fmt: skip
STORED = {
    Feature.MULTI_PLATFORM, Feature.EXPORT_LAYOUT, Feature.REGISTRY_CACHE, Feature.CACHE_BACKENDS,
    Feature.PROVENANCE, Feature.SBOM, Feature.ANNOTATIONS, Feature.COMPRESSION,
    Feature.SOURCE_DATE_EPOCH, Feature.REPRODUCIBLE,
}  # fmt: skip


@pytest.mark.parametrize(
    ("installation", "expected"),
    [(NEW, BASIC | NEWER | STORED | {Feature.COPY_PARENTS}), (STORE, BASIC | NEWER | STORED), (CLASSIC, BASIC | NEWER),
     (FIRST, BASIC)],
    ids=["container", "containerd store", "classic store", "docker 20.10"],
)  # fmt: skip
def test_what_each_kind_of_installation_does(
    installation: dict[str, Any], expected: set[Feature]
) -> None:
    """As it was tried on real ones."""
    features, notes = features_of(**installation)

    assert features == expected
    assert notes.keys() == set(Feature) - expected


def test_every_absence_is_explained() -> None:
    """In words that complete “cannot …”."""
    _, notes = features_of(**FIRST)

    assert notes[Feature.HEREDOCS] == "BuildKit 0.8 is too old: 0.10 can"
    assert notes[Feature.ANNOTATIONS] == "the docker CLI's own client cannot: install buildx"
    assert all(notes.values())


def test_what_the_builder_allows() -> None:
    """RUN --security=insecure and limits are matters of its configuration and version."""
    features, _ = features_of(
        **{**NEW, "client": Client(resources=True), "entitlements": ("security.insecure",)}
    )

    assert {Feature.INSECURE_RUN, Feature.RESOURCES} <= features


@pytest.mark.parametrize(
    ("buildkit", "engine", "expected"),
    [
        ("v0.12.5", "", (0, 12, 5)),
        ("v0.8+unknown", "20.10.24", (0, 8, 0)),
        ("v0.0.0+unknown", "28.5.2+dfsg4", (0, 25)),
        ("", "23.0.1", (0, 10)),
        ("", "28.1.0", (0, 20)),
        ("", "", ()),
        ("buildx-stable-1", "", ()),
    ],
)
def test_buildkits_version(buildkit: str, engine: str, expected: tuple[int, ...]) -> None:
    """Its own word, else the engine's."""
    assert buildkit_version(buildkit, engine) == expected


def test_flags_that_came_late_are_refused_unless_the_dockerfile_names_a_frontend() -> None:
    """dockerd 28.5 has all but one of them; the reason says what else would help."""
    features, notes = features_of(**STORE)

    assert {Feature.ADD_CHECKSUM, Feature.ADD_UNPACK, Feature.COPY_EXCLUDE} <= features
    assert notes[Feature.COPY_PARENTS] == (
        "BuildKit 0.25 is too old: 0.26 can, or # syntax=docker/dockerfile:1"
    )

"""Sources that mean harm: documents that list each other a thousandfold, or that make no sense."""

from __future__ import annotations

import json
from pathlib import Path

import buildpush
from buildpush.auth import Chain
from buildpush.oci import Digest, Platform, Repository
from buildpush.oci.layout import Layout
from buildpush.oci.wire import Descriptor, Index, MediaType, dump
from buildpush.publishing.sources.gathering import Gathering, RegistryPlace
from buildpush.publishing.sources.indexes import entries_of
from buildpush.registry import RegistryClient
from buildpush.runtime import CancelToken, Run
from buildpush.testing import LocalRegistry, RecordingSink

RUNGS = 40


def put(registry: LocalRegistry, name: str, *listed: Descriptor) -> Descriptor:
    """Store an index that differs from others by its *name*."""
    data = dump(
        Index(media_type=MediaType.OCI_INDEX, manifests=listed, annotations={"name": name})
    )
    digest = registry.add_manifest("app", data, MediaType.OCI_INDEX)
    return Descriptor(media_type=MediaType.OCI_INDEX, digest=digest, size=len(data))


def test_indexes_that_list_each_other_twice_are_looked_at_once(
    local_registry: LocalRegistry,
) -> None:
    """Two on each of forty rungs are eighty documents, and a million millions of ways down."""
    rung = (put(local_registry, "left"), put(local_registry, "right"))
    for number in range(RUNGS):
        rung = (
            put(local_registry, f"left of {number}", *rung),
            put(local_registry, f"right of {number}", *rung),
        )
    top = put(local_registry, "top", *rung)

    done = buildpush.copy(
        local_registry.reference(f"app@{top.digest}"), local_registry.reference("copy:1")
    )

    assert done.digest == top.digest
    assert local_registry.digest("copy", "1") == top.digest


def test_an_index_that_is_listed_often_is_flattened_once(
    local_registry: LocalRegistry, tmp_path: Path
) -> None:
    """Its images are in what comes of it once, too."""
    image = Descriptor(
        media_type=MediaType.OCI_MANIFEST,
        digest=Digest.of(b"image"),
        size=5,
        platform=Platform("linux", "amd64"),
    )
    inner = put(local_registry, "inner", image)
    top = put(local_registry, "top", inner, inner, inner)
    run = Run(workdir=tmp_path, cancel=CancelToken(), sink=RecordingSink())
    gathering = Gathering(layout=Layout.create(tmp_path / "gathered"), run=run)

    with RegistryClient(Chain(()), run) as client:
        place = RegistryPlace(client, Repository(local_registry.host, "app"))
        found = gathering.leaves(place, top.digest, "the test")

    assert [entry.descriptor.digest for entry in found] == [image.digest]


def test_features_of_a_platform_that_are_no_list_are_told_apart_all_the_same() -> None:
    """Nobody checks what an index says there."""
    platform = {"os": "windows", "architecture": "amd64", "os.features": 5}
    entry = {"mediaType": MediaType.OCI_MANIFEST, "digest": str(Digest.of(b"")), "size": 0}
    data = json.dumps({"schemaVersion": 2, "manifests": [{**entry, "platform": platform}]})

    (found,) = entries_of(data.encode(), "the test")

    assert found.runs_on == ("windows/amd64", "", "5")

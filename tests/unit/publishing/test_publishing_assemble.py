"""`assemble`: one index of images that were built apart, in any repositories and registries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import buildpush
from buildpush import Digest, Platform
from buildpush.errors import NotFoundError, SpecError
from buildpush.oci.layout import Layout
from buildpush.oci.wire import Descriptor, ImageConfig, Index, Manifest, MediaType, dump
from buildpush.testing import LocalRegistry, random_image
from buildpush.testing.images import random_index

AMD, ARM = Platform("linux", "amd64"), Platform("linux", "arm64")
V6 = Platform("linux", "arm", "v6")


@pytest.fixture
def here() -> Iterator[LocalRegistry]:
    with LocalRegistry() as running:
        yield running


@pytest.fixture
def there() -> Iterator[LocalRegistry]:
    with LocalRegistry() as running:
        yield running


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.create(tmp_path / "image")


def pushed(layout: Layout, registry: LocalRegistry, name: str, platform: Platform) -> str:
    """Push an image for *platform*; its reference, by digest."""
    digest = random_image(layout, platform=platform)
    buildpush.push(layout.path, registry.reference(f"{name}:build"), image=str(digest))
    return registry.reference(f"{name}@{digest}")


def entries(registry: LocalRegistry, repository: str, tag: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(registry.manifest(repository, tag) or b"")[
        "manifests"
    ]
    return found


def test_images_of_other_repositories_and_registries_become_one(
    here: LocalRegistry, there: LocalRegistry, layout: Layout
) -> None:
    """Their manifests keep every byte; their platforms are read from their configs."""
    images = [
        pushed(layout, here, "a/amd", AMD),
        pushed(layout, there, "b/arm", ARM),
        pushed(layout, here, "acme/app", V6),
    ]

    result = buildpush.assemble(
        images, here.reference("acme/app:1"), annotations={"org.opencontainers.image.title": "x"}
    )

    assert result.digest == here.digest("acme/app", "1")
    assert set(result.images) == {AMD, ARM, V6}
    assert json.loads(here.manifest("acme/app", "1") or b"") == {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_INDEX,
        "manifests": [
            {
                "mediaType": MediaType.OCI_MANIFEST,
                "digest": image.partition("@")[2],
                "size": len(here.manifest("acme/app", image.partition("@")[2]) or b""),
                "platform": platform,
            }
            for image, platform in zip(
                images,
                (
                    {"architecture": "amd64", "os": "linux"},
                    {"architecture": "arm64", "os": "linux"},
                    {"architecture": "arm", "os": "linux", "variant": "v6"},
                ),
                strict=True,
            )
        ],
        "annotations": {"org.opencontainers.image.title": "x"},
    }
    for image in images:
        digest = Digest(image.partition("@")[2])
        assert here.manifest("acme/app", digest) == layout.read(digest)


def test_the_same_images_make_the_same_index(here: LocalRegistry, layout: Layout) -> None:
    """There is nothing of today in it."""
    images = [pushed(layout, here, "app", AMD), pushed(layout, here, "app", ARM)]

    first = buildpush.assemble(images, here.reference("app:1"))
    second = buildpush.assemble(images, here.reference("other:2"))

    assert first.digest == second.digest


def test_two_images_for_one_platform_are_refused(
    here: LocalRegistry, there: LocalRegistry, layout: Layout
) -> None:
    """Both are named."""
    first = pushed(layout, here, "a", AMD)
    second_digest = random_image(layout, platform=AMD, seed=2)
    buildpush.push(layout.path, there.reference("b:1"), image=str(second_digest))
    second = there.reference("b:1")

    with pytest.raises(SpecError, match=f"for linux/amd64: {first} and {second_digest} of .*b:1"):
        buildpush.assemble([first, second], here.reference("app:1"))
    assert here.tags("app") == ()


def test_an_image_that_is_named_twice_is_in_it_once(here: LocalRegistry, layout: Layout) -> None:
    """It is no conflict."""
    image = pushed(layout, here, "a", AMD)

    buildpush.assemble([image, image], here.reference("app:1"))

    assert len(entries(here, "app", "1")) == 1


def test_layouts_and_artifacts_can_be_among_them(
    here: LocalRegistry, layout: Layout, tmp_path: Path
) -> None:
    """What two backends built is pushed with the index."""
    other = Layout.create(tmp_path / "other")
    random_image(layout, platform=AMD)
    arm = random_image(other, platform=ARM)

    result = buildpush.assemble([layout.path, f"oci:{other.path}@{arm}"], here.reference("app:1"))

    assert set(result.images) == {AMD, ARM}
    assert here.manifest("app", arm) == other.read(arm)


def attested(layout: Layout, platform: Platform, seed: int = 0) -> Descriptor:
    """An index of one image and its attestation, as BuildKit makes them; with more to be kept."""
    image = random_image(layout, platform=platform, seed=seed)
    config = ImageConfig(architecture="unknown", os="unknown").dump()
    statement = layout.add_bytes(b"{}", "application/vnd.in-toto+json")
    manifest = dump(
        Manifest(config=layout.add_bytes(config, MediaType.OCI_CONFIG), layers=(statement,))
    )
    attestation = layout.add_bytes(manifest, MediaType.OCI_MANIFEST)
    tree = {
        "schemaVersion": 2,
        "mediaType": MediaType.OCI_INDEX,
        "manifests": [
            {
                "mediaType": MediaType.OCI_MANIFEST,
                "digest": str(image),
                "size": len(layout.read(image)),
                "annotations": {"kept": "yes"},
                "platform": {
                    "architecture": platform.architecture,
                    "os": platform.os,
                    "os.version": "10.0.17763.1",
                },
            },
            {
                "mediaType": MediaType.OCI_MANIFEST,
                "digest": str(attestation.digest),
                "size": attestation.size,
                "annotations": {
                    "vnd.docker.reference.digest": str(image),
                    "vnd.docker.reference.type": "attestation-manifest",
                },
                "platform": {"architecture": "unknown", "os": "unknown"},
            },
        ],
    }
    return layout.add_bytes(json.dumps(tree).encode(), MediaType.OCI_INDEX)


@pytest.mark.parametrize("attestations", ["keep", "drop"])
def test_an_index_is_flattened_with_its_attestations_or_without(
    here: LocalRegistry, layout: Layout, attestations: str
) -> None:
    """Entries stay as they were written."""
    indexes = [attested(layout, AMD), attested(layout, ARM)]
    for number, index in enumerate(indexes):
        buildpush.push(f"oci:{layout.path}@{index.digest}", here.reference(f"part:{number}"))
    parts = [json.loads(layout.read(index.digest))["manifests"] for index in indexes]
    kept = parts if attestations == "keep" else [part[:1] for part in parts]

    result = buildpush.assemble(
        [here.reference("part:0"), here.reference("part:1")],
        here.reference("app:1"),
        attestations=attestations,  # type: ignore[arg-type]
    )

    assert entries(here, "app", "1") == [entry for part in kept for entry in part]
    assert set(result.images) == {AMD, ARM}


def test_windows_has_several_versions_of_one_platform(here: LocalRegistry, layout: Layout) -> None:
    """Which are no conflict."""
    images = []
    for number, version in enumerate(("10.0.17763.1", "10.0.20348.1")):
        config = ImageConfig(architecture="amd64", os="windows", os_version=version).dump()
        manifest = Manifest(config=layout.add_bytes(config, MediaType.OCI_CONFIG))
        found = layout.add_bytes(dump(manifest), MediaType.OCI_MANIFEST)
        images.append(f"oci:{layout.path}@{found.digest}")
        assert number < 2

    buildpush.assemble(images, here.reference("app:1"))

    said = [entry["platform"] for entry in entries(here, "app", "1")]
    assert said == [
        {"architecture": "amd64", "os": "windows", "os.version": version}
        for version in ("10.0.17763.1", "10.0.20348.1")
    ]


def test_dockers_manifests_make_dockers_list(here: LocalRegistry, layout: Layout) -> None:
    """As docker's own tools do; annotations need OCI's index."""
    images = []
    for platform in (AMD, ARM):
        config = ImageConfig(architecture=platform.architecture, os="linux").dump()
        manifest = Manifest(
            media_type=MediaType.DOCKER_MANIFEST,
            config=layout.add_bytes(config, MediaType.DOCKER_CONFIG),
        )
        digest = layout.add_bytes(dump(manifest), MediaType.DOCKER_MANIFEST).digest
        images.append(f"oci:{layout.path}@{digest}")

    buildpush.assemble(images, here.reference("app:1"))
    buildpush.assemble(images, here.reference("app:2"), annotations={"a": "b"})

    types = [json.loads(here.manifest("app", tag) or b"")["mediaType"] for tag in ("1", "2")]
    assert types == [MediaType.DOCKER_LIST, MediaType.OCI_INDEX]


def test_platforms_can_be_chosen(here: LocalRegistry, layout: Layout) -> None:
    """From all that the inputs have."""
    digest = random_index(layout, [AMD, ARM, V6])

    result = buildpush.assemble(
        [f"oci:{layout.path}@{digest}"],
        here.reference("app:1"),
        platforms=["linux/amd64", "linux/arm/v6"],
    )

    assert set(result.images) == {AMD, V6}
    with pytest.raises(SpecError, match="none of the images is for linux/s390x"):
        buildpush.assemble([layout.path], here.reference("app:2"), platforms="linux/s390x")


def test_nested_indexes_are_flattened(here: LocalRegistry, layout: Layout) -> None:
    """However they came to be."""
    inner = random_index(layout, [AMD, ARM])
    size = len(layout.read(inner))
    entry = Descriptor(media_type=MediaType.OCI_INDEX, digest=inner, size=size)
    outer = layout.add_bytes(dump(Index(manifests=(entry,))), MediaType.OCI_INDEX)

    buildpush.assemble([f"oci:{layout.path}@{outer.digest}"], here.reference("app:1"))

    assert {entry["mediaType"] for entry in entries(here, "app", "1")} == {MediaType.OCI_MANIFEST}
    assert len(entries(here, "app", "1")) == 2


def test_an_artifact_is_no_image(here: LocalRegistry, layout: Layout) -> None:
    """It has no platform that anybody could ask for."""
    config = layout.add_bytes(b"{}", MediaType.OCI_EMPTY)
    manifest = dump(Manifest(config=config, artifact_type="application/x"))
    digest = layout.add_bytes(manifest, MediaType.OCI_MANIFEST).digest

    with pytest.raises(SpecError, match="is an artifact, not an image"):
        buildpush.assemble([f"oci:{layout.path}@{digest}"], here.reference("app:1"))


@pytest.mark.parametrize("images", [[], "ghcr.io/acme/app:1"])
def test_images_are_a_list(images: list[str]) -> None:
    """One reference is not, and none is a mistake."""
    with pytest.raises(SpecError, match="images: name"):
        buildpush.assemble(images, "ghcr.io/acme/app:1")


def test_an_image_that_is_not_there(here: LocalRegistry) -> None:
    """By its name."""
    with pytest.raises(NotFoundError, match="gone:1"):
        buildpush.assemble([here.reference("gone:1")], here.reference("app:1"))

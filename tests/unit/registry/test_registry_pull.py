"""Pulling images: which entry of an index, and what ends up in the layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from buildpush.errors import DigestMismatchError, NotFoundError, RegistryError
from buildpush.events import TaskFinished
from buildpush.oci import Digest, ImageReference, Platform
from buildpush.oci.layout import Layout
from buildpush.oci.wire import Descriptor, Index, Manifest, MediaType, dump
from buildpush.registry import RegistryClient
from buildpush.registry.pull import choose, pull, resolve
from buildpush.registry.push import push
from buildpush.runtime import Run
from buildpush.testing import Fault, FlipByte, LocalRegistry, RecordingSink, Status

AMD, ARM = Platform.parse("linux/amd64"), Platform.parse("linux/arm64")


def index_of(*platforms: str | None) -> Index:
    """An index with one entry per platform; an entry's digest is that of its platform's name."""
    return Index(
        media_type=MediaType.OCI_INDEX,
        manifests=tuple(
            Descriptor(
                media_type=MediaType.OCI_MANIFEST,
                digest=Digest.of(str(text).encode()),
                size=1,
                platform=Platform.parse(text) if text else None,
            )
            for text in platforms
        ),
    )


@pytest.mark.parametrize(
    ("wanted", "there", "chosen"),
    [
        ("linux/amd64", ("linux/arm64", "linux/amd64"), "linux/amd64"),
        ("linux/arm64/v8", ("linux/amd64", "linux/arm64"), "linux/arm64"),
        ("linux/arm/v7", ("linux/arm/v5", "linux/arm/v6"), "linux/arm/v6"),
        ("linux/arm", ("linux/arm/v6", "linux/arm/v7"), "linux/arm/v7"),
        ("linux/amd64/v3", ("linux/amd64", "linux/amd64/v2"), "linux/amd64/v2"),
        ("linux/amd64", ("linux/amd64/v2", "linux/amd64"), "linux/amd64"),
        ("linux/riscv64", ("linux/riscv64",), "linux/riscv64"),
        ("linux/s390x", (None,), None),
    ],
)
def test_the_best_entry_is_chosen(
    wanted: str, there: tuple[str | None, ...], chosen: str | None
) -> None:
    """The same platform, else the newest older variant; an entry without a platform if alone."""
    entry = choose(index_of(*there), Platform.parse(wanted), "app:1")

    assert entry.digest == Digest.of(str(chosen).encode())


@pytest.mark.parametrize(
    ("wanted", "there", "listed"),
    [
        (
            "linux/s390x",
            ("linux/arm64", "linux/amd64", "unknown/unknown"),
            "linux/amd64, linux/arm64$",
        ),
        ("linux/amd64", ("linux/amd64/v2",), "linux/amd64/v2$"),
        ("linux/amd64", (), "no platform at all"),
        ("linux/amd64", (None, None), "no platform at all"),
    ],
)
def test_a_missing_platform_lists_what_there_is(
    wanted: str, there: tuple[str | None, ...], listed: str
) -> None:
    """Attestations are no platform."""
    with pytest.raises(NotFoundError, match=f"^app:1 has no image for {wanted}; it has {listed}"):
        choose(index_of(*there), Platform.parse(wanted), "app:1")


@pytest.fixture
def index(
    client: RegistryClient, images: Any, run: Run, local_registry: LocalRegistry
) -> Descriptor:
    """An index for two platforms, pushed as ``app:1``; the images share a layer."""
    pushed: Descriptor = images.index(
        {
            "linux/amd64": images.image(b"shared", b"amd", config=b'{"os":"linux","n":1}'),
            "linux/arm64": images.image(b"shared", b"arm", config=b'{"os":"linux","n":2}'),
        }
    )
    reference = ImageReference.parse(local_registry.reference("app:1"))
    push(client, images.layout, pushed.digest, [reference], origins={}, run=run)
    local_registry.clear_log()
    return pushed


@pytest.fixture
def app(local_registry: LocalRegistry) -> ImageReference:
    return ImageReference.parse(local_registry.reference("app:1"))


def test_an_index_resolves_to_a_platforms_manifest(
    client: RegistryClient, index: Descriptor, app: ImageReference
) -> None:
    """The manifest's bytes come with it."""
    fetched, manifest = resolve(client, app, ARM)

    assert [layer.digest for layer in manifest.layers] == [
        Digest.of(b"shared"),
        Digest.of(b"arm"),
    ]
    assert fetched.descriptor.digest == Digest.of(fetched.data)


def test_a_plain_manifest_resolves_to_itself(
    client: RegistryClient, images: Any, local_registry: LocalRegistry, run: Run
) -> None:
    """There is nothing to choose."""
    image = images.image(b"only")
    reference = ImageReference.parse(local_registry.reference("plain:1"))
    push(client, images.layout, image.digest, [reference], origins={}, run=run)

    fetched, _ = resolve(client, reference, AMD)

    assert fetched.descriptor.digest == image.digest


def test_indexes_within_indexes_end_somewhere(
    client: RegistryClient, local_registry: LocalRegistry, app: ImageReference
) -> None:
    """A registry cannot keep us reading for ever."""
    child = Digest.of(b"")
    for _ in range(6):
        data = dump(
            Index(
                media_type=MediaType.OCI_INDEX,
                manifests=(
                    Descriptor(media_type=MediaType.OCI_INDEX, digest=child, size=1, platform=AMD),
                ),
            )
        )
        child = local_registry.add_manifest("app", data, MediaType.OCI_INDEX, tag="1")

    with pytest.raises(RegistryError, match="index of indexes"):
        resolve(client, app, AMD)


def test_one_platform_is_copied_into_a_layout(
    client: RegistryClient, index: Descriptor, app: ImageReference, run: Run, tmp_path: Path
) -> None:
    """Its manifest, its config and its layers; nothing of the other platform."""
    target = Layout.create(tmp_path / "pulled")

    pulled = pull(client, app, target, platform=AMD, run=run)

    (_, manifest), *more = target.manifests(pulled.digest)
    assert isinstance(manifest, Manifest) and not more
    parts = (manifest.config, *manifest.layers)
    assert [target.blob_path(part.digest).read_bytes() for part in parts] == [
        b'{"os":"linux","n":1}',
        b"shared",
        b"amd",
    ]
    assert not target.has(Digest.of(b"arm"))


def test_everything_is_copied_when_no_platform_is_asked_for(
    client: RegistryClient,
    index: Descriptor,
    images: Any,
    app: ImageReference,
    run: Run,
    tmp_path: Path,
    local_registry: LocalRegistry,
    recording_sink: RecordingSink,
) -> None:
    """The index and all its images, byte for byte; a shared layer once."""
    target = Layout.create(tmp_path / "pulled")

    pulled = pull(client, app, target, run=run)

    assert pulled.digest == index.digest
    assert [target.read(d.digest) for d, _ in target.manifests(index.digest)] == [
        images.layout.read(d.digest) for d, _ in images.layout.manifests(index.digest)
    ]
    assert all(target.has(Digest.of(layer)) for layer in (b"shared", b"amd", b"arm"))
    shared = f"/v2/app/blobs/{Digest.of(b'shared')}"
    assert [r.path for r in local_registry.requests].count(shared) == 1
    assert f"pull {Digest.of(b'shared')}" in {e.task for e in recording_sink.of(TaskFinished)}


def test_what_the_layout_has_is_not_fetched_again(
    client: RegistryClient,
    index: Descriptor,
    app: ImageReference,
    run: Run,
    tmp_path: Path,
    local_registry: LocalRegistry,
) -> None:
    """A second pull reads manifests only."""
    target = Layout.create(tmp_path / "pulled")
    pull(client, app, target, run=run)
    local_registry.clear_log()

    pull(client, app, target, run=run)

    assert not [r for r in local_registry.requests if "/blobs/" in r.path]


@pytest.mark.parametrize(
    ("action", "error"),
    [(FlipByte(0), DigestMismatchError), (Status(404), NotFoundError)],
    ids=["corrupt", "missing"],
)
def test_a_bad_blob_is_not_kept(
    client: RegistryClient,
    index: Descriptor,
    app: ImageReference,
    run: Run,
    tmp_path: Path,
    local_registry: LocalRegistry,
    action: FlipByte | Status,
    error: type[Exception],
) -> None:
    """Nothing that does not hash to its name is in the layout."""
    digest = Digest.of(b"amd")
    local_registry.inject(Fault(path=str(digest), action=action))
    target = Layout.create(tmp_path / "pulled")

    with pytest.raises(error, match=str(digest)):
        pull(client, app, target, platform=AMD, run=run)

    assert not target.has(digest)

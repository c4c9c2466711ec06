"""`copy`: between repositories and registries, byte for byte, without touching the disk."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve

import buildpush
from buildpush import Credential, Digest, Platform, StaticKeychain
from buildpush.errors import AuthError, NotFoundError
from buildpush.oci.layout import Layout
from buildpush.oci.wire import Descriptor, Index, Manifest, MediaType, dump
from buildpush.testing import LocalRegistry, random_image
from buildpush.testing.images import random_index
from buildpush.testing.registry import Dialect

AMD, ARM = Platform("linux", "amd64"), Platform("linux", "arm64")
EMPTY = b"{}"


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


def refer(registry: LocalRegistry, repository: str, subject: Digest, text: bytes) -> Digest:
    """Put an artifact that refers to *subject*, as a signature does."""
    old = registry.manifest(repository, subject)
    assert old is not None
    for data in (EMPTY, text):
        registry.add_blob(repository, data)
    manifest = Manifest(
        config=Descriptor(media_type=MediaType.OCI_EMPTY, digest=Digest.of(EMPTY), size=2),
        layers=(Descriptor(media_type="text/plain", digest=Digest.of(text), size=len(text)),),
        artifact_type="application/vnd.example.signature",
        subject=Descriptor(media_type=MediaType.OCI_MANIFEST, digest=subject, size=len(old)),
    )
    return registry.add_manifest(repository, dump(manifest), MediaType.OCI_MANIFEST)


def test_all_platforms_are_copied_byte_for_byte(
    here: LocalRegistry, there: LocalRegistry, layout: Layout
) -> None:
    """From registry to registry, by tag or digest."""
    digest = random_index(layout, [AMD, ARM])
    buildpush.push(layout.path, here.reference("a/app:1"))

    result = buildpush.copy(here.reference("a/app:1"), there.reference("b/app:2"))
    pinned = buildpush.copy(here.reference(f"a/app@{digest}"), there.reference("c/app:3"))

    assert result.digest == pinned.digest == digest == there.digest("b/app", "2")
    assert set(result.images) == {AMD, ARM}
    for descriptor, document in layout.manifests(digest):
        assert there.manifest("b/app", descriptor.digest) == layout.read(descriptor.digest)
        for blob in (document.config, *document.layers) if isinstance(document, Manifest) else ():
            assert there.blob("b/app", blob.digest) == here.blob("a/app", blob.digest)


def test_within_a_registry_blobs_are_mounted(here: LocalRegistry, layout: Layout) -> None:
    """Not one byte of a blob moves but those of configs, which were read to see what they are."""
    random_index(layout, [AMD, ARM], layers=3)
    buildpush.push(layout.path, here.reference("a/app:1"))
    here.clear_log()

    result = buildpush.copy(here.reference("a/app:1"), here.reference("b/app:1"))

    assert result.destinations[0].uploaded == 0
    assert result.destinations[0].mounted > 0
    assert sum(r.bytes_received for r in here.requests if "/blobs/" in r.path) == 0


def test_between_registries_nothing_large_touches_the_disk(
    here: LocalRegistry, there: LocalRegistry, layout: Layout, tmp_path: Path
) -> None:
    """Layers are sent on as they arrive: a process that may write no large file copies them."""
    digest = random_image(layout, size=1 << 20)
    buildpush.push(layout.path, here.reference("a/app:1"))
    code = (
        "import resource as r, sys, buildpush;"
        "before = r.getrlimit(r.RLIMIT_FSIZE);"
        "r.setrlimit(r.RLIMIT_FSIZE, (1 << 16, before[1]));"
        "print(buildpush.copy(*sys.argv[1:]).digest);"
        "r.setrlimit(r.RLIMIT_FSIZE, before)"
    )
    argv = [sys.executable, "-c", code, here.reference("a/app:1"), there.reference("b/app:1")]

    done = subprocess.run(argv, capture_output=True, text=True, check=False)

    assert (done.stdout.strip(), done.stderr) == (str(digest), "")


def test_platforms_can_be_chosen(
    here: LocalRegistry, there: LocalRegistry, layout: Layout
) -> None:
    """Then only their blobs move."""
    top = layout.document(random_index(layout, [AMD, ARM]))
    assert isinstance(top, Index)
    buildpush.push(layout.path, here.reference("a/app:1"))

    result = buildpush.copy(
        here.reference("a/app:1"), there.reference("b/app:1"), platforms=["linux/arm64"]
    )

    assert result.digest == top.manifests[1].digest
    assert there.manifest("b/app", top.manifests[0].digest) is None


def test_several_destinations_are_read_for_once(
    here: LocalRegistry, there: LocalRegistry, layout: Layout
) -> None:
    """Two tags, and another repository that mounts from the first."""
    random_image(layout, size=1 << 16)
    buildpush.push(layout.path, here.reference("a/app:1"))
    here.clear_log()
    to = [there.reference(name) for name in ("b/app:1", "b/app:2", "c/app:1")]

    result = buildpush.copy(here.reference("a/app:1"), to)

    assert [one.status for one in result.destinations] == ["pushed"] * 3
    reads = [r.path for r in here.requests if r.method == "GET" and "/blobs/" in r.path]
    assert len(reads) == len(set(reads)) == 2


def test_foreign_layers_are_left_where_they_are(
    here: LocalRegistry, there: LocalRegistry, layout: Layout
) -> None:
    """Nobody may distribute them; the manifest names them all the same."""
    document = layout.document(random_image(layout))
    assert isinstance(document, Manifest)
    foreign = Descriptor(
        media_type="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        digest=Digest.of(b"windows"),
        size=7,
        urls=("https://example.com/windows",),
    )
    data = dump(evolve(document, layers=(foreign, *document.layers)))
    buildpush.push(layout.path, here.reference("a/app:1"))
    digest = here.add_manifest("a/app", data, MediaType.OCI_MANIFEST, tag="2")

    assert buildpush.copy(here.reference("a/app:2"), there.reference("b/app:2")).digest == digest
    assert there.manifest("b/app", "2") == data


def test_what_is_not_there_is_not_found(here: LocalRegistry, there: LocalRegistry) -> None:
    """By its name."""
    with pytest.raises(NotFoundError, match="a/app:1"):
        buildpush.copy(here.reference("a/app:1"), there.reference("b/app:1"))


def test_each_registry_gets_its_own_credential(layout: Layout) -> None:
    """The source's is for pulling there, the destination's for pushing here."""
    with (
        LocalRegistry(auth="token", users={"reader": "s3cret-1"}) as here,
        LocalRegistry(auth="basic", users={"writer": "s3cret-2"}) as there,
    ):
        auth = [
            StaticKeychain(
                prefix=registry.host, credential=Credential(username=name, password=password)
            )
            for registry, name, password in (
                (here, "reader", "s3cret-1"),
                (there, "writer", "s3cret-2"),
            )
        ]
        random_image(layout)
        buildpush.push(layout.path, here.reference("a/app:1"), auth=auth)

        buildpush.copy(here.reference("a/app:1"), there.reference("b/app:1"), auth=auth)
        with pytest.raises(AuthError):
            buildpush.copy(here.reference("a/app:1"), there.reference("b/app:2"), auth=auth[:1])

        assert {r.principal for r in there.requests} <= {"", "writer"}
        assert there.tags("b/app") == ("1",)


# --- what refers to an image ---


def test_referrers_stay_behind_unless_they_are_wanted(
    here: LocalRegistry, there: LocalRegistry, layout: Layout
) -> None:
    """Most people do not want somebody else's signatures."""
    digest = random_image(layout)
    buildpush.push(layout.path, here.reference("a/app:1"))
    refer(here, "a/app", digest, b"signed")

    buildpush.copy(here.reference("a/app:1"), there.reference("b/app:1"))

    assert not [r for r in here.requests if "/referrers/" in r.path]


def test_referrers_are_copied_with_their_own(
    here: LocalRegistry, there: LocalRegistry, layout: Layout
) -> None:
    """The image's, a platform's, and a signature of a signature."""
    top = random_index(layout, [AMD, ARM])
    document = layout.document(top)
    assert isinstance(document, Index)
    buildpush.push(layout.path, here.reference("a/app:1"))
    first = refer(here, "a/app", top, b"signed")
    second = refer(here, "a/app", document.manifests[1].digest, b"sbom")
    third = refer(here, "a/app", first, b"countersigned")

    result = buildpush.copy(
        here.reference("a/app:1"),
        [there.reference("b/app:1"), there.reference("c/app:1")],
        referrers=True,
    )

    assert result.digest == top
    for repository in ("b/app", "c/app"):
        for found in (first, second, third):
            assert there.manifest(repository, found) == here.manifest("a/app", found)


def test_where_there_is_no_api_referrers_are_listed_by_a_tag(layout: Layout) -> None:
    """As the distribution-spec has clients do; what the tag lists already stays."""
    without = Dialect(referrers=False)
    with LocalRegistry(dialect=without) as here, LocalRegistry(dialect=without) as there:
        digest = random_image(layout)
        buildpush.push(layout.path, here.reference("a/app:1"))
        found = [refer(here, "a/app", digest, text) for text in (b"one", b"two")]
        sizes = [len(here.manifest("a/app", one) or b"") for one in found]
        index = Index(
            manifests=tuple(
                Descriptor(media_type=MediaType.OCI_MANIFEST, digest=one, size=size)
                for one, size in zip(found, sizes, strict=True)
            )
        )
        tag = str(digest).replace(":", "-")
        here.add_manifest("a/app", dump(index), MediaType.OCI_INDEX, tag=tag)

        buildpush.copy(here.reference("a/app:1"), there.reference("b/app:1"), referrers=True)

        listed = json.loads(there.manifest("b/app", tag) or b"")
        assert [entry["digest"] for entry in listed["manifests"]] == [*map(str, found)]
        assert all(there.manifest("b/app", one) for one in found)

"""Layouts on disk: whole files, checked reads, and a verification that misses nothing."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve

from buildpush.errors import DigestMismatchError, NotFoundError, RegistryError, SpecError
from buildpush.oci import Digest, Platform, _folder
from buildpush.oci.layout import Layout, verify
from buildpush.oci.wire import (
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    MediaType,
    dump,
)

MakeImage = Callable[..., Descriptor]


def files_of(layout: Layout) -> dict[str, bytes]:
    return {
        str(path.relative_to(layout.path)): path.read_bytes()
        for path in sorted(layout.path.rglob("*"))
        if path.is_file()
    }


def manifest_of(layout: Layout, descriptor: Descriptor) -> Manifest:
    document = layout.document(descriptor.digest)
    assert isinstance(document, Manifest)
    return document


# --- the folder ---


def test_a_new_layout_is_as_the_image_spec_says(tmp_path: Path) -> None:
    """Two files and a folder, readable by all whatever the umask."""
    umask = os.umask(0o077)
    try:
        layout = Layout.create(tmp_path / "a" / "b")
    finally:
        os.umask(umask)

    assert files_of(layout) == {
        "index.json": b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json",'
        b'"manifests":[]}',
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
    }
    modes = {
        str(p.relative_to(layout.path)): p.stat().st_mode & 0o777 for p in layout.path.rglob("*")
    }
    assert modes == {
        "index.json": 0o644,
        "oci-layout": 0o644,
        "blobs": 0o755,
        "blobs/sha256": 0o755,
    }


def test_creating_keeps_what_is_there(layout: Layout) -> None:
    """A layout may hold several images."""
    descriptor = layout.add_bytes(b"{}", "m")
    layout.set_index([descriptor])

    assert Layout.create(layout.path).index() == Index(manifests=(descriptor,))


def test_the_path_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later change of folder does not move the layout."""
    monkeypatch.chdir(tmp_path)

    assert Layout.create(Path("x")).path == tmp_path / "x"


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no oci-layout file"),
        ({"oci-layout": b"nonsense"}, "oci-layout is damaged"),
        ({"oci-layout": b"{}"}, "oci-layout is damaged"),
        ({"oci-layout": b'{"imageLayoutVersion":"2.0.0"}'}, "version other than 1"),
        ({"oci-layout": b'{"imageLayoutVersion":"1.0.0"}'}, "no index.json"),
        (
            {"oci-layout": b'{"imageLayoutVersion":"1.0.0"}', "index.json": b"[]"},
            "broken OCI layout: manifest: the document",
        ),
    ],
)
def test_opening_says_why_a_folder_is_no_layout(
    tmp_path: Path, files: dict[str, bytes], message: str
) -> None:
    """The caller gave the path, so it is the caller's input that is wrong."""
    (tmp_path / "other").write_bytes(b"")
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)

    with pytest.raises(SpecError, match=message):
        Layout.open(tmp_path)
    with pytest.raises(SpecError, match=message):
        Layout.create(tmp_path)


def test_what_is_added_can_be_read(layout: Layout) -> None:
    """By its digest, checked."""
    descriptor = layout.add_bytes(b"data", "text/plain")

    assert descriptor == Descriptor(media_type="text/plain", digest=Digest.of(b"data"), size=4)
    assert layout.has(descriptor.digest) and not layout.has(Digest.of(b"other"))
    assert layout.read(descriptor.digest) == b"data"
    assert layout.blob_path(descriptor.digest).stat().st_mode & 0o777 == 0o644
    assert layout.add_bytes(b"data", "text/plain") == descriptor


def test_reading_checks_presence_size_and_digest(layout: Layout) -> None:
    """Three ways to be wrong, three errors."""
    digest = layout.add_bytes(b"data", "m").digest

    with pytest.raises(RegistryError, match="larger than 3 bytes"):
        layout.read(digest, 3)
    layout.blob_path(digest).write_bytes(b"date")
    with pytest.raises(DigestMismatchError, match=str(digest)):
        layout.read(digest)
    with pytest.raises(NotFoundError, match=str(Digest.of(b"other"))):
        layout.read(Digest.of(b"other"))


def test_sha512_is_a_digest_too(layout: Layout) -> None:
    """In a folder of its own."""
    digest = Digest(f"sha512:{hashlib.sha512(b'x').hexdigest()}")

    layout.add_stream([b"x"], Descriptor(media_type="m", digest=digest, size=1))

    assert layout.blob_path(digest).parent.name == "sha512"
    assert layout.read(digest) == b"x"


@pytest.mark.parametrize(("link", "shared"), [(True, True), (False, False)])
def test_a_file_is_linked_or_copied(
    layout: Layout, tmp_path: Path, link: bool, shared: bool
) -> None:
    """A hard link costs nothing; a copy survives changes of the source."""
    source = tmp_path / "blob"
    source.write_bytes(b"data")
    descriptor = Descriptor(media_type="m", digest=Digest.of(b"data"), size=4)

    layout.add_file(source, descriptor, link=link)
    layout.add_file(source, descriptor, link=link)

    assert layout.read(descriptor.digest) == b"data"
    assert layout.blob_path(descriptor.digest).samefile(source) == shared


def test_a_link_to_a_file_that_is_gone_is_replaced(layout: Layout, tmp_path: Path) -> None:
    """A layout whose store was cleaned can be filled again."""
    digest = Digest.of(b"data")
    layout.blob_path(digest).symlink_to(tmp_path / "gone")
    source = tmp_path / "blob"
    source.write_bytes(b"data")

    layout.add_file(source, Descriptor(media_type="m", digest=digest, size=4))

    assert layout.read(digest) == b"data"


def test_a_file_is_no_layout(tmp_path: Path) -> None:
    """Neither to open nor to fill."""
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(SpecError, match="no oci-layout file"):
        Layout.create(tmp_path / "file")


def test_between_file_systems_a_file_is_linked_symbolically(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a hard link cannot be."""

    def no_link(*_: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(_folder.os, "link", no_link)
    source = tmp_path / "blob"
    source.write_bytes(b"data")

    layout.add_file(source, Descriptor(media_type="m", digest=Digest.of(b"data"), size=4))

    assert layout.blob_path(Digest.of(b"data")).readlink() == source


def test_a_file_of_another_size_is_refused(layout: Layout, tmp_path: Path) -> None:
    """The digest is taken on trust, the size costs nothing to check."""
    source = tmp_path / "blob"
    source.write_bytes(b"data")
    descriptor = Descriptor(media_type="m", digest=Digest.of(b"data"), size=5)

    with pytest.raises(DigestMismatchError, match="5 bytes"):
        layout.add_file(source, descriptor)


@pytest.mark.parametrize("chunks", [[b"da", b"to"], [b"da"], [b"data", b"!"], []])
def test_a_stream_of_other_content_leaves_nothing(layout: Layout, chunks: list[bytes]) -> None:
    """Changed, short, long and absent."""
    descriptor = Descriptor(media_type="m", digest=Digest.of(b"data"), size=4)
    before = files_of(layout)

    with pytest.raises(DigestMismatchError, match=str(descriptor.digest)):
        layout.add_stream(chunks, descriptor)

    assert files_of(layout) == before


def test_a_stream_that_breaks_off_leaves_nothing(layout: Layout) -> None:
    """Whatever it raises."""
    before = files_of(layout)

    with pytest.raises(ZeroDivisionError):
        layout.add_stream(
            (bytes(1 // n) for n in (1, 0)),
            Descriptor(media_type="m", digest=Digest.of(b"\0"), size=1),
        )

    assert files_of(layout) == before


# --- walking and verifying ---


@pytest.fixture
def two_platforms(layout: Layout, make_image: MakeImage) -> tuple[Layout, Digest]:
    """An index of two images that share their first layer, with an attestation."""
    shared = {"shared": b"s" * 1000}
    children = [
        make_image(layout, shared, {"bin": name.encode()}, architecture=name)
        for name in ("amd64", "arm64")
    ]
    statement = layout.add_bytes(b'{"predicateType":"x"}', "application/vnd.in-toto+json")
    config = ImageConfig(architecture="unknown", os="unknown", diff_ids=(statement.digest,))
    attestation = layout.add_bytes(
        dump(
            Manifest(
                config=layout.add_bytes(config.dump(), MediaType.OCI_CONFIG), layers=(statement,)
            )
        ),
        MediaType.OCI_MANIFEST,
    )
    attestation = evolve(attestation, platform=Platform("unknown", "unknown"))
    top = layout.add_bytes(dump(Index(manifests=(*children, attestation))), MediaType.OCI_INDEX)
    layout.set_index([top])
    return layout, top.digest


def test_walking_gives_parents_before_children_once(two_platforms: tuple[Layout, Digest]) -> None:
    """With the descriptors that their parents have for them."""
    layout, digest = two_platforms
    twice = dump(Index(manifests=(*layout.index().manifests, *layout.index().manifests)))
    top = layout.add_bytes(twice, MediaType.OCI_INDEX)

    walked = list(layout.manifests(top.digest))

    assert [d.digest for d, _ in walked][:2] == [top.digest, digest]
    assert [d.platform for d, _ in walked[2:]] == [
        Platform("linux", "amd64"),
        Platform("linux", "arm64"),
        Platform("unknown", "unknown"),
    ]


def test_verifying_sums_up_each_platform(two_platforms: tuple[Layout, Digest]) -> None:
    """Attestations are no images."""
    layout, digest = two_platforms

    images = verify(layout, digest)

    assert [image.platform for image in images] == [
        Platform("linux", "amd64"),
        Platform("linux", "arm64"),
    ]
    first = images[0]
    manifest = manifest_of(layout, first.manifest)
    parts = (first.manifest, manifest.config, *manifest.layers)
    assert (first.config, first.layers) == (manifest.config, manifest.layers)
    assert first.size == sum(layout.blob_path(p.digest).stat().st_size for p in parts)


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_verifying_reads_every_compression(
    layout: Layout, make_image: MakeImage, compression: str
) -> None:
    """And finds the diffIDs that the config names."""
    image = make_image(layout, {"a": b"a" * 5000}, compression=compression)

    assert [i.manifest.digest for i in verify(layout, image.digest)] == [image.digest]


def blobs_of(layout: Layout, digest: Digest) -> list[Descriptor]:
    found = []
    for descriptor, document in layout.manifests(digest):
        found.append(descriptor)
        if isinstance(document, Manifest):
            found += [document.config, *document.layers]
    return found


@pytest.mark.parametrize("number", range(12))
def test_one_wrong_byte_anywhere_is_found(
    two_platforms: tuple[Layout, Digest], number: int
) -> None:
    """In the index, a manifest, a config, a layer or an attestation: the error names it."""
    layout, top = two_platforms
    blobs = blobs_of(layout, top)
    assert len(blobs) == 12
    digest = blobs[number].digest
    path = layout.blob_path(digest)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)

    with pytest.raises(DigestMismatchError, match=str(digest)):
        verify(layout, top)


def test_a_missing_blob_is_found_unless_allowed(layout: Layout, make_image: MakeImage) -> None:
    """Layers that a registry has already need not be here."""
    image = make_image(layout, {"a": b"a"}, {"b": b"b"})
    layer = manifest_of(layout, image).layers[0].digest
    layout.blob_path(layer).unlink()

    with pytest.raises(NotFoundError, match=str(layer)):
        verify(layout, image.digest)
    assert len(verify(layout, image.digest, allow_missing=[layer])) == 1


def test_a_missing_child_is_found_unless_allowed(two_platforms: tuple[Layout, Digest]) -> None:
    """Likewise for a whole platform."""
    layout, top = two_platforms
    document = layout.document(top)
    assert isinstance(document, Index)
    child = document.manifests[1].digest
    layout.blob_path(child).unlink()

    with pytest.raises(NotFoundError, match=str(child)):
        verify(layout, top)
    assert [i.platform.architecture for i in verify(layout, top, allow_missing={child})] == [
        "amd64"
    ]


def test_a_foreign_layer_need_not_be_there(layout: Layout, make_image: MakeImage) -> None:
    """It is fetched from its URL by whoever runs the image."""
    image = manifest_of(layout, make_image(layout, {"a": b"a"}))
    foreign = evolve(
        image.layers[0],
        media_type="application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        urls=("https://example.com/layer",),
    )
    top = layout.add_bytes(dump(evolve(image, layers=(foreign,))), MediaType.OCI_MANIFEST)
    layout.blob_path(foreign.digest).unlink()

    assert verify(layout, top.digest)[0].layers == (foreign,)


def test_layers_that_are_not_what_the_config_says_are_found(
    layout: Layout, make_image: MakeImage
) -> None:
    """The digests fit, the diffIDs do not; or there are too many."""
    one = manifest_of(layout, make_image(layout, {"a": b"a"}))
    other = manifest_of(layout, make_image(layout, {"a": b"b"}))

    swapped = layout.add_bytes(dump(evolve(one, layers=other.layers)), MediaType.OCI_MANIFEST)
    with pytest.raises(DigestMismatchError, match=str(other.layers[0].digest)):
        verify(layout, swapped.digest)

    more = layout.add_bytes(dump(evolve(one, layers=one.layers * 2)), MediaType.OCI_MANIFEST)
    with pytest.raises(RegistryError, match="names 1 layers, its manifest 2"):
        verify(layout, more.digest)


def test_a_wrong_size_in_a_descriptor_is_found(layout: Layout, make_image: MakeImage) -> None:
    """Registries refuse such an image, so it is better found here."""
    image = manifest_of(layout, make_image(layout, {"a": b"a"}))
    wrong = evolve(image, config=evolve(image.config, size=image.config.size + 1))
    top = layout.add_bytes(dump(wrong), MediaType.OCI_MANIFEST)

    with pytest.raises(DigestMismatchError, match=str(image.config.digest)):
        verify(layout, top.digest)

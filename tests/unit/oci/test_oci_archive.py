"""Docker archives: ours, docker's new ones, docker's old ones, and hostile ones."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from attrs import evolve

from buildpush.errors import (
    DigestMismatchError,
    NotFoundError,
    SpecError,
    UnsupportedFeatureError,
)
from buildpush.oci import Digest, ImageReference
from buildpush.oci.archive import read_docker_archive, write_docker_archive
from buildpush.oci.layout import Layout, verify
from buildpush.oci.tar import END, Entry, pack, padding
from buildpush.oci.wire import (
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    MediaType,
    dump,
)

MakeImage = Callable[..., Descriptor]
NAMES = tuple(map(ImageReference.parse, ("alpine:3", "me/app:1", "ghcr.io/org/app:1.2")))


@pytest.fixture
def other(tmp_path: Path) -> Layout:
    return Layout.create(tmp_path / "other")


def members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as reader:
        return {
            info.name: (reader.extractfile(info) or io.BytesIO()).read()
            for info in reader.getmembers()
        }


def tarball(path: Path, files: Mapping[str, bytes | str]) -> Path:
    """A tar of *files*, where text is the target of a symbolic link."""
    with tarfile.open(path, "w") as writer:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            if isinstance(data, str):
                info.type, info.linkname = tarfile.SYMTYPE, data
                writer.addfile(info)
            else:
                info.size = len(data)
                writer.addfile(info, io.BytesIO(data))
    return path


def layer(name: str, data: bytes) -> bytes:
    return pack(Entry(name, "file", size=len(data))) + data + padding(len(data)) + END


def config(*layers: bytes) -> bytes:
    return ImageConfig(
        architecture="amd64", os="linux", diff_ids=tuple(map(Digest.of, layers))
    ).dump()


def manifest_json(*layers: str, tags: list[str] | None = None) -> bytes:
    return json.dumps([{"Config": "config.json", "RepoTags": tags, "Layers": layers}]).encode()


# --- writing ---


def test_an_archive_is_docker_and_oci_at_once(
    layout: Layout, make_image: MakeImage, tmp_path: Path
) -> None:
    """manifest.json names the blobs, index.json the manifest, by every reference."""
    image = make_image(layout, {"a": b"a"}, {"b": b"b"}, {"a": b"a"})
    write_docker_archive(layout, image.digest, NAMES, tmp_path / "x.tar")

    files = members(tmp_path / "x.tar")
    manifest = layout.document(image.digest)
    assert isinstance(manifest, Manifest)
    assert json.loads(files["manifest.json"]) == [
        {
            "Config": f"blobs/sha256/{manifest.config.digest.hex}",
            "RepoTags": ["alpine:3", "me/app:1", "ghcr.io/org/app:1.2"],
            "Layers": [f"blobs/sha256/{entry.digest.hex}" for entry in manifest.layers],
        }
    ]
    index = json.loads(files["index.json"])
    assert [m["annotations"] for m in index["manifests"]] == [
        {"io.containerd.image.name": str(n), "org.opencontainers.image.ref.name": n.tag}
        for n in NAMES
    ]
    blobs = {n: d for n, d in files.items() if n.startswith("blobs/")}
    assert len(blobs) == 4 and all(Digest.of(d).hex == n[-64:] for n, d in blobs.items())


def test_an_archive_needs_no_name(layout: Layout, make_image: MakeImage, tmp_path: Path) -> None:
    """It is loaded by its id then; a digest alone is no name that docker could give."""
    image = make_image(layout, {"a": b"a"})
    pinned = ImageReference.parse(f"me/app@{image.digest}")

    write_docker_archive(layout, image.digest, [pinned], tmp_path / "x.tar")

    files = members(tmp_path / "x.tar")
    assert json.loads(files["manifest.json"])[0]["RepoTags"] == []
    assert len(json.loads(files["index.json"])["manifests"]) == 1


def test_the_same_image_makes_the_same_archive(
    layout: Layout, make_image: MakeImage, tmp_path: Path
) -> None:
    """No times, no owners, no order of a folder."""
    image = make_image(layout, {"a": b"a"}, {"b": b"b"})
    for name in ("x.tar", "y.tar"):
        write_docker_archive(layout, image.digest, NAMES, tmp_path / name)

    assert (tmp_path / "x.tar").read_bytes() == (tmp_path / "y.tar").read_bytes()


def test_several_platforms_do_not_fit(
    layout: Layout, make_image: MakeImage, tmp_path: Path
) -> None:
    """Docker's format has no place for them."""
    images = [make_image(layout, {"a": b"a"}, architecture=a) for a in ("amd64", "arm64")]
    top = layout.add_bytes(dump(Index(manifests=tuple(images))), MediaType.OCI_INDEX)

    with pytest.raises(UnsupportedFeatureError, match="one platform's image, not 2"):
        write_docker_archive(layout, top.digest, NAMES, tmp_path / "x.tar")


def test_an_index_of_one_image_keeps_its_digest(
    layout: Layout, other: Layout, make_image: MakeImage, tmp_path: Path
) -> None:
    """As an image with attestations has."""
    image = make_image(layout, {"a": b"a"})
    top = layout.add_bytes(dump(Index(manifests=(image,))), MediaType.OCI_INDEX)

    write_docker_archive(layout, top.digest, NAMES[:1], tmp_path / "x.tar")

    assert read_docker_archive(tmp_path / "x.tar", other) == ((top, NAMES[:1]),)


def test_a_missing_layer_is_named(layout: Layout, make_image: MakeImage, tmp_path: Path) -> None:
    """And no archive is left."""
    image = make_image(layout, {"a": b"a"})
    manifest = layout.document(image.digest)
    assert isinstance(manifest, Manifest)
    layout.blob_path(manifest.layers[0].digest).unlink()

    with pytest.raises(NotFoundError, match=str(manifest.layers[0].digest)):
        write_docker_archive(layout, image.digest, NAMES, tmp_path / "x.tar")

    assert not (tmp_path / "x.tar").exists()


# --- reading ---


@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_what_is_written_is_read_again(
    layout: Layout, other: Layout, make_image: MakeImage, tmp_path: Path, compression: str
) -> None:
    """With its digest and all its names."""
    image = make_image(layout, {"a": b"a"}, {"b": b"b"}, compression=compression)
    write_docker_archive(layout, image.digest, NAMES, tmp_path / "x.tar")

    found = read_docker_archive(tmp_path / "x.tar", other)

    assert found == ((evolve(image, platform=None), NAMES),)
    assert len(verify(other, image.digest)) == 1
    assert sorted(p.name for p in other.path.iterdir()) == ["blobs", "index.json", "oci-layout"]


def test_a_compressed_archive_is_read(
    layout: Layout, other: Layout, make_image: MakeImage, tmp_path: Path
) -> None:
    """`docker save | gzip`."""
    image = make_image(layout, {"a": b"a"})
    write_docker_archive(layout, image.digest, NAMES, tmp_path / "x.tar")
    (tmp_path / "x.tgz").write_bytes(gzip.compress((tmp_path / "x.tar").read_bytes()))

    assert read_docker_archive(tmp_path / "x.tgz", other)[0][0].digest == image.digest


def test_an_archive_of_old_docker_is_read(other: Layout, tmp_path: Path) -> None:
    """Folders of layer.tar, one a symbolic link to another, the config named by its digest."""
    first, second = layer("a", b"a" * 1000), layer("b", b"b")
    path = tarball(
        tmp_path / "x.tar",
        {
            "1/VERSION": b"1.0",
            "1/layer.tar": first,
            "2/layer.tar": second,
            "3/layer.tar": "../1/layer.tar",
            "./config.json": config(first, second, first),
            "manifest.json": manifest_json(
                "1/layer.tar", "2/layer.tar", "3/layer.tar", tags=["me/app:1"]
            ),
            "repositories": b"{}",
        },
    )

    ((descriptor, names),) = read_docker_archive(path, other)

    assert names == (ImageReference.parse("me/app:1"),)
    image = verify(other, descriptor.digest)[0]
    assert [entry.media_type for entry in image.layers] == [MediaType.OCI_LAYER_GZIP] * 3
    assert image.layers[0] == image.layers[2]
    assert other.read(image.config.digest) == config(first, second, first)


def test_hard_links_and_compressed_layers_are_read(other: Layout, tmp_path: Path) -> None:
    """Layers that are compressed already stay as they are."""
    plain = layer("a", b"a")
    stored = gzip.compress(plain)
    path = tmp_path / "x.tar"
    tarball(path, {"a.tar": stored})
    with tarfile.open(path, "a") as writer:
        link = tarfile.TarInfo("b.tar")
        link.type, link.linkname = tarfile.LNKTYPE, "a.tar"
        writer.addfile(link)
        for name, data in (
            ("config.json", config(plain, plain)),
            ("manifest.json", manifest_json("a.tar", "b.tar")),
        ):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            writer.addfile(info, io.BytesIO(data))

    ((descriptor, names),) = read_docker_archive(path, other)

    image = verify(other, descriptor.digest)[0]
    assert names == ()
    assert [entry.digest for entry in image.layers] == [Digest.of(stored)] * 2


def test_an_index_of_absent_platforms_falls_back_to_dockers_manifest(
    layout: Layout, other: Layout, make_image: MakeImage, tmp_path: Path
) -> None:
    """Docker saves the whole index of an image of which it has one platform."""
    image = make_image(layout, {"a": b"a"})
    write_docker_archive(layout, image.digest, NAMES[:1], tmp_path / "x.tar")
    files = members(tmp_path / "x.tar")
    absent = Descriptor(media_type=MediaType.OCI_MANIFEST, digest=Digest.of(b"absent"), size=6)
    files["index.json"] = dump(Index(manifests=(absent,)))

    ((descriptor, names),) = read_docker_archive(tarball(tmp_path / "y.tar", files), other)

    assert names == NAMES[:1]
    assert verify(other, descriptor.digest)[0].layers == verify(layout, image.digest)[0].layers


@pytest.mark.parametrize(
    ("files", "error", "message"),
    [
        ({"x": b""}, SpecError, "no manifest.json"),
        ({"manifest.json": b"{}"}, SpecError, "its manifest.json is damaged"),
        ({"manifest.json": manifest_json()}, NotFoundError, "no 'config.json'"),
        (
            {"manifest.json": manifest_json("l.tar"), "config.json": config(b"x")},
            NotFoundError,
            "no 'l.tar'",
        ),
        (
            {"manifest.json": manifest_json("../../etc/passwd"), "config.json": config(b"x")},
            SpecError,
            "outside",
        ),
        (
            {
                "manifest.json": manifest_json("l.tar"),
                "config.json": config(b"x"),
                "l.tar": "/etc/passwd",
            },
            SpecError,
            "outside",
        ),
        (
            {
                "manifest.json": manifest_json("a"),
                "config.json": config(b"x"),
                "a": "b",
                "b": "a",
            },
            SpecError,
            "round in circles",
        ),
        (
            {
                "manifest.json": manifest_json("l.tar"),
                "config.json": config(b"x"),
                "l.tar": layer("a", b"a"),
            },
            DigestMismatchError,
            "not those that its config names",
        ),
        ({"../x": b""}, SpecError, "cannot leave its root"),
        ({"manifest.json": bytes(5 << 20)}, SpecError, "larger than 4194304 bytes"),
    ],
)
def test_a_bad_archive_is_refused(
    other: Layout,
    tmp_path: Path,
    files: dict[str, bytes | str],
    error: type[Exception],
    message: str,
) -> None:
    """With what is wrong, and nothing left behind but blobs nobody names."""
    path = tarball(tmp_path / "x.tar", files)

    with pytest.raises(error, match=message):
        read_docker_archive(path, other)

    assert sorted(p.name for p in other.path.iterdir()) == ["blobs", "index.json", "oci-layout"]

"""OCI archives: a layout in a tar, there and back, and what hostile ones cannot do."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from buildpush.errors import DigestMismatchError, SpecError
from buildpush.oci.layout import Layout, pack_tar, unpack_tar, verify
from buildpush.oci.wire import Descriptor

MakeImage = Callable[..., Descriptor]


def files_of(layout: Layout) -> dict[str, bytes]:
    return {
        str(path.relative_to(layout.path)): path.read_bytes()
        for path in sorted(layout.path.rglob("*"))
        if path.is_file()
    }


def test_an_archive_holds_the_layout_and_unpacks_to_it(
    layout: Layout, make_image: MakeImage, tmp_path: Path
) -> None:
    """Byte for byte, linked blobs included, and the same archive every time."""
    image = make_image(layout, {"a": b"a"}, {"b": b"b"})
    layout.set_index([image])
    pack_tar(layout, tmp_path / "one.tar")
    pack_tar(layout, tmp_path / "two.tar")

    unpacked = unpack_tar(tmp_path / "one.tar", tmp_path / "out")

    assert (tmp_path / "one.tar").read_bytes() == (tmp_path / "two.tar").read_bytes()
    assert files_of(unpacked) == files_of(layout)
    assert len(verify(unpacked, image.digest)) == 1


def test_a_compressed_archive_unpacks_too(layout: Layout, tmp_path: Path) -> None:
    """`docker save | gzip` is what people keep."""
    pack_tar(layout, tmp_path / "plain.tar")
    (tmp_path / "x.tar.gz").write_bytes(gzip.compress((tmp_path / "plain.tar").read_bytes()))

    assert files_of(unpack_tar(tmp_path / "x.tar.gz", tmp_path / "out")) == files_of(layout)


def hostile(path: Path, **files: bytes) -> Path:
    """An OCI archive with more in it than there should be."""
    base = {
        "oci-layout": b'{"imageLayoutVersion":"1.0.0"}',
        "index.json": json.dumps({"schemaVersion": 2, "manifests": []}).encode(),
    }
    with tarfile.open(path, "w") as writer:
        for name, data in (base | files).items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            writer.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("blobs/sha256")
        link.type, link.linkname = tarfile.SYMTYPE, "/tmp"
        writer.addfile(link)
    return path


def test_nothing_but_a_layouts_files_is_unpacked(tmp_path: Path) -> None:
    """Other names, and links where folders should be, are left alone."""
    archive = hostile(tmp_path / "x.tar", **{"blobs/sha256/../../../evil": b"", "readme": b"hi"})
    with pytest.raises(SpecError, match="cannot leave its root"):
        unpack_tar(archive, tmp_path / "out")

    others = {"readme": b"hi", "blobs/md5/ab": b"", "blobs/sha256/../../evil/x": b""}
    archive = hostile(tmp_path / "y.tar", **others)
    assert set(files_of(unpack_tar(archive, tmp_path / "out2"))) == {"oci-layout", "index.json"}


def test_an_archive_whose_blob_lies_is_refused(tmp_path: Path) -> None:
    """The name of a blob is a promise."""
    archive = hostile(tmp_path / "x.tar", **{f"blobs/sha256/{'a' * 64}": b"not that"})

    with pytest.raises(DigestMismatchError, match="a" * 64):
        unpack_tar(archive, tmp_path / "out")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    """As the caller's mistake."""
    (tmp_path / "x").write_bytes(b"no archive " * 100)

    with pytest.raises(SpecError, match="is not an OCI archive"):
        unpack_tar(tmp_path / "x", tmp_path / "out")


def test_a_huge_index_is_not_unpacked(tmp_path: Path) -> None:
    """It would have to fit into memory."""
    archive = hostile(tmp_path / "x.tar", **{"index.json": bytes(5 << 20)})

    with pytest.raises(SpecError, match=r"index.json is larger than 4194304 bytes"):
        unpack_tar(archive, tmp_path / "out")

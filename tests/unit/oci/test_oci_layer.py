"""The layer writer: one pass, honest digests, flat memory, nothing left behind."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import threading
import tracemalloc
import zlib
from pathlib import Path
from typing import BinaryIO, Final

import pytest

from buildpush.errors import BuildError, RegistryError, SpecError
from buildpush.oci import Digest, _codecs
from buildpush.oci.layer import Layer, LayerWriter, open_layer
from buildpush.oci.tar import END, Entry, pack, padding
from buildpush.oci.wire import Compression, MediaType

MIB: Final = 1 << 20
COMPRESSIONS: Final = ("gzip", "zstd", "none")

# The tar of no files at all, as every tool knows it.
EMPTY_DIFF_ID: Final = "sha256:5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"


def noise(size: int) -> bytes:
    """Bytes that do not compress, and are the same every time."""
    return hashlib.shake_128(b"seed").digest(size)


def write(path: Path, body: bytes, **options: object) -> Layer:
    with LayerWriter(path, **options) as writer:  # type: ignore[arg-type]
        writer.add(Entry("dir", "dir", 0o755))
        writer.add(Entry("dir/file", "file", size=len(body)), io.BytesIO(body))
        return writer.finish()


def content(path: Path, media_type: str = "") -> bytes:
    with open_layer(path, media_type) as stream:
        return stream.read()


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("size", [0, 1, MIB - 1024, MIB, 3 * MIB + 17])
def test_digests_are_those_of_the_bytes(
    tmp_path: Path, compression: Compression, size: int
) -> None:
    """The descriptor names the file, the diffID its uncompressed content."""
    path = tmp_path / "layer"
    body = noise(size)
    plain = pack(Entry("dir", "dir", 0o755)) + pack(Entry("dir/file", "file", size=size))
    plain += body + padding(size) + END

    layer = write(path, body, compression=compression)

    stored = path.read_bytes()
    assert layer.descriptor.digest == Digest.of(stored)
    assert layer.descriptor.size == len(stored)
    assert layer.diff_id == Digest.of(plain)
    assert layer.uncompressed == len(plain)
    assert content(path, layer.descriptor.media_type) == plain


@pytest.mark.parametrize(
    ("compression", "media_type"),
    [
        ("gzip", MediaType.OCI_LAYER_GZIP),
        ("zstd", MediaType.OCI_LAYER_ZSTD),
        ("none", MediaType.OCI_LAYER),
    ],
)
def test_the_media_type_says_the_compression(
    tmp_path: Path, compression: Compression, media_type: str
) -> None:
    """As the image-spec names them."""
    assert write(tmp_path / "x", b"x", compression=compression).descriptor.media_type == media_type


@pytest.mark.parametrize("options", [{}, {"strict": True}, {"level": 9}])
def test_gzip_is_one_member_without_time_or_name(
    tmp_path: Path, options: dict[str, object]
) -> None:
    """So that the same layer has the same digest tomorrow, and zlib reads it."""
    path = tmp_path / "layer"

    write(path, noise(2 * MIB), **options)

    data = path.read_bytes()
    reader = zlib.decompressobj(31)
    reader.decompress(data)
    assert data[:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
    assert reader.eof and reader.unused_data == b""


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_how_the_bytes_arrive_does_not_show(tmp_path: Path, compression: Compression) -> None:
    """The same archive, in pieces of any size, is the same blob."""
    plain = pack(Entry("f", "file", size=3 * MIB)) + noise(3 * MIB) + END
    blobs = set()

    for step in (700, 65_536, 3 * MIB, len(plain)):
        with LayerWriter(tmp_path / "layer", compression=compression) as writer:
            for start in range(0, len(plain), step):
                writer.write(plain[start : start + step])
            blobs.add(writer.finish())

    assert len(blobs) == 1


def test_strict_is_what_zlib_gives(tmp_path: Path) -> None:
    """Level 6, on blocks of one MiB: anybody can do it again."""
    path = tmp_path / "layer"

    write(path, b"words " * MIB, strict=True)

    plain = gzip.decompress(path.read_bytes())
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
    assert path.read_bytes()[10:-8] == deflate.compress(plain) + deflate.flush()


def test_a_level_is_the_compressors_own(tmp_path: Path) -> None:
    """Asking for a level asks for what the number means to gzip."""
    small = write(tmp_path / "a", b"words and more " * MIB, level=9).descriptor.size
    large = write(tmp_path / "b", b"words and more " * MIB, level=1).descriptor.size
    stored = write(tmp_path / "c", b"words and more " * MIB, level=0).descriptor.size

    assert small < large < stored


@pytest.mark.parametrize(("compression", "level"), [("gzip", 10), ("gzip", -1), ("zstd", 23)])
def test_a_level_out_of_range_is_refused(
    tmp_path: Path, compression: Compression, level: int
) -> None:
    """Before any file is made."""
    with pytest.raises(SpecError, match=f"{compression} has the levels"):
        LayerWriter(tmp_path / "x", compression=compression, level=level)

    assert list(tmp_path.iterdir()) == []


def test_without_isal_zlib_does_it_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not every machine has ISA-L."""
    monkeypatch.setattr(_codecs, "_isal", lambda: None)
    path = tmp_path / "layer"

    layer = write(path, noise(MIB))

    assert Digest.of(gzip.decompress(path.read_bytes())) == layer.diff_id
    assert Digest.of(content(path)) == layer.diff_id


def test_a_layer_without_entries_is_the_known_empty_one(tmp_path: Path) -> None:
    """1024 zero bytes."""
    with LayerWriter(tmp_path / "x") as writer:
        assert str(writer.finish().diff_id) == EMPTY_DIFF_ID


def test_a_whole_archive_gets_no_second_end(tmp_path: Path) -> None:
    """`write` is for archives that bring their own."""
    with LayerWriter(tmp_path / "x", compression="none") as writer:
        writer.write(pack(Entry("a", "dir")) + END)
        layer = writer.finish()

    assert layer.uncompressed == 512 + 1024


def test_bodies_may_be_bytes(tmp_path: Path) -> None:
    """For small files that are in memory already."""
    with LayerWriter(tmp_path / "x") as writer:
        writer.add(Entry("a", "file", size=2), b"hi")
        writer.add(Entry("empty", "file"))
        writer.add(Entry("l", "symlink", link="a"))
        writer.finish()

    with tarfile.open(tmp_path / "x") as reader:
        found = reader.extractfile("a")
        assert reader.getnames() == ["a", "empty", "l"]
        assert found is not None and found.read() == b"hi"


@pytest.mark.parametrize("body", [b"12", b"1234", io.BytesIO(b"12"), io.BytesIO(b"1234"), None])
def test_a_file_that_changes_is_noticed(tmp_path: Path, body: BinaryIO | bytes | None) -> None:
    """An archive whose header lies is worse than no archive."""
    with (
        pytest.raises(BuildError, match=r"'a' changed .* no longer has 3 bytes"),
        LayerWriter(tmp_path / "x") as writer,
    ):
        writer.add(Entry("a", "file", size=3), body)

    assert list(tmp_path.iterdir()) == []


def test_a_block_left_without_finish_leaves_nothing(tmp_path: Path) -> None:
    """Neither the file nor its thread."""
    before = threading.active_count()

    with LayerWriter(tmp_path / "x") as writer:
        writer.write(noise(5 * MIB))

    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == before


def test_the_blob_appears_whole_and_readable_by_all(tmp_path: Path) -> None:
    """Until then there is a private temporary file."""
    path = tmp_path / "x"
    umask = os.umask(0o077)
    try:
        with LayerWriter(path) as writer:
            writer.write(noise(2 * MIB))
            temporary = list(tmp_path.iterdir())
            assert path not in temporary and temporary[0].stat().st_mode & 0o777 == 0o600
            writer.finish()
    finally:
        os.umask(umask)

    assert [path] == list(tmp_path.iterdir())
    assert path.stat().st_mode & 0o777 == 0o644


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_what_stops_the_thread_reaches_the_caller(
    tmp_path: Path, compression: Compression
) -> None:
    """A full disk is raised here, however much there is still to write, and nothing hangs."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")

    def write_to_a_full_disk() -> None:
        with LayerWriter(tmp_path / "x", compression=compression) as writer:
            writer._output._file.close()
            writer._output._file = full.open("wb", buffering=0)
            for _ in range(50):
                writer.write(noise(MIB))
            writer.finish()

    with pytest.raises(OSError, match="No space left"):
        write_to_a_full_disk()

    assert list(tmp_path.iterdir()) == []


def test_memory_stays_flat(tmp_path: Path) -> None:
    """Twenty times the queue goes through without piling up."""
    block = noise(MIB)
    tracemalloc.start()
    try:
        with LayerWriter(tmp_path / "x", compression="none") as writer:
            for _ in range(160):
                writer.write(block)
            writer.finish()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak < 24 * MIB


# --- reading ---


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_the_bytes_decide_how_a_layer_is_read(tmp_path: Path, compression: Compression) -> None:
    """Whatever the media type claims."""
    layer = write(tmp_path / "x", b"hello", compression=compression)

    for claimed in (MediaType.OCI_LAYER, MediaType.DOCKER_LAYER, MediaType.OCI_LAYER_ZSTD):
        assert Digest.of(content(tmp_path / "x", claimed)) == layer.diff_id


def test_gzip_in_several_members_is_read_whole(tmp_path: Path) -> None:
    """As pigz and stargz write it."""
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(b"one ") + gzip.compress(b"two"))

    assert content(path) == b"one two"


@pytest.mark.parametrize("compression", ["gzip", "zstd"])
@pytest.mark.parametrize("isal", [True, False])
def test_damaged_compression_is_one_kind_of_error(
    tmp_path: Path, compression: Compression, isal: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever library notices: cut short, and changed in the middle."""
    if not isal:
        monkeypatch.setattr(_codecs, "_isal", lambda: None)
    path = tmp_path / "x"
    write(path, b"words " * MIB, compression=compression)
    data = path.read_bytes()
    middle = len(data) // 2

    for damaged in (data[:-9], data[:middle] + bytes(64) + data[middle + 64 :]):
        path.write_bytes(damaged)
        with pytest.raises(RegistryError, match="compressed data is damaged"):
            content(path)


def test_an_encrypted_layer_is_refused(tmp_path: Path) -> None:
    """There is no key to ask for."""
    path = tmp_path / "x"
    path.write_bytes(b"secret")

    with pytest.raises(RegistryError, match="encrypted"):
        content(path, f"{MediaType.OCI_LAYER_GZIP}+encrypted")

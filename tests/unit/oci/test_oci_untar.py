"""Archives that lie: every damage is one kind of error, and nothing spins or piles up."""

from __future__ import annotations

import io
from typing import BinaryIO, cast

import pytest

from buildpush.oci.tar import END, Entry, TarError, pack, padding, read

KIB = 1024


def header(name: str = "x", flag: bytes = b"0", size: int = 0, **fields: bytes) -> bytes:
    """A header block with raw *fields* at ``at_OFFSET``, its checksum right."""
    block = bytearray(pack(Entry(name, "file", size=size)))
    block[156:157] = flag
    for place, value in fields.items():
        at = int(place.removeprefix("at_"))
        block[at : at + len(value)] = value
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + sum(block[156:]) + 8 * 32)
    return bytes(block)


def records(*texts: str) -> bytes:
    """A PAX header of *texts*, each ``key=value``."""
    body = b""
    for text in texts:
        raw = text.encode("utf-8", "surrogateescape")
        length = next(n for n in range(len(raw), len(raw) + 9) if n == len(f"{n} ") + len(raw) + 1)
        body += b"%d %b\n" % (length, raw)
    return header(flag=b"x", size=len(body)) + body + padding(len(body))


def content(data: bytes) -> list[tuple[str, int, bytes]]:
    return [(e.name, e.size, body.read()) for e, body in read(io.BytesIO(data))]


MAP = (512, 3), (4096, 2)
EXPANDED = bytes(512) + b"abc" + bytes(4096 - 515) + b"de" + bytes(5000 - 4098)
STORED = b"abcde" + padding(5)


def test_sparse_files_of_pax_0_0_are_expanded() -> None:
    """Offsets and lengths in records that repeat."""
    head = records(
        "GNU.sparse.size=5000",
        "GNU.sparse.numblocks=2",
        *(
            f"GNU.sparse.{key}={value}"
            for piece in MAP
            for key, value in zip(("offset", "numbytes"), piece, strict=True)
        ),
    )

    assert content(head + header(size=5) + STORED + END) == [("x", 5000, EXPANDED)]


def test_sparse_files_of_pax_0_1_are_expanded() -> None:
    """The map in one record, the name in another."""
    head = records(
        "GNU.sparse.map=512,3,4096,2", "GNU.sparse.size=5000", "GNU.sparse.name=real", "path=no"
    )

    assert content(head + header(size=5) + STORED + END) == [("real", 5000, EXPANDED)]


def test_sparse_files_of_pax_1_0_are_expanded() -> None:
    """The map before the content."""
    head = records(
        "GNU.sparse.major=1", "GNU.sparse.minor=0", "GNU.sparse.realsize=5000", "GNU.sparse.name=r"
    )
    lines = b"2\n512\n3\n4096\n2\n"
    data = head + header(size=512 + 5) + lines + bytes(512 - len(lines)) + STORED + END

    assert content(data) == [("r", 5000, EXPANDED)]


def test_sparse_files_of_gnu_with_many_pieces_are_expanded() -> None:
    """Four pieces in the header, more in the blocks after it."""
    pieces = [b"%011o\0%011o\0" % (number * 100, 1) for number in range(30)]
    more = b"".join(pieces[4:25]) + b"\1" + bytes(7)
    last = b"".join(pieces[25:]) + bytes(512 - 24 * 5)
    head = header(
        flag=b"S",
        size=30,
        at_257=b"ustar  \0",
        at_386=b"".join(pieces[:4]) + b"\1" + b"%011o\0" % 3000,
    )

    ((name, size, data),) = content(head + more + last + b"p" * 30 + padding(30) + END)

    assert (name, size) == ("x", 3000)
    assert data == (b"p" + bytes(99)) * 30


def test_an_all_hole_file_is_zeros() -> None:
    """No piece is stored at all."""
    head = records("GNU.sparse.map=", "GNU.sparse.size=3000000")

    assert content(head + header() + END) == [("x", 3_000_000, bytes(3_000_000))]


def test_a_body_can_be_read_in_any_way() -> None:
    """By pieces, into a buffer, to its end, and beyond it."""
    data = header(size=10) + b"0123456789" + padding(10) + END

    (_, body) = next(read(io.BytesIO(data)))

    assert body.readable()
    assert body.read(2) == b"01"
    buffer = bytearray(3)
    assert cast("io.RawIOBase", body).readinto(buffer) == 3 and buffer == b"234"
    assert (body.read(100), body.read(1), body.read()) == (b"56789", b"", b"")


class Trickle(io.RawIOBase):
    """A pipe that hands out seven bytes at a time."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = io.BytesIO(data)

    def read(self, size: int | None = -1, /) -> bytes:
        return self._data.read(7 if size is None or size < 0 else min(size, 7))


def test_a_stream_may_deliver_in_drips() -> None:
    """A pipe does."""
    data = pack(Entry("n" * 300, "file", size=2000)) + b"y" * 2000 + padding(2000) + END

    found = [(e.name, body.read()) for e, body in read(cast("BinaryIO", Trickle(data)))]

    assert found == [("n" * 300, b"y" * 2000)]


def test_signed_checksums_of_ancient_writers_are_accepted() -> None:
    """They summed the bytes of a non-ASCII name as negative numbers."""
    block = bytearray(pack(Entry("\udcff\udcfe", "file")))
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + sum(block[156:]) + 256 - 512)

    assert content(bytes(block) + END) == [("\udcff\udcfe", 0, b"")]


def test_owners_below_zero_are_what_the_kernel_makes_of_them() -> None:
    """GNU tar writes nobody's -2 in base 256."""
    data = header(at_108=b"\xff" * 7 + b"\xfe", at_116=b"\x80" + (70_000_000).to_bytes(7, "big"))

    entry = next(read(io.BytesIO(data + END)))[0]

    assert (entry.uid, entry.gid) == (0xFFFFFFFE, 70_000_000)


def test_gnus_long_names_and_links_are_read_and_pax_wins() -> None:
    """When an archive has both."""
    long = b"long/name\0"
    gnu = b"".join(
        header("././@LongLink", flag, len(long)) + long + padding(len(long))
        for flag in (b"L", b"K")
    )

    def first(data: bytes) -> Entry:
        return next(read(io.BytesIO(data)))[0]

    assert first(gnu + header(flag=b"2") + END) == Entry("long/name", "symlink", link="long/name")
    assert first(records("path=pax") + gnu + header() + END).name == "pax"
    assert first(gnu + records("path=pax") + header() + END).name == "pax"


def test_gnus_header_has_no_prefix() -> None:
    """Other things are where ustar has it."""
    data = header(at_257=b"ustar  \0", at_345=b"12345")

    assert content(data + END) == [("x", 0, b"")]


def test_records_of_one_entry_do_not_reach_the_next() -> None:
    """Those of a global header do, and empty ones say nothing."""
    one = header(flag=b"g", size=11) + b"11 uid=707\n" + padding(11)
    data = one + records("gid=9", "path=", "mtime=") + header("a") + header("b") + END

    found = [(e.name, e.uid, e.gid) for e, _ in read(io.BytesIO(data))]

    assert found == [("a", 707, 9), ("b", 707, 0)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (header(size=1 << 32), "ends in the middle of a file"),
        (header(at_124=b"\x80" + b"\0" * 3 + b"\x7f" + b"\xff" * 7), "middle of a file"),
        (header(at_124=b"\xff" * 12), "size is negative"),
        (header(at_124=b"0000000000x\0"), "number is none"),
        (header(at_108=b"0000+1 \0"), "number is none"),
        (header(at_108=b"0000008\0"), "number is none"),
        (header(flag=b"x", size=2 << 20) + bytes(2 << 20), "larger than 1 MiB"),
        (header(flag=b"L", at_124=b"\xff" * 12), "larger than 1 MiB"),
        (header(flag=b"x", size=600), "middle of a file"),
        (header(flag=b"x", size=8) + b"8 abcde\n" + padding(8), "record is cut wrong"),
        (header(flag=b"x", size=8) + b"9 ab=de\n" + padding(8), "record is cut wrong"),
        (header(flag=b"x", size=8) + b"x ab=de\n" + padding(8), "record is cut wrong"),
        (header(flag=b"x", size=8) + b"0 ab=de\n" + padding(8), "record is cut wrong"),
        (header(flag=b"x", size=8) + b"-8 a=de\n" + padding(8), "record is cut wrong"),
        (records("size=-1") + header(), "PAX size is not a number"),
        (records("uid=1e9") + header(), "PAX uid is not a number"),
        (records("gid=" + "9" * 30) + header(), "PAX gid is not a number"),
        (records("mtime=1e999999999") + header(), "mtime is not a number"),
        (records("mtime=" + "9" * 50) + header(), "mtime is not a number"),
        (records("GNU.sparse.map=0,1,2", "GNU.sparse.size=9") + header(size=1), "cut short"),
        (records("GNU.sparse.map=0,x", "GNU.sparse.size=9") + header(size=1), "not a number"),
        (
            records("GNU.sparse.map=5,1,0,1", "GNU.sparse.size=9") + header(size=2) + bytes(512),
            "pieces do not fit",
        ),
        (
            records("GNU.sparse.map=0,10", "GNU.sparse.size=9") + header(size=10) + bytes(512),
            "pieces do not fit",
        ),
        (
            records("GNU.sparse.map=0,9", "GNU.sparse.size=9") + header(size=8) + bytes(512),
            "lacks a piece",
        ),
        (
            records("GNU.sparse.major=1", "GNU.sparse.realsize=9") + header(size=512) + bytes(512),
            "not a number|does not end",
        ),
        (
            records("GNU.sparse.major=1", "GNU.sparse.realsize=9")
            + header(size=512)
            + b"99999\n".ljust(512, b"\n"),
            "does not end",
        ),
        (header(flag=b"S", at_386=b"\0" * 96 + b"\1"), "does not end"),
    ],
)
def test_every_lie_is_found_out(data: bytes, message: str) -> None:
    """At once, whatever size it claims."""
    with pytest.raises(TarError, match=message):
        content(data)

"""Whatever an entry holds, an archive brings it back, and others read it too."""

from __future__ import annotations

import io
import tarfile

from hypothesis import given
from hypothesis import strategies as st

from buildpush.oci.tar import END, Entry, Kind, TarError, pack, padding, read

# A path's component: any bytes but NUL and the slash, as Linux has it.
components = (
    st.binary(min_size=1, max_size=120)
    .map(lambda raw: raw.replace(b"/", b"_").replace(b"\0", b"_"))
    .filter(lambda raw: raw not in (b".", b".."))
    .map(lambda raw: raw.decode("utf-8", "surrogateescape"))
)
names = st.lists(components, min_size=1, max_size=6).map("/".join)
kinds: st.SearchStrategy[Kind] = st.sampled_from(("file", "dir", "symlink", "hardlink", "char"))
ids = st.integers(0, (1 << 32) - 1)
times = st.integers(-(1 << 33) * 10**9, (1 << 35) * 10**9)
keys = st.text(st.characters(codec="utf-8", exclude_characters="=\0"), min_size=1, max_size=40)
attributes = st.dictionaries(keys, st.binary(max_size=200), max_size=4)


@st.composite
def entries(draw: st.DrawFn) -> tuple[Entry, bytes]:
    kind = draw(kinds)
    body = draw(st.binary(max_size=2000)) if kind == "file" else b""
    entry = Entry(
        name=draw(names),
        kind=kind,
        mode=draw(st.integers(0, 0o7777)),
        uid=draw(ids),
        gid=draw(ids),
        size=len(body),
        mtime_ns=draw(times),
        link=draw(names) if kind in ("symlink", "hardlink") else "",
        major=draw(st.integers(0, 4095)) if kind == "char" else 0,
        minor=draw(st.integers(0, 1_048_575)) if kind == "char" else 0,
        xattrs=draw(attributes),
    )
    return entry, body


def archive(files: list[tuple[Entry, bytes]]) -> bytes:
    return b"".join(pack(e) + body + padding(len(body)) for e, body in files) + END


@given(st.lists(entries(), max_size=4))
def test_an_archive_brings_back_what_was_put_in(files: list[tuple[Entry, bytes]]) -> None:
    """Names of any bytes, times before the epoch, owners of 32 bits, binary attributes."""
    assert [(e, body.read()) for e, body in read(io.BytesIO(archive(files)))] == files


@given(st.lists(entries(), max_size=4))
def test_pythons_own_reader_agrees(files: list[tuple[Entry, bytes]]) -> None:
    """On names, links, owners and sizes."""
    with tarfile.open(fileobj=io.BytesIO(archive(files)), encoding="utf-8") as reader:
        found = [(m.name, m.linkname, m.uid, m.gid, m.size, m.mode) for m in reader]

    assert found == [(e.name, e.link, e.uid, e.gid, e.size, e.mode) for e, _ in files]


@given(entries())
def test_headers_are_whole_blocks_and_the_same_every_time(file: tuple[Entry, bytes]) -> None:
    """An archive is made of blocks of 512 bytes."""
    entry, body = file

    assert len(pack(entry)) % 512 == 0
    assert (len(body) + len(padding(len(body)))) % 512 == 0
    assert pack(entry) == pack(entry._replace(xattrs=dict(reversed(entry.xattrs.items()))))


@given(st.lists(entries(), min_size=1, max_size=2), st.data())
def test_a_damaged_archive_is_read_or_refused(
    files: list[tuple[Entry, bytes]], data: st.DataObject
) -> None:
    """Never another exception, and never an entry that climbs."""
    damaged = bytearray(archive(files))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))

    try:
        found = [entry for entry, body in read(io.BytesIO(damaged)) if body.read() is not None]
    except TarError:
        return
    assert all(".." not in e.name.split("/") and not e.name.startswith("/") for e in found)


@given(st.lists(entries(), min_size=1, max_size=2), st.data())
def test_a_forged_header_is_read_or_refused(
    files: list[tuple[Entry, bytes]], data: st.DataObject
) -> None:
    """Likewise when whoever damaged it set the checksum right again."""
    forged = bytearray(archive(files))
    for _ in range(data.draw(st.integers(1, 6))):
        forged[data.draw(st.integers(0, len(forged) - 1))] = data.draw(
            st.sampled_from(b"079S\0=\n")
        )
    for at in range(0, len(forged), 512):
        if forged[at + 257 : at + 262] == b"ustar":
            total = sum(forged[at : at + 148]) + sum(forged[at + 156 : at + 512]) + 8 * 32
            forged[at + 148 : at + 156] = b"%06o\0 " % total

    try:
        for _, body in read(io.BytesIO(forged)):
            body.read(1 << 20)
    except TarError:
        return

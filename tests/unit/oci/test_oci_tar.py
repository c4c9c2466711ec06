"""Tar entries: what is written is what tarfile reads, and what is read is clean."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from buildpush.oci import tar
from buildpush.oci.tar import END, Entry, TarError, pack, padding, read

SECOND = 1_000_000_000

ENTRIES = [
    Entry("etc/passwd", "file", 0o644, size=5),
    Entry("usr/bin", "dir", 0o755, 1, 2, mtime_ns=1_700_000_000 * SECOND),
    Entry("", "dir", 0o755),
    Entry("bin", "symlink", 0o777, link="usr/bin"),
    Entry("absolute", "symlink", 0o777, link="/usr/../bin"),
    Entry("sh", "hardlink", link="bin/busybox"),
    Entry("dev/null", "char", 0o666, major=1, minor=3),
    Entry("dev/loop", "block", 0o660, major=7, minor=2_097_151),
    Entry("run/pipe", "fifo", 0o600),
    Entry("bin/su", "file", 0o4755, size=3),
    Entry("a" * 100, "file"),
    Entry("d" * 99, "dir"),
    Entry("d" * 100, "dir"),
    Entry("/".join(["p" * 60, "q" * 60, "r" * 90]), "file", size=1),
    Entry("/".join(["p" * 100] * 4), "file", size=1),
    Entry("x" * 101, "file"),
    Entry("x" * 255, "dir"),
    Entry("naïve/Ω.txt", "file", size=2),
    Entry("naïve" * 60, "file", size=2),
    Entry("latin-\udce9", "file", size=2),
    Entry("latin-\udce9" * 40, "file"),
    Entry("l", "symlink", link="t" * 100),
    Entry("l", "symlink", link="t" * 101),
    Entry("l", "symlink", link="ünï"),
    Entry("l", "symlink", link="raw-\udcff"),
    Entry("h", "hardlink", link="t/" * 80 + "t"),
    Entry("big-ids", "file", uid=2_097_152, gid=4_294_967_294),
    Entry("most-ids", "file", uid=2_097_151, gid=2_097_151),
    Entry("fraction", "file", mtime_ns=1_700_000_000_123_456_789),
    Entry("half", "file", mtime_ns=SECOND // 2),
    Entry("before", "file", mtime_ns=-1_500_000_000),
    Entry("long-ago", "file", mtime_ns=-86_400 * SECOND),
    Entry("far", "file", mtime_ns=(1 << 34) * SECOND),
    Entry("caps", "file", xattrs={"security.capability": bytes([1, 0, 0, 2, 255, 254, 10, 61])}),
    Entry("attrs", "dir", xattrs={"user.b": b"", "user.a": b"=\n", "user.ü": b"\0"}),
]


def archive(*entries: Entry) -> bytes:
    body = b"".join(pack(e) + b"x" * e.size + padding(e.size) for e in entries)
    return body + END


def entries_of(data: bytes) -> list[Entry]:
    return [entry for entry, _ in read(io.BytesIO(data))]


def foreign(*infos: tarfile.TarInfo, format: int = tarfile.GNU_FORMAT) -> bytes:
    """What Python's own writer makes of *infos*, with zero bytes for contents."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=format) as writer:
        for info in infos:
            writer.addfile(info, io.BytesIO(bytes(info.size)))
    return out.getvalue()


def info(name: str, **fields: object) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    for key, value in fields.items():
        setattr(made, key, value)
    return made


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e.kind}-{ascii(e.name)[:20]}")
def test_an_entry_survives_being_packed_and_read(entry: Entry) -> None:
    """Nothing of an entry is lost on the way through an archive."""
    assert entries_of(archive(entry)) == [entry]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda e: f"{e.kind}-{ascii(e.name)[:20]}")
def test_pythons_own_reader_understands_an_entry(entry: Entry) -> None:
    """tarfile, in its random access mode, reads the same name, owner, size and times."""
    with tarfile.open(fileobj=io.BytesIO(archive(entry)), encoding="utf-8") as reader:
        member = reader.getmembers()[0]

    expected = (entry.name or ".", entry.mode, entry.uid, entry.gid, entry.size, entry.link)
    found = (member.name, member.mode, member.uid, member.gid, member.size, member.linkname)
    assert found == expected
    assert member.mtime == entry.mtime_ns / SECOND


def test_a_plain_entry_is_one_block_of_ustar() -> None:
    """Without need there is no extended header, and no user or group name."""
    header = pack(Entry("a/b", "file", 0o640, 10, 20, 7, 1_700_000_000 * SECOND))

    assert len(header) == 512
    assert (
        header[:3] == b"a/b"
        and header[100:136] == b"0000640\x000000012\x000000024\x0000000000007\0"
    )
    assert header[257:265] == b"ustar\x0000" and not header[265:329].strip(b"\0")


def test_a_name_that_ustar_can_split_needs_no_extended_header() -> None:
    """Names up to 255 bytes use the prefix field when a slash falls right."""
    assert len(pack(Entry("p" * 155 + "/" + "n" * 100, "file"))) == 512
    assert len(pack(Entry("p" * 156 + "/" + "n" * 100, "file"))) == 512 * 3


def test_packing_is_deterministic() -> None:
    """The order in which extended attributes were found does not show."""
    one = Entry("x", "file", xattrs={"user.a": b"1", "user.b": b"2"})
    other = Entry("x", "file", xattrs={"user.b": b"2", "user.a": b"1"})

    assert pack(one) == pack(other)


def test_a_size_beyond_ustar_goes_into_a_record() -> None:
    """Eleven octal digits end at 8 GiB."""
    size = 8 << 30
    data = pack(Entry("huge", "file", size=size))

    assert b"size=%d\n" % size in data
    with tarfile.open(fileobj=io.BytesIO(data), mode="r|") as reader:
        member = reader.next()
        assert member is not None and member.size == size


@pytest.mark.parametrize("length", range(80, 120))
def test_a_record_counts_the_digits_of_its_own_length(length: int) -> None:
    """A PAX record starts with its length, which that length includes."""
    entry = Entry("x", "file", xattrs={"user.k": b"v" * length})

    body = pack(entry)[512:1024]
    assert body.partition(b" ")[0] == b"%d" % len(body.rstrip(b"\0"))
    assert entries_of(archive(entry)) == [entry]


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (Entry("a\0b", "file"), "NUL"),
        (Entry("a", "symlink", link="b\0"), "NUL"),
        (Entry("a", "file", size=-1), "negative"),
        (Entry("a", "char", major=1 << 21), "device number"),
        (Entry("a", "file", xattrs={"user.a=b": b""}), "user.a=b"),
    ],
)
def test_what_no_archive_can_hold_is_refused(entry: Entry, message: str) -> None:
    """Rather than a header that lies."""
    with pytest.raises(ValueError, match=message):
        pack(entry)


def test_padding_fills_a_block() -> None:
    """Contents end on a multiple of 512."""
    assert [len(padding(n)) for n in (0, 1, 511, 512, 513)] == [0, 511, 1, 0, 511]


# --- reading ---


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ("./etc/passwd", "etc/passwd"),
        ("/etc/passwd", "etc/passwd"),
        ("././/etc//./passwd", "etc/passwd"),
        ("etc/passwd/.", "etc/passwd"),
        ("./", ""),
        (".", ""),
        ("/", ""),
        ("..data/x..y/...", "..data/x..y/..."),
        (".wh.file", ".wh.file"),
    ],
)
def test_names_from_the_wild_arrive_clean(stored: str, name: str) -> None:
    """Leading ./ and /, and parts that say nothing, are gone."""
    assert [e.name for e in entries_of(foreign(info(stored)))] == [name]


@pytest.mark.parametrize("name", ["..", "../x", "a/../../x", "/../etc/passwd", "a/../.."])
def test_an_entry_that_climbs_is_refused_by_name(name: str) -> None:
    """A layer has no business above its root."""
    with pytest.raises(TarError, match="cannot leave its root") as caught:
        entries_of(foreign(info(name)))

    assert repr(name) in str(caught.value)


def test_a_name_may_turn_back_inside_the_archive() -> None:
    """What unpacks layers and archives cleans names; only the root is no way out."""
    names = [info("a/../b"), info("a/b/../../c/./d"), info("a/..")]

    assert [e.name for e in entries_of(foreign(*names))] == ["b", "c/d", ""]


def test_a_hard_link_that_climbs_is_refused_and_a_symlink_is_not() -> None:
    """A hard link names an entry of the archive; a symlink is text for later."""
    link = info("a", type=tarfile.SYMTYPE, linkname="../../x")
    assert entries_of(foreign(link))[0].link == "../../x"

    with pytest.raises(TarError, match="cannot leave"):
        entries_of(foreign(info("a", type=tarfile.LNKTYPE, linkname="../x")))


def test_hard_links_name_their_target_as_entries_are_named() -> None:
    """So that the target can be found again."""
    link = info("./b", type=tarfile.LNKTYPE, linkname="./a")

    assert entries_of(foreign(link)) == [Entry("b", "hardlink", link="a")]


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT, tarfile.USTAR_FORMAT])
def test_the_formats_of_other_writers_are_read(format: int) -> None:
    """GNU's and PAX's long names, and old ustar."""
    name = "long/" * 30 + "name" if format != tarfile.USTAR_FORMAT else "short"
    made = info(name, size=10, uid=7, mtime=1_700_000_000)

    assert entries_of(foreign(made, format=format)) == [
        Entry(name, "file", 0o644, 7, 0, 10, 1_700_000_000 * SECOND)
    ]


def test_numbers_in_base_256_are_read() -> None:
    """GNU tar writes large owners in binary."""
    made = info("x", uid=3_000_000, gid=4_000_000_000, size=0)

    entry = entries_of(foreign(made))[0]

    assert (entry.uid, entry.gid) == (3_000_000, 4_000_000_000)


def test_binary_attributes_of_pythons_writer_are_read() -> None:
    """Values that are not UTF-8 come through as the bytes they were."""
    value = bytes(range(256))
    made = info("x", pax_headers={"SCHILY.xattr.user.x": value.decode("utf-8", "surrogateescape")})

    assert entries_of(foreign(made, format=tarfile.PAX_FORMAT))[0].xattrs == {"user.x": value}


def test_global_headers_apply_and_are_no_entries() -> None:
    """`git archive` starts with one."""
    out = io.BytesIO()
    with tarfile.open(
        fileobj=out, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": "c0ffee"}
    ) as writer:
        writer.addfile(info("x"))

    assert entries_of(out.getvalue()) == [Entry("x", "file")]


def test_old_gnu_sparse_files_arrive_expanded() -> None:
    """The holes are zeros again."""
    header = bytearray(pack(Entry("holes", "file", size=512)))
    header[156:157] = b"S"
    header[257:265] = b"ustar  \0"
    header[345:500] = bytes(155)
    header[386:398] = b"%011o\0" % 1024  # the only piece: 512 bytes at 1024
    header[398:410] = b"%011o\0" % 512
    header[483:495] = b"%011o\0" % 4096  # the real size
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + sum(header[156:]) + 8 * 32)

    found = [(e, body.read()) for e, body in read(io.BytesIO(header + b"d" * 512 + END))]

    assert found == [
        (Entry("holes", "file", size=4096), bytes(1024) + b"d" * 512 + bytes(4096 - 1536))
    ]


def test_bodies_are_read_in_turn_and_skipped_when_not() -> None:
    """A caller that looks at names only reads no contents."""
    data = archive(Entry("a", "file", size=3), Entry("d", "dir"), Entry("b", "file", size=600))

    assert [e.name for e in entries_of(data)] == ["a", "d", "b"]
    assert [body.read() for _, body in read(io.BytesIO(data))] == [b"xxx", b"", b"x" * 600]


def test_names_that_repeat_are_all_delivered() -> None:
    """Which one counts is for the reader of the layer to say."""
    assert len(entries_of(archive(Entry("a", "file"), Entry("a", "dir")))) == 2


def test_contiguous_files_are_files() -> None:
    """Type 7 means nothing any more."""
    assert entries_of(foreign(info("x", type=tarfile.CONTTYPE)))[0].kind == "file"


def test_an_entry_of_an_unknown_kind_is_refused_by_name() -> None:
    """Better than a file that is silently not there."""
    with pytest.raises(TarError, match=r"'odd': an entry of the unknown type"):
        entries_of(foreign(info("odd", type=b"Z")))


def test_a_damaged_header_in_the_middle_is_not_the_end() -> None:
    """tarfile alone would stop there and say nothing."""
    data = bytearray(archive(Entry("a", "file"), Entry("b", "file"), Entry("c", "file")))
    data[512 + 3] ^= 1

    with pytest.raises(TarError, match="damaged"):
        entries_of(bytes(data))


@pytest.mark.parametrize("cut", [100, 700, 1700])
def test_an_archive_cut_short_is_refused(cut: int) -> None:
    """In a header, in a body, and in the next header."""
    data = archive(Entry("a", "file", size=600), Entry("b", "file"))

    with pytest.raises(TarError, match="damaged"):
        entries_of(data[:cut])


def test_bytes_that_are_no_archive_are_refused() -> None:
    """As an archive that is damaged."""
    with pytest.raises(TarError):
        entries_of(b"MZ" * 1000)


def test_a_time_that_is_no_number_is_refused() -> None:
    """PAX times are decimal seconds."""
    made = info("x", pax_headers={"mtime": "NaN"})

    with pytest.raises(TarError, match="mtime"):
        entries_of(foreign(made, format=tarfile.PAX_FORMAT))


def test_an_archive_without_entries_is_empty() -> None:
    """Two blocks of zeros are an archive, and so is the end of a padded one."""
    assert entries_of(END) == []
    assert entries_of(bytes(10240)) == []


# --- the files themselves ---


@pytest.mark.parametrize("name", ["tar", "_entry", "_untar"])
def test_nothing_but_the_standard_library_is_imported(name: str) -> None:
    """The sandbox's bare interpreter has no site-packages."""
    tree = ast.parse(Path(tar.__file__).with_name(f"{name}.py").read_text())
    imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import)]
    from_imports = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]

    names = {alias.name for node in imports for alias in node.names}
    names |= {node.module or "" for node in from_imports if node.level == 0}
    siblings = {node.module for node in from_imports if node.level}

    assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names
    assert siblings <= {"_entry", "_untar"}


def test_a_bare_interpreter_loads_it() -> None:
    """As the sandbox does: below a package that is an empty stand-in."""
    program = (
        "import sys, types\n"
        "p = sys.modules['p'] = types.ModuleType('p')\n"
        f"p.__path__ = [{str(Path(tar.__file__).parent)!r}]\n"
        "from p import tar\n"
        "sys.stdout.buffer.write(tar.pack(tar.Entry('x', 'file', size=3)))\n"
    )

    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program], capture_output=True, check=True
    )

    assert done.stdout == pack(Entry("x", "file", size=3))

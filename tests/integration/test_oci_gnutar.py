"""GNU tar as a witness: it reads what we write, and we read what it writes."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from buildpush.oci.tar import END, Entry, pack, padding, read

SECOND = 1_000_000_000
TAR = shutil.which("tar")


@pytest.fixture(autouse=True)
def gnu_tar(missing: Callable[[str], None]) -> None:
    """Only GNU's tar is a witness here; busybox's is another program."""
    command = (TAR or "false", "--version")
    if b"GNU" not in subprocess.run(command, capture_output=True, check=False).stdout:
        missing("GNU tar")


def tar(*arguments: str, data: bytes = b"", language: str = "C.UTF-8") -> bytes:
    assert TAR is not None
    done = subprocess.run(
        [TAR, *arguments],
        input=data,
        capture_output=True,
        check=True,
        env={"LC_ALL": language, "TZ": "UTC", "PATH": "/usr/bin:/bin"},
    )
    assert done.stderr == b""
    return done.stdout


def archive(*entries: Entry) -> bytes:
    return b"".join(pack(e) + b"x" * e.size + padding(e.size) for e in entries) + END


@pytest.mark.parametrize("language", ["C", "C.UTF-8"])
@pytest.mark.parametrize(
    "name",
    [
        "plain",
        "n" * 100,
        "n" * 255,
        "/".join(["d" * 90] * 2),
        "/".join(["d" * 90] * 9),
        "naïve-Ω",
        "naïve-Ω" * 20,
        "latin-\udce9",
        "latin-\udce9" * 20,
        "new\nline and space",
    ],
)
def test_gnu_tar_lists_our_names(name: str, language: str) -> None:
    """Byte for byte, whatever the locale, and without a warning."""
    data = archive(Entry(name, "file", size=3))

    listed = tar("-t", "--quoting-style=literal", "--null", data=data, language=language)

    assert os.fsencode(name) == listed.rstrip(b"\n\0")


def test_gnu_tar_extracts_what_we_pack(tmp_path: Path) -> None:
    """Files, folders, symlinks, hard links and times."""
    data = archive(
        Entry("d" * 120, "dir", 0o750, mtime_ns=SECOND),
        Entry("d" * 120 + "/file", "file", 0o640, size=700, mtime_ns=1_700_000_000_123_456_789),
        Entry("link", "symlink", link="t" * 150),
        Entry("hard", "hardlink", link="d" * 120 + "/file"),
        Entry("old", "file", mtime_ns=-5 * SECOND),
    )

    tar("-x", "--warning=no-timestamp", "-C", str(tmp_path), data=data)

    file = tmp_path / ("d" * 120) / "file"
    assert file.read_bytes() == b"x" * 700
    assert file.stat().st_mtime_ns == 1_700_000_000_123_456_789
    assert file.stat().st_mode & 0o7777 == 0o640
    assert file.samefile(tmp_path / "hard")
    assert (tmp_path / "link").readlink() == Path("t" * 150)
    assert (tmp_path / "old").stat().st_mtime == -5


def test_gnu_tar_understands_large_owners_sizes_and_devices() -> None:
    """What ustar has no room for."""
    data = archive(
        Entry("owners", "file", uid=4_000_000_000, gid=2_097_152),
        Entry("null", "char", 0o666, major=1, minor=3),
        Entry("disk", "block", 0o660, major=259, minor=1_048_575),
    )

    lines = tar("-tv", "--numeric-owner", data=data).decode().splitlines()

    assert [line.split()[:3] for line in lines] == [
        ["-rw-r--r--", "4000000000/2097152", "0"],
        ["crw-rw-rw-", "0/0", "1,3"],
        ["brw-rw----", "0/0", "259,1048575"],
    ]


def test_gnu_tar_sees_a_size_over_8_gib(tmp_path: Path) -> None:
    """The header alone: the content is a hole at the end of the file."""
    path = tmp_path / "huge.tar"
    size = (8 << 30) + 1
    with path.open("wb") as file:
        file.write(pack(Entry("huge", "file", size=size)))
        file.seek(size + len(padding(size)), os.SEEK_CUR)
        file.write(pack(Entry("after", "file")) + END)

    lines = tar("-tv", "-f", str(path)).decode().splitlines()

    assert [line.split()[2] for line in lines] == [str(size), "0"]
    with path.open("rb") as stream:
        # Reading is proven on the first entry; skipping 8 GiB would take seconds.
        assert next(read(stream))[0].size == size


def test_gnu_tar_sees_our_extended_attributes() -> None:
    """Values that are no text included."""
    capability = bytes.fromhex("0100000200040000000000000000000000000000")
    data = archive(Entry("ping", "file", xattrs={"security.capability": capability}))

    listed = tar("-tvv", "--xattrs", "--xattrs-include=*", data=data).decode()

    assert "x: 20 security.capability" in listed


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with the kinds of file that anybody may make."""
    root = tmp_path / "tree"
    (root / ("d" * 120)).mkdir(parents=True)
    (root / ("d" * 120) / ("f" * 120)).write_bytes(b"long")
    (root / "plain").write_bytes(b"data")
    os.link(root / "plain", root / "zhard")
    (root / "link").symlink_to("t" * 150)
    os.mkfifo(root / "pipe")
    (root / os.fsdecode(b"latin-\xe9")).write_bytes(b"")
    with (root / "sparse").open("wb") as file:
        for at in range(0, 40 << 20, 1 << 20):  # more pieces than a header has room for
            file.seek(at)
            file.write(b"piece")
        file.truncate(41 << 20)
    for path in (root / "plain", root / "sparse"):
        os.utime(path, ns=(0, 1_700_000_000_250_000_000))
    return root


@pytest.mark.parametrize(
    "options",
    [
        ("--format=gnu",),
        ("--format=gnu", "--sparse"),
        ("--format=pax",),
        ("--format=pax", "--sparse", "--sparse-version=0.0"),
        ("--format=pax", "--sparse", "--sparse-version=0.1"),
        ("--format=pax", "--sparse", "--sparse-version=1.0"),
    ],
    ids=" ".join,
)
def test_we_read_what_gnu_tar_writes(tree: Path, options: tuple[str, ...]) -> None:
    """Every format and every way to store holes."""
    data = tar("-c", *options, "--sort=name", "-C", str(tree), ".")

    found = {entry.name: (entry, body.read()) for entry, body in read(io.BytesIO(data))}

    names = {"", *(str(p.relative_to(tree)) for p in tree.rglob("*"))}
    assert found.keys() == names
    assert found["sparse"][0].size == 41 << 20
    assert found["sparse"][1] == (tree / "sparse").read_bytes()
    assert found["d" * 120 + "/" + "f" * 120][1] == b"long"
    assert found["link"][0].link == "t" * 150
    assert found["zhard"][0]._replace(mtime_ns=0, mode=0, uid=0, gid=0) == Entry(
        "zhard", "hardlink", 0, link="plain"
    )
    assert found["pipe"][0].kind == "fifo"
    exact = 1_700_000_000_250_000_000 if "--format=pax" in options else 1_700_000_000 * SECOND
    assert found["plain"][0].mtime_ns == exact

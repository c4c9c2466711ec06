"""ADD's archives: which they are, what becomes of their entries, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import importlib
import io
import lzma
import os
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildpush.backends.native.copying.archive import is_archive
from buildpush.backends.native.copying.context import ContextSource
from buildpush.backends.native.copying.copy import CopyRequest, Part, plan_copy
from buildpush.backends.native.copying.sources import FilesSource, InlineFile
from buildpush.backends.native.tree import Tree
from buildpush.errors import BuildError
from buildpush.oci.tar import OPAQUE, Entry

Make = Callable[..., Any]


def zstd(data: bytes) -> bytes:
    name = "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
    out: bytes = importlib.import_module(name).compress(data)
    return out


def skippable(data: bytes) -> bytes:
    return b"\x5a\x2a\x4d\x18\x04\0\0\0note" + zstd(data)


PACKERS = [bytes, gzip.compress, bz2.compress, lzma.compress, zstd, skippable]
NAMES = ["plain", "gzip", "bzip2", "xz", "zstd", "skippable"]


@pytest.fixture
def added(folder: Make, layer: Make, copy: Make) -> Make:
    """ADD one archive: ``added(entries, "/destination", pack=gzip.compress, **request)``."""

    def run(content: Any, destination: str = "/", *, pack: Any = bytes, **options: Any) -> Any:
        root = folder({"a.tar": pack(layer(content))})
        return copy(ContextSource(root), "a.tar", destination, unpack=True, **options)

    return run


@pytest.mark.parametrize("pack", PACKERS, ids=NAMES)
def test_archives_are_known_by_their_content(added: Make, pack: Any) -> None:
    """Not by their name; each compression that BuildKit knows."""
    assert added({"a/b": b"1", "c": b"2"}, "/t", pack=pack).bodies == {"t/a/b": b"1", "t/c": b"2"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"just text, named .tar",
        b"\0" * 10240,
        gzip.compress(b"text", mtime=0),
        gzip.compress(b"text", mtime=0)[:12],
        b"BZh9 not really",
        b"\xfd7zXZ\0 nor this",
        b"\x28\xb5\x2f\xfd and not this",
        b"PK\3\4 a zip" + b"\0" * 1000,
    ],
)
def test_what_is_no_archive_is_copied(folder: Make, copy: Make, data: bytes) -> None:
    """An empty tar, too: it holds nothing that would tell it from zeros."""
    source = ContextSource(folder({"x.tar.gz": data}))

    assert copy(source, "x.tar.gz", "/t/", unpack=True).bodies == {"t/x.tar.gz": data}


def test_only_files_are_archives(folder: Make, layer: Make) -> None:
    """Folders and what is not there are not."""
    source = ContextSource(folder({"d": None}))

    assert [is_archive(source, p) for p in ("d", "missing")] == [False, False]


def test_without_unpack_an_archive_is_a_file(folder: Make, layer: Make, copy: Make) -> None:
    """COPY, and ADD --unpack=false."""
    data = layer({"a": b""})

    assert copy(ContextSource(folder({"a.tar": data})), "a.tar", "/").bodies == {"a.tar": data}


def test_an_archive_behind_a_symlink_is_unpacked(folder: Make, layer: Make, copy: Make) -> None:
    """Sources are followed."""
    source = ContextSource(folder({"real": layer({"a": b"1"}), "link": "-> real"}))

    assert copy(source, "link", "/", unpack=True).bodies == {"a": b"1"}


def test_entries_keep_their_facts(added: Make) -> None:
    """Owners, modes, times, devices; of the attributes, capabilities."""
    copied = added(
        {
            "d": Entry("", "dir", 0o2750, 1, 2, mtime_ns=3_000_000_001),
            "d/f": (
                Entry(
                    "", "file", 0o4755, 5, 6, mtime_ns=7_000_000_000,
                    xattrs={"security.capability": b"\x01", "user.x": b"2"},
                ),
                b"x",
            ),
            "l": Entry("", "symlink", 0o755, 8, 9, link="/abs"),
            "null": Entry("", "char", 0o666, major=1, minor=3),
            "pipe": Entry("", "fifo", 0o600),
        },
        "/t",
    )  # fmt: skip

    facts = {n: (e.kind, e.mode, e.uid, e.gid, e.mtime_ns) for n, e in copied.entries.items()}
    assert facts == {
        "t": ("dir", 0o755, 0, 0, 0),
        "t/d": ("dir", 0o2750, 1, 2, 3_000_000_000),
        "t/d/f": ("file", 0o4755, 5, 6, 7_000_000_000),
        "t/l": ("symlink", 0o777, 8, 9, 0),
        "t/null": ("char", 0o666, 0, 0, 0),
        "t/pipe": ("fifo", 0o600, 0, 0, 0),
    }
    assert dict(copied.entries["t/d/f"].xattrs) == {"security.capability": b"\x01"}
    assert (copied.entries["t/null"].minor, copied.entries["t/l"].link) == (3, "/abs")


def test_the_header_of_a_hard_link_is_the_last_word_on_its_file(added: Make) -> None:
    """Mode, owner, time and capabilities, under every name; of a symlink only the owner."""
    cap = {"security.capability": b"\x01"}
    copied = added(
        {
            "f": (Entry("", "file", 0o4755, 5, 6, xattrs=cap), b"x"),
            "g": Entry("", "hardlink", 0o600, 7, 8, link="f", mtime_ns=1_000_000_000),
            "h": Entry("", "hardlink", 0o640, 0, 0, link="g", mtime_ns=2_000_000_000),
            "s": Entry("", "symlink", 0o777, link="f"),
            "t": Entry("", "hardlink", 0o600, 9, 9, link="s"),
        }
    )

    facts = {n: (e.kind, e.mode, e.uid, e.gid, e.mtime_ns) for n, e in copied.entries.items()}
    assert facts == {
        "f": ("file", 0o640, 0, 0, 2_000_000_000),
        "g": ("hardlink", 0o640, 0, 0, 2_000_000_000),
        "h": ("hardlink", 0o640, 0, 0, 2_000_000_000),
        "s": ("symlink", 0o777, 9, 9, 0),
        "t": ("hardlink", 0o777, 9, 9, 0),
    }
    assert dict(copied.entries["f"].xattrs) == {}


def test_chown_overrides_the_archives_owners_and_chmod_does_not_apply(added: Make) -> None:
    """Folders nobody named stay root's, but for the destination."""
    copied = added({"x/y": (Entry("", "file", 0o640, 5, 6), b"")}, "/t", chown=(1, 2), chmod="777")

    assert {n: (e.uid, e.gid, e.mode) for n, e in copied.entries.items()} == {
        "t": (1, 2, 0o755),
        "t/x": (0, 0, 0o755),
        "t/x/y": (1, 2, 0o640),
    }


def test_the_destination_is_always_a_folder(added: Make, image: Make) -> None:
    """Symlinks to it are followed; its own entry in the archive is ignored."""
    target = image({"srv": Entry("", "dir", 0o711), "l": "-> srv"}).tree

    copied = added({"": Entry("", "dir", 0o700), "a": b""}, "/l", onto=target)

    assert {n: e.mode for n, e in copied.entries.items()} == {"srv": 0o711, "srv/a": 0o644}


def test_entries_replace_what_is_in_their_way(added: Make, image: Make) -> None:
    """A file replaces a folder and a folder a file; folders merge and take the new facts."""
    target = image(
        {"d/old": b"", "f": b"", "m": Entry("", "dir", 0o755), "m/kept": b"", "s": "-> m"}
    ).tree

    copied = added(
        {"d": b"now a file", "f": None, "f/x": b"", "m": Entry("", "dir", 0o700), "s": b"file"},
        onto=target,
    )

    assert [n.path for n in copied.tree(target).walk()][1:] == [
        "d",
        "f",
        "f/x",
        "m",
        "m/kept",
        "s",
    ]
    assert (copied.entries["m"].mode, copied.entries["s"].kind) == (0o700, "file")


def test_a_folder_that_was_replaced_for_a_while_starts_empty(added: Make, image: Make) -> None:
    """The layer says so with an opaque whiteout."""
    target = image({"d/old": b""}).tree

    copied = added([("d", b"file"), ("d", None), ("d/new", b"")], onto=target)

    assert f"d/{OPAQUE}" in copied.entries
    assert [n.path for n in copied.tree(target).walk()][1:] == ["d", "d/new"]
    assert copied.plan.index() is None


def test_parents_that_are_symlinks_are_followed_inside_the_destination(
    added: Make, image: Make
) -> None:
    """As in a root file system unpacked over a merged /usr; an absolute one stays inside too."""
    target = image({"lib": "-> usr/lib", "usr/lib": None, "t/abs": "-> /x", "t/x": None}).tree

    assert "usr/lib/a.so" in added({"lib/a.so": b""}, "/", onto=target).entries
    assert "t/x/f" in added({"abs/f": b""}, "/t", onto=target).entries
    assert "t/y/f" in added([("l", "-> y"), ("l/f", b"")], "/t", onto=target).entries


def test_the_last_of_several_entries_counts(added: Make) -> None:
    """And is the only one written."""
    copied = added([("a", b"1"), ("b", "== a"), ("a", b"22"), ("c", b"3")])

    assert copied.bodies == {"a": b"22", "b": b"1", "c": b"3"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": "== nowhere"}, "links /a to /nowhere"),
        ({"d": None, "a": "== d"}, "links /a to /d"),
        ([("f", b""), ("f/x", b"")], "mkdir /f: not a directory"),
    ],
)
def test_what_cannot_be_unpacked_is_an_error(added: Make, content: Any, message: str) -> None:
    """Naming the entry."""
    with pytest.raises(BuildError, match=message):
        added(content)


def test_an_archive_that_climbs_out_is_refused(folder: Make, copy: Make) -> None:
    """The destination is its root."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../etc/passwd"))
    source = ContextSource(folder({"evil.tar": out.getvalue()}))

    with pytest.raises(BuildError, match=r"the archive /evil\.tar cannot be unpacked") as caught:
        copy(source, "evil.tar", "/t", unpack=True)
    assert "--unpack=false" in caught.value.hint


@pytest.mark.parametrize("pack", PACKERS[1:5], ids=NAMES[1:5])
def test_a_damaged_archive_is_an_error(folder: Make, layer: Make, copy: Make, pack: Any) -> None:
    """It began well, so it is no plain file."""
    data = pack(layer({f"f{n}": os.urandom(5000) for n in range(400)}))
    source = ContextSource(folder({"a.tar": data[: len(data) * 3 // 4]}))

    with pytest.raises(BuildError, match=r"the archive /a\.tar cannot be unpacked"):
        copy(source, "a.tar", "/t", unpack=True)


def test_planning_an_archive_hashes_it_and_no_more(folder: Make, layer: Make) -> None:
    """A rebuild that finds its layer by the key never decompresses anything."""
    broken = gzip.compress(layer({"a": b"1" * 100_000, "b": os.urandom(100_000)}))[:-50_000]
    root = folder({"a.tar": broken})
    request = CopyRequest(sources=("a.tar",), destination="/t", unpack=True)

    keys = {
        plan_copy(request, ContextSource(root), Tree()).key,
        plan_copy(request, ContextSource(root), Tree()).key,
    }
    (root / "a.tar").write_bytes(broken + b"x")
    keys.add(plan_copy(request, ContextSource(root), Tree()).key)

    assert len(keys) == 2


def test_archives_and_files_mix(folder: Make, layer: Make, copy: Make) -> None:
    """In order, also with downloads that are to be unpacked."""
    source = ContextSource(folder({"1.tar": layer({"a": b"1", "b": b"1"}), "b": b"2"}))
    download = FilesSource({"2.tar": InlineFile(content=layer({"c": b"3"}))})

    copied = copy(
        source,
        "1.tar",
        "b",
        "/t",
        unpack=True,
        also=(Part(source=download, paths=("2.tar",), unpack=True),),
    )

    assert copied.bodies == {"t/a": b"1", "t/b": b"2", "t/c": b"3"}


def test_an_archive_that_changes_is_noticed(folder: Make, layer: Make, write: Make) -> None:
    """Between planning and writing."""
    root: Path = folder({"a.tar": layer({"a": b"1"})})
    source = ContextSource(root)
    plan = plan_copy(CopyRequest(sources=("a.tar",), destination="/", unpack=True), source, Tree())
    with (root / "a.tar").open("ab") as file:
        file.write(b"more")

    with pytest.raises(BuildError, match=r"/a\.tar of the build context changed"):
        write(plan, source)

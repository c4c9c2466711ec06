"""Layers unpacked and differences found, as far as that needs no rights."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from buildpush.backends.native.sandbox.launcher import difference, layers
from buildpush.backends.native.sandbox.launcher.unpack import Unpacker
from buildpush.backends.native.sandbox.launcher.wire import NotOverlayError, SetUpError
from buildpush.oci import tar

_NOW = 1_600_000_000_000_000_000


def entry(name: str, kind: tar.Kind = "dir", **more: object) -> tar.Entry:
    """An entry of the user who runs the tests."""
    fields = {"mode": 0o755, "uid": os.getuid(), "gid": os.getgid(), "mtime_ns": _NOW} | more
    return tar.Entry(name, kind, **fields)  # type: ignore[arg-type]


def archive(*entries: tar.Entry) -> bytes:
    bodies = (tar.pack(e) + b"x" * e.size + tar.padding(e.size) for e in entries)
    return b"".join([*bodies, tar.END])


def unpack(root: Path, *archives: bytes) -> Unpacker:
    root.mkdir(exist_ok=True)
    with Unpacker(str(root), "plain") as unpacker:
        for data in archives:
            unpacker.apply(io.BytesIO(data), f"sha256:{hashlib.sha256(data).hexdigest()}")
    return unpacker


def names(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*"))


def test_entries_become_files(tmp_path: Path) -> None:
    """With their modes and times, the root's own included."""
    data = archive(
        entry("", mode=0o711),
        entry("d", mode=0o700),
        entry("d/f", "file", mode=0o640, size=5),
        entry("d/h", "hardlink", link="d/f"),
        entry("d/s", "symlink", link="/etc/passwd"),
        entry("d/p", "fifo", mode=0o600),
    )

    unpack(tmp_path / "root", data)

    root = tmp_path / "root"
    assert names(root) == ["d", "d/f", "d/h", "d/p", "d/s"]
    assert (root / "d" / "f").read_bytes() == b"xxxxx"
    assert (root / "d" / "f").stat().st_ino == (root / "d" / "h").stat().st_ino
    assert {(root / n).lstat().st_mtime_ns for n in ("", "d", "d/f", "d/s", "d/p")} == {_NOW}
    assert [oct((root / n).lstat().st_mode & 0o7777) for n in ("", "d", "d/f")] == [
        "0o711",
        "0o700",
        "0o640",
    ]


def test_a_second_layer_changes_the_first(tmp_path: Path) -> None:
    """Whiteouts, opaque directories, replaced kinds."""
    one = archive(
        entry("gone"),
        entry("gone/x", "file"),
        entry("opaque"),
        entry("opaque/old", "file"),
        entry("opaque/both", "file"),
        entry("file", "file"),
        entry("dir"),
        entry("dir/x", "file"),
        entry("link", "symlink", link="dir"),
    )
    two = archive(
        entry(".wh.gone", "file"),
        entry("opaque"),
        entry("opaque/both", "file", size=1),
        entry("opaque/.wh..wh..opq", "file"),
        entry("file"),
        entry("dir", "file"),
        entry("link"),
        entry("none/.wh.x", "file"),
        entry(".wh..wh.plnk", "file"),
    )

    unpack(tmp_path / "root", one, two)

    root = tmp_path / "root"
    assert names(root) == ["dir", "file", "link", "opaque", "opaque/both"]
    assert (
        (root / "file").is_dir() and (root / "dir").is_file() and not (root / "link").is_symlink()
    )
    assert (root / "opaque" / "both").stat().st_size == 1


def test_a_directory_made_anew_hides_what_it_had(tmp_path: Path) -> None:
    """A whiteout beside its target's successor means the layers below."""
    one = archive(entry("d"), entry("d/old", "file"))
    two = archive(entry("d"), entry("d/new", "file"), entry(".wh.d", "file"))

    unpack(tmp_path / "root", one, two)

    assert names(tmp_path / "root") == ["d", "d/new"]


def test_parents_without_an_entry_are_made_and_remembered(tmp_path: Path) -> None:
    """One that gets its entry later is not among them; a file in the way goes."""
    data = archive(
        entry("a", "file"), entry("a/b/c", "file"), entry("d/e", "file"), entry("d", mode=0o700)
    )

    unpacker = unpack(tmp_path / "root", data)

    assert unpacker.implicit == {"a", "a/b"}
    assert names(tmp_path / "root") == ["a", "a/b", "a/b/c", "d", "d/e"]


def test_many_directories_do_not_use_up_descriptors(tmp_path: Path) -> None:
    """Only so many are kept open."""
    before = len(list(Path("/proc/self/fd").iterdir()))

    unpack(tmp_path / "root", archive(*(entry(f"d{n}/f", "file") for n in range(200))))

    assert len(names(tmp_path / "root")) == 400
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([entry("h", "hardlink", link="no/where")], "'h' of .*its hard link's target is missing"),
        ([entry("d"), entry("h", "hardlink", link="none")], "'h' of .*No such file"),
        ([entry(".wh...", "file")], "a whiteout of nothing"),
        ([entry("c", "symlink", link="c"), entry("c/x", "file")], "'c/x' of .*symbolic links"),
        ([entry("x" * 300, "file")], "File name too long"),
    ],
)
def test_what_cannot_be_unpacked_is_named(
    tmp_path: Path, entries: Sequence[tar.Entry], message: str
) -> None:
    """With the layer and the entry."""
    with pytest.raises(SetUpError, match=f"layer sha256:.* cannot be unpacked: .*{message}"):
        unpack(tmp_path / "root", archive(*entries))


def test_a_hard_link_into_a_lower_layer_needs_a_copy(tmp_path: Path) -> None:
    """A layer's own folder does not have the file."""
    data = archive(entry("h", "hardlink", link="below"))
    with (
        Unpacker(str(tmp_path), "user") as unpacker,
        pytest.raises(NotOverlayError, match="'h' is a hard link into a layer below"),
    ):
        unpacker.apply(io.BytesIO(data), "")


def test_attributes_that_a_directory_lost_are_taken_away(tmp_path: Path) -> None:
    """And those that cannot be had here are done without."""
    one = archive(entry("d", xattrs={"user.old": b"1", "user.kept": b"2", "trusted.x": b"3"}))
    two = archive(entry("d", xattrs={"user.kept": b"4", "user.overlay.opaque": b"y"}))

    unpack(tmp_path / "root", one, two)

    found = difference.xattrs_of(str(tmp_path / "root" / "d"))
    assert {k: v for k, v in found.items() if k.startswith("user.")} == {"user.kept": b"4"}


def test_implied_directories_take_their_attributes_from_below(tmp_path: Path) -> None:
    """From the highest layer that describes them, unless something hides it."""
    folders = [tmp_path / name for name in ("low", "middle", "high")]
    contents = [
        [entry("a", mode=0o700), entry("a/b", mode=0o711), entry("f", "file")],
        [entry("a", mode=0o701)],
        [entry("a/b/c/x", "file"), entry("f/x", "file"), entry("new/x", "file")],
    ]
    for folder, entries in zip(folders, contents, strict=True):
        folder.mkdir()
        implicit = unpack(folder / "root", archive(*entries)).implicit
        (folder / "about.json").write_text(f'{{"implicit": {sorted(implicit)}}}'.replace("'", '"'))
    (tmp_path / "fix").mkdir()

    mended = layers.mend([str(f) for f in folders], str(tmp_path / "fix"), "user")

    fix = tmp_path / "fix"
    assert mended
    assert {n: oct((fix / n).stat().st_mode & 0o777) for n in names(fix)} == {
        "a": "0o701",
        "a/b": "0o711",
        "a/b/c": "0o755",
        "f": "0o755",
        "new": "0o755",
    }


def test_layers_that_describe_all_need_no_mending(tmp_path: Path) -> None:
    """The usual case."""
    (tmp_path / "one").mkdir()
    (tmp_path / "fix").mkdir()
    (tmp_path / "one" / "about.json").write_text('{"implicit": []}')

    assert not layers.mend([str(tmp_path / "one")], str(tmp_path / "fix"), "user")


def changes(root: Path, before: difference.Walk) -> dict[str, bool]:
    """The names of what changed, and whether it is still there."""
    found = difference.walked_changes(str(root), before)
    return {change.name: change.found is not None for change in found}


def test_a_walk_finds_what_changed_since(tmp_path: Path) -> None:
    """By content, mode, time, link and attributes; not by links that were only added."""
    for name in ("same", "content", "mode", "time", "linked", "gone"):
        (tmp_path / name).write_text("x")
    (tmp_path / "d" / "gone").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "other").symlink_to("a")
    before = difference.remember(str(tmp_path))

    for name in ("content", "linked"):
        times = (tmp_path / name).stat()
        if name == "content":
            (tmp_path / name).write_text("y")
            os.utime(tmp_path / name, ns=(times.st_atime_ns, times.st_mtime_ns))
        else:
            (tmp_path / "new").hardlink_to(tmp_path / name)
    (tmp_path / "mode").chmod(0o600)
    os.utime(tmp_path / "time", ns=(1, 1))
    (tmp_path / "gone").unlink()
    (tmp_path / "d" / "gone").rmdir()
    (tmp_path / "link").unlink()
    (tmp_path / "link").symlink_to("b")
    os.utime(
        tmp_path / "link", ns=(0, before[""]["link"].found.st_mtime_ns), follow_symlinks=False
    )

    assert changes(tmp_path, before) == {
        "content": True,
        "d": True,
        "d/gone": False,
        "gone": False,
        "link": True,
        "mode": True,
        "new": True,
        "time": True,
    }


def test_a_differences_tar_is_sorted_whole_and_clamped(tmp_path: Path) -> None:
    """Parents first, links to the first name, no sockets, whiteouts as empty files."""
    (tmp_path / "b" / "in").mkdir(parents=True)
    (tmp_path / "b" / "in" / "f").write_text("content")
    (tmp_path / "z").hardlink_to(tmp_path / "b" / "in" / "f")
    os.mkfifo(tmp_path / "b" / "p")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sock"))
    found = [
        difference.Change(name, (tmp_path / name).lstat()) for name in ("b/in/f", "b/p", "sock")
    ]
    found.insert(0, difference.Change("b/gone", None))
    found.append(difference.Change("top", None))

    data = b"".join(difference.write(str(tmp_path), found, latest=1000))

    with tarfile.open(fileobj=io.BytesIO(data)) as written:
        members = written.getmembers()
        content = written.extractfile("b/in/f")
        assert content is not None and content.read() == b"content"
    assert [member.name for member in members] == [
        "b",
        "b/.wh.gone",
        "b/in",
        "b/in/f",
        "b/p",
        ".wh.top",
        "z",
    ]
    assert members[-1].linkname == "b/in/f"
    assert {member.mtime for member in members} == {0, 1000}


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    """Rather than a damaged layer."""
    (tmp_path / "f").write_text("long enough")
    found = difference.Change("f", (tmp_path / "f").stat())
    (tmp_path / "f").write_text("short")

    with pytest.raises(SetUpError, match="'f' shrank"):
        list(difference.write(str(tmp_path), [found]))


def test_a_broken_note_of_a_layer_is_no_note(tmp_path: Path) -> None:
    """It is then unpacked again."""
    (tmp_path / "about.json").write_text("{")

    assert layers.about(str(tmp_path)) == {}
    assert layers.about(str(tmp_path / "none")) == {}

"""The build context as COPY sees it: ignored, linked, hashed, remembered, and caught changing."""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import stat
import zlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from buildpush.backends.native.copying.context import ContextSource
from buildpush.backends.native.copying.digests import DigestMemory, Stamp
from buildpush.dockerfile.ignore import IgnoreRules
from buildpush.errors import BuildError

Make = Callable[..., Any]
LONG_AGO = 1_600_000_000 * 10**9
BIG = 300_000


def nothing() -> None:
    """Never stop."""


def names(source: ContextSource, path: str = "") -> list[str]:
    return [node.path for node in source.children(path)]


def body(source: ContextSource, path: str) -> bytes:
    (content,) = (b if isinstance(b, bytes) else b.read() for b in source.bodies([path], nothing))
    return content


def drain(source: ContextSource, path: str) -> None:
    """Read to the end, as the writer of a layer does."""
    for content in source.bodies([path], nothing):
        while not isinstance(content, bytes) and content.read():
            pass


def age(path: Path) -> None:
    os.utime(path, ns=(LONG_AGO, LONG_AGO))


def test_a_node_has_the_facts_of_lstat_and_roots_owner(folder: Make) -> None:
    """Whoever owns the file, the image's is root's; extended attributes stay behind."""
    root = folder({"a/run.sh": b"#!/bin/sh\n", "link": "-> a/run.sh"})
    (root / "a/run.sh").chmod(0o4751)
    age(root / "a/run.sh")

    source = ContextSource(root)

    file, link = source.get("a/run.sh"), source.get("link")
    assert file is not None and link is not None
    assert (file.kind, file.mode, file.uid, file.gid, file.size) == ("file", 0o4751, 0, 0, 10)
    assert (file.mtime_ns, file.xattrs, link.kind, link.link) == (
        LONG_AGO,
        {},
        "symlink",
        "a/run.sh",
    )


def test_paths_are_real_folders_all_the_way(folder: Make) -> None:
    """Nothing is found behind a symlink or a file: resolving is somebody else's job."""
    source = ContextSource(folder({"a/x": b"", "to-a": "-> a", "out": "-> /etc"}))

    assert [source.get(p) for p in ("to-a/x", "a/x/y", "out/passwd", "no", "no/x")] == [None] * 5
    assert names(source) == ["a", "out", "to-a"]


def test_ignored_paths_are_not_there(folder: Make) -> None:
    """An excluded folder is there only when something in it is let in again."""
    root = folder(
        {
            "a.log": b"",
            "keep.txt": b"",
            "node_modules/x/y": b"",
            "vendor/lib/a.py": b"",
            "vendor/lib/b.py": b"",
            "dist/full/x": b"",
        }
    )
    rules = IgnoreRules.parse("*.log\nnode_modules\nvendor\n!vendor/lib/a.py\ndist\n!dist/none\n")

    source = ContextSource(root, rules)

    assert names(source) == ["keep.txt", "vendor"]
    assert names(source, "vendor/lib") == ["vendor/lib/a.py"]
    assert source.get("node_modules/x/y") is None


def test_excluded_folders_are_not_even_listed(folder: Make) -> None:
    """That is what .dockerignore is for: a folder that cannot be read does no harm."""
    root = folder({"data/x": b"", "a": b""})
    scanned: list[str] = []
    scandir = os.scandir

    def spy(path: str) -> Any:
        scanned.append(path)
        return scandir(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "scandir", spy)
        ContextSource(root, IgnoreRules.parse("data")).children("")

    assert scanned == [str(root)]


def test_an_exception_elsewhere_does_not_open_an_excluded_folder(
    folder: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`!config/x` lists `config`, and never what is as large as node_modules; no file changes."""
    files = {"node_modules/a/b": b"", "config/x": b"1", "config/y": b"2"}
    root = folder(files)
    scanned: list[str] = []
    scandir = os.scandir

    def spy(path: str) -> Any:
        scanned.append(os.path.relpath(path, root))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", spy)
    source = ContextSource(root, IgnoreRules.parse("node_modules\nconfig\n!config/x\n"))
    found = [names(source), names(source, "config")]

    assert found == [["config"], ["config/x"]]
    assert scanned == [".", "config"]
    assert {name: (root / name).read_bytes() for name in files} == files


def test_hard_links_share_an_inode(folder: Make) -> None:
    """A file with one name has none to share."""
    root = folder({"a": b"x", "c": b"x"})
    os.link(root / "a", root / "b")
    source = ContextSource(root)
    source.children("")

    assert source.inode("a") == source.inode("b") >= 0 > source.inode("c")
    assert source.inode("") == -1


def test_special_files_are_what_they_are(folder: Make) -> None:
    """A pipe stays a pipe; a socket becomes an empty file, as in BuildKit's transfer."""
    root = folder({})
    os.mkfifo(root / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(root / "socket"))
    source = ContextSource(root)

    found = {node.path: (node.kind, node.size) for node in source.children("")}

    assert found == {"pipe": ("fifo", 0), "socket": ("file", 0)}
    assert body(source, "socket") == b""
    assert source.digests(["socket"], nothing)["socket"] == hashlib.sha256().hexdigest()


@pytest.mark.parametrize("size", [0, 1, BIG])
def test_content_and_digest(folder: Make, size: int) -> None:
    """Small files come whole, large ones as streams."""
    source = ContextSource(folder({"a": b"x" * size}))
    source.children("")

    digest = source.digests(["a"], nothing)["a"]

    assert (body(source, "a"), digest) == (b"x" * size, hashlib.sha256(b"x" * size).hexdigest())


def test_a_root_that_is_a_symlink_is_followed(folder: Make, tmp_path: Path) -> None:
    """The user named the folder that way."""
    root = folder({"a": b"1"})
    (tmp_path / "link").symlink_to(root)

    assert names(ContextSource(tmp_path / "link")) == ["a"]


# -- changes -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [3, BIG])
@pytest.mark.parametrize(
    "ask", [lambda s: s.digests(["a"], nothing), lambda s: body(s, "a")], ids=["digest", "body"]
)
def test_a_file_that_changed_after_it_was_listed_is_an_error(
    folder: Make, size: int, ask: Callable[[ContextSource], object]
) -> None:
    """It grew before it was read."""
    root = folder({"a": b"x" * size})
    source = ContextSource(root)
    source.children("")
    with (root / "a").open("ab") as file:
        file.write(b"more")

    with pytest.raises(BuildError, match="/a of the build context changed"):
        ask(source)


def test_a_file_that_vanished_is_an_error(folder: Make) -> None:
    """It was listed, so it counts."""
    root = folder({"a": b"x"})
    source = ContextSource(root)
    source.children("")
    (root / "a").unlink()

    with pytest.raises(BuildError, match="/a of the build context changed"):
        body(source, "a")


def test_a_file_that_changes_while_it_is_read_is_an_error(folder: Make) -> None:
    """A stream is checked again at its end."""
    root = folder({"a": b"x" * BIG})
    source = ContextSource(root)
    source.children("")
    bodies = source.bodies(["a"], nothing)
    stream = next(bodies)
    assert not isinstance(stream, bytes)
    stream.read(10)
    os.utime(root / "a", ns=(1, 1))

    with pytest.raises(BuildError, match="changed while it was read"):
        next(bodies)


@pytest.mark.parametrize("size", [5, BIG])
def test_a_young_file_is_hashed_again_when_it_is_copied(folder: Make, size: int) -> None:
    """Its stamp proves little: it may change within one tick of the clock."""
    root = folder({"a": b"x" * size})
    source = ContextSource(root)
    source.children("")
    source.digests(["a"], nothing)
    before = (root / "a").stat()
    (root / "a").write_bytes(b"y" * size)
    os.utime(root / "a", ns=(before.st_atime_ns, before.st_mtime_ns))

    with pytest.raises(BuildError, match="changed while it was read"):
        drain(source, "a")


def test_what_cannot_be_read_is_named(folder: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the way out; root can read everything, so the refusal is made up."""
    source = ContextSource(folder({"secret": b"x"}))
    source.children("")

    def refuse(*_: object, **__: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)

    with pytest.raises(BuildError, match="/secret of the build context cannot be read") as caught:
        source.digests(["secret"], nothing)
    assert ".dockerignore" in caught.value.hint


def test_a_folder_that_is_gone_is_named(folder: Make) -> None:
    """Listing it is the first thing done to it."""
    root = folder({"a/b": b""})
    source = ContextSource(root)
    source.children("")
    (root / "a/b").unlink()
    (root / "a").rmdir()

    with pytest.raises(BuildError, match="/a of the build context cannot be read"):
        source.children("a")


def test_reading_can_be_stopped(folder: Make) -> None:
    """The check is called before every file."""
    source = ContextSource(folder({"a": b""}))
    source.children("")

    def stop() -> None:
        raise BuildError("stopped")

    with pytest.raises(BuildError, match="stopped"):
        source.digests(["a"], stop)
    with pytest.raises(BuildError, match="stopped"):
        next(source.bodies(["a"], stop))


# -- hints -------------------------------------------------------------------------------


def test_hints_for_what_is_missing(folder: Make) -> None:
    """Ignored, misspelt, or nothing to say."""
    source = ContextSource(
        folder({"src/settings.py": b"", "secret": b""}), IgnoreRules.parse("secret")
    )

    hints = [source.why_missing(p) for p in ("secret", "src/setings.py", "zzz", "src/x/y")]

    assert hints == [
        "/secret exists, but .dockerignore excludes it: let it in with a line !secret",
        "did you mean /src/settings.py?",
        "",
        "",
    ]
    assert ContextSource(folder({"x": b""})).why_missing("x") == ""


# -- memory ------------------------------------------------------------------------------


@pytest.fixture
def aged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files' times cannot be faked whole (ctime), so the clock is: a minute later."""
    fstat = os.fstat

    def later(descriptor: int) -> os.stat_result | SimpleNamespace:
        found = fstat(descriptor)
        if found.st_nlink or not stat.S_ISREG(found.st_mode):
            return found
        values = {n: getattr(found, n) for n in dir(found) if n.startswith("st_")}
        values["st_mtime_ns"] += 60 * 10**9
        return SimpleNamespace(**values)

    monkeypatch.setattr(os, "fstat", later)


def spied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    opened: list[str] = []
    real = os.open

    def spy(path: Any, *args: Any, **kwargs: Any) -> int:
        opened.append(os.fspath(path).rpartition("/")[2])
        return real(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", spy)
    return opened


@pytest.mark.usefixtures("aged")
def test_digests_are_remembered(
    folder: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next build stats a file and does not read it; a changed one it reads."""
    root = folder({"a": b"1", "b": b"2"})
    first = ContextSource(root, memory=tmp_path / "cache/digests")
    first.children("")
    expected = dict(first.digests(["a", "b"], nothing))
    first.remember()
    (root / "b").write_bytes(b"33")
    opened = spied(monkeypatch)

    second = ContextSource(root, memory=tmp_path / "cache/digests")
    second.children("")
    found = second.digests(["a", "b"], nothing)

    assert (found["a"], found["b"]) == (expected["a"], hashlib.sha256(b"33").hexdigest())
    assert "b" in opened and "a" not in opened


def test_young_files_are_not_remembered(folder: Make, tmp_path: Path) -> None:
    """They could change again and look the same."""
    source = ContextSource(folder({"a": b"1"}), memory=tmp_path / "digests")
    source.children("")
    source.digests(["a"], nothing)
    source.remember()

    assert not (tmp_path / "digests").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"junk",
        zlib.compress(b"[]"),
        zlib.compress(b"{}"),
        zlib.compress(b'{"version":9}'),
        zlib.compress(b'{"version":1,"files":[[1,2]]}'),
        zlib.compress(b'{"version":1,"files":[[1,2,3,4,5]]}'),
        zlib.compress(b'{"version":1,"files":7}'),
    ],
)
def test_a_damaged_memory_is_forgotten(tmp_path: Path, data: bytes) -> None:
    """It costs reading the files again, no more."""
    (tmp_path / "digests").write_bytes(data)

    assert DigestMemory(tmp_path / "digests").get(Stamp(1, 2, 3, 4, 5)) is None


def test_memory_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that fails leaves the old file, no litter, and the build running."""
    path, old = tmp_path / "digests", Stamp(1, 2, 3, 4, 5)
    memory = DigestMemory(path)
    memory.put(old, "aa")
    memory.save()

    def fail(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    memory.put(Stamp(9, 9, 9, 9, 9), "bb")
    memory.save()

    assert [item.name for item in tmp_path.iterdir()] == ["digests"]
    assert DigestMemory(path).get(old) == "aa"


def test_memory_keeps_what_others_remembered(tmp_path: Path) -> None:
    """One file serves many contexts; saving what is known writes nothing."""
    path, one, two = tmp_path / "digests", Stamp(1, 1, 1, 1, 1), Stamp(2, 2, 2, 2, 2)
    first = DigestMemory(path)
    first.put(one, "aa")
    first.save()
    second = DigestMemory(path)
    second.put(two, "bb")
    second.save()
    written = path.read_bytes()

    third = DigestMemory(path)
    assert (third.get(one), third.get(two)) == ("aa", "bb")
    third.save()
    assert path.read_bytes() == written
    assert len(json.load(io.BytesIO(zlib.decompress(written)))["files"]) == 2

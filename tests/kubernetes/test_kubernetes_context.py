"""Contract: the build context arrives whole, without what is ignored, however large it is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

import pytest
from kubernetes_stub import V4, Fault
from kubernetes_target import Target

from buildpush.testing import ImageFile, snapshot_tree

COPY_ALL: Final = "FROM scratch\nCOPY . /ctx/\n"
_GIB: Final = 1 << 30


@pytest.fixture
def building(target: Target) -> Target:
    """A target that can build."""
    target.needs_builds()
    return target


def strange(folder: Path) -> None:
    """Fill *folder* with what makes trouble on its way."""
    long = "n" * 120
    files = {
        "plain": b"x",
        "empty": b"",
        "with blank and 'quotes\"": b"blank",
        "ümlaut-日本": b"unicode",
        "-rf": b"dash",
        "back\\slash": b"backslash",
        "new\nline": b"newline",
        "$HOME;`id`": b"shell",
        "binary": bytes(range(256)) * 999,
        f"deep/{long}/{long}/file": b"long",
        "exact": b"y" * 512,
        "one-more": b"z" * 513,
    }
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for name, mode in {"plain": 0o640, "exact": 0o755, "empty": 0o4755, "binary": 0o444}.items():
        (folder / name).chmod(mode)
    (folder / "hollow").mkdir(mode=0o750)
    (folder / "hollow").chmod(0o2750)
    (folder / "link").symlink_to("plain")
    (folder / "dangling").symlink_to("nowhere/at all")
    (folder / "outside").symlink_to("../../../etc/passwd")
    (folder / "to-folder").symlink_to("deep")
    os.utime(folder / "plain", (1_000_000_000, 1_000_000_000))


def told(files: dict[str, ImageFile]) -> dict[str, tuple[Any, ...]]:
    """What counts of each file of an image."""
    return {
        name.removeprefix("ctx/"): (f.kind, f.mode & 0o7777, f.uid, f.gid, f.content, f.link)
        for name, f in files.items()
        if name.startswith("ctx/") and f.kind != "dir"
    }


def expected(folder: Path) -> dict[str, tuple[Any, ...]]:
    """The same of a folder's, as root's."""
    found: dict[str, tuple[Any, ...]] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = ("symlink", 0o777, 0, 0, b"", str(path.readlink()))
        elif path.is_file():
            mode = path.stat().st_mode & 0o7777
            found[name] = ("file", mode, 0, 0, path.read_bytes(), "")
    return found


def test_strange_names_modes_and_links_arrive(building: Target) -> None:
    """File by file, what is in the image is what was in the folder."""
    folder = building.context(COPY_ALL)
    strange(folder)

    building.step(COPY_ALL).run()

    assert told(building.pulled().files()) == expected(folder)


def test_folders_arrive_with_their_modes(building: Target) -> None:
    """Also those with nothing in them."""
    folder = building.context(COPY_ALL)
    strange(folder)

    building.step(COPY_ALL).run()

    files = building.pulled().files()
    assert files["ctx/hollow"].kind == "dir"
    assert files["ctx/hollow"].mode & 0o777 == 0o750


def test_what_is_ignored_never_leaves(building: Target) -> None:
    """.dockerignore is applied before anything is sent, and the folder stays as it was."""
    files = {
        ".dockerignore": "*.log\nsecret/\n!keep.log\n",
        "a.log": "no",
        "keep.log": "yes",
        "secret/key": "ignored-canary-77",
        "src/main": "yes",
    }
    step = building.step(COPY_ALL, files)
    folder = building.folder / "context"
    before = snapshot_tree(folder)

    step.run()

    found = {name for name, f in building.pulled().files().items() if f.kind == "file"}
    assert {"ctx/keep.log", "ctx/src/main"} <= found
    assert not {"ctx/a.log", "ctx/secret/key"} & found
    assert snapshot_tree(folder) == before


def test_a_dockerfile_with_an_ignore_file_of_its_own(building: Target) -> None:
    """<Dockerfile>.dockerignore wins over .dockerignore, and kaniko applies neither again."""
    files = {
        "other": COPY_ALL,
        "other.dockerignore": "a\n",
        ".dockerignore": "b\n",
        "a": "A",
        "b": "B",
    }
    building.step(COPY_ALL, files, dockerfile="other").run()

    found = building.pulled().files()
    assert "ctx/b" in found
    assert "ctx/a" not in found


@pytest.mark.timeout(900)
@pytest.mark.slow
def test_two_gib_stream_with_little_memory(building: Target) -> None:
    """A context that fits in no memory is no trouble for the client."""
    folder = building.context("FROM scratch\nCOPY small /\n", {"small": "s"})
    with (folder / "sparse").open("wb") as file:
        file.truncate(2 * _GIB)
    settings = building.settings(
        "FROM scratch\nCOPY small /\n", {"small": "s"}, timeout=840, context=str(folder)
    )

    with building.client(steps=[settings]) as child:
        done = child.until(lambda line: line["event"] in ("done", "end"), seconds=850)

    assert done["digests"] == [building.pulled().digest]
    assert done["rss"] < 256 << 20
    sent = [line["done"] for line in child.lines if line["event"] == "progress"]
    assert max(sent) > 2 * _GIB
    assert building.left_after(30) == ()


def test_a_server_that_speaks_only_the_older_protocol(stub_target: Target) -> None:
    """With v4 a command's stdin has no end; the context arrives all the same."""
    stub_target.the_stub.api.protocols = (V4,)
    folder = stub_target.context(COPY_ALL)
    strange(folder)

    stub_target.step(COPY_ALL).run()

    assert told(stub_target.pulled().files()) == expected(folder)


def test_a_connection_that_breaks_is_tried_again(stub_target: Target) -> None:
    """What was half sent is thrown away, and sent again."""
    data = os.urandom(8 << 20)
    fault = stub_target.the_stub.faults.add(Fault(path="/exec", drop_after=3 << 20, times=2))

    stub_target.step(COPY_ALL, {"data": data}).run()

    assert fault.fired == 2
    assert stub_target.pulled().files()["ctx/data"].content == data
    assert stub_target.left() == ()

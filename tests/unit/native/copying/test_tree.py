"""An index of a layer, and a stack of them: what the OCI image-spec says an image contains."""

from __future__ import annotations

import hashlib
import io
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from buildpush.backends.native.tree import LayerIndex, Node, Tree, clean, index_layer, resolve
from buildpush.errors import BuildError
from buildpush.oci.tar import Entry, TarError

Make = Callable[..., Any]


def paths(tree: Tree) -> list[str]:
    return [node.path for node in tree.walk()][1:]


def test_an_index_holds_what_the_tar_says(layer: Make) -> None:
    """Facts come from the headers, digests from the bodies."""
    entry = Entry("", "file", 0o4750, 10, 20, mtime_ns=7, xattrs={"security.capability": b"\x01"})

    index = index_layer(io.BytesIO(layer({"bin/su": (entry, b"abc"), "null": Entry("", "char")})))

    expected = Node(
        "bin/su",
        "file",
        0o4750,
        10,
        20,
        3,
        hashlib.sha256(b"abc").hexdigest(),
        mtime_ns=7,
        inode=0,
        xattrs={"security.capability": b"\x01"},
    )
    assert (expected, "char") == (index.nodes[0], index.nodes[1].kind)


def test_an_index_survives_being_stored(layer: Make) -> None:
    """Names that are not UTF-8, attributes, devices, whiteouts: all come back."""
    index = index_layer(
        io.BytesIO(
            layer(
                {
                    "latin-\udce9": b"x",
                    "caps": (Entry("", "file", xattrs={"security.capability": b"\xff\0"}), b""),
                    "dev/null": Entry("", "char", major=1, minor=3),
                    "link": "-> caps",
                    "gone/.wh.file": b"",
                    "empty/.wh..wh..opq": b"",
                }
            )
        )
    )

    assert index == LayerIndex.load(index.dump())
    assert (index.whiteouts, index.opaques) == (("gone/file",), ("empty",))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"junk",
        zlib.compress(b"{}"),
        zlib.compress(b"[]"),
        zlib.compress(b'{"version":0}'),
        zlib.compress(b'{"version":1,"nodes":[1],"whiteouts":[],"opaques":[]}'),
        zlib.compress(b'{"version":1,"nodes":[["a"]],"whiteouts":[],"opaques":[]}'),
    ],
)
def test_a_damaged_index_is_a_value_error(data: bytes) -> None:
    """Whoever keeps indexes makes a new one then."""
    with pytest.raises(ValueError):
        LayerIndex.load(data)


def test_a_damaged_layer_is_a_tar_error() -> None:
    """Bytes that are no tar are not an empty layer."""
    with pytest.raises(TarError):
        index_layer(io.BytesIO(b"x" * 2048))


def test_indexing_can_be_stopped(layer: Make) -> None:
    """The check is called while a layer is read."""

    def stop() -> None:
        raise BuildError("stopped")

    with pytest.raises(BuildError, match="stopped"):
        index_layer(io.BytesIO(layer({"a": b""})), stop)


def test_hard_links_are_names_of_one_file(image: Make) -> None:
    """Both names have the content's digest, and one inode number."""
    tree = image({"a": b"same", "b": "== a", "c": b"same"}).tree

    a, b, c = (tree.get(name) for name in "abc")
    assert (a.sha256, a.size, "file") == (b.sha256, b.size, b.kind)
    assert tree.inode("a") == tree.inode("b") != tree.inode("c")
    assert a.sha256 == c.sha256


def test_a_hard_link_may_lead_into_a_lower_layer(image: Make) -> None:
    """Its content stays where it was."""
    tree = image({"a": b"below"}, {"b": "== a"}).tree

    assert (tree.get("a").sha256, 0) == (tree.get("b").sha256, tree.layer_of("b"))
    assert tree.inode("a") == tree.inode("b")


def test_a_hard_link_to_nothing_is_an_error(image: Make) -> None:
    """Such a layer cannot be unpacked either."""
    with pytest.raises(BuildError, match="links /b to /a"):
        image({"b": "== a"})


def test_whiteouts_hide_only_what_is_below(image: Make) -> None:
    """A file and its whiteout in one layer: the file stays (image-spec, "Whiteouts")."""
    tree = image(
        {"etc/a": b"1", "etc/b": b"1", "opt/x/y": b"1"},
        {".wh.opt": b"", "etc/a": b"2", "etc/.wh.a": b"", "etc/.wh.b": b""},
    ).tree

    assert paths(tree) == ["etc", "etc/a"]
    assert tree.layer_of("etc/a") == 1


def test_an_opaque_folder_starts_empty(image: Make) -> None:
    """What the same layer puts into it is there, wherever the marker stands."""
    tree = image(
        {"app/old": b"", "app/deep/old": b"", "keep": b""},
        {"app/new": b"", "app/.wh..wh..opq": b"", ".wh..wh.plnk": b""},
    ).tree

    assert paths(tree) == ["app", "app/new", "keep"]


def test_files_and_folders_replace_each_other(image: Make) -> None:
    """A folder that becomes a file takes its content with it; folders merge."""
    tree = image(
        {"a/b/c": b"", "f": b"", "d": None, "d/kept": b""},
        {"a": b"now a file", "f/inside": b"", "d": Entry("", "dir", 0o700)},
    ).tree

    assert paths(tree) == ["a", "d", "d/kept", "f", "f/inside"]
    assert (tree.get("d").mode, tree.get("f").kind) == (0o700, "dir")


def test_within_a_layer_the_last_entry_counts(image: Make) -> None:
    """As extracting it in order would leave it, the content included."""
    made = image(
        [("a", None), ("a/b", b"1"), ("a", b"22"), ("x", b"1"), ("x", b"22"), ("y", "== x")]
    )

    assert paths(made.tree) == ["a", "x", "y"]
    assert [body.read() for body in made.source.bodies(["y"], lambda: None)] == [b"22"]


def test_entries_behind_a_symlink_of_their_layer_land_in_its_target(image: Make) -> None:
    """As extracting the layer into an empty folder does; a lower layer's symlink is replaced."""
    tree = image(
        {"lib": "-> usr/lib", "usr/lib/a": b""},
        [("bin", "-> usr/bin"), ("bin/sh", b""), ("lib/b", b"")],
    ).tree

    assert (paths(tree)) == [
        "bin",
        "lib",
        "lib/b",
        "usr",
        "usr/bin",
        "usr/bin/sh",
        "usr/lib",
        "usr/lib/a",
    ]


def test_missing_parents_are_plain_folders(image: Make) -> None:
    """A layer need not mention them; the root can be mentioned."""
    tree = image({"": Entry("", "dir", 0o700), "a/b/c": b""}).tree

    assert (tree.get("a/b").mode, tree.get("").mode) == (0o755, 0o700)


def test_a_tree_is_not_changed_by_what_is_put_on_it(image: Make) -> None:
    """Trees share what they have in common, and nothing else."""
    below = image({"a/x": b"", "b/y": b"", "c": b""}).tree

    above = below.plus(LayerIndex(nodes=(Node("a/z", "file"),), whiteouts=("b", "c")))

    assert paths(below) == ["a", "a/x", "b", "b/y", "c"]
    assert paths(above) == ["a", "a/x", "a/z"]
    assert (len(below), len(above)) == (6, 4)


def test_walk_starts_anywhere_and_children_are_sorted(image: Make) -> None:
    """Folders come before what is in them; nothing comes of nothing."""
    tree = image({"a/b": b"", "a/a/x": b"", "a-": b"", "b": b""}).tree

    assert [node.path for node in tree.walk("a")] == ["a", "a/a", "a/a/x", "a/b"]
    assert [node.path for node in tree.children("a")] == ["a/a", "a/b"]
    assert list(tree.walk("nowhere")) == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ""),
        ("/", ""),
        ("etc/passwd", "etc/passwd"),
        ("lib/x", "usr/lib/x"),
        ("/lib/../etc", "etc"),
        ("absolute/x", "usr/lib/x"),
        ("up/etc", "etc"),
        ("chain/x", "usr/lib/x"),
        ("dangling/x/y", "nowhere/at/all/x/y"),
        ("to-root/usr", "usr"),
        ("../../etc", "etc"),
        ("usr/back/x", "usr/lib/x"),
    ],
)
def test_symlinks_are_followed_inside_the_root(image: Make, path: str, expected: str) -> None:
    """Absolute ones start at the root, `..` stops there, what is missing stays as written."""
    tree = image(
        {
            "etc/passwd": b"",
            "usr/lib/x": b"",
            "lib": "-> usr/lib",
            "absolute": "-> /usr/lib",
            "up": "-> ../../../..",
            "chain": "-> lib",
            "dangling": "-> nowhere/at/all",
            "to-root": "-> /",
            "usr/back": "-> ../lib",
        }
    ).tree

    assert expected == tree.resolve(path)


def test_the_last_symlink_can_be_kept(image: Make) -> None:
    """Those before it are followed all the same."""
    tree = image({"lib": "-> usr/lib", "usr/lib/x": "-> y"}).tree

    assert (
        tree.resolve("lib/x", follow_last=False),
        resolve(tree.get, "/lib", follow_last=False),
    ) == ("usr/lib/x", "lib")


def test_a_loop_of_symlinks_is_an_error(image: Make) -> None:
    """It names the path that was asked for."""
    tree = image({"a": "-> b", "b": "-> a"}).tree

    with pytest.raises(BuildError, match=r"too many levels of symbolic links: /a/x"):
        tree.resolve("a/x")


def test_clean_is_relative_to_the_root() -> None:
    """No leading or trailing slash, no dots, no way out."""
    assert [clean(p) for p in ("//", "/a/", "a/../../b//./c", "..")] == ["", "a", "b/c", ""]

"""COPY as BuildKit has it: what is copied where, as whom, with which mode, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildpush.backends.native.copying.context import ContextSource
from buildpush.backends.native.copying.copy import (
    CopyRequest,
    Part,
    destination_of,
    plan_copy,
    plan_mkdir,
    write_copy,
)
from buildpush.backends.native.copying.sources import FilesSource, InlineFile, Source, read_file
from buildpush.backends.native.tree import Tree
from buildpush.dockerfile.ignore import IgnoreRules
from buildpush.errors import BuildError, DockerfileError, StepCancelledError
from buildpush.oci.layer import LayerWriter
from buildpush.oci.tar import Entry
from buildpush.runtime import CancelToken

Make = Callable[..., Any]
CAPABILITY = "security.capability"


@pytest.fixture
def context(folder: Make) -> Make:
    """Make a context and its source."""
    return lambda content, rules="": ContextSource(folder(content), IgnoreRules.parse(rules))


# -- destinations ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workdir", "destination", "expected"),
    [
        ("/app", "", "/app/"),
        ("/app", ".", "/app/"),
        ("/app", "./", "/app/"),
        ("/app", "./.", "/app/."),
        ("/app", "x", "/app/x"),
        ("/app", "x/", "/app/x/"),
        ("/app", "../x", "/x"),
        ("/app", "../../../x/", "/x/"),
        ("/app", "/", "/"),
        ("/", ".", "/"),
        ("/", "/.", "/."),
        ("/app", "/a//b/../c", "/a/c"),
        ("/app", "/a/.", "/a/."),
    ],
)
def test_destinations_are_absolute(workdir: str, destination: str, expected: str) -> None:
    """Relative to WORKDIR, never above the root, and a final slash still says folder."""
    assert destination_of(workdir, destination) == expected


def test_a_file_is_copied_to_a_name_or_into_a_folder(context: Make, copy: Make) -> None:
    """A folder is what ends in a slash or exists as one."""
    source, target = context({"a": b"1"}), Tree()
    for destination, expected in [
        ("/x", ["x"]),
        ("/x/", ["x", "x/a"]),
        ("/x/y", ["x", "x/y"]),
        ("/x/.", ["x", "x/a"]),
        ("/", ["a"]),
        ("new", ["work", "work/new"]),
    ]:
        copied = copy(source, "a", destination, onto=target, workdir="/work")

        assert copied.order == expected


def test_an_existing_folder_takes_the_file_in(context: Make, image: Make, copy: Make) -> None:
    """And stays what it is; so do the folders it is in."""
    target = image({"opt": Entry("", "dir", 0o700, 5, 6), "opt/in": Entry("", "dir", 0o1777)}).tree

    copied = copy(context({"a": b"1"}), "a", "/opt/in", onto=target)

    assert copied.order == ["opt", "opt/in", "opt/in/a"]
    opt, inner = copied.entries["opt"], copied.entries["opt/in"]
    assert ((opt.mode, opt.uid, opt.gid), inner.mode) == ((0o700, 5, 6), 0o1777)


def test_symlinks_in_the_destination_are_followed(context: Make, image: Make, copy: Make) -> None:
    """Parents and the last part alike, inside the image; a dangling one is made real."""
    target = image(
        {
            "usr/lib/x": b"",
            "lib": "-> usr/lib",
            "file": "-> /usr/lib/x",
            "dangling": "-> gone/for/good",
        }
    ).tree
    source = context({"a": b"1"})

    assert copy(source, "a", "/lib/", onto=target).order == ["usr", "usr/lib", "usr/lib/a"]
    assert copy(source, "a", "/lib/b", onto=target).order == ["usr", "usr/lib", "usr/lib/b"]
    assert copy(source, "a", "/file", onto=target).bodies == {"usr/lib/x": b"1"}
    assert copy(source, "a", "/dangling", onto=target).order == (
        ["gone", "gone/for", "gone/for/good"]
    )


def test_a_symlink_inside_the_destination_folder_is_replaced(
    context: Make, image: Make, copy: Make
) -> None:
    """Only the destination itself is followed, not what would be overwritten in it."""
    target = image({"d/a": "-> /etc/passwd", "etc/passwd": b"root"}).tree

    copied = copy(context({"a": b"1"}), "a", "/d/", onto=target)

    assert copied.bodies == {"d/a": b"1"}


# -- folders -----------------------------------------------------------------------------


def test_a_folder_is_copied_by_its_contents(context: Make, copy: Make) -> None:
    """The new destination is a plain folder with the source's time; below, modes are kept."""
    source = context({"src/a": b"1", "src/sub/b": b"2", "src/link": "-> a"})
    root = Path(str(source._root))
    (root / "src").chmod(0o700)
    (root / "src/sub").chmod(0o750)
    os.utime(root / "src", ns=(5, 5_000_000_000))

    copied = copy(source, "src", "/app")

    assert copied.order == ["app", "app/a", "app/link", "app/sub", "app/sub/b"]
    assert (copied.entries["app"].mode, copied.entries["app"].mtime_ns) == (0o755, 5_000_000_000)
    assert copied.entries["app/sub"].mode == 0o750
    assert (copied.entries["app/link"].kind, copied.entries["app/link"].link) == ("symlink", "a")


def test_folders_merge(context: Make, image: Make, copy: Make) -> None:
    """The destination keeps its mode and owner; folders in it take the source's."""
    target = image(
        {
            "app": Entry("", "dir", 0o711, 1, 1),
            "app/sub": Entry("", "dir", 0o711, 1, 1),
            "app/sub/old": b"",
        }
    ).tree
    source = context({"s/sub/new": b"", "s/x": b""})

    copied = copy(source, "s", "/app", onto=target)

    top, sub = copied.entries["app"], copied.entries["app/sub"]
    assert ((top.mode, top.uid), (sub.mode, sub.uid)) == ((0o711, 1), (0o755, 0))
    assert [n.path for n in copied.tree(target).walk("app")] == (
        ["app", "app/sub", "app/sub/new", "app/sub/old", "app/x"]
    )


def test_the_whole_context_goes_to_the_root(context: Make, copy: Make) -> None:
    """The root itself is never part of a layer."""
    assert copy(context({"a": b"", "d/b": b""}), ".", "/").order == ["a", "d", "d/b"]


def test_an_empty_folder_is_copied(context: Make, copy: Make) -> None:
    """As a folder."""
    assert copy(context({"void": None}), "void", "/x/y").order == ["x", "x/y"]


@pytest.mark.parametrize(
    ("existing", "destination", "message"),
    [
        ({"x": b""}, "/x", "cannot copy to non-directory: /x"),
        ({"x": b""}, "/x/", "mkdir /x: not a directory"),
        ({"x": b""}, "/x/y", "mkdir /x: not a directory"),
        ({"x/d": b""}, "/x", "cannot copy to non-directory: /x/d"),
        ({"x/d/f": None}, "/x", "cannot replace to directory /x/d/f with file"),
    ],
)
def test_files_and_folders_do_not_replace_each_other(
    context: Make,
    image: Make,
    copy: Make,
    existing: dict[str, Any],
    destination: str,
    message: str,
) -> None:
    """With BuildKit's words."""
    source = context({"s/d/f": b""})

    with pytest.raises(BuildError) as caught:
        copy(source, "s", destination, onto=image(existing).tree)

    assert caught.value.message == message


# -- sources -----------------------------------------------------------------------------


def test_later_sources_overwrite_earlier_ones(context: Make, copy: Make) -> None:
    """Several files into one folder, in order."""
    source = context({"a/x": b"1", "b/x": b"2", "c": b"3"})

    copied = copy(source, "a", "b/", "c", "/d/")

    assert copied.bodies == {"d/c": b"3", "d/x": b"2"}


def test_a_symlink_that_is_a_source_is_followed(context: Make, copy: Make) -> None:
    """By its own name; inside the context; symlinks in a folder stay symlinks."""
    source = context(
        {"real/f": b"1", "link": "-> real/f", "dir": "-> real", "up": "-> ../../real/f"}
    )

    assert copy(source, "link", "/d/").bodies == {"d/link": b"1"}
    assert copy(source, "dir", "/d").bodies == {"d/f": b"1"}
    assert copy(source, "dir/f", "/d/").bodies == {"d/f": b"1"}
    assert copy(source, "up", "/d/").bodies == {"d/up": b"1"}


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.py", ["d", "d/a.py", "d/b.py"]),
        ("?.py", ["d", "d/a.py", "d/b.py"]),
        ("[a]*", ["d", "d/a.py"]),
        ("*/*.txt", ["d", "d/n.txt"]),
        ("s*", ["d", "d/n.txt", "d/o.md"]),
        ("sub/n*", ["d", "d/n.txt"]),
        ("l*", ["d", "d/link.py"]),
        ("t*/n.txt", []),
        ("to-sub/n*", ["d", "d/n.txt"]),
        ("none*", []),
        ("a.py/*", []),
    ],
)
def test_wildcards(context: Make, copy: Make, pattern: str, expected: list[str]) -> None:
    """They stay in their folder, match folders by their contents, and may match nothing."""
    source = context(
        {
            "a.py": b"",
            "b.py": b"",
            "link.py": "-> a.py",
            "sub/n.txt": b"",
            "sub/o.md": b"",
            "to-sub": "-> sub",
        }
    )
    if pattern == "l*":
        assert copy(source, pattern, "/d/").entries["d/link.py"].kind == "file"

    assert copy(source, pattern, "/d/").order == (
        expected if pattern != "*.py" else ["d", "d/a.py", "d/b.py", "d/link.py"]
    )


def test_an_escaped_wildcard_is_a_letter_with_its_backslash(context: Make, copy: Make) -> None:
    """As in BuildKit, which then looks for the name as written."""
    assert copy(context({"a\\*b": b"1"}), "a\\*b", "/d/").bodies == {"d/a\\*b": b"1"}


def test_a_malformed_pattern_is_an_error(context: Make, copy: Make) -> None:
    """Naming it."""
    with pytest.raises(BuildError, match="syntax error in pattern"):
        copy(context({"a": b""}), "[a-", "/d/")


@pytest.mark.parametrize(
    "path", ["missing", "/missing", "./missing", "dir/../missing", "no/*.txt"]
)
def test_a_missing_source_is_named(context: Make, copy: Make, path: str) -> None:
    """As BuildKit names it: from the context's root."""
    with pytest.raises(BuildError) as caught:
        copy(context({"a": b""}), path, "/d/")

    expected = '"/no": not found' if "*" in path else '"/missing": not found'
    assert caught.value.message == expected


def test_a_missing_source_comes_with_a_hint(context: Make, copy: Make) -> None:
    """.dockerignore, or what is spelt alike."""
    source = context({"requirements.txt": b"", "secret.env": b""}, "*.env")

    with pytest.raises(BuildError) as misspelt:
        copy(source, "requirement.txt", "/")
    with pytest.raises(BuildError) as ignored:
        copy(source, "secret.env", "/")

    assert misspelt.value.hint == "did you mean /requirements.txt?"
    assert ".dockerignore excludes it" in ignored.value.hint


def test_a_dangling_symlink_is_missing(context: Make, copy: Make) -> None:
    """It is followed, and there is nothing."""
    with pytest.raises(BuildError, match='"/link": not found'):
        copy(context({"link": "-> nowhere"}), "link", "/")


def test_climbing_out_of_the_context(context: Make, copy: Make) -> None:
    """`..` stops at the context's root as in BuildKit; what is not there then was out of bounds."""
    source = context({"a": b"1"})

    assert copy(source, "../a", "/d/").bodies == {"d/a": b"1"}
    with pytest.raises(BuildError, match=r"forbidden path outside the build context: \.\./x"):
        copy(source, "../x", "/d/")


def test_hard_links_are_kept_within_a_source(context: Make, copy: Make) -> None:
    """The first name carries the content; another source starts anew."""
    source = context({"s/a": b"1", "s/c": b"2"})
    root = Path(str(source._root))
    os.link(root / "s/a", root / "s/b")
    os.link(root / "s/a", root / "z")
    fresh = ContextSource(root)

    copied = copy(fresh, "s", "z", "/d/")

    assert (copied.entries["d/b"].kind, copied.entries["d/b"].link) == ("hardlink", "d/a")
    assert copied.bodies == {"d/a": b"1", "d/c": b"2", "d/z": b"1"}


def test_a_link_whose_first_name_is_overwritten_carries_the_content(
    context: Make, copy: Make
) -> None:
    """What a later source replaces is no longer a name of that file."""
    source = context({"s/a": b"1", "a": b"2"})
    root = Path(str(source._root))
    os.link(root / "s/a", root / "s/b")

    copied = copy(ContextSource(root), "s", "a", "/d/")

    assert copied.bodies == {"d/a": b"2", "d/b": b"1"}


# -- owners and modes --------------------------------------------------------------------


def test_without_chown_the_source_decides(context: Make, image: Make, copy: Make) -> None:
    """Root owns what comes from the context; what comes from an image keeps its owner."""
    stage = image({"bin/x": (Entry("", "file", 0o755, 7, 8), b"x")}).source

    from_stage = copy(stage, "/bin/x", "/a/")
    from_context = copy(context({"x": b""}), "x", "/a/")

    assert [(e.uid, e.gid) for e in from_stage.entries.values()] == [(0, 0), (7, 8)]
    assert [(e.uid, e.gid) for e in from_context.entries.values()] == [(0, 0), (0, 0)]


def test_chown_covers_everything_that_is_made(context: Make, image: Make, copy: Make) -> None:
    """New folders on the way too, symlinks too; not what existed."""
    target = image({"srv": None}).tree

    copied = copy(
        context({"s/f": b"", "s/l": "-> f", "s/d": None}),
        "s",
        "/srv/app/in",
        onto=target,
        chown=(33, 44),
    )

    owners = {name: (e.uid, e.gid) for name, e in copied.entries.items()}
    assert owners.pop("srv") == (0, 0)
    assert set(owners) == {
        "srv/app", "srv/app/in", "srv/app/in/f", "srv/app/in/l", "srv/app/in/d"
    }  # fmt: skip
    assert set(owners.values()) == {(33, 44)}


def test_octal_chmod_is_for_files_folders_and_the_way_there(context: Make, copy: Make) -> None:
    """Set-id bits are for what is copied; symlinks have no mode."""
    copied = copy(context({"s/f": b"", "s/d": None, "s/l": "-> f"}), "s", "/n/t", chmod="4750")

    modes = {name: e.mode for name, e in copied.entries.items()}
    assert modes == {
        "n": 0o750, "n/t": 0o750, "n/t/f": 0o4750, "n/t/d": 0o4750, "n/t/l": 0o777
    }  # fmt: skip


def test_symbolic_chmod_knows_files_from_folders(context: Make, copy: Make) -> None:
    """And leaves the folders on the way alone."""
    copied = copy(context({"s/f": b"", "s/d": None}), "s", "/n", chmod="u=rwX,go=rX")

    modes = {name: e.mode for name, e in copied.entries.items()}
    assert modes == {"n": 0o755, "n/f": 0o644, "n/d": 0o755}


def test_a_bad_chmod_is_an_error(context: Make, copy: Make) -> None:
    """Before anything is copied."""
    with pytest.raises(BuildError, match="invalid chmod parameter: '888'"):
        copy(context({"a": b""}), "a", "/", chmod="888")


def test_times_are_kept_and_made_folders_get_the_given_one(context: Make, copy: Make) -> None:
    """To the second, as in BuildKit's layers."""
    source = context({"f": b""})
    os.utime(Path(str(source._root)) / "f", ns=(1, 1_234_567_890_123_456_789))

    copied = copy(source, "f", "/d/", created_ns=7_000_000_000)

    assert [e.mtime_ns for e in copied.entries.values()] == [
        7_000_000_000,
        1_234_567_890_000_000_000,
    ]


def test_of_the_attributes_capabilities_are_kept(image: Make, copy: Make) -> None:
    """As in the layers BuildKit writes."""
    entry = Entry("", "file", 0o755, xattrs={CAPABILITY: b"\x01\xff", "user.x": b"1"})
    stage = image({"ping": (entry, b"x"), "d": Entry("", "dir", xattrs={"user.y": b"2"})}).source

    copied = copy(stage, "/", "/")

    assert dict(copied.entries["ping"].xattrs) == {CAPABILITY: b"\x01\xff"}
    assert dict(copied.entries["d"].xattrs) == {}


# -- --exclude, --parents, --link --------------------------------------------------------


def test_exclude_is_relative_to_the_copied_folder(context: Make, copy: Make) -> None:
    """Like .dockerignore, exceptions included; a source named itself is always copied."""
    source = context({"s/a.log": b"", "s/b": b"", "s/d/a.log": b"", "s/d/k": b"", "s/e/x": b""})

    plain = copy(source, "s", "/t", exclude=("*.log", "e"))
    deep = copy(source, "s", "/t", exclude=("**/*.log", "d", "!d/k", "e"))
    named = copy(source, "s/a.log", "/t/", exclude=("*.log",))

    assert plain.order == ["t", "t/b", "t/d", "t/d/a.log", "t/d/k"]
    assert deep.order == ["t", "t/b", "t/d", "t/d/k"]
    assert named.order == ["t", "t/a.log"]


def test_exclude_is_no_dockerignore(context: Make, copy: Make) -> None:
    """No comments, and a slash in front is no anchor: such a pattern matches nothing."""
    source = context({"s/a": b"1", "s/b": b"2", "s/#c": b"3"})

    assert set(copy(source, "s", "/t", exclude=("#c", "/a")).bodies) == {"t/a", "t/b"}
    assert set(copy(source, "s", "/t", exclude=("/a",)).bodies) == {"t/a", "t/b", "t/#c"}


def test_a_bad_exclude_is_an_error(context: Make, copy: Make) -> None:
    """With the pattern as evidence."""
    with pytest.raises(DockerfileError, match="--exclude"):
        copy(context({"a": b""}), "a", "/", exclude=("[",))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a/b/f.py", ["t", "t/a", "t/a/b", "t/a/b/f.py"]),
        ("./a/./b/f.py", ["t", "t/b", "t/b/f.py"]),
        ("a/./b", ["t", "t/b", "t/b/f.py", "t/b/g.txt"]),
        ("a/*/*.txt", ["t", "t/a", "t/a/b", "t/a/b/g.txt"]),
        ("**/*.py", ["t", "t/a", "t/a/b", "t/a/b/f.py", "t/c.py"]),
        ("a/./**/*.txt", ["t", "t/b", "t/b/g.txt"]),
        ("[a]/./b/f.py", ["t", "t/b", "t/b/f.py"]),
        (".", ["t", "t/a", "t/a/b", "t/a/b/f.py", "t/a/b/g.txt", "t/c.py", "t/d"]),
        ("none*", ["t"]),
    ],
)
def test_parents_keeps_the_folders_of_a_source(
    context: Make, copy: Make, path: str, expected: list[str]
) -> None:
    """From the context's root, or from the pivot on."""
    source = context({"a/b/f.py": b"", "a/b/g.txt": b"", "c.py": b"", "d": None})

    assert copy(source, path, "/t/", parents=True).order == expected


def test_parents_copies_the_folders_facts(context: Make, image: Make, copy: Make) -> None:
    """Made folders are the source's; those that exist take its mode and keep their owner."""
    source = context({"a/b/f": b""})
    root = Path(str(source._root))
    (root / "a").chmod(0o701)
    (root / "a/b").chmod(0o702)
    target = image({"t/a": Entry("", "dir", 0o755, 9, 9)}).tree

    copied = copy(ContextSource(root), "a/b/f", "/t", onto=target, parents=True, chmod="600")

    facts = {name: (e.mode, e.uid) for name, e in copied.entries.items()}
    assert facts == {
        "t": (0o755, 0), "t/a": (0o701, 9), "t/a/b": (0o600, 0), "t/a/b/f": (0o600, 0)
    }  # fmt: skip


def test_parents_wants_what_is_spelt_out(context: Make, copy: Make) -> None:
    """And does not look behind symlinks for it."""
    source = context({"a/f": b"", "l": "-> a"})

    for path, missing in [("a/g", "/a/g"), ("a/./g", "/a/g"), ("l/f", "/l/f"), ("x/./y", "/x/y")]:
        with pytest.raises(BuildError) as caught:
            copy(source, path, "/t/", parents=True)
        assert caught.value.message == f'"{missing}": not found'


def test_parents_refuses_a_file_in_the_way(context: Make, image: Make, copy: Make) -> None:
    """A folder cannot take its place."""
    with pytest.raises(BuildError, match="cannot copy to non-directory: /t/a"):
        copy(context({"a/f": b""}), "a/f", "/t/", onto=image({"t/a": b""}).tree, parents=True)


def test_parents_refuses_a_bad_pattern(context: Make, copy: Make) -> None:
    """Naming it."""
    with pytest.raises(BuildError, match=r"a/\["):
        copy(context({"a/f": b""}), "a/[", "/t/", parents=True)


def test_link_does_not_look_at_the_image(context: Make, image: Make, copy: Make) -> None:
    """The layer goes on any image; with --chmod BuildKit does not link."""
    target = image({"lib": "-> usr/lib", "tmp": Entry("", "dir", 0o1777)}).tree
    source = context({"a": b""})

    linked = copy(source, "a", "/lib/", onto=target, link=True)
    unlinked = copy(source, "a", "/lib/", onto=target, link=True, chmod="600")

    assert linked.order == ["lib", "lib/a"]
    assert unlinked.order == ["usr", "usr/lib", "usr/lib/a"]
    assert linked.plan.key == copy(source, "a", "/lib/", link=True).plan.key


# -- images ------------------------------------------------------------------------------


def test_bodies_come_from_their_layers_in_one_pass_each(image: Make, copy: Make) -> None:
    """Lowest layer first, each in its own order, untouched layers never opened."""
    made = image({"app/z": b"z", "app/y": b"y"}, {"other": b"o"}, {"app/a": b"a", "app/y": b"yy"})

    copied = copy(made.source, "/app", "/app")

    assert copied.bodies == {"app/z": b"z", "app/a": b"a", "app/y": b"yy"}
    assert (copied.order, made.opened) == (["app", "app/z", "app/a", "app/y"], [0, 2])


def test_hard_links_of_an_image_are_kept(image: Make, copy: Make) -> None:
    """Also when the name that carries the content is not copied, or lies in a lower layer."""
    made = image({"a/first": b"x", "b/second": "== a/first"}, {"b/third": "== a/first"})

    both = copy(made.source, "/b", "/b")

    assert (both.bodies, both.entries["b/third"].link) == ({"b/second": b"x"}, "b/second")
    assert copy(made.source, "/b/third", "/c/").bodies == {"c/third": b"x"}


def test_one_body_for_two_destinations(image: Make, copy: Make) -> None:
    """A stream cannot be read twice: it is opened twice."""
    made = image({"a/b/c": b"1", "a/b/d": b"2"})

    copied = copy(made.source, "/a/./b/c", "/a/b/./c", "/a/b/./d", "/t/", parents=True)

    assert copied.bodies == {"t/b/c": b"1", "t/c": b"1", "t/d": b"2"}
    assert made.opened == [0, 0]


def test_a_layer_shorter_than_its_index_is_an_error(image: Make) -> None:
    """A damaged store must not give an empty file."""
    made, other = image({"a": b"1", "b": b"2"}), image({"a": b"1"})
    made.source.open_layer = other.source.open_layer

    with pytest.raises(BuildError, match="fewer entries than its index says"):
        list(made.source.bodies(["b"], lambda: None))


def test_the_index_of_a_plan_is_the_index_of_its_layer(
    context: Make, image: Make, copy: Make
) -> None:
    """So the layer need not be read again, hard links and streamed order included."""
    source = context({"s/a": b"1", "s/d/x": b"2", "s/l": "-> a"})
    os.link(Path(str(source._root)) / "s/a", Path(str(source._root)) / "s/b")
    stage = image({"b/z": b"1", "b/y": b"2", "b/x": "== b/y", "b/n": Entry("", "char", major=1)})

    for copied in (
        copy(ContextSource(Path(str(source._root))), "s", "/t"),
        copy(stage.source, "/b", "/t"),
    ):
        index = copied.plan.index()
        assert index is not None
        quick, slow = Tree.of([index]), copied.tree(Tree())
        assert list(quick.walk()) == list(slow.walk())
        names = [n.path for n in slow.walk()]
        assert [quick.inode(n) for n in names] == [slow.inode(n) for n in names]


# -- here-documents, downloads, more parts ------------------------------------------------


def test_inline_files(copy: Make, tmp_path: Path) -> None:
    """Here-documents are 0644 and take the owner and mode of the instruction."""
    (tmp_path / "download").write_bytes(b"d")
    files = FilesSource(
        {
            "/etc/app.conf": InlineFile(content=b"x=1\n"),
            "d": InlineFile(content=tmp_path / "download", mode=0o600, mtime_ns=9_000_000_000),
        }
    )

    copied = copy(files, "etc/app.conf", "d", "/t/", chown=(1, 2))

    assert copied.bodies == {"t/app.conf": b"x=1\n", "t/d": b"d"}
    conf, down = copied.entries["t/app.conf"], copied.entries["t/d"]
    assert ((conf.mode, conf.uid, conf.gid), (down.mode, down.mtime_ns)) == (
        (0o644, 1, 2),
        (0o600, 9_000_000_000),
    )


def test_more_parts_come_after_the_sources(context: Make, copy: Make, tmp_path: Path) -> None:
    """One layer, one key; a folder there is copied as BuildKit copies a git checkout."""
    (tmp_path / "git").mkdir()
    (tmp_path / "git/file").write_bytes(b"g")
    inline = FilesSource({"EOF": InlineFile(content=b"inline")})
    checkout = ContextSource(tmp_path / "git")
    source = context({"a": b"1", "EOF": b"from the context"})

    copied = copy(
        source,
        "a",
        "EOF",
        "/t/",
        also=(Part(source=inline, paths=("EOF",)), Part(source=checkout, paths=("/",))),
    )

    assert copied.bodies == {"t/a": b"1", "t/EOF": b"inline", "t/file": b"g"}


def test_a_part_that_is_missing_is_an_error(context: Make, copy: Make) -> None:
    """Named like any source."""
    files = FilesSource({"config": InlineFile(content=b"")})

    with pytest.raises(BuildError, match='"/confg": not found') as caught:
        copy(context({}), "/t/", also=(Part(source=files, paths=("confg",)),))
    assert caught.value.hint == "did you mean /config?"


def test_files_of_a_source_can_be_read(image: Make) -> None:
    """Symlinks inside it are followed; folders and what is missing are None."""
    made = image({"usr/etc/passwd": b"root:x:0:0", "etc": "-> usr/etc", "d": None})

    assert read_file(made.source, "/etc/passwd") == b"root:x:0:0"
    assert [read_file(made.source, p) for p in ("/etc/group", "/d")] == [None, None]


def test_a_huge_user_file_is_refused() -> None:
    """It is read whole, so it has a limit: BuildKit's."""
    source = FilesSource({"passwd": InlineFile(content=b"x" * (10 << 20) + b"y")})

    with pytest.raises(BuildError, match="larger than 10485760 bytes"):
        read_file(source, "/passwd")


# -- keys, writing, mkdir ----------------------------------------------------------------


def test_the_key_is_about_content_not_about_time(context: Make, copy: Make) -> None:
    """Touching a file changes nothing; its bytes, mode, name, owner and place do."""
    root = Path(str(context({"s/a": b"1", "s/b": b"2"})._root))

    def key(destination: str = "/t", **options: object) -> str:
        copied = copy(ContextSource(root), "s", destination, **options)
        return str(copied.plan.key)

    first = key()
    os.utime(root / "s/a", ns=(1, 1))
    os.utime(root / "s", ns=(1, 1))
    assert key(created_ns=5) == first

    keys = {first, key("/u"), key(chown=(1, 1))}
    (root / "s/a").chmod(0o600)
    keys.add(key())
    (root / "s/a").chmod(0o644)
    (root / "s/a").write_bytes(b"3")
    keys.add(key())
    (root / "s/a").rename(root / "s/c")
    keys.add(key())
    assert len(keys) == 6


def test_the_key_is_the_same_wherever_the_content_comes_from(
    context: Make, image: Make, copy: Make
) -> None:
    """A context and a stage that hold the same give the same key."""
    stage = image({"s/a": b"1", "s/n": None})

    in_context = copy(context({"s/a": b"1", "s/n": None}), "s", "/t").plan.key

    assert copy(stage.source, "s", "/t").plan.key == in_context


def test_writing_can_be_cancelled(context: Make, tmp_path: Path) -> None:
    """Between two files, with the reason."""
    source: Source = context({"a": b"1"})
    plan = plan_copy(CopyRequest(sources=("a",), destination="/"), source, Tree())
    cancel = CancelToken()
    cancel.cancel()

    with (
        LayerWriter(tmp_path / "layer", compression="none") as writer,
        pytest.raises(StepCancelledError),
    ):
        write_copy(plan, source, writer, cancel)


def test_a_last_file_that_changes_is_noticed(context: Make, tmp_path: Path) -> None:
    """Though its size does not."""
    source = context({"a": b"x" * 300_000})
    plan = plan_copy(CopyRequest(sources=("a",), destination="/"), source, Tree())
    path = Path(str(source._root)) / "a"
    before = path.stat()
    path.write_bytes(b"y" * 300_000)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    with (
        LayerWriter(tmp_path / "layer", compression="none") as writer,
        pytest.raises(BuildError, match="/a of the build context changed"),
    ):
        write_copy(plan, source, writer, CancelToken())


def test_mkdir_makes_what_is_missing(image: Make, write: Make) -> None:
    """WORKDIR: new folders belong to the user, those that exist stay."""
    target = image({"srv": Entry("", "dir", 0o700, 3, 3), "l": "-> srv"}).tree

    made = write(plan_mkdir("/l/a/b", target, 10, 20, created_ns=5_000_000_000), FilesSource({}))

    facts = {name: (e.mode, e.uid, e.gid, e.mtime_ns) for name, e in made.entries.items()}
    assert facts == {
        "srv": (0o700, 3, 3, 0), "srv/a": (0o755, 10, 20, 5_000_000_000), "srv/a/b": (0o755, 10, 20, 5_000_000_000)
    }  # fmt: skip


def test_mkdir_of_what_is_there_is_nothing(image: Make) -> None:
    """No entries, so no layer."""
    target = image({"srv": None}).tree

    assert (plan_mkdir("/srv", target, 0, 0).entries, plan_mkdir("/", target, 0, 0).entries) == (
        (),
        (),
    )


def test_mkdir_over_a_file_is_an_error(image: Make) -> None:
    """It does not go away for a WORKDIR."""
    with pytest.raises(BuildError, match="mkdir /srv: not a directory"):
        plan_mkdir("/srv/x", image({"srv": b""}).tree, 0, 0)

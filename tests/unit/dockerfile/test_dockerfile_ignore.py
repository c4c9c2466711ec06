"""Which paths a .dockerignore leaves out of the context."""

from pathlib import Path

import pytest

from buildpush.dockerfile.ignore import IgnoreRules
from buildpush.errors import DockerfileError, SourceEvidence


@pytest.mark.parametrize(
    ("patterns", "out", "kept"),
    [
        ("", [], ["a", "a/b"]),
        ("a", ["a", "a/b", "a/b/c"], ["b/a", "ab"]),
        ("/a/", ["a", "a/b"], ["b/a"]),
        ("./a/../b//c/", ["b/c"], ["a", "b"]),
        ("*.md", ["x.md"], ["d/x.md"]),
        ("**/*.md", ["x.md", "d/x.md", "d/e/x.md"], ["x.mdx"]),
        ("*/x", ["d/x"], ["x", "d/e/x"]),
        ("?x", ["ax"], ["x", "abx", "a/x"]),
        ("[a-c]x", ["ax", "cx"], ["dx"]),
        ("[^a-c]x", ["dx"], ["ax"]),
        ("a**z", ["az", "a/b/z"], ["a"]),
        ("d/**", ["d/x", "d/e/x"], ["d"]),
        ("*\n!keep", ["a", "a/keep"], ["keep", "keep/x"]),
        ("*\n!keep\nkeep/not", ["keep/not", "keep/not/x"], ["keep/x"]),
        ("!a\na", ["a"], ["b"]),
        ("a\n!a/b", ["a", "a/c"], ["a/b", "a/b/c"]),
        ("# a\n\n  b  \n", ["b"], ["a", "# a"]),
        (" # a\n", ["# a"], ["a"]),
        ("! keep\n", [], ["keep"]),
        ("*\n!#x\n!!y\n", ["z"], ["#x", "!y"]),
        ("Dockerfile\n.dockerignore\n", ["Dockerfile", ".dockerignore"], ["x"]),
        ("a\\*", ["a*"], ["ab"]),
        ("a.b+(c)", ["a.b+(c)"], ["axb+(c)"]),
        ("[[a]x", ["[x", "ax"], ["bx"]),
        ("[&&a]x", ["&x"], ["bx"]),
        ("[\\[a]x\\[", ["[x[", "ax["], ["\\x["]),
        ("\ufeffa\r\nb\r\n", ["a", "b"], ["a\r"]),
    ],
)
def test_the_last_pattern_that_applies_decides(
    patterns: str, out: list[str], kept: list[str]
) -> None:
    """Patterns are anchored, ``**`` spans directories, and what is under a match goes with it."""
    rules = IgnoreRules.parse(patterns)

    assert {path: rules.excludes(path) for path in out + kept} == dict.fromkeys(
        out, True
    ) | dict.fromkeys(kept, False)


def test_names_that_are_not_utf8_match_themselves() -> None:
    """Python gives such names to us with surrogates, and the pattern gets them too."""
    rules = IgnoreRules.parse(b"caf\xe9\n")

    assert rules.excludes(b"caf\xe9".decode("utf-8", "surrogateescape"))


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("!", 1, "illegal exclusion pattern"),
        ("a\n!/\n", 2, "illegal exclusion pattern"),
        ("a\n\n[\n", 3, "syntax error in pattern"),
        ("a[]b", 1, "syntax error in pattern"),
        ("a\\", 1, "syntax error in pattern"),
        ("[b-a]", 1, "bad character range"),
    ],
)
def test_a_malformed_pattern_is_named_with_its_line(text: str, line: int, message: str) -> None:
    """What moby refuses is refused before anything is copied."""
    with pytest.raises(DockerfileError, match=message) as caught:
        IgnoreRules.parse(text, filename="app.dockerignore")

    assert caught.value.evidence == (
        SourceEvidence(filename="app.dockerignore", first_line=line, last_line=line, text=text),
    )


def test_the_dockerfiles_own_rules_win(tmp_path: Path) -> None:
    """They stand beside the Dockerfile, which need not be in the context."""
    (tmp_path / ".dockerignore").write_text("a\n")
    build = tmp_path / "build"
    build.mkdir()
    (build / "app.Dockerfile.dockerignore").write_text("b\n")

    own = IgnoreRules.read(tmp_path, build / "app.Dockerfile")
    shared = IgnoreRules.read(tmp_path, build / "Dockerfile")

    assert (own.patterns, own.filename) == (("b",), "app.Dockerfile.dockerignore")
    assert (shared.patterns, shared.filename) == (("a",), ".dockerignore")


def test_an_empty_file_of_its_own_still_wins(tmp_path: Path) -> None:
    """It is how one Dockerfile of several gets the whole context."""
    (tmp_path / ".dockerignore").write_text("a\n")
    (tmp_path / "Dockerfile.dockerignore").write_text("")

    assert not IgnoreRules.read(tmp_path, tmp_path / "Dockerfile").excludes("a")


def test_without_a_file_nothing_is_excluded(tmp_path: Path) -> None:
    """The context may be a file's parent that does not even exist."""
    rules = IgnoreRules.read(tmp_path / "gone", tmp_path / "gone" / "Dockerfile")

    assert (rules.patterns, rules.filename, rules.excludes("a")) == ((), "", False)


@pytest.mark.parametrize(
    ("patterns", "walk", "skip"),
    [
        ("*", [], ["a", "a/b"]),
        ("*\n!a", [], ["a", "a/b", "b"]),
        ("*\n!a/b", ["a"], ["b", "a/b", "a/c", "ab"]),
        ("*\n!a/*/c", ["a", "a/x"], ["a/x/c", "b"]),
        ("*\n!a?/b", ["ax", "bx"], ["ax/b"]),
        ("*\n!**/x", ["a", "a/b"], []),
        ("*\n!a/**/x", ["a", "a/b/c"], ["b"]),
        ("*\n!a**", ["a", "b"], []),
        ("*\n!a[^b]c", ["a", "b"], []),
        ("*\n!a\\b/c", ["ab"], []),
    ],
)
def test_a_walk_skips_only_where_nothing_can_come_back(
    patterns: str, walk: list[str], skip: list[str]
) -> None:
    """A bracket expression may match a slash, so it counts like ``**``."""
    rules = IgnoreRules.parse(patterns)

    assert [path for path in walk + skip if rules.may_include_under(path)] == walk


@pytest.mark.parametrize(
    "patterns",
    [
        "*\n!a/b",
        "**\n!**/c",
        "a\n!a/*/c\nb",
        "*\n!a[^x]b",
        "a/*\n!a/b/c\n",
        "**/b\n!c/b/a\n!a/**/c",
        "*\n!?/c",
        "**\n!a**c",
    ],
)
def test_pruning_loses_no_path(patterns: str) -> None:
    """Checked against every path of three levels over three names."""
    rules = IgnoreRules.parse(patterns)
    names = ["a", "b", "c"]
    paths = [*names, *(f"{x}/{y}" for x in names for y in names)]
    paths += [f"{x}/{y}" for x in paths[3:] for y in names]

    lost = [
        path
        for path in paths
        if not rules.excludes(path)
        for depth in range(1, path.count("/") + 1)
        if rules.excludes(parent := "/".join(path.split("/")[:depth]))
        and not rules.may_include_under(parent)
    ]

    assert lost == []

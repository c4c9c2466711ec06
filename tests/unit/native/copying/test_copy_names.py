"""The small languages of COPY: wildcards, modes and owners."""

from __future__ import annotations

import pytest

from buildpush.backends.native.copying.globs import (
    compile_glob,
    has_wildcards,
    may_hold,
    split_wildcards,
)
from buildpush.backends.native.copying.modes import parse_mode
from buildpush.backends.native.copying.owners import Owner, owner_of
from buildpush.errors import BuildError

PASSWD = b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:34::/:\nodd:x:abc:\n\n www:x:5:6\nweb:x:1:1"
GROUP = b"root:x:0:\nstaff:x:50:web\nbroken\n"


@pytest.mark.parametrize(
    ("pattern", "name", "matches"),
    [
        ("abc", "abc", True),
        ("*", "abc", True),
        ("*c", "abc", True),
        ("a*", "ab\nc", True),
        ("a*/b", "a/c/b", False),
        ("a?c", "a\u00e9c", True),
        ("a?c", "a/c", False),
        ("[ab]x", "bx", True),
        ("[a-c]", "b", True),
        ("[^a-c]", "b", False),
        ("[^a-c]", "d", True),
        ("[\\-x]", "-", True),
        ("[a\\]]", "]", True),
        ("[z-a]", "m", False),
        ("[^z-a]", "m", True),
        ("[a!b]", "!", True),
        ("a\\*b", "a*b", True),
        ("a\\*b", "axb", False),
        ("a.b", "axb", False),
        ("(a|b)", "a", False),
        ("[[]", "[", True),
    ],
)
def test_patterns_are_gos(pattern: str, name: str, *, matches: bool) -> None:
    """``*`` and ``?`` stay in their folder; ``^`` negates; a backslash escapes."""
    assert (compile_glob(pattern).fullmatch(name) is not None) == matches


@pytest.mark.parametrize("pattern", ["[", "[a", "[]", "[]a]", "[-]", "[a-]", "[x-", "[\\", "a\\"])
def test_bad_patterns_are_value_errors(pattern: str) -> None:
    """The same ones as Go's ErrBadPattern."""
    with pytest.raises(ValueError, match="syntax error in pattern"):
        compile_glob(pattern)


def test_a_path_is_cut_before_its_first_wildcard() -> None:
    """Escaped ones do not count."""
    assert [split_wildcards(p) for p in ("a/b*/c", "a/b", "*", "", "a\\*/b")] == [
        ("a", ("b*", "c")),
        ("a/b", ()),
        ("", ("*",)),
        ("", ()),
        ("a\\*/b", ()),
    ]
    assert [has_wildcards(n) for n in ("\\", "a\\[", "a[", "a?")] == [False, False, True, True]


@pytest.mark.parametrize(
    ("pattern", "folder", "expected"),
    [
        ("a/*/c", "a", True),
        ("a/*/c", "a/x", True),
        ("a/*/c", "b", False),
        ("a/*/c", "a/x/c", False),
        ("**/c", "x/y/z", True),
        ("a/**/c", "b/x", False),
    ],
)
def test_a_pattern_knows_where_it_cannot_match(
    pattern: str, folder: str, *, expected: bool
) -> None:
    """So that other folders need not be listed."""
    assert may_hold(pattern, folder) == expected


@pytest.mark.parametrize(
    ("text", "file", "folder"),
    [
        ("755", 0o755, 0o755),
        ("0644", 0o644, 0o644),
        ("4711", 0o4711, 0o4711),
        ("0", 0, 0),
        ("u=rwX,go=rX", 0o644, 0o755),
        ("a+x", 0o751, 0o771),
        ("+x", 0o751, 0o771),
        ("g-w", 0o640, 0o750),
        ("o=", 0o640, 0o770),
        ("=r", 0o444, 0o444),
        ("g=u", 0o660, 0o770),
        ("o+g", 0o644, 0o777),
        ("g-u", 0o600, 0o700),
        ("u+s,g+s", 0o6640, 0o6770),
        ("+t", 0o1640, 0o1770),
        ("o+t", 0o640, 0o770),
        ("o+s", 0o640, 0o770),
        ("u+x-w,o+r", 0o544, 0o574),
        ("ug-X", 0o640, 0o660),
        ("u=", 0o040, 0o070),
        ("a=rwx,o-w", 0o775, 0o775),
        ("go=u-w", 0o644, 0o755),
    ],
)
def test_modes(text: str, file: int, folder: int) -> None:
    """Applied to a file of 0640 and a folder of 0770."""
    mode = parse_mode(text)

    assert [oct(mode.apply(0o640, is_dir=False)), oct(mode.apply(0o770, is_dir=True))] == [
        oct(file),
        oct(folder),
    ]


@pytest.mark.parametrize("text", ["", "8", "10000", "0o755", "rwx", "u", "u=rq", "u+x,", "x=r"])
def test_bad_modes_are_errors(text: str) -> None:
    """With what a good one looks like."""
    with pytest.raises(BuildError, match="invalid chmod parameter") as caught:
        parse_mode(text)
    assert "u" in caught.value.hint


def read(path: str) -> bytes | None:
    return {"/etc/passwd": PASSWD, "/etc/group": GROUP}.get(path)


@pytest.mark.parametrize(
    ("text", "uid", "gid"),
    [
        ("1000", 1000, 1000),
        ("1000:50", 1000, 50),
        ("root", 0, 0),
        ("web", 33, 34),
        ("web:staff", 33, 50),
        ("web:7", 33, 7),
        ("7:staff", 7, 50),
        ("web:", 33, 0),
        ("7:", 7, 0),
        ("web:root", 33, 0),
        ("www", 5, 6),
        ("odd", 0, 0),
        (":staff", 0, 50),
    ],
)
def test_owners(text: str, uid: int, gid: int) -> None:
    """A number is its own group, a name brings its own; the first line of a name counts."""
    owner = owner_of(text, read)

    assert (owner.uid, owner.gid) == (uid, gid)


def test_names_the_image_does_not_know_are_root_and_are_told() -> None:
    """BuildKit takes root without a word; the caller can warn."""
    assert owner_of("nobody:nogroup", read) == Owner(unknown=("nobody", "nogroup"))
    assert owner_of("web:nogroup", read) == Owner(uid=33, gid=34, unknown=("nogroup",))
    assert owner_of("web", lambda _: None) == Owner(unknown=("web",))
    assert owner_of("9999999999", read) == Owner(unknown=("9999999999",))


def test_numbers_need_no_files() -> None:
    """An image without /etc will do, and is not read."""

    def refuse(path: str) -> bytes | None:
        raise AssertionError(path)

    assert owner_of("1:2", refuse) == Owner(uid=1, gid=2)

"""Users and groups as the image's own files have them."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from buildpush.backends.native.sandbox.launcher import identity
from buildpush.backends.native.sandbox.launcher.identity import Identity, lookup
from buildpush.backends.native.sandbox.launcher.wire import SetUpError

PASSWD = """root:x:0:0:root:/root:/bin/sh
# a comment:x:9:9
app:x:1000:1000:App:/home/app:/bin/sh
broken
short:x:1001:1001
twin:x:1000:7::/twin:
"""
GROUP = "root:x:0:\napp:x:1000:\nextra:x:50:app,root\nmore:x:40:app\nodd:x:x:app\n"


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", Identity(0, 0, (50,), "/root")),
        ("app", Identity(1000, 1000, (40, 50), "/home/app")),
        ("1000", Identity(1000, 1000, (40, 50), "/home/app")),
        ("short", Identity(1001, 1001, (), "/")),
        ("app:more", Identity(1000, 40, (), "/home/app")),
        ("app:77", Identity(1000, 77, (), "/home/app")),
        ("app:", Identity(1000, 1000, (40, 50), "/home/app")),
        (":more", Identity(0, 40, (), "/root")),
        ("4321", Identity(4321, 0, (), "/")),
        ("4321:1234", Identity(4321, 1234, (), "/")),
    ],
)
def test_a_user_is_found_by_name_or_number(user: str, expected: Identity) -> None:
    """The first entry that fits counts; damaged lines do not."""
    assert lookup(user, PASSWD, GROUP) == expected


@pytest.mark.parametrize(
    ("user", "message"),
    [
        ("nobody", "unable to find user nobody: no matching entries in passwd file"),
        ("app:nobody", "unable to find group nobody: no matching entries in group file"),
        ("4294967295", "'4294967295' is not a user or group id"),
        ("-1", "unable to find user -1: no matching entries in passwd file"),
    ],
)
def test_who_is_not_found_is_named(user: str, message: str) -> None:
    """Before anything runs."""
    with pytest.raises(SetUpError) as caught:
        lookup(user, PASSWD, GROUP)

    assert str(caught.value) == message


def test_an_image_without_passwd_has_root(tmp_path: Path) -> None:
    """And every number."""
    assert identity.of_root("", str(tmp_path)) == Identity(0, 0, (), "/")
    assert identity.of_root("5:6", str(tmp_path)) == Identity(5, 6, (), "/")


def test_a_huge_passwd_is_refused(tmp_path: Path) -> None:
    """It is read whole, so there is a limit."""
    (tmp_path / "etc").mkdir()
    with (tmp_path / "etc" / "passwd").open("wb") as file:
        file.truncate(11 << 20)

    with pytest.raises(SetUpError, match="/etc/passwd is larger than"):
        identity.of_root("app", str(tmp_path))


def test_a_passwd_that_is_no_file_holds_nobody(tmp_path: Path) -> None:
    """A directory, say."""
    (tmp_path / "etc" / "passwd").mkdir(parents=True)

    assert identity.of_root("7", str(tmp_path)) == Identity(7, 0, (), "/")


def test_path_and_home_are_set_unless_the_image_sets_them() -> None:
    """An empty HOME counts as none."""
    someone = Identity(1, 1, (), "/home/one")

    assert identity.surroundings({"HOME": "", "A": "b"}, someone) == {
        "PATH": identity.DEFAULT_PATH,
        "HOME": "/home/one",
        "A": "b",
    }
    assert identity.surroundings({"PATH": "/p", "HOME": "/h"}, someone) == {
        "PATH": "/p",
        "HOME": "/h",
    }


def test_limits_are_set_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Minus one is no limit."""
    calls: list[tuple[int, tuple[int, int]]] = []
    monkeypatch.setattr(
        resource, "setrlimit", lambda number, limits: calls.append((number, limits))
    )

    identity.limit([("nofile", 10, 20), ("core", -1, -1)])

    infinite = resource.RLIM_INFINITY
    assert calls == [
        (resource.RLIMIT_NOFILE, (10, 20)),
        (resource.RLIMIT_CORE, (infinite, infinite)),
    ]


def test_a_limit_that_is_refused_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its values; so is one that does not exist."""

    def refuse(number: int, limits: tuple[int, int]) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)

    with pytest.raises(SetUpError, match="ulimit nofile=1:2 is refused: not allowed"):
        identity.limit([("nofile", 1, 2)])
    with pytest.raises(SetUpError, match="ulimit 'hue' is unknown"):
        identity.limit([("hue", 1, 2)])

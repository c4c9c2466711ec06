"""Auto-tag and expand-tag, with the examples of the plugins that have them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpush.errors import SpecError
from buildpush.spec.tagging.drone import drone_tags, expand_tag, is_tagged_by_default


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("", ("latest",)),
        ("refs/heads/master", ("latest",)),
        ("refs/pull/7/head", ("latest",)),
        ("refs/tags/0.9.0", ("0.9", "0.9.0")),
        ("refs/tags/v0.9.0", ("0.9", "0.9.0")),
        ("refs/tags/1.0.0", ("1", "1.0", "1.0.0")),
        ("refs/tags/v1.0.0", ("1", "1.0", "1.0.0")),
        ("refs/tags/v18.06.0", ("18", "18.06", "18.06.0")),
        ("refs/tags/v1.0.0-alpha.1", ("1.0.0-alpha.1",)),
        ("refs/tags/v01.02.03-rc1", ("1.2.3-rc1",)),
        ("refs/tags/v1.0.0+build.7", ("1.0.0+build.7",)),
        ("refs/tags/v00.1.2", ("00.1", "00.1.2")),
    ],
)
def test_the_tags_of_a_ref(ref: str, expected: tuple[str, ...]) -> None:
    """Three for a release, one for a pre-release, latest for a branch."""
    assert expected == drone_tags(ref)


@pytest.mark.parametrize(
    "name", ["x1.0.0", "20190203", "v1.0", "1.2.3.4", "v", "vv1.0.0", "1.٣.0"]
)
def test_a_git_tag_that_is_no_version_has_none(name: str) -> None:
    """It is not guessed at."""
    with pytest.raises(SpecError, match="not a version"):
        drone_tags(f"refs/tags/{name}")


@pytest.mark.parametrize(
    ("ref", "expected"),
    [
        ("refs/heads/master", ("linux-amd64",)),
        ("refs/tags/v1.0.0", ("1-linux-amd64", "1.0-linux-amd64", "1.0.0-linux-amd64")),
        ("refs/tags/v1.0.0-beta", ("1.0.0-beta-linux-amd64",)),
    ],
)
def test_a_suffix_follows_each_tag_and_replaces_latest(
    ref: str, expected: tuple[str, ...]
) -> None:
    """As images for several platforms are told apart."""
    assert expected == drone_tags(ref, suffix="linux-amd64")


def test_a_suffix_follows_padded_numbers() -> None:
    """Windows' own versions have leading zeros."""
    expected = ("18-nanoserver", "18.06-nanoserver", "18.06.0-nanoserver")

    assert expected == drone_tags("refs/tags/v18.06.0", suffix="nanoserver")


@pytest.mark.parametrize(
    ("ref", "branch", "expected"),
    [
        ("refs/heads/master", "master", True),
        ("refs/heads/develop", "master", False),
        ("refs/heads/master", "develop", False),
        ("refs/tags/v1.0.0", "master", True),
        ("master", "master", True),
        ("", "", True),
        ("refs/pull/7/head", "master", False),
    ],
)
def test_only_tags_and_the_default_branch_are_tagged(
    ref: str, branch: str, expected: bool
) -> None:
    """Other branches are not published by themselves."""
    assert expected is is_tagged_by_default(ref, branch)


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        ("v1.2.3", ("1", "1.2", "1.2.3")),
        ("v1.2", ("1", "1.2", "1.2.0")),
        ("v1", ("1", "1.0", "1.0.0")),
        ("1.2.3", ("1", "1.2", "1.2.3")),
        ("v1.2.3+linux_amd64", ("1+linux-amd64", "1.2+linux-amd64", "1.2.3+linux-amd64")),
        ("v1.2.3-rc1", ("1.2.3-rc1",)),
        ("v1.2.3-rc1+bld", ("1.2.3-rc1+bld",)),
        ("v1+bld", ("v1+bld",)),
        ("v1.02.3", ("v1.02.3",)),
        ("latest", ("latest",)),
        ("my_tag", ("my_tag",)),
    ],
)
def test_a_tag_is_expanded(tag: str, expected: tuple[str, ...]) -> None:
    """Versions to their prefixes, anything else to itself."""
    assert expected == expand_tag(tag)


@given(st.text(max_size=40))
def test_any_text_has_tags_or_our_error(text: str) -> None:
    """Nothing else leaves these functions."""
    assert expand_tag(text)
    with suppress(SpecError):
        assert drone_tags(f"refs/tags/{text}", suffix=text)

"""Repositories, tags and mappings: kept exactly as they were written, or refused."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from pydantic import SecretStr

from buildpush.errors import SpecError
from buildpush.spec import (
    StepSpec,
)


def parsed(**settings: Any) -> StepSpec:
    return StepSpec.parse({"repo": "ghcr.io/acme/app", **settings})


def fault(**settings: Any) -> SpecError:
    with pytest.raises(SpecError) as caught:
        parsed(**settings)
    return caught.value


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("1.10", ("1.10",)),
        (["1.10", 7, "1.10"], ("1.10", "7")),
        ("1.4, latest", ("1.4", "latest")),
        ("1\n2\n", ("1", "2")),
        (3, ("3",)),
        (("b", "a"), ("b", "a")),
    ],
)
def test_tags_are_kept_as_written_and_in_order(given: object, kept: tuple[str, ...]) -> None:
    """Text or list; the same tag twice is once."""
    assert parsed(tags=given).tags == kept


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([1.1], r"tags.0: expected text, not the number 1.1: .* 1.10 without quotes is 1.1"),
        (1.1, r"tags.0: expected text, not the number 1.1"),
        ([True], r"tags.0: expected text, not true or false"),
        ([date(2024, 1, 1)], r"tags.0: expected text, not a value of type date"),
        (["-x"], r"tags.0: bad tag '-x'"),
        (["a" * 129], r"tags.0: bad tag"),
        ([], r"tags: must not be empty"),
        ("", r"tags: must not be empty"),
        ([{}], r"tags.0: expected text, not a mapping"),
    ],
)
def test_a_bad_tag_is_refused_with_the_reason(given: object, said: str) -> None:
    """A number with a fraction has already lost its zeros."""
    with pytest.raises(SpecError, match=said):
        parsed(tags=given)


def test_without_tags_it_is_latest() -> None:
    """As docker does."""
    assert parsed().tags == ("latest",)


@pytest.mark.parametrize(
    ("repo", "said", "hint"),
    [
        ("a/b:1.2", "no tag", "put the tag in tags: 1.2"),
        ("localhost:5000/a:x", "no tag", "put the tag in tags: x"),
        (f"a/b@sha256:{'0' * 64}", "no digest", "give only the name"),
        ("https://ghcr.io/a", "not an image reference", "did you mean 'ghcr.io/a'?"),
        ("ghcr.io/Org/App", "lower case", "did you mean 'ghcr.io/org/app'?"),
        ("", "not an image reference", ""),
        (["a"], "expected text, not a list", ""),
    ],
)
def test_a_repository_has_neither_tag_nor_digest(repo: object, said: str, hint: str) -> None:
    """And the hint says where the tag goes."""
    error = fault(repo=repo)

    assert said in error.message
    assert error.hint == hint


@pytest.mark.parametrize(
    "given",
    [
        {"A": "1", "B": "x=y"},
        ["A=1", "B=x=y"],
        "A=1\nB=x=y\n",
        {"A": 1, "B": "x=y"},
    ],
)
def test_a_mapping_may_be_a_list_of_pairs_or_lines(given: object) -> None:
    """Harness takes a mapping or text for each."""
    spec = parsed(buildArgs=given, labels=given, envVariables=given)

    assert spec.build_args == {"A": "1", "B": "x=y"} == spec.labels == spec.env_variables


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("A=1,B=2", "unclear whether the comma"),
        (["A"], "item 0: expected name=value"),
        (["=1"], "item 0: expected name=value"),
        (["A=1", "A=2"], "A is given twice"),
        ([SecretStr("x")], "item 0: a secret here"),
        ([1.5], "item 0: expected text, not the number"),
        ({"A": 1.10}, "buildArgs.A: expected text, not the number 1.1"),
        ({"A": True}, "buildArgs.A: expected text, not true or false"),
        ({"A": ["x"]}, "buildArgs.A: expected text, not a list"),
        ({"": "x"}, "expected a name"),
        ({"A B=": "x"}, "expected a name"),
        (5, "buildArgs: expected a mapping, or a list of name=value"),
    ],
)
def test_a_malformed_mapping_is_refused(given: object, said: str) -> None:
    """Whatever YAML has made of it."""
    assert said in fault(buildArgs=given).message


def test_a_comma_in_a_value_is_only_a_comma() -> None:
    """Text is refused only where the rest reads like another pair."""
    assert parsed(labels="A=x, y, z").labels == {"A": "x, y, z"}


def test_null_is_an_empty_mapping_or_list() -> None:
    """``buildArgs:`` with nothing behind it."""
    spec = parsed(buildArgs=None, cacheFrom=None, platforms=None, secrets=None, ssh=None)

    assert spec == parsed()

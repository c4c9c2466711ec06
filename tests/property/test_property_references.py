"""Any valid reference is read, written and read again; anything else is refused one way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpush.errors import InvalidReferenceError
from buildpush.oci import ImageReference, Platform

component = st.from_regex(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+){0,2}", fullmatch=True)
paths = st.lists(component, min_size=1, max_size=4).map("/".join).filter(lambda p: len(p) < 150)
hosts = st.sampled_from(
    ("docker.io", "ghcr.io", "localhost", "localhost:5000", "[::1]:80", "Host.io")
)
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}", fullmatch=True)
pins = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)


@given(hosts, paths, st.none() | tags, st.none() | pins)
def test_a_reference_is_a_fixed_point(
    host: str, path: str, tag: str | None, pin: str | None
) -> None:
    """Its text is read as itself, with its parts where they were."""
    text = f"{host}/{path}" + (f":{tag}" if tag else "") + (f"@{pin}" if pin else "")

    reference = ImageReference.parse(text)

    assert ImageReference.parse(str(reference)) == reference
    assert reference.repository.host == host
    assert reference.repository.path.removeprefix("library/") == path.removeprefix("library/")
    assert reference.tag == (tag or ("" if pin else "latest"))
    assert reference.target == (pin or reference.tag)


@given(st.text(max_size=60))
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    """With one kind of error, and never a crash."""
    try:
        reference = ImageReference.parse(text)
    except InvalidReferenceError:
        return
    assert ImageReference.parse(str(reference)) == reference


words = st.sampled_from(("linux", "windows", "amd64", "arm64", "arm", "v7", "v8", "8", "x86_64"))


@given(words, words, st.none() | words)
def test_normalising_a_platform_twice_changes_nothing(
    os: str, architecture: str, variant: str | None
) -> None:
    """The normal form is normal."""
    platform = Platform.parse("/".join(filter(None, (os, architecture, variant))))

    assert Platform.parse(str(platform)) == platform


@given(st.text(max_size=30))
def test_any_text_is_a_platform_or_refused(text: str) -> None:
    """Likewise."""
    if text.count("/") not in (1, 2):
        with pytest.raises(InvalidReferenceError):
            Platform.parse(text)

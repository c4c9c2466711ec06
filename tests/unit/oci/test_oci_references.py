"""References, repositories, digests and platforms, as docker and containerd read them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildpush.errors import InvalidReferenceError
from buildpush.oci import Digest, ImageReference, Platform, Repository

HEX = "0123456789abcdef" * 4
PIN = f"sha256:{HEX}"


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("alpine", "docker.io/library/alpine:latest"),
        ("alpine:3.20", "docker.io/library/alpine:3.20"),
        ("grafana/grafana", "docker.io/grafana/grafana:latest"),
        ("docker.io/alpine", "docker.io/library/alpine:latest"),
        ("index.docker.io/library/alpine", "docker.io/library/alpine:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app:1", "localhost:5000/app:1"),
        ("127.0.0.1:5000/a/b/c:1", "127.0.0.1:5000/a/b/c:1"),
        ("[::1]:5000/app", "[::1]:5000/app:latest"),
        ("Registry/app", "Registry/app:latest"),
        ("ghcr.io/a_b/c__d/e-f.g:V1.0_x-y", "ghcr.io/a_b/c__d/e-f.g:V1.0_x-y"),
        (f"alpine@{PIN}", f"docker.io/library/alpine@{PIN}"),
        (f"alpine:3@{PIN}", f"docker.io/library/alpine:3@{PIN}"),
        (f"a.io/b@sha512:{HEX}{HEX}", f"a.io/b@sha512:{HEX}{HEX}"),
        ("a.io/" + "x" * 250, "a.io/" + "x" * 250 + ":latest"),
    ],
)
def test_a_short_name_is_completed_as_docker_does(text: str, full: str) -> None:
    """And a full name is a fixed point."""
    reference = ImageReference.parse(text)

    assert str(reference) == full
    assert ImageReference.parse(full) == reference


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "bad repository path"),
        (":1", "bad repository path"),
        ("a:", "bad tag"),
        ("a:" + "x" * 129, "bad tag"),
        ("a:-x", "bad tag"),
        ("Alpine", "lower case"),
        ("ghcr.io/Org/app", "lower case"),
        ("a..b/c", "not an image reference"),
        ("a//b", "bad repository path"),
        ("a/b/", "bad repository path"),
        ("http://a.io/b", "not an image reference"),
        ("a b", "bad repository path"),
        ("a\n", "bad repository path"),
        ("exa_mple.com/a", "bad registry host"),
        ("a.io/" + "x" * 251, "longer than 255"),
        ("a@sha256:abc", "not a digest"),
        ("a@", "not a digest"),
        (f"a@{PIN}@{PIN}", "not a digest"),
    ],
)
def test_what_is_no_reference_is_refused_with_the_reason(text: str, message: str) -> None:
    """A reader can see what to change."""
    with pytest.raises(InvalidReferenceError, match=message):
        ImageReference.parse(text)


@pytest.mark.parametrize(
    ("text", "position", "suggestion"),
    [
        ("ghcr.io/Org/App:v1", 8, "ghcr.io/org/app:v1"),
        ("ghcr.io/org/aPP", 13, "ghcr.io/org/app"),
        ("Alpine:3", 0, "alpine:3"),
        ("https://ghcr.io/acme/app", 5, "ghcr.io/acme/app"),
        (" ghcr.io/acme/app\n", 0, "ghcr.io/acme/app"),
        ("ghcr.io/acme/app:feature/x+1", 24, "ghcr.io/acme/app:feature-x-1"),
        ("a:-x", 2, "a:x"),
        ("a:" + "x" * 129, 130, "a:" + "x" * 128),
        ("a/b/", 3, "a/b"),
        ("a//b", 1, "a/b"),
        ("my project/app", 2, "my-project/app"),
        ("a.io/x___y/-z-", 6, "a.io/x-y/z"),
        (f"a.io/B:1@{PIN}", 5, f"a.io/b:1@{PIN}"),
        ("a:", 2, ""),
        ("a.io/B:", 5, ""),
        ("", 0, ""),
        ("exa_mple.com/a", 3, ""),
        ("a.io/" + "x" * 251, 255, ""),
        ("a.io/B@sha256:abc", 5, ""),
    ],
)
def test_a_fault_has_its_place_and_what_was_probably_meant(
    text: str, position: int, suggestion: str
) -> None:
    """Names of projects and branches make bad references; nothing is guessed without need."""
    with pytest.raises(InvalidReferenceError) as caught:
        ImageReference.parse(text)

    error = caught.value
    assert (error.position, error.suggestion) == (position, suggestion)
    assert error.hint == (f"did you mean {suggestion!r}?" if suggestion else "")
    place = f"at character {position + 1}" if position < len(text) else "at its end"
    assert error.message.endswith(place)
    if suggestion:
        assert ImageReference.normalized(text) == ImageReference.parse(suggestion)
    else:
        with pytest.raises(InvalidReferenceError):
            ImageReference.normalized(text)


@pytest.mark.parametrize("text", ["alpine", "ghcr.io/a_b/c__d/e-f.g:V1.0_x-y", f"a.io/b@{PIN}"])
def test_a_good_reference_is_normal_already(text: str) -> None:
    """To normalise it changes nothing."""
    assert ImageReference.normalized(text) == ImageReference.parse(text)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="aA0._-/:@ ü", max_size=24))
def test_whatever_is_suggested_can_be_used(text: str) -> None:
    """And suggests nothing further."""
    try:
        ImageReference.parse(text)
    except InvalidReferenceError as error:
        position, suggestion = error.position, error.suggestion
    else:
        return

    assert position is None or 0 <= position <= len(text)
    assert not suggestion or ImageReference.parse(suggestion)


@pytest.mark.parametrize(
    ("host", "path"), [("ghcr.io", "Org/app"), ("ghcr.io", ""), ("a b", "c"), ("", "c")]
)
def test_a_repository_that_cannot_be_is_not_made(host: str, path: str) -> None:
    """Found where it is made, not where it is pushed."""
    with pytest.raises(InvalidReferenceError, match="not an image reference"):
        Repository(host, path)


@pytest.mark.parametrize("tag", ["a b", "-x", "x" * 129, "a/b", "a@b"])
def test_a_tag_that_cannot_be_is_not_made(tag: str) -> None:
    """The characters and the length that the distribution-spec allows."""
    with pytest.raises(InvalidReferenceError, match="not an image reference"):
        ImageReference(repository=Repository("ghcr.io", "app"), tag=tag)


def test_a_target_is_what_the_registry_is_asked_for() -> None:
    """The digest wins over the tag."""
    reference = ImageReference.parse("a.io/b:1")

    assert reference.target == "1"
    assert reference.with_digest(Digest(PIN)).target == PIN
    assert str(reference.with_digest(Digest(PIN))) == f"a.io/b:1@{PIN}"


def test_a_repository_has_neither_tag_nor_digest() -> None:
    """A credential is for the whole of it."""
    assert Repository.parse("me/app") == Repository("docker.io", "me/app")
    assert str(Repository.parse("localhost:5000/app")) == "localhost:5000/app"
    for text in ("a.io/b:1", f"a.io/b@{PIN}"):
        with pytest.raises(InvalidReferenceError, match="no tag or digest"):
            Repository.parse(text)


def test_a_digest_is_lower_case_hex_of_the_right_length() -> None:
    """Anything else would not find its blob."""
    assert Digest.of(b"").hex.startswith("e3b0c442")
    assert (Digest(PIN).algorithm, Digest(PIN).hex, str(Digest(PIN))) == ("sha256", HEX, PIN)
    for text in (PIN.upper(), PIN[:-1], PIN + "0", f"md5:{HEX}", f"{PIN}\n", HEX):
        with pytest.raises(InvalidReferenceError, match="not a digest"):
            Digest(text)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("linux/amd64", "linux/amd64"),
        ("Linux/x86_64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm64/v9", "linux/arm64/v9"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/7", "linux/arm/v7"),
        ("linux/arm/v6", "linux/arm/v6"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/i386", "linux/386"),
        ("windows/amd64", "windows/amd64"),
    ],
)
def test_a_platform_is_normalised_as_containerd_does(text: str, normal: str) -> None:
    """One spelling for one kind of machine."""
    assert str(Platform.parse(text)) == normal
    assert Platform.parse(normal) == Platform.parse(text)


@pytest.mark.parametrize("text", ["", "linux", "linux/", "/amd64", "a/b/c/d", "linux/am d64"])
def test_what_is_no_platform_is_refused(text: str) -> None:
    """Two or three words."""
    with pytest.raises(InvalidReferenceError, match="not a platform"):
        Platform.parse(text)


def test_the_host_is_linux() -> None:
    """Containers are, whatever runs them."""
    assert Platform.host().os == "linux"

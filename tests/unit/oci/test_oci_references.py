"""References, repositories, digests and platforms, as docker and containerd read them."""

from __future__ import annotations

import pytest

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

"""What buildah is told of platforms, so that it does not mix them up."""

from __future__ import annotations

from pathlib import Path

from buildpush.backends.buildah.platforms import spelled_out
from buildpush.dockerfile import parse
from buildpush.oci import Platform
from buildpush.plan import BuildRequest


def a_request(text: str, *platforms: str) -> BuildRequest:
    return BuildRequest(
        context=Path("/src"),
        dockerfile=parse(text),
        dockerfile_path=Path("/src/Dockerfile"),
        platforms=tuple(Platform.parse(platform) for platform in platforms),
    )


def test_every_image_gets_the_platform_it_had() -> None:
    """Stages that continue others have theirs, and no line moves."""
    request = a_request(
        "# FROM nothing\nFROM --platform=$BUILDPLATFORM base AS tools\n"
        "from \\\n  base AS own\nFROM own\nCOPY --from=tools /a /a\n",
        "linux/arm64",
        "linux/amd64",
    )

    expected = (
        "# FROM nothing\nFROM --platform=$BUILDPLATFORM base AS tools\n"
        "from --platform=$TARGETPLATFORM \\\n  base AS own\nFROM own\nCOPY --from=tools /a /a\n"
    )
    assert expected == spelled_out(request)


def test_without_a_target_platform_it_is_this_machines() -> None:
    """Buildah sets no TARGETPLATFORM then."""
    request = a_request("FROM --platform=linux/s390x base AS a\nFROM base\n")

    expected = f"FROM --platform=linux/s390x base AS a\nFROM --platform={Platform.host()} base\n"
    assert expected == spelled_out(request)


def test_most_dockerfiles_stay_as_they_are() -> None:
    """Where no stage has a platform of its own, buildah reads the user's file."""
    assert spelled_out(a_request("FROM base\nFROM scratch\n", "linux/arm64")) is None

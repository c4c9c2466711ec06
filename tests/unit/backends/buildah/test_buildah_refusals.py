"""What is refused before anything is started, and what a Dockerfile asks of buildah's formats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from buildpush.backends.buildah.probing import Buildah, features_of, parse_version
from buildpush.backends.buildah.refusals import (
    base_name,
    needs_docker_format,
    refuse,
    writes_into_context,
)
from buildpush.dockerfile import parse
from buildpush.errors import SourceEvidence, UnsupportedFeatureError
from buildpush.plan import BuildRequest, Feature
from buildpush.plan.values import Cache

OLD = Buildah(program="buildah", version=(1, 28, 2))
NEW = Buildah(program="buildah", version=(1, 44, 0))


def a_request(dockerfile: str = "FROM scratch\n", **changes: Any) -> BuildRequest:
    return BuildRequest(
        context=Path("/src"),
        dockerfile=parse(dockerfile),
        dockerfile_path=Path("/src/Dockerfile"),
        **changes,
    )


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (
            a_request("FROM a\nRUN --mount=type=secret,id=x,env=X true\n"),
            r"line 2: .*env=",
        ),
        (
            a_request(cache_from=(Cache(type="registry"), Cache(type="registry"))),
            "cache_from: .* one repository",
        ),
        (a_request(local_outputs=(Path("/a"), Path("/b"))), "one folder"),
    ],
)
def test_what_this_version_would_ignore_is_refused(request_: BuildRequest, said: str) -> None:
    """With the line, where there is one."""
    with pytest.raises(UnsupportedFeatureError, match=said) as caught:
        refuse(request_, OLD)

    assert all(isinstance(piece, SourceEvidence) for piece in caught.value.evidence)


def test_newer_versions_know_more() -> None:
    """Several caches and secrets in variables."""
    caches = (Cache(type="registry"), Cache(type="registry"))
    dockerfile = "FROM a\nRUN --mount=type=secret,id=x,env=X true\n"

    refuse(a_request(dockerfile, cache_from=caches), NEW)


def test_stages_that_are_not_built_ask_for_nothing() -> None:
    """As the planner sees it."""
    unused = "FROM a AS x\nRUN --mount=type=secret,id=x,env=X true\nFROM b\n"

    refuse(a_request(unused), OLD)


@pytest.mark.parametrize(
    ("run", "expected"),
    [
        ("--mount=type=bind,rw,target=/m true", True),
        ("--mount=target=/m,readwrite true", True),
        ("--mount=type=bind,target=/m true", False),
        ("--mount=type=bind,rw,from=a,target=/m true", False),
        ("--mount=type=cache,target=/m true", False),
        ("true", False),
    ],
)
def test_a_mount_that_would_write_into_the_context(run: str, expected: bool) -> None:
    """Buildah mounts the user's folder itself."""
    assert writes_into_context(a_request(f"FROM x AS a\nFROM x\nRUN {run}\n")) is expected


@pytest.mark.parametrize(
    ("instruction", "expected"),
    [
        ("HEALTHCHECK CMD true", True),
        ('SHELL ["/bin/sh"]', True),
        ("ONBUILD RUN true", True),
        ("STOPSIGNAL 9", False),
        ("VOLUME /x", False),
    ],
)
def test_what_the_oci_format_forgets(instruction: str, expected: bool) -> None:
    """As buildah's own warnings say."""
    assert needs_docker_format(a_request(f"FROM x\n{instruction}\n")) is expected


@pytest.mark.parametrize(
    ("dockerfile", "expected"),
    [
        ("FROM r.io/a:1 AS a\nFROM a AS b\nFROM b\n", "r.io/a:1"),
        ("FROM scratch\n", ""),
    ],
)
def test_the_base_is_found_through_stages(dockerfile: str, expected: str) -> None:
    """What the finished image inherits from."""
    assert base_name(a_request(dockerfile)) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("buildah version 1.28.2 (image-spec 1.1.0-rc2, runtime-spec 1.0.2-dev)", (1, 28, 2)),
        ("buildah version 1.42.0-dev", (1, 42, 0)),
        ("podman", ()),
    ],
)
def test_a_version_is_read(text: str, expected: tuple[int, ...]) -> None:
    """From what --version writes."""
    assert parse_version(text) == expected


def test_features_come_with_versions() -> None:
    """And what is absent says since when it is there."""
    old, notes = features_of((1, 28, 2), "oci")
    new, _ = features_of((1, 41, 0), "oci")

    assert {Feature.HEREDOCS, Feature.COPY_LINK, Feature.ADD_GIT} <= new - old
    assert notes[Feature.HEREDOCS] == "that needs buildah 1.33, and this is 1.28.2"
    assert not old & notes.keys()


@pytest.mark.parametrize(
    ("isolation", "absent"),
    [
        ("chroot", {Feature.RUN_NETWORK, Feature.SHM_SIZE, Feature.RESOURCES}),
        ("rootless", {Feature.RESOURCES, Feature.CGROUP_PARENT}),
        ("oci", set[Feature]()),
    ],
)
def test_features_come_with_isolation(isolation: Any, absent: set[Feature]) -> None:
    """chroot shares the machine's network and memory."""
    features, notes = features_of((1, 41, 0), isolation)

    assert not features & absent
    assert absent <= notes.keys()

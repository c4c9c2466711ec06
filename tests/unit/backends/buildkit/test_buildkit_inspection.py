"""What `docker buildx inspect` prints, as values."""

from __future__ import annotations

import pytest

from buildpush.backends.buildkit.inspection import parse_inspection, version_of
from buildpush.oci import Platform

ENGINE = """Name:   default
Driver: docker

Nodes:
Name:             default
Endpoint:         default
Status:           running
BuildKit version: v0.25.1
Platforms:        linux/amd64, linux/amd64/v2, linux/386
Labels:
 org.mobyproject.buildkit.worker.snapshotter:      overlayfs
 org.mobyproject.buildkit.worker.network:          host
GC Policy rule#0:
 All:            false
 Filters:        type==source.local
"""

TWO = """Name:          pair
Driver:        docker-container
Last Activity: 2026-11-23 15:46:38 +0000 UTC

Nodes:
Name:                  pair0
Endpoint:              unix:///d.sock
Driver Options:        image="x" env.A="b: c"
Status:                running
BuildKit daemon flags: --allow-insecure-entitlement=security.insecure
BuildKit version:      v0.12.5
Platforms:             linux/amd64*, linux/amd64 (+2)

Name:      pair1
Endpoint:  ssh://far
Error:     ssh: connect to host far port 22: refused
"""


def test_an_engines_builder() -> None:
    """One node; labels keep the dots and colons of their names."""
    found = parse_inspection(ENGINE)

    assert (found.name, found.driver, found.buildkit) == ("default", "docker", "v0.25.1")
    assert [str(p) for p in found.platforms] == ["linux/amd64", "linux/amd64/v2", "linux/386"]
    assert found.nodes[0].labels == {
        "org.mobyproject.buildkit.worker.snapshotter": "overlayfs",
        "org.mobyproject.buildkit.worker.network": "host",
    }
    assert found.running and not found.trouble


def test_a_builder_of_several_nodes() -> None:
    """One that does not answer does not stop the other; a star marks what somebody set."""
    found = parse_inspection(TWO)

    assert [node.name for node in found.nodes] == ["pair0", "pair1"]
    assert found.running
    assert found.trouble == "ssh: connect to host far port 22: refused"
    assert found.platforms == (Platform("linux", "amd64"),)
    assert "security.insecure" in found.nodes[0].flags
    assert found.buildkit == "v0.12.5"


def test_a_builder_that_cannot_be_asked() -> None:
    """buildx prints no driver then."""
    found = parse_inspection("Name:   default\nDriver: \nError:  Cannot connect to the daemon\n")

    assert (found.driver, found.trouble) == ("", "Cannot connect to the daemon")
    assert not found.running


def test_nothing_at_all() -> None:
    """Somebody else's program may print nothing."""
    assert parse_inspection("").nodes == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("v0.29.1+ds1", (0, 29, 1)),
        ("github.com/docker/buildx 0.13 abc", (0, 13, 0)),
        ("v0.0.0+unknown", ()),
        ("", ()),
    ],
)
def test_versions(text: str, expected: tuple[int, ...]) -> None:
    """A version of zeros is none: a distribution's build forgot to say."""
    assert version_of(text) == expected

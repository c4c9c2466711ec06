"""Images as real dockers save and keep them, and as skopeo writes them, pushed without a build."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from engine_fixtures import DockerEngine

import buildpush
from buildpush import Digest, Platform
from buildpush.errors import NotFoundError, SpecError
from buildpush.oci.layout import Layout
from buildpush.testing import LocalRegistry, random_image
from buildpush.testing.images import random_index

AMD, ARM = Platform("linux", "amd64"), Platform("linux", "arm64")
# A layer that is there twice, which old dockers save as a symbolic link.
DOCKERFILE = "FROM scratch\nCOPY a /a\nCOPY b /b\nCOPY a /a\n"
ENGINES = [
    pytest.param("dockerd", marks=pytest.mark.needs_docker, id="28, containerd's store"),
    pytest.param(
        "dockerd_without_containerd", marks=pytest.mark.needs_docker, id="28, classic store"
    ),
    pytest.param("dockerd_classic", marks=pytest.mark.needs_docker, id="the release's"),
]


@pytest.fixture
def registry() -> Iterator[LocalRegistry]:
    with LocalRegistry() as running:
        yield running


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> DockerEngine:
    found: DockerEngine = request.getfixturevalue(request.param)
    found.activate(monkeypatch)
    return found


@pytest.fixture
def image(engine: DockerEngine, tmp_path: Path, repository: str) -> str:
    """An image in the daemon's store, by one of its two names."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text(DOCKERFILE)
    (context / "a").write_text("a")
    (context / "b").write_text("b")
    docker("build", "--quiet", "-t", f"{repository}:1", "-t", f"{repository}:2", str(context))
    return f"{repository}:1"


def docker(*words: str) -> str:
    """What the engine's own docker says."""
    argv = ["/usr/bin/env", "docker", *words]
    done = subprocess.run(argv, capture_output=True, text=True, env=os.environ, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def files_in(registry: LocalRegistry, repository: str, digest: Digest) -> list[str]:
    """The diffIDs of an image's config: what its layers hold."""
    found = json.loads(registry.manifest(repository, digest) or b"")
    if "manifests" in found:
        found = json.loads(registry.manifest(repository, found["manifests"][0]["digest"]) or b"")
    config = json.loads(registry.blob(repository, found["config"]["digest"]) or b"")
    diff_ids: list[str] = config["rootfs"]["diff_ids"]
    return diff_ids


def test_what_a_docker_saves_is_pushed(
    registry: LocalRegistry, image: str, tmp_path: Path
) -> None:
    """To the same digest each time, compressed as a whole or not, by file or by the daemon."""
    docker("save", "-o", str(tmp_path / "x.tar"), image)
    (tmp_path / "x.tgz").write_bytes(gzip.compress((tmp_path / "x.tar").read_bytes()))

    results = [
        buildpush.push(source, registry.reference("app:1"))
        for source in (
            f"{tmp_path / 'x.tar'}",
            f"docker-archive:{tmp_path / 'x.tgz'}",
            f"docker-daemon:{image}",
        )
    ]

    digest = registry.digest("app", "1")
    assert [result.digest for result in results] == [digest] * 3
    assert digest is not None
    diff_ids = files_in(registry, "app", digest)
    assert (len(diff_ids) == 3 and diff_ids[0] == diff_ids[2]) or len(set(diff_ids)) == 3
    assert json.loads(docker("image", "inspect", image))[0]["RootFS"]["Layers"] == diff_ids


def test_several_images_of_one_archive(
    registry: LocalRegistry, image: str, repository: str, tmp_path: Path
) -> None:
    """Two names of one image are one image; another is another."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "Dockerfile").write_text("FROM scratch\nCOPY c /c\n")
    (other / "c").write_text("c")
    docker("build", "--quiet", "-t", f"{repository}:other", str(other))
    second = image.replace(":1", ":2")
    docker("save", "-o", str(tmp_path / "two.tar"), image, second)
    docker("save", "-o", str(tmp_path / "three.tar"), image, second, f"{repository}:other")

    two = buildpush.push(tmp_path / "two.tar", registry.reference("app:1"))
    with pytest.raises(SpecError, match="holds 2 images"):
        buildpush.push(tmp_path / "three.tar", registry.reference("app:1"))
    same = buildpush.push(tmp_path / "three.tar", registry.reference("app:2"), image=second)
    third = buildpush.push(tmp_path / "three.tar", registry.reference("app:3"), image="other")

    assert two.digest == same.digest != third.digest


def test_an_image_is_saved_by_its_id(registry: LocalRegistry, image: str, tmp_path: Path) -> None:
    """Without any name."""
    identity = docker("image", "inspect", "--format", "{{.Id}}", image)
    docker("save", "-o", str(tmp_path / "x.tar"), identity)

    by_file = buildpush.push(tmp_path / "x.tar", registry.reference("app:1"))
    by_id = buildpush.push(f"docker-daemon:{identity}", registry.reference("app:2"))
    by_name = buildpush.push(f"docker-daemon:{image}", registry.reference("app:3"))

    assert by_file.digest == by_id.digest == by_name.digest


def test_what_the_daemon_does_not_have(registry: LocalRegistry, engine: DockerEngine) -> None:
    """By its name."""
    with pytest.raises(NotFoundError, match="no image nobody/has-this:1"):
        buildpush.push("docker-daemon:nobody/has-this:1", registry.reference("app:1"))


@pytest.mark.needs_docker
def test_containerds_store_gives_every_platform_with_its_digest(
    registry: LocalRegistry,
    dockerd: DockerEngine,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    repository: str,
) -> None:
    """What the daemon calls an image is what the registry calls it."""
    dockerd.activate(monkeypatch)
    layout = Layout.create(tmp_path / "layout")
    digest = random_index(layout, [AMD, ARM])
    source = registry.reference(f"{repository}:1")
    buildpush.push(layout.path, source)
    docker("pull", "--quiet", "--platform", "linux/amd64", source)
    docker("pull", "--quiet", "--platform", "linux/arm64", source)

    result = buildpush.push(f"docker-daemon:{source}", registry.reference("app:1"))

    assert result.digest == digest
    assert set(result.images) == {AMD, ARM}


@pytest.mark.needs_docker
@pytest.mark.parametrize("pulled", [AMD, ARM])
def test_a_platform_that_was_never_pulled_is_left_out(
    registry: LocalRegistry,
    dockerd: DockerEngine,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    repository: str,
    pulled: Platform,
) -> None:
    """The daemon still lists it, and saves nothing at all when it is its own platform."""
    dockerd.activate(monkeypatch)
    layout = Layout.create(tmp_path / "layout")
    # Not what the daemon may have of other tests.
    random_index(layout, [AMD, ARM], seed=[AMD, ARM].index(pulled) + 7)
    source = registry.reference(f"{repository}:1")
    pushed = buildpush.push(layout.path, source)
    docker("pull", "--quiet", "--platform", str(pulled), source)

    result = buildpush.push(f"docker-daemon:{source}", registry.reference("app:1"))
    chosen = buildpush.push(
        f"docker-daemon:{source}", registry.reference("app:1"), platforms=[pulled]
    )

    assert result.digest == chosen.digest == pushed.images[pulled].digest
    assert len(result.warnings) == 1
    assert "left out" in result.warnings[0]


@pytest.mark.needs_skopeo
@pytest.mark.parametrize("transport", ["oci", "oci-archive"])
def test_what_skopeo_writes_keeps_its_digest(
    registry: LocalRegistry, tmp_path: Path, transport: str
) -> None:
    """A folder or a file, with a tag."""
    layout = Layout.create(tmp_path / "layout")
    digest = random_image(layout)
    target = f"{transport}:{tmp_path / 'written'}:1.4"
    skopeo("copy", f"oci:{layout.path}:@{digest}", target, layout=layout)

    assert buildpush.push(target, registry.reference("app:1")).digest == digest


@pytest.mark.needs_skopeo
def test_what_skopeo_writes_as_dockers_archive(registry: LocalRegistry, tmp_path: Path) -> None:
    """Plain layers, and the names of before 1.10 as symbolic links."""
    layout = Layout.create(tmp_path / "layout")
    digest = random_image(layout, layers=2)
    target = f"docker-archive:{tmp_path / 'x.tar'}:app:1"
    skopeo("copy", f"oci:{layout.path}:@{digest}", target, layout=layout)

    result = buildpush.push(target, registry.reference("app:1"))

    assert [image.layers for image in result.images.values()] == [2]


def skopeo(*words: str, layout: Layout) -> None:
    """Copy the one image of *layout*: skopeo 1.9 takes it without a name."""
    said = [word.partition(":@")[0] for word in words]
    done = subprocess.run(
        ["skopeo", "--insecure-policy", *said], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

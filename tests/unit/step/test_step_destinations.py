"""A step's result: what became of each destination, and which digest the registry has."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from buildpush import BuildAndPushStep
from buildpush.auth import Chain, Keychain
from buildpush.errors import TagConflictError
from buildpush.oci import Digest, Platform
from buildpush.oci.layout import Layout
from buildpush.plan import (
    Artifact,
    BuildRequest,
    Capabilities,
    Feature,
    LayoutArtifact,
    PushedArtifact,
    PushPolicy,
)
from buildpush.publishing.destinations.publishing import publish
from buildpush.registry import RegistryClient
from buildpush.runtime import Run
from buildpush.testing import Dialect, FakeBackend, LocalRegistry, random_image

Start = Callable[..., LocalRegistry]


@pytest.fixture
def registries() -> Iterator[Start]:
    """Start registries that end with the test."""
    with ExitStack() as stack:
        yield lambda **how: stack.enter_context(LocalRegistry(**how))


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., BuildAndPushStep]:
    """A step whose build always makes the same image."""
    context = tmp_path / "context"
    context.mkdir()
    (context / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    known: dict[str, Any] = {"context": context, "backend": FakeBackend(), "retries": 0}
    return lambda **settings: BuildAndPushStep(**(known | settings))


def test_the_result_names_every_destination_and_pins_it(
    build: Callable[..., BuildAndPushStep], registries: Start
) -> None:
    """In the order they were named: the repository's tags, then the others."""
    one, two = registries(), registries()

    result = build(
        repo=one.reference("app"), tags=["1", "2"], destinations=[two.reference("app:stable")]
    ).run()

    assert [d.status for d in result.destinations] == ["pushed"] * 3
    assert result.references == tuple(d.reference for d in result.destinations)
    assert [str(reference) for reference in result.references] == [
        f"{name}@{result.digest}"
        for name in (one.reference("app:1"), one.reference("app:2"), two.reference("app:stable"))
    ]
    assert one.digest("app", "2") == two.digest("app", "stable") == result.digest


def test_the_digest_is_the_registrys_also_after_a_conversion(
    build: Callable[..., BuildAndPushStep], registries: Start
) -> None:
    """And so are the digests of each platform's image."""
    registry = registries(dialect=Dialect(rejects=frozenset({"oci"})))

    result = build(
        repo=registry.reference("app"),
        tags=["1"],
        platforms=["linux/amd64", "linux/arm64"],
        media_types="auto",
    ).run()

    data = registry.manifest("app", "1") or b""
    children = {child["digest"] for child in json.loads(data)["manifests"]}
    assert registry.digest("app", "1") == result.digest == Digest.of(data)
    assert {str(image.digest) for image in result.images.values()} == children
    assert set(result.images) == {Platform("linux", "amd64"), Platform("linux", "arm64")}
    assert any("media types" in warning for warning in result.warnings)


def test_a_skipped_tag_is_no_reference_of_the_image(
    build: Callable[..., BuildAndPushStep], local_registry: LocalRegistry
) -> None:
    """It names another one; the result says so."""
    name = local_registry.reference("app")
    old = build(repo=name, tags=["1"], backend=FakeBackend(seed=1)).run()

    result = build(repo=name, tags=["1", "2"], on_existing_tag="skip").run()

    assert [d.status for d in result.destinations] == ["skipped", "pushed"]
    assert result.destinations[0].reference.digest == old.digest
    assert [reference.tag for reference in result.references] == ["2"]


def test_a_second_run_with_the_same_image_is_a_success(
    build: Callable[..., BuildAndPushStep], registries: Start
) -> None:
    """Also where tags are immutable; another image is not."""
    registry = registries(dialect=Dialect(immutable="tag"))
    name = registry.reference("app")
    first = build(repo=name, tags=["1"]).run()

    again = build(repo=name, tags=["1"]).run()
    with pytest.raises(TagConflictError) as caught:
        build(repo=name, tags=["1"], backend=FakeBackend(seed=1)).run()

    assert again.destinations[0].status == "present"
    assert (again.digest, again.references) == (first.digest, first.references)
    assert caught.value.found == str(first.digest)


def test_without_a_push_there_are_no_destinations(
    build: Callable[..., BuildAndPushStep], tmp_path: Path
) -> None:
    """Only files."""
    output = f"type=oci,dest={tmp_path / 'image.tar'}"

    result = build(repo="r.example/app", push=False, outputs=[output]).run()

    assert (result.destinations, result.references) == ((), ())


@define(eq=False)
class Pushing:
    """A backend that pushes by itself."""

    fake: FakeBackend = field(factory=FakeBackend)

    def probe(self) -> Capabilities:
        everything = frozenset(Feature) - {Feature.EXPORT_LAYOUT}
        return Capabilities(backend="pushing", version="1", features=everything)

    def build(self, request: BuildRequest, keychain: Keychain, run: Run) -> Artifact:
        layout = Layout.create(run.workdir / "image")
        made = LayoutArtifact(path=layout.path, digest=random_image(layout))
        with RegistryClient(Chain(()), run) as client:
            publish(client, made, request.references, PushPolicy(), run)
        return PushedArtifact(digest=made.digest)


def test_what_a_backend_pushed_by_itself_is_read_back_from_every_destination(
    build: Callable[..., BuildAndPushStep], local_registry: LocalRegistry
) -> None:
    """They are in the result like those that buildpush has pushed."""
    name = local_registry.reference("app")

    result = build(repo=name, tags=["1", "2"], backend=Pushing()).run()

    assert [d.status for d in result.destinations] == ["pushed", "pushed"]
    assert result.references == tuple(d.reference for d in result.destinations)
    assert local_registry.digest("app", "1") == result.digest


@pytest.mark.parametrize(
    ("backend", "platforms"),
    [
        (FakeBackend(), "linux/amd64"),
        (FakeBackend(), "linux/amd64,linux/arm64"),
        (Pushing(), "linux/amd64"),
        ("native", "linux/amd64"),
        ("native", "linux/amd64,linux/arm64"),
    ],
)
def test_every_digest_of_a_result_is_that_of_bytes_in_the_registry(
    build: Callable[..., BuildAndPushStep],
    local_registry: LocalRegistry,
    backend: Any,
    platforms: str,
) -> None:
    """Whoever built and pushed it: of the tag, of each platform's manifest and its config."""
    result = build(
        repo=local_registry.reference("app"), tags=["1"], backend=backend, platforms=platforms
    ).run()

    assert Digest.of(local_registry.manifest("app", "1") or b"") == result.digest
    assert [str(platform) for platform in result.images] == platforms.split(",")
    for image in result.images.values():
        data = local_registry.manifest("app", str(image.digest)) or b""
        config = Digest(json.loads(data)["config"]["digest"])
        assert (Digest.of(data), config) == (image.digest, image.config)
        assert Digest.of(local_registry.blob("app", config) or b"") == config
    assert [reference.digest for reference in result.references] == [result.digest]

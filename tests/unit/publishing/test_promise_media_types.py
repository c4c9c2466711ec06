"""What is promised where a registry takes docker's media types or OCI's only, on real sockets."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from buildpush.errors import RegistryError, SpecError
from buildpush.oci import Digest
from buildpush.oci.layout import Layout
from buildpush.oci.wire import Index, Manifest, MediaType, dump, parse_manifest
from buildpush.plan import Destination
from buildpush.testing import Dialect, Fault, LocalRegistry, RecordingSink, Status

Send = Callable[..., tuple[Destination, ...]]
Start = Callable[..., LocalRegistry]


def kinds(registry: LocalRegistry, digest: Digest | None) -> set[str]:
    """Every media type that is in the manifest *digest* of app, and in what it lists."""
    data = registry.manifest("app", digest) if digest else None
    assert data is not None
    document = json.loads(data)
    found = {document["mediaType"]}
    for part in [*document.get("layers", []), *filter(None, [document.get("config")])]:
        found.add(part["mediaType"])
    for child in document.get("manifests", []):
        found |= {child["mediaType"]} | kinds(registry, Digest(child["digest"]))
    return found


def is_docker(media_type: str) -> bool:
    return ".docker." in media_type


@pytest.mark.parametrize("status", [415, 400])
@pytest.mark.parametrize("docker", [True, False])
def test_auto_converts_what_a_registry_refuses_and_tells_the_new_digest(
    send: Send,
    images: Any,
    registries: Start,
    recording_sink: RecordingSink,
    docker: bool,
    status: int,
) -> None:
    """Children and index alike, never mixed; blobs are not sent a second time; one warning."""
    refused = frozenset({"docker" if docker else "oci"})
    registry = registries(dialect=Dialect(rejects=refused, rejects_with=status))  # type: ignore[arg-type]
    one, two = images.image(b"amd", docker=docker), images.image(b"arm", docker=docker)
    index = images.index(one, two, docker=docker)

    first, second = send(
        index, registry.reference("app:1"), registry.reference("app:2"), media_types="auto"
    )

    digest = first.reference.digest
    assert digest is not None
    assert digest != index.digest
    assert digest == second.reference.digest == registry.digest("app", "1")
    assert {is_docker(kind) for kind in kinds(registry, digest)} == {not docker}
    assert sum(r.method == "POST" for r in registry.requests) == 3  # amd, arm, one config
    (warning,) = [w for w in recording_sink.warnings if "media types" in w]
    assert str(digest) in warning
    assert str(index.digest) in warning


def test_auto_leaves_alone_what_a_registry_takes(
    send: Send, images: Any, local_registry: LocalRegistry
) -> None:
    """Conversion changes the digest: it is for those that need it."""
    image = images.image(b"x", docker=True)

    (sent,) = send(image, local_registry.reference("app:1"), media_types="auto")

    assert sent.reference.digest == image.digest


def test_auto_converts_for_the_registry_that_needs_it_and_for_no_other(
    send: Send, images: Any, registries: Start
) -> None:
    """Each destination tells its own digest."""
    picky, other = registries(dialect=Dialect(rejects=frozenset({"docker"}))), registries()
    image = images.image(b"x", docker=True)

    one, two = send(image, picky.reference("app:1"), other.reference("app:1"), media_types="auto")

    assert one.reference.digest == picky.digest("app", "1") != image.digest
    assert two.reference.digest == other.digest("app", "1") == image.digest


def test_a_converted_image_is_recognised_by_the_next_run(
    send: Send, images: Any, registries: Start
) -> None:
    """Also where existing tags must name the same image."""
    registry = registries(dialect=Dialect(rejects=frozenset({"docker"})))
    image = images.image(b"x", docker=True)
    (first,) = send(image, registry.reference("app:1"), media_types="auto")

    (again,) = send(
        image, registry.reference("app:1"), media_types="auto", on_existing_tag="skip_if_same"
    )

    assert (again.status, again.reference) == ("present", first.reference)


def test_a_registry_that_takes_neither_is_quoted_about_what_the_image_was(
    send: Send, images: Any, registries: Start, recording_sink: RecordingSink
) -> None:
    """The conversion is tried once and not announced."""
    registry = registries()
    refusal = Status(415, body=b"nothing pleases me")
    fault = registry.inject(Fault(method="PUT", path="/manifests/", action=refusal, times=None))

    with pytest.raises(RegistryError, match="nothing pleases me"):
        send(images.image(b"x"), registry.reference("app:1"), media_types="auto")

    assert fault.fired == 2
    assert not [w for w in recording_sink.warnings if "media types" in w]


@pytest.mark.parametrize("choice", ["keep", "docker"])
def test_a_choice_that_is_fixed_is_never_converted_further(
    send: Send, images: Any, registries: Start, choice: str
) -> None:
    """The digest that was asked for, or an error; for keep, it says what would help."""
    registry = registries(dialect=Dialect(rejects=frozenset({"docker"})))

    with pytest.raises(RegistryError) as caught:
        send(images.image(b"x", docker=True), registry.reference("app:1"), media_types=choice)

    assert registry.tags("app") == ()
    assert ("media_types: auto" in caught.value.hint) == (choice == "keep")


@pytest.mark.parametrize("choice", ["docker", "oci"])
def test_a_fixed_family_is_what_every_registry_gets(
    send: Send, images: Any, local_registry: LocalRegistry, choice: str
) -> None:
    """Also of an image that came mixed."""
    index = images.index(images.image(b"amd", docker=True), images.image(b"arm"))

    (sent,) = send(index, local_registry.reference("app:1"), media_types=choice)

    found = kinds(local_registry, sent.reference.digest)
    assert {is_docker(kind) for kind in found} == {choice == "docker"}


def test_docker_has_no_name_for_zstd(
    send: Send, images: Any, local_registry: LocalRegistry, layout: Layout
) -> None:
    """Said before anything is sent; with auto, the registry's refusal stays the error."""
    config = layout.add_bytes(b"{}", MediaType.OCI_CONFIG)
    layer = layout.add_bytes(b"z", MediaType.OCI_LAYER_ZSTD)
    image = layout.add_bytes(dump(Manifest(config=config, layers=(layer,))), "")
    name = local_registry.reference("app:1")

    with pytest.raises(SpecError, match="tar\\+zstd") as caught:
        send(image, name, media_types="docker")
    asked = local_registry.requests
    local_registry.inject(Fault(method="PUT", path="/manifests/", action=Status(415), times=None))
    with pytest.raises(RegistryError, match="HTTP 415"):
        send(image, name, media_types="auto")

    assert "compression: gzip" in caught.value.hint
    assert asked == ()


def test_docker_has_no_name_for_attestations(send: Send, images: Any) -> None:
    """They would be lost, or the image would be mixed."""
    image = images.image(b"amd")
    index = images.index(image, images.image(b"attestation", subject=image))

    with pytest.raises(SpecError, match="attestation"):
        send(index, "127.0.0.1:1/app:1", media_types="docker")


def test_what_is_not_about_media_types_survives_a_conversion(
    send: Send, local_registry: LocalRegistry, layout: Layout
) -> None:
    """Unknown fields, a platform's version, foreign layers; and who is whose attestation."""
    foreign = {
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": str(Digest.of(b"windows")),
        "size": 7,
        "urls": ["https://example.com/layer"],
    }
    config = layout.add_bytes(b"{}", MediaType.DOCKER_CONFIG)
    manifest = {
        "schemaVersion": 2,
        "mediaType": MediaType.DOCKER_MANIFEST,
        "config": config.to_json(),
        "layers": [foreign],
        "unknown": {"kept": True},
    }
    image = layout.add_bytes(json.dumps(manifest).encode(), MediaType.DOCKER_MANIFEST)
    platform = {"os": "windows", "architecture": "amd64", "os.version": "10.0.17763.1"}
    about = layout.add_bytes(dump(Manifest(config=config)), MediaType.OCI_MANIFEST)
    index = {
        "schemaVersion": 2,
        "mediaType": MediaType.DOCKER_LIST,
        "manifests": [
            image.to_json() | {"platform": platform},
            about.to_json() | {"annotations": {"vnd.docker.reference.digest": str(image.digest)}},
        ],
    }
    top = layout.add_bytes(json.dumps(index).encode(), MediaType.DOCKER_LIST)

    (sent,) = send(top.digest, local_registry.reference("app:1"), media_types="oci")

    found = json.loads(local_registry.manifest("app", str(sent.reference.digest)) or b"")
    one, other = found["manifests"]
    made = json.loads(local_registry.manifest("app", one["digest"]) or b"")
    assert one["platform"] == platform
    assert made["unknown"] == {"kept": True}
    assert made["layers"][0]["urls"] == foreign["urls"]
    assert "nondistributable" in made["layers"][0]["mediaType"]
    assert other["annotations"] == {"vnd.docker.reference.digest": one["digest"]}


def test_annotations_are_dropped_for_docker_with_a_warning(
    send: Send, local_registry: LocalRegistry, layout: Layout, recording_sink: RecordingSink
) -> None:
    """Its media types have no place for them."""
    config = layout.add_bytes(b"{}", MediaType.OCI_CONFIG)
    data = dump(Manifest(config=config, annotations={"a": "b"}))
    image = layout.add_bytes(data, MediaType.OCI_MANIFEST)

    (sent,) = send(image, local_registry.reference("app:1"), media_types="docker")

    found = parse_manifest(local_registry.manifest("app", "1") or b"")
    assert found.annotations == {}
    assert sent.reference.digest != image.digest
    assert any("no annotations" in warning for warning in recording_sink.warnings)


def test_an_image_of_the_right_family_keeps_its_bytes(
    send: Send, images: Any, local_registry: LocalRegistry
) -> None:
    """A fixed choice is no reason to write anything anew."""
    index = images.index(images.image(b"amd"), images.image(b"arm"))

    (sent,) = send(index, local_registry.reference("app:1"), media_types="oci")

    assert sent.reference.digest == index.digest
    assert isinstance(parse_manifest(local_registry.manifest("app", "1") or b""), Index)

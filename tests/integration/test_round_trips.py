"""What is pushed, copied and pulled stays what it is, byte for byte, whatever it is.

Every compression, docker's media types and OCI's; images, indexes, and artifacts with a subject;
through `LocalRegistry` and through Distribution.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, Protocol

import pytest
from attrs import evolve, frozen

import buildpush
from buildpush import Digest, ImageReference, Platform
from buildpush.auth import Chain
from buildpush.events import ignore
from buildpush.oci.layout import Layout
from buildpush.oci.wire import Compression, Descriptor, Index, Manifest, MediaType, dump
from buildpush.registry import RegistryClient
from buildpush.registry.pull import pull
from buildpush.runtime import CancelToken, Run
from buildpush.testing import LocalRegistry, random_image

Types = Literal["docker", "oci"]
Shape = Literal["image", "index", "artifact"]

_DOCKER_LAYERS = {
    "gzip": MediaType.DOCKER_LAYER,
    "zstd": "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "none": "application/vnd.docker.image.rootfs.diff.tar",
}


class Registry(Protocol):
    @property
    def host(self) -> str: ...


@pytest.fixture(
    params=["local", pytest.param("docker-registry", marks=pytest.mark.needs_registry)]
)
def registry(request: pytest.FixtureRequest) -> Iterator[Registry]:
    if request.param == "local":
        with LocalRegistry() as running:
            yield running
    else:
        distribution: Registry = request.getfixturevalue("docker_registry")
        yield distribution


@frozen
class Maker:
    """Makes things to push, in one layout."""

    layout: Layout
    compression: Compression
    types: Types

    def make(self, shape: Shape) -> Digest:
        image = self._image(Platform("linux", "amd64"))
        match shape:
            case "image":
                return image.digest
            case "index":
                return self._index(image, self._image(Platform("linux", "arm64"))).digest
            case "artifact":
                return self._artifact(image).digest

    @property
    def is_docker(self) -> bool:
        return self.types == "docker"

    def _image(self, platform: Platform) -> Descriptor:
        digest = random_image(
            self.layout, layers=2, platform=platform, compression=self.compression
        )
        found = self.layout.document(digest)
        assert isinstance(found, Manifest)
        return evolve(self._stored(found), platform=platform)

    def _artifact(self, subject: Descriptor) -> Descriptor:
        """What `cosign` and `oras attach` make, with a layer of this compression."""
        found = self.layout.document(random_image(self.layout, compression=self.compression))
        assert isinstance(found, Manifest)
        annotations = {} if self.is_docker else {"org.example.kept": "<é>"}
        kind = "" if self.is_docker else "application/vnd.example.sbom"
        return self._stored(
            evolve(
                found,
                artifact_type=kind,
                subject=evolve(subject, platform=None),
                annotations=annotations,
            )
        )

    def _stored(self, manifest: Manifest) -> Descriptor:
        if self.is_docker:
            layer = _DOCKER_LAYERS[self.compression]
            manifest = evolve(
                manifest,
                media_type=MediaType.DOCKER_MANIFEST,
                config=evolve(manifest.config, media_type=MediaType.DOCKER_CONFIG),
                layers=tuple(evolve(entry, media_type=layer) for entry in manifest.layers),
            )
        # Not as buildpush writes JSON: nothing may be written anew on the way.
        text = json.dumps(json.loads(dump(manifest)), indent=3) + "\n"
        return self.layout.add_bytes(text.encode(), manifest.media_type)

    def _index(self, *images: Descriptor) -> Descriptor:
        kind = MediaType.DOCKER_LIST if self.is_docker else MediaType.OCI_INDEX
        text = json.dumps(json.loads(dump(Index(media_type=kind, manifests=images))), indent=3)
        return self.layout.add_bytes(text.encode(), kind)


def contents(layout: Layout, top: Digest) -> dict[Digest, bytes]:
    """Every document and blob of an image."""
    found: dict[Digest, bytes] = {}
    for descriptor, document in layout.manifests(top):
        found[descriptor.digest] = layout.blob_path(descriptor.digest).read_bytes()
        for blob in (document.config, *document.layers) if isinstance(document, Manifest) else ():
            found[blob.digest] = layout.blob_path(blob.digest).read_bytes()
    return found


@pytest.fixture
def client(tmp_path: Path) -> Iterator[RegistryClient]:
    run = Run(workdir=tmp_path, cancel=CancelToken(), sink=ignore)
    with RegistryClient(Chain(()), run) as opened:
        yield opened


@pytest.mark.parametrize("shape", ["image", "index", "artifact"])
@pytest.mark.parametrize("types", ["docker", "oci"])
@pytest.mark.parametrize("compression", ["gzip", "zstd", "none"])
def test_pushed_copied_and_pulled_byte_for_byte(
    registry: Registry,
    client: RegistryClient,
    tmp_path: Path,
    repository: str,
    compression: Compression,
    types: Types,
    shape: Shape,
) -> None:
    """Layout to registry, to another repository, to another registry, and back into a layout."""
    source = Layout.create(tmp_path / "source")
    digest = Maker(source, compression, types).make(shape)
    before = contents(source, digest)
    first, second = f"{registry.host}/{repository}:1", f"{registry.host}/{repository}/copy:1"

    with LocalRegistry() as other:
        third, last = other.reference("app:1"), f"{registry.host}/{repository}/back:1"
        results = [
            buildpush.push(f"oci:{source.path}@{digest}", first),
            buildpush.copy(first, second),
            buildpush.copy(second, third),
            buildpush.copy(third, last),
        ]

    run = Run(workdir=tmp_path, cancel=CancelToken(), sink=ignore)
    pulled = Layout.create(tmp_path / "pulled")
    found = pull(client, ImageReference.parse(last), pulled, run=run)
    assert [result.digest for result in results] == [digest] * 4
    assert found.digest == digest
    assert contents(pulled, digest) == before

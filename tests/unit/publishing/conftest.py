"""What the tests of publishing share: small images, registries that end, and `publish` in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import evolve, frozen

from buildpush.auth import Chain, Keychain
from buildpush.oci import Digest, ImageReference, Platform, Repository
from buildpush.oci.layout import Layout
from buildpush.oci.wire import Descriptor, Index, Manifest, MediaType, dump
from buildpush.plan import Destination, LayoutArtifact, PushPolicy
from buildpush.publishing.destinations.publishing import publish
from buildpush.registry import RegistryClient
from buildpush.runtime import CancelToken, Environment, Run
from buildpush.runtime.retry import RetryPolicy
from buildpush.testing import LocalRegistry, RecordingSink

QUICK = RetryPolicy(attempts=2, first_wait=0.001, longest_wait=0.002)


@pytest.fixture
def run(tmp_path: Path, recording_sink: RecordingSink) -> Run:
    """A run whose events end up in `recording_sink`, and whose cache is in `tmp_path`."""
    environment = evolve(Environment.current(), cache=tmp_path / "cache")
    work = tmp_path / "work"
    work.mkdir()
    return Run(workdir=work, cancel=CancelToken(), sink=recording_sink, environment=environment)


@pytest.fixture
def registries() -> Iterator[Callable[..., LocalRegistry]]:
    """Start registries that end with the test."""
    with ExitStack() as stack:
        yield lambda **how: stack.enter_context(LocalRegistry(**how))


@frozen
class Images:
    """Makes small images in one layout. They are no file systems: only bytes count here."""

    layout: Layout

    def image(
        self, *layers: bytes, docker: bool = False, subject: Descriptor | None = None
    ) -> Descriptor:
        layer = MediaType.DOCKER_LAYER if docker else MediaType.OCI_LAYER_GZIP
        config = MediaType.DOCKER_CONFIG if docker else MediaType.OCI_CONFIG
        manifest = Manifest(
            media_type=MediaType.DOCKER_MANIFEST if docker else MediaType.OCI_MANIFEST,
            config=self.layout.add_bytes(b'{"os":"linux"}', config),
            layers=tuple(self.layout.add_bytes(data, layer) for data in layers),
            subject=subject,
        )
        return self.layout.add_bytes(dump(manifest), manifest.media_type)

    def index(self, *images: Descriptor, docker: bool = False) -> Descriptor:
        kind = MediaType.DOCKER_LIST if docker else MediaType.OCI_INDEX
        listed = tuple(
            evolve(image, platform=Platform("linux", f"cpu{number}"))
            for number, image in enumerate(images)
        )
        return self.layout.add_bytes(dump(Index(media_type=kind, manifests=listed)), kind)


@pytest.fixture
def images(tmp_path: Path) -> Images:
    """A maker of images in a fresh layout."""
    return Images(Layout.create(tmp_path / "layout"))


@pytest.fixture
def layout(images: Images) -> Layout:
    """The layout `images` writes to."""
    return images.layout


Send = Callable[..., tuple[Destination, ...]]


@pytest.fixture
def send(layout: Layout, run: Run) -> Send:
    """Publish a digest of the layout under names given as text, with a policy in words."""

    def send_it(
        image: Descriptor | Digest,
        *names: str,
        origins: Mapping[Digest, Repository] | None = None,
        keychain: Keychain | None = None,
        **policy: object,
    ) -> tuple[Destination, ...]:
        digest = image.digest if isinstance(image, Descriptor) else image
        artifact = LayoutArtifact(path=layout.path, digest=digest, origins=origins or {})
        references = [ImageReference.parse(name) for name in names]
        with RegistryClient(keychain or Chain(()), run, policy=QUICK) as client:
            return publish(client, artifact, references, PushPolicy(**policy), run)  # type: ignore[arg-type]

    return send_it

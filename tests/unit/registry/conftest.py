"""What the registry's tests share: a quick client, a run that remembers, small images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from attrs import frozen

from buildpush.auth import Access, Chain, Credential, Keychain
from buildpush.oci import Digest, ImageReference, Platform, Repository
from buildpush.oci.layout import Layout
from buildpush.oci.wire import Descriptor, Index, Manifest, MediaType, dump
from buildpush.registry import RegistryClient
from buildpush.runtime import CancelToken, Environment, Run
from buildpush.runtime.retry import RetryPolicy
from buildpush.testing import RecordingSink

QUICK = RetryPolicy(attempts=4, first_wait=0.001, longest_wait=0.002)


@pytest.fixture
def run(tmp_path: Path, recording_sink: RecordingSink) -> Run:
    """A run whose events end up in `recording_sink`."""
    return Run(workdir=tmp_path, cancel=CancelToken(), sink=recording_sink)


@pytest.fixture
def environment(tmp_path: Path) -> Callable[[Mapping[str, str]], Environment]:
    """Make an environment with these variables and nothing else."""

    def make(variables: Mapping[str, str]) -> Environment:
        return Environment(
            variables=variables,
            uid=1000,
            gid=1000,
            home=tmp_path / "home",
            cwd=tmp_path,
            cache=tmp_path / "cache",
            temporary=tmp_path,
        )

    return make


ClientFor = Callable[..., RegistryClient]


@pytest.fixture
def client_for(run: Run) -> Iterator[ClientFor]:
    """Open clients that retry quickly; they are closed afterwards."""
    with ExitStack() as stack:

        def make(
            keychain: Keychain | None = None,
            *,
            insecure: frozenset[str] = frozenset(),
            mirrors: Mapping[str, tuple[str, ...]] | None = None,
            policy: RetryPolicy = QUICK,
            **more: Any,
        ) -> RegistryClient:
            client = RegistryClient(
                keychain or Chain(()),
                more.pop("run", run),
                insecure=insecure,
                mirrors=mirrors or {},
                policy=policy,
                **more,
            )
            return stack.enter_context(client)

        yield make


@pytest.fixture
def client(client_for: ClientFor) -> RegistryClient:
    """An anonymous client."""
    return client_for()


@frozen
class Accounts:
    """A keychain with one user per access, or per repository and access."""

    users: Mapping[tuple[str, Access], tuple[str, str]]

    def resolve(self, repository: Repository, access: Access) -> Credential | None:
        pair = self.users.get((repository.path, access)) or self.users.get(("*", access))
        if pair is None:
            return None
        return Credential(username=pair[0], password=pair[1], source="the test's keychain")


@pytest.fixture
def accounts() -> type[Accounts]:
    """The class `Accounts`."""
    return Accounts


def descriptor(data: bytes, media_type: str = MediaType.OCI_LAYER_GZIP) -> Descriptor:
    return Descriptor(media_type=media_type, digest=Digest.of(data), size=len(data))


@frozen
class Images:
    """Makes small images in one layout. They are no file systems: only bytes count here."""

    layout: Layout

    def image(
        self, *layers: bytes, config: bytes = b'{"os":"linux"}', docker: bool = False
    ) -> Descriptor:
        layer_type = MediaType.DOCKER_LAYER if docker else MediaType.OCI_LAYER_GZIP
        config_type = MediaType.DOCKER_CONFIG if docker else MediaType.OCI_CONFIG
        manifest_type = MediaType.DOCKER_MANIFEST if docker else MediaType.OCI_MANIFEST
        manifest = Manifest(
            media_type=manifest_type,
            config=self.layout.add_bytes(config, config_type),
            layers=tuple(self.layout.add_bytes(data, layer_type) for data in layers),
        )
        return self.layout.add_bytes(dump(manifest), manifest_type)

    def index(self, images: Mapping[str, Descriptor]) -> Descriptor:
        entries = [
            Descriptor(
                media_type=image.media_type,
                digest=image.digest,
                size=image.size,
                platform=Platform.parse(platform),
            )
            for platform, image in images.items()
        ]
        index = Index(media_type=MediaType.OCI_INDEX, manifests=tuple(entries))
        return self.layout.add_bytes(dump(index), MediaType.OCI_INDEX)


@pytest.fixture
def images(tmp_path: Path) -> Images:
    """A maker of images in a fresh layout."""
    return Images(Layout.create(tmp_path / "layout"))


@pytest.fixture
def layout(images: Images) -> Layout:
    """The layout `images` writes to."""
    return images.layout


@pytest.fixture
def blob_of() -> Callable[..., Descriptor]:
    """Describe some bytes."""
    return descriptor


@pytest.fixture
def ref() -> Callable[[str], ImageReference]:
    """Parse a reference."""
    return ImageReference.parse

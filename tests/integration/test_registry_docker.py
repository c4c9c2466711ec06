"""The registry client against Debian's docker-registry; skopeo looks at what was pushed.

Needs docker-registry, and skopeo where a test says so. No root.
"""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from buildpush.auth import Chain, Credential, Keychain, StaticKeychain
from buildpush.errors import AuthError, NotFoundError, RegistryUnavailableError
from buildpush.http.trust import Certificates
from buildpush.oci import Digest, ImageReference, Platform, Repository
from buildpush.oci.layout import Layout
from buildpush.oci.wire import Descriptor, Index, Manifest, MediaType, dump
from buildpush.registry import RegistryClient
from buildpush.registry.pull import pull, resolve
from buildpush.registry.push import Tally, push
from buildpush.runtime import CancelToken, Environment, Run
from buildpush.testing import RecordingSink

pytestmark = pytest.mark.needs_registry

LAYERS = (random.Random(1).randbytes(20_000_000), b"small")  # more than any buffer on the way


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(workdir=tmp_path, cancel=CancelToken(), sink=RecordingSink())


@pytest.fixture
def client(run: Run) -> Iterator[RegistryClient]:
    with RegistryClient(Chain(()), run) as client:
        yield client


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.create(tmp_path / "layout")


def image(layout: Layout, architecture: str = "amd64", *, docker: bool = False) -> Descriptor:
    """An image that a registry and skopeo accept; its layers are not file systems."""
    config = {
        "architecture": architecture,
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(data)) for data in LAYERS]},
    }
    media_type = MediaType.DOCKER_MANIFEST if docker else MediaType.OCI_MANIFEST
    manifest = Manifest(
        media_type=media_type,
        config=layout.add_bytes(
            json.dumps(config).encode(),
            MediaType.DOCKER_CONFIG if docker else MediaType.OCI_CONFIG,
        ),
        layers=tuple(
            layout.add_bytes(data, MediaType.DOCKER_LAYER if docker else MediaType.OCI_LAYER_GZIP)
            for data in LAYERS
        ),
    )
    return layout.add_bytes(dump(manifest), media_type)


def skopeo(*arguments: str) -> bytes:
    done = subprocess.run(["skopeo", *arguments], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@pytest.mark.needs_skopeo
@pytest.mark.parametrize("docker", [False, True], ids=["oci", "docker"])
def test_what_is_pushed_is_what_skopeo_sees(
    client: RegistryClient,
    layout: Layout,
    run: Run,
    docker_registry: Any,
    repository: str,
    docker: bool,
) -> None:
    """The manifest's bytes, under the tag."""
    pushed = image(layout, docker=docker)
    name = docker_registry.reference(f"{repository}:1")

    report = push(client, layout, pushed.digest, [ImageReference.parse(name)], origins={}, run=run)

    raw = skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{name}")
    assert raw == layout.read(pushed.digest)
    assert report.uploaded.blobs == 3


def test_an_image_comes_back_as_it_went(
    client: RegistryClient,
    layout: Layout,
    run: Run,
    docker_registry: Any,
    repository: str,
    tmp_path: Path,
) -> None:
    """An index of two platforms, pushed and pulled; one platform resolves to its manifest."""
    images = {name: image(layout, name) for name in ("amd64", "arm64")}
    index = Index(
        media_type=MediaType.OCI_INDEX,
        manifests=tuple(
            evolve(found, platform=Platform.parse(f"linux/{name}"))
            for name, found in images.items()
        ),
    )
    top = layout.add_bytes(dump(index), MediaType.OCI_INDEX)
    reference = ImageReference.parse(docker_registry.reference(f"{repository}:1"))
    push(client, layout, top.digest, [reference], origins={}, run=run)
    copy = Layout.create(tmp_path / "copy")

    pulled = pull(client, reference, copy, run=run)

    assert pulled.digest == top.digest
    assert [d.digest for d, _ in copy.manifests(top.digest)] == [
        d.digest for d, _ in layout.manifests(top.digest)
    ]
    assert all(copy.blob_path(Digest.of(data)).read_bytes() == data for data in LAYERS)
    arm, _ = resolve(client, reference, Platform.parse("linux/arm64"))
    assert arm.descriptor.digest == images["arm64"].digest


def test_a_second_repository_gets_its_blobs_by_mount(
    client: RegistryClient, layout: Layout, run: Run, docker_registry: Any, repository: str
) -> None:
    """And a second push sends nothing."""
    pushed = image(layout)
    names = [docker_registry.reference(f"{repository}/{part}:1") for part in ("a", "b")]
    references = [ImageReference.parse(name) for name in names]

    first = push(client, layout, pushed.digest, references, origins={}, run=run)
    second = push(client, layout, pushed.digest, references, origins={}, run=run)

    assert (first.uploaded.blobs, first.mounted.blobs) == (3, 3)
    assert second.uploaded == second.mounted == second.existing == Tally()
    assert [p.already for p in second.references] == [True, True]


def test_a_tag_moves(
    client: RegistryClient, layout: Layout, run: Run, docker_registry: Any, repository: str
) -> None:
    """What is there is kept, what is new is sent."""
    reference = ImageReference.parse(docker_registry.reference(f"{repository}:1"))
    first, second = image(layout), image(layout, "arm64")
    push(client, layout, first.digest, [reference], origins={}, run=run)

    report = push(client, layout, second.digest, [reference], origins={}, run=run)

    found = client.head_manifest(reference)
    assert found is not None and found.digest == second.digest
    assert (report.existing.blobs, report.uploaded.blobs) == (2, 1)


def test_what_is_not_there_is_not_found(
    client: RegistryClient, docker_registry: Any, repository: str
) -> None:
    """Manifests and blobs, with the registry's own code."""
    place = Repository(docker_registry.host, repository)

    with pytest.raises(NotFoundError, match="MANIFEST_UNKNOWN"):
        client.get_manifest(ImageReference(repository=place, tag="none"))

    assert not client.has_blob(place, Digest.of(b"none"))


Secure = Callable[[Keychain], RegistryClient]


@pytest.fixture
def secure_client(run: Run, secured: Any) -> Iterator[Secure]:
    """Open clients that trust the authority of `secured`."""
    opened: list[RegistryClient] = []
    known = Environment.current()
    variables = {**known.variables, "SSL_CERT_FILE": str(secured.authority)}
    named = evolve(run, environment=evolve(known, variables=variables))

    def make(keychain: Keychain) -> RegistryClient:
        opened.append(RegistryClient(keychain, named))
        return opened[-1]

    yield make
    for client in opened:
        client.close()


def login(password: str) -> Credential:
    return Credential(username="ci", password=password, source="the test")


def test_a_guarded_registry_takes_the_right_password_only(
    secure_client: Secure, secured: Any, layout: Layout, run: Run
) -> None:
    """TLS with an own authority, Basic authentication; each failure says which it is."""
    pushed = image(layout)
    reference = ImageReference.parse(f"{secured.host}/app:1")
    right = StaticKeychain(prefix=secured.host, credential=login("secret"))
    wrong = StaticKeychain(prefix=secured.host, credential=login("wr0ng-word"))

    push(secure_client(right), layout, pushed.digest, [reference], origins={}, run=run)

    assert secure_client(right).get_manifest(reference).descriptor.digest == pushed.digest
    with pytest.raises(AuthError, match="refused the credential from the test") as refused:
        secure_client(wrong).get_manifest(reference)
    with pytest.raises(AuthError, match="no credential was found"):
        secure_client(Chain(())).get_manifest(reference)
    assert "wr0ng-word" not in refused.value.report()


def test_an_insecure_registrys_certificate_is_not_checked(
    run: Run, secured: Any, layout: Layout
) -> None:
    """Listing it is enough, as for docker."""
    pushed = image(layout)
    reference = ImageReference.parse(f"{secured.host}/app:2")
    right = StaticKeychain(prefix=secured.host, credential=login("secret"))

    with RegistryClient(right, run, insecure=frozenset({secured.host})) as client:
        push(client, layout, pushed.digest, [reference], origins={}, run=run)

        found = client.head_manifest(reference)

    assert found is not None and found.digest == pushed.digest


def test_a_registrys_own_authority_is_believed_by_its_entry(
    run: Run, secured: Any, layout: Layout
) -> None:
    """No variable of the environment is needed, and nobody else is believed for it."""
    pushed = image(layout)
    reference = ImageReference.parse(f"{secured.host}/app:3")
    right = StaticKeychain(prefix=secured.host, credential=login("secret"))
    own = {secured.host: Certificates(ca=secured.authority)}

    with RegistryClient(right, run, certificates=own) as client:
        push(client, layout, pushed.digest, [reference], origins={}, run=run)

    with (
        RegistryClient(right, run) as other,
        pytest.raises(RegistryUnavailableError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        other.get_manifest(reference)


@pytest.mark.parametrize("secured", ["clients"], indirect=True)
def test_a_registry_that_wants_a_clients_certificate_gets_it(
    run: Run, secured: Any, layout: Layout
) -> None:
    """And says so to those who have none: the message names the setting."""
    pushed = image(layout)
    reference = ImageReference.parse(f"{secured.host}/app:4")
    right = StaticKeychain(prefix=secured.host, credential=login("secret"))
    ca = Certificates(ca=secured.authority)
    whole = evolve(ca, certificate=secured.certificate, key=secured.key)

    with RegistryClient(right, run, certificates={secured.host: whole}) as client:
        push(client, layout, pushed.digest, [reference], origins={}, run=run)

    with (
        RegistryClient(right, run, certificates={secured.host: ca}) as bare,
        pytest.raises(RegistryUnavailableError, match="wants to see a client certificate"),
    ):
        bare.get_manifest(reference)

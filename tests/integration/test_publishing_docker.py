"""Publishing to Debian's docker-registry: several repositories, mounts, a login behind TLS.

Needs docker-registry. No root.
"""

from __future__ import annotations

import base64
import http.client
import random
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from buildpush.auth import Chain, Credential, Keychain, StaticKeychain
from buildpush.errors import AuthError, BuildpushError, PartialPushError, RegistryError
from buildpush.http.trust import Certificates
from buildpush.oci import Digest, ImageReference, Platform
from buildpush.oci.layout import Layout
from buildpush.oci.wire import MediaType
from buildpush.plan import Destination, LayoutArtifact, PushPolicy
from buildpush.publishing.destinations.keeping import keep, kept
from buildpush.publishing.destinations.publishing import publish
from buildpush.registry import RegistryClient
from buildpush.runtime import CancelToken, Environment, Run
from buildpush.runtime.retry import RetryPolicy
from buildpush.testing import RecordingSink, random_image, random_index

pytestmark = pytest.mark.needs_registry

QUICK = RetryPolicy(attempts=2, first_wait=0.001, longest_wait=0.002)
SIZE = 1 << 20


@pytest.fixture
def run(tmp_path: Path) -> Run:
    environment = evolve(Environment.current(), cache=tmp_path / "cache")
    return Run(
        workdir=tmp_path, cancel=CancelToken(), sink=RecordingSink(), environment=environment
    )


@pytest.fixture
def client(run: Run) -> Iterator[RegistryClient]:
    with RegistryClient(Chain(()), run, policy=QUICK) as client:
        yield client


@pytest.fixture
def artifact(tmp_path: Path) -> LayoutArtifact:
    """An index of two platforms that share a layer of 1 MiB nobody else has."""
    layout = Layout.create(tmp_path / "layout")
    platforms = (Platform("linux", "amd64"), Platform("linux", "arm64"))
    seed = random.randrange(1 << 30)
    digest = random_index(layout, platforms, size=SIZE, seed=seed)
    return LayoutArtifact(path=layout.path, digest=digest)


Send = Callable[..., tuple[Destination, ...]]


@pytest.fixture
def send(client: RegistryClient, run: Run) -> Send:
    def send_it(artifact: LayoutArtifact, *names: str, **policy: Any) -> tuple[Destination, ...]:
        references = [ImageReference.parse(name) for name in names]
        return publish(client, artifact, references, PushPolicy(**policy), run)

    return send_it


def ask(
    host: str, method: str, path: str, *, ca: Path | None = None, password: str = ""
) -> http.client.HTTPResponse:
    """What a registry answers somebody else's client; its body is not read."""
    if ca is None:
        connection = http.client.HTTPConnection(host, timeout=10)
    else:
        context = ssl.create_default_context(cafile=str(ca))
        connection = http.client.HTTPSConnection(host, timeout=10, context=context)
    token = base64.b64encode(f"ci:{password}".encode()).decode()
    headers = {"Accept": ", ".join(MediaType.ACCEPT)}
    if password:
        headers["Authorization"] = f"Basic {token}"
    try:
        connection.request(method, path, headers=headers)
        return connection.getresponse()
    finally:
        connection.close()


def served(host: str, name: str, tag: str, **how: Any) -> str | None:
    reply = ask(host, "HEAD", f"/v2/{name}/manifests/{tag}", **how)
    return reply.getheader("Docker-Content-Digest")


def test_two_repositories_and_three_tags_cost_one_upload(
    send: Send, artifact: LayoutArtifact, docker_registry: Any, repository: str
) -> None:
    """The second repository's blobs are mounted; every tag names the digest."""
    names = [f"{repository}/a:1", f"{repository}/a:2", f"{repository}/b:1"]

    one, two, three = send(artifact, *(docker_registry.reference(name) for name in names))

    assert one.uploaded == two.uploaded > SIZE
    assert (three.uploaded, three.mounted) == (0, one.uploaded)
    for name in names:
        path, _, tag = name.partition(":")
        assert served(docker_registry.host, path, tag) == str(artifact.digest)


def test_a_later_push_mounts_a_layer_that_an_earlier_one_sent(
    send: Send, tmp_path: Path, docker_registry: Any, repository: str
) -> None:
    """Another image with the same layer, in another repository, by another run."""
    layout = Layout.create(tmp_path / "two")
    digests = [
        random_image(layout, size=SIZE, seed=5, platform=Platform("linux", cpu))
        for cpu in ("amd64", "arm64")
    ]
    one, two = (LayoutArtifact(path=layout.path, digest=digest) for digest in digests)
    send(one, docker_registry.reference(f"{repository}/one:1"))

    (sent,) = send(two, docker_registry.reference(f"{repository}/two:1"))

    assert sent.mounted >= SIZE
    assert sent.uploaded < 1000  # its own config


def test_a_manifest_that_was_deleted_is_pushed_again(
    send: Send, artifact: LayoutArtifact, docker_registry: Any, repository: str
) -> None:
    """Blobs that are still there are not sent again."""
    name = docker_registry.reference(f"{repository}:1")
    send(artifact, name)
    gone = ask(docker_registry.host, "DELETE", f"/v2/{repository}/manifests/{artifact.digest}")

    (sent,) = send(artifact, name)

    assert (gone.status, sent.status, sent.uploaded) == (202, "pushed", 0)
    assert served(docker_registry.host, repository, "1") == str(artifact.digest)


def test_existing_tags_are_minded(
    send: Send, tmp_path: Path, docker_registry: Any, repository: str
) -> None:
    """With a real registry's HEAD."""
    layout = Layout.create(tmp_path / "layout")
    old, new = (
        LayoutArtifact(path=layout.path, digest=random_image(layout, seed=seed)) for seed in (1, 2)
    )
    name = docker_registry.reference(f"{repository}:1")
    send(old, name)

    (again,) = send(old, name, on_existing_tag="skip_if_same")
    with pytest.raises(RegistryError, match="on_existing_tag is fail"):
        send(new, name, on_existing_tag="fail")
    (skipped,) = send(new, name, on_existing_tag="skip")
    (moved,) = send(new, name, expect_current=old.digest)

    assert (again.status, skipped.status, moved.status) == ("present", "skipped", "pushed")
    assert served(docker_registry.host, repository, "1") == str(new.digest)


@pytest.mark.parametrize("family", ["docker", "oci"])
def test_converted_images_are_taken(
    send: Send, artifact: LayoutArtifact, docker_registry: Any, repository: str, family: str
) -> None:
    """The registry checks a manifest's media types itself."""
    (sent,) = send(artifact, docker_registry.reference(f"{repository}:1"), media_types=family)

    found = served(docker_registry.host, repository, "1")
    assert found == str(sent.reference.digest)
    assert (sent.reference.digest == artifact.digest) == (family == "oci")


Trusting = Callable[[Keychain], RegistryClient]


@pytest.fixture
def trusting(run: Run, secured: Any) -> Iterator[Trusting]:
    """Open clients that are told the authority of `secured`."""
    opened: list[RegistryClient] = []

    def make(keychain: Keychain) -> RegistryClient:
        certificates = {secured.host: Certificates(ca=secured.authority)}
        opened.append(RegistryClient(keychain, run, certificates=certificates, policy=QUICK))
        return opened[-1]

    yield make
    for client in opened:
        client.close()


def login(host: str, password: str) -> Keychain:
    credential = Credential(username="ci", password=password, source="the test")
    return StaticKeychain(prefix=host, credential=credential)


def test_an_open_and_a_guarded_registry_are_pushed_to_at_once(
    trusting: Trusting,
    artifact: LayoutArtifact,
    secured: Any,
    docker_registry: Any,
    repository: str,
    run: Run,
) -> None:
    """A password behind TLS with an authority of its own here, nothing of the kind there."""
    names = [f"{secured.host}/{repository}:1", f"{secured.host}/{repository}/b:1"]
    names.append(docker_registry.reference(f"{repository}:1"))
    references = [ImageReference.parse(name) for name in names]

    sent = publish(
        trusting(login(secured.host, "secret")), artifact, references, PushPolicy(), run
    )

    known = {"ca": secured.authority, "password": "secret"}
    assert [one.status for one in sent] == ["pushed"] * 3
    assert sent[1].mounted == sent[0].uploaded == sent[2].uploaded
    assert served(secured.host, repository, "1", **known) == str(artifact.digest)
    assert served(docker_registry.host, repository, "1") == str(artifact.digest)


def test_a_wrong_password_fails_its_own_destination_and_the_image_is_kept(
    trusting: Trusting,
    artifact: LayoutArtifact,
    secured: Any,
    docker_registry: Any,
    repository: str,
    run: Run,
    tmp_path: Path,
) -> None:
    """With continue the open registry has it; later, with the right one, both do."""
    guarded = ImageReference.parse(f"{secured.host}/{repository}:1")
    open_one = ImageReference.parse(docker_registry.reference(f"{repository}:1"))
    policy = PushPolicy(on_partial="continue")

    with pytest.raises(PartialPushError, match="1 of 2") as caught:
        publish(trusting(login(secured.host, "wr0ng")), artifact, [guarded, open_one], policy, run)
    later = kept(keep(artifact, tmp_path / "cache"))
    done = publish(
        trusting(login(secured.host, "secret")), later, [guarded, open_one], policy, run
    )

    errors: list[BuildpushError | None] = [
        one.error for one in caught.value.destinations if isinstance(one, Destination)
    ]
    assert isinstance(errors[0], AuthError)
    assert errors[1] is None
    assert "wr0ng" not in caught.value.report()
    assert [one.status for one in done] == ["pushed", "present"]


def test_a_manifest_of_a_guarded_registry_can_be_deleted_and_pushed_again(
    trusting: Trusting, artifact: LayoutArtifact, secured: Any, repository: str, run: Run
) -> None:
    """As on an open one."""
    known = {"ca": secured.authority, "password": "secret"}
    reference = ImageReference.parse(f"{secured.host}/{repository}:1")
    client = trusting(login(secured.host, "secret"))
    publish(client, artifact, [reference], PushPolicy(), run)
    path = f"/v2/{repository}/manifests/{artifact.digest}"

    gone = ask(secured.host, "DELETE", path, **known)
    absent = served(secured.host, repository, "1", **known)
    (sent,) = publish(client, artifact, [reference], PushPolicy(), run)

    assert (gone.status, absent) == (202, None)
    assert (sent.status, sent.uploaded) == ("pushed", 0)
    assert Digest(served(secured.host, repository, "1", **known) or "") == artifact.digest

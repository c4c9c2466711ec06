"""Blobs that a registry has already: mounted where it lets us, and sent where it only says so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from buildpush.auth import Credential, StaticKeychain
from buildpush.errors import RegistryError
from buildpush.oci import Digest, ImageReference, Repository
from buildpush.oci.layout import Layout
from buildpush.registry import RegistryClient
from buildpush.registry.filling import Filling, Places, fill_blobs
from buildpush.registry.images import read_image
from buildpush.registry.push import push
from buildpush.runtime import Run
from buildpush.testing import LocalRegistry
from buildpush.testing.faults import Fault, Present, Status
from buildpush.testing.registry import Dialect, TokenServer

ClientFor = Callable[..., RegistryClient]
BlobOf = Callable[..., Any]
DATA = bytes(100_000)


def mount(client: RegistryClient, registry: LocalRegistry, blob_of: BlobOf) -> str:
    """Put `DATA` into ``acme/app``, which ``acme/base`` has; how it came there."""
    registry.add_blob("acme/base", DATA)
    how = client.put_blob(
        Repository(registry.host, "acme/app"),
        blob_of(DATA),
        lambda: iter((DATA,)),
        mount_from=Repository(registry.host, "acme/base"),
    )
    assert registry.blob("acme/app", Digest.of(DATA)) == DATA
    return str(how)


@pytest.mark.parametrize("answer", [201, 202, 400, 401, 403, 404, 405])
@pytest.mark.parametrize("auth", ["none", "token"])
def test_whatever_a_mount_is_answered_the_blob_arrives(
    client_for: ClientFor, blob_of: BlobOf, answer: Any, auth: Any
) -> None:
    """A mount is a short cut, never a condition."""
    dialect = Dialect(mount_answer=answer)
    with LocalRegistry(auth=auth, users={"ci": "s3cret"}, dialect=dialect) as registry:
        who = Credential(username="ci", password="s3cret", source="the test")
        client = client_for(StaticKeychain(prefix=registry.host, credential=who))

        how = mount(client, registry, blob_of)

    assert how == ("mounted" if answer == 201 else "uploaded")


@pytest.mark.parametrize("answer", [500, 503, 429])
def test_a_mount_that_keeps_failing_is_not_needed(
    client_for: ClientFor, blob_of: BlobOf, local_registry: LocalRegistry, answer: int
) -> None:
    """It is tried as often as everything, and then done without."""
    headers = {"Retry-After": "0"}
    local_registry.inject(
        Fault(query="mount=", action=Status(answer, headers=headers), times=None)
    )

    assert mount(client_for(), local_registry, blob_of) == "uploaded"


def test_a_mount_asks_for_a_token_with_a_scope_of_its_own(
    client_for: ClientFor, blob_of: BlobOf
) -> None:
    """Reading the neighbour is a second ``scope=``, as the token specification writes it."""
    with LocalRegistry(auth="token", users={"ci": "s3cret"}) as registry:
        who = Credential(username="ci", password="s3cret", source="the test")
        client = client_for(StaticKeychain(prefix=registry.host, credential=who))

        mount(client, registry, blob_of)

        asked = [r.query for r in registry.requests if r.path == "/token"]
    assert asked[-1].count("scope=") == 2
    assert "scope=repository:acme/base:pull&" in f"{asked[-1]}&"


@pytest.mark.parametrize("scopes", ["one", "first"])
def test_a_token_service_that_knows_one_scope_is_asked_for_ours_alone(
    client_for: ClientFor, blob_of: BlobOf, scopes: Any
) -> None:
    """The blob is sent, with a token for its destination."""
    with LocalRegistry(
        auth="token", users={"ci": "s3cret"}, tokens=TokenServer(scopes=scopes)
    ) as registry:
        who = Credential(username="ci", password="s3cret", source="the test")
        client = client_for(StaticKeychain(prefix=registry.host, credential=who))

        how = mount(client, registry, blob_of)

    assert how in ("mounted", "uploaded")


def test_who_may_not_read_the_neighbour_sends_the_blob(
    client_for: ClientFor, blob_of: BlobOf
) -> None:
    """That is no denial of the push."""
    permissions = {"ci": [("acme/app", "push"), ("acme/app", "pull")]}
    with LocalRegistry(auth="token", users={"ci": "s3cret"}, permissions=permissions) as registry:
        who = Credential(username="ci", password="s3cret", source="the test")
        client = client_for(StaticKeychain(prefix=registry.host, credential=who))

        assert mount(client, registry, blob_of) == "uploaded"


def test_nothing_is_mounted_from_another_registry(
    client_for: ClientFor, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """Not even asked for: the name of a repository elsewhere is nobody's business."""
    client_for().put_blob(
        Repository(local_registry.host, "acme/app"),
        blob_of(DATA),
        lambda: iter((DATA,)),
        mount_from=[Repository("registry.example", "acme/base")],
    )

    assert not [r for r in local_registry.requests if "mount" in r.query]


def test_the_second_neighbour_is_asked_when_the_first_has_nothing(
    client_for: ClientFor, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """Where a blob was seen last may not be where it is now."""
    local_registry.add_blob("acme/base", DATA)

    how = client_for().put_blob(
        Repository(local_registry.host, "acme/app"),
        blob_of(DATA),
        lambda: iter((DATA,)),
        mount_from=[Repository(local_registry.host, name) for name in ("acme/old", "acme/base")],
    )

    assert how == "mounted"


def test_a_blob_the_registry_only_claims_to_have_is_sent_once_and_no_other(
    client_for: ClientFor, images: Any, layout: Layout, run: Run, local_registry: LocalRegistry
) -> None:
    """HEAD says yes, the manifest is refused: exactly the named blob is sent again."""
    image = images.image(b"one" * 1000, b"two" * 1000)
    lost = Digest.of(b"two" * 1000)
    local_registry.inject(Fault(method="HEAD", path=lost.hex, action=Present(), times=None))
    destination = ImageReference.parse(local_registry.reference("acme/app:1"))

    push(client_for(), layout, image.digest, [destination], origins={}, run=run)

    assert local_registry.digest("acme/app", "1") == image.digest
    stored = [
        r.query.rpartition("=")[2]
        for r in local_registry.requests
        if r.method == "PUT" and "/uploads/" in r.path
    ]
    assert sorted(stored) == sorted({*stored})
    assert str(lost) in stored
    assert len([r for r in local_registry.requests if r.status in (400, 404)]) < 5


def test_a_blob_that_stays_unknown_is_an_error_that_names_it(
    client_for: ClientFor, images: Any, layout: Layout, run: Run, local_registry: LocalRegistry
) -> None:
    """Once is enough: the evidence has the digest."""
    image = images.image(b"one" * 1000)
    lost = Digest.of(b"one" * 1000)
    body = b'{"errors":[{"code":"MANIFEST_BLOB_UNKNOWN","detail":{"digest":"%s"}}]}' % (
        str(lost).encode()
    )
    refusal = local_registry.inject(
        Fault(method="PUT", path="/manifests/", action=Status(400, body=body), times=None)
    )
    destination = ImageReference.parse(local_registry.reference("acme/app:1"))

    with pytest.raises(RegistryError, match=str(lost)):
        push(client_for(), layout, image.digest, [destination], origins={}, run=run)

    assert refusal.fired == 2


def test_a_push_asks_three_of_the_repositories_that_may_have_a_blob(
    client_for: ClientFor, images: Any, layout: Layout, run: Run, local_registry: LocalRegistry
) -> None:
    """The third has it; the blob that none of them has is sent, and none is asked again for it."""
    held, unheld = b"held" * 1000, b"unheld" * 1000
    image = images.image(held, unheld)
    local_registry.add_blob("acme/d3", held)
    near = [Repository(local_registry.host, f"acme/d{number}") for number in (1, 2, 3, 4)]
    places = Places()
    for data in (held, unheld):
        places.heard(Digest.of(data), near)
    client = client_for()
    job = Filling(client=client, layout=layout, run=run, places=places)

    placed = fill_blobs(
        job,
        read_image(client, layout, image.digest, {}),
        Repository(local_registry.host, "acme/app"),
    )

    how = {blob.digest: kind for kind, blob in placed}
    assert (how[Digest.of(held)], how[Digest.of(unheld)]) == ("mounted", "uploaded")
    assert places.losses == {(Digest.of(unheld), place) for place in near[:3]}

"""Where registries send uploads: every form of Location, and those that are refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from buildpush.auth import Credential, StaticKeychain
from buildpush.errors import RegistryError
from buildpush.oci import Digest, Repository
from buildpush.registry import RegistryClient
from buildpush.testing import LocalRegistry
from buildpush.testing.faults import Fault, ReplaceHeaders, Status
from buildpush.testing.registry import Dialect

ClientFor = Callable[..., RegistryClient]
BlobOf = Callable[..., Any]
DATA = bytes(300_000)


def login(registry: LocalRegistry) -> StaticKeychain:
    """The credential of the user ``ci``."""
    who = Credential(username="ci", password="s3cret", source="the test")
    return StaticKeychain(prefix=registry.host, credential=who)


@pytest.mark.parametrize("form", ["absolute", "relative", "other-port", "other-host"])
@pytest.mark.parametrize("limit", [None, 200_000], ids=["in one request", "in chunks"])
def test_uploads_follow_every_form_of_location(
    client_for: ClientFor, blob_of: BlobOf, form: Any, limit: int | None
) -> None:
    """Another host or port is a place of its own: it never sees our credential."""
    dialect = Dialect(locations=form, body_limit=limit)
    with LocalRegistry(auth="token", users={"ci": "s3cret"}, dialect=dialect) as registry:
        client_for(login(registry)).put_blob(
            Repository(registry.host, "acme/app"), blob_of(DATA), lambda: iter((DATA,))
        )

        assert registry.blob("acme/app", Digest.of(DATA)) == DATA
        sent = [r for r in registry.requests if r.method in ("PUT", "PATCH")]
        assert {r.scheme for r in sent} == {"bearer" if form in ("absolute", "relative") else ""}


def test_the_query_of_a_location_is_kept_byte_for_byte(
    client_for: ClientFor, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """``_state`` is signed; the digest is one more parameter behind it."""
    state = "a%3D%3d+b%2Fc/d~e=="
    place = f"/v2/acme/app/blobs/uploads/x?_state={state}"
    local_registry.inject(Fault(method="POST", action=Status(202, headers={"Location": place})))
    taken = local_registry.inject(Fault(method="PUT", action=Status(201)))

    client_for().put_blob(
        Repository(local_registry.host, "acme/app"), blob_of(DATA), lambda: iter((DATA,))
    )

    assert taken.fired == 1
    put = next(r for r in local_registry.requests if r.method == "PUT")
    assert put.query == f"_state={state}&digest={Digest.of(DATA)}"


def test_a_location_without_a_query_gets_one(
    client_for: ClientFor, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """Not every registry keeps its state there."""
    local_registry.inject(
        Fault(method="POST", action=Status(202, headers={"Location": "/v2/a/blobs/uploads/x"}))
    )
    local_registry.inject(Fault(method="PUT", action=Status(201)))

    client_for().put_blob(
        Repository(local_registry.host, "acme/app"), blob_of(DATA), lambda: iter((DATA,))
    )

    put = next(r for r in local_registry.requests if r.method == "PUT")
    assert put.query == f"digest={Digest.of(DATA)}"


def test_bytes_never_go_unencrypted_to_another_host(
    client_for: ClientFor, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """A Location of plain HTTP elsewhere is refused, with what to tell the registry."""
    place = {"Location": "http://storage.example/upload?signature=s3cret"}
    local_registry.inject(Fault(method="POST", action=ReplaceHeaders(place), times=None))

    with pytest.raises(RegistryError, match="which is not encrypted") as caught:
        client_for().put_blob(
            Repository(local_registry.host, "acme/app"), blob_of(DATA), lambda: iter((DATA,))
        )

    assert "X-Forwarded-Proto" in caught.value.hint
    assert "s3cret" not in caught.value.report()


def test_a_proxys_405_page_says_what_may_be_wrong(
    client_for: ClientFor, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """A missing repository key, or a proxy that does not tell the registry its address."""
    page = b"<html><head><title>405 Not Allowed</title></head></html>"
    local_registry.inject(Fault(method="POST", action=Status(405, body=page), times=None))

    with pytest.raises(RegistryError, match="405") as caught:
        client_for().put_blob(
            Repository(local_registry.host, "acme/app"), blob_of(DATA), lambda: iter((DATA,))
        )

    assert "repository key" in caught.value.hint
    assert "X-Forwarded-Proto" in caught.value.hint

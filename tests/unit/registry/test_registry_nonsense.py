"""Servers that answer nonsense: each answer ends in an error of ours, which names the right host."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildpush.auth import Credential, StaticKeychain
from buildpush.errors import AuthError, BuildpushError, RegistryError, RegistryUnavailableError
from buildpush.http.answers import moment_of, number_of
from buildpush.oci import Digest, ImageReference, Repository
from buildpush.oci.wire import Index, MediaType, dump
from buildpush.registry import RegistryClient
from buildpush.registry.download import download
from buildpush.runtime import Run
from buildpush.runtime.retry import RetryPolicy
from buildpush.testing import Fault, LocalRegistry, Status

ClientFor = Callable[..., RegistryClient]
BlobOf = Callable[..., Any]
ONCE = RetryPolicy(attempts=1)
INDEX = dump(Index(media_type=MediaType.OCI_INDEX, manifests=()))
SUBJECT = Digest.of(b"subject")
NO_HOSTS = [f"https://{'a' * 70}.example/x", "https://a..b/x", "https://xn--a/x", "http://[x/"]


@pytest.fixture(autouse=True)
def resolver(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own, which encodes a name before anybody is asked."""
    ask = socket.getaddrinfo

    def resolve(host: str, *rest: Any, **more: Any) -> Any:
        host.encode("idna")
        return ask(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)


@pytest.mark.parametrize("address", NO_HOSTS)
@pytest.mark.parametrize("status", [301, 307])
def test_a_redirect_to_what_no_host_can_be_called_is_the_registrys_error(
    client_for: ClientFor, local_registry: LocalRegistry, address: str, status: int
) -> None:
    """Python's resolver has errors of its own for such names."""
    answer = Status(status, headers={"Location": address})
    local_registry.inject(Fault(path="/v2/app/", action=answer, times=None))

    with pytest.raises(RegistryError):
        client_for(policy=ONCE).get_manifest(
            ImageReference.parse(local_registry.reference("app:1"))
        )


@pytest.mark.parametrize("address", NO_HOSTS)
def test_an_upload_to_what_no_host_can_be_called_is_the_registrys_error(
    client_for: ClientFor, blob_of: BlobOf, local_registry: LocalRegistry, address: str
) -> None:
    """Other destinations of the push go on."""
    answer = Status(202, headers={"Location": address})
    local_registry.inject(Fault(method="POST", action=answer, times=None))

    with pytest.raises(RegistryError):
        client_for(policy=ONCE).put_blob(
            Repository(local_registry.host, "app"), blob_of(b"x"), lambda: iter((b"x",))
        )


@pytest.mark.parametrize("address", NO_HOSTS)
def test_a_realm_at_what_no_host_can_be_called_is_the_registrys_error(
    client_for: ClientFor, local_registry: LocalRegistry, address: str
) -> None:
    """It cannot be asked for a token."""
    challenge = {"WWW-Authenticate": f'Bearer realm="{address}",service="s"'}
    answer = Status(401, headers=challenge)
    local_registry.inject(Fault(path="/v2/", action=answer, times=None))

    with pytest.raises((RegistryError, AuthError)):
        client_for(policy=ONCE).get_manifest(
            ImageReference.parse(local_registry.reference("app:1"))
        )


@pytest.mark.parametrize(
    ("link", "said"),
    [
        ('<http://[x/>; rel="next"', "is not a URL"),
        ("<https://elsewhere.example/x>; rel=next", "somewhere else"),
    ],
)
@pytest.mark.parametrize("listing", ["tags", "referrers"])
def test_a_next_page_that_is_no_page_of_the_registry_is_not_asked_for(
    client_for: ClientFor, local_registry: LocalRegistry, listing: str, link: str, said: str
) -> None:
    """Both lists read the same header."""
    headers = {"Link": link, "Content-Type": MediaType.OCI_INDEX}
    body = b'{"tags": ["1"]}' if listing == "tags" else INDEX
    answer = Status(200, headers=headers, body=body)
    local_registry.inject(Fault(path=f"/v2/app/{listing}/", action=answer, times=None))
    client, repository = client_for(), Repository(local_registry.host, "app")
    ask = {
        "tags": lambda: client.list_tags(repository),
        "referrers": lambda: client.referrers(repository, SUBJECT),
    }

    with pytest.raises(RegistryError, match=said):
        ask[listing]()


@pytest.mark.parametrize(
    "pause",
    ["Wed, 01 Jan 2020 00:00:00 +99999999999999999999", "Wed, 21 Oct 99999999999 07:28:00 GMT"],
)
@pytest.mark.parametrize("header", ["Retry-After", "Date"])
def test_a_pause_until_no_moment_at_all_is_no_pause(
    client_for: ClientFor, local_registry: LocalRegistry, header: str, pause: str
) -> None:
    """The error is that of the status."""
    headers = {"Retry-After": "Wed, 01 Jan 2020 00:00:00 GMT", header: pause}
    answer = Status(429, headers=headers)
    local_registry.inject(Fault(path="/v2/app/", action=answer, times=None))

    with pytest.raises(BuildpushError, match="HTTP 429"):
        client_for(policy=ONCE).get_manifest(
            ImageReference.parse(local_registry.reference("app:1"))
        )


@pytest.mark.parametrize("text", ["²", "9" * 5000, "-1", "1e3", " 1", "", "٣"])
def test_what_is_no_number_in_a_header_is_none(text: str) -> None:
    """Some of these are digits to Python, which then cannot make a number of them."""
    assert number_of(text) is None


def test_a_date_without_a_zone_is_utc() -> None:
    """It can be compared with those that have one."""
    moment = moment_of("Wed, 21 Oct 2015 07:28:00 -0000")

    assert moment is not None
    assert moment.timestamp() == 1445412480


@pytest.mark.parametrize("least", ["²", "9" * 5000])
def test_a_least_chunk_that_is_no_number_is_none(
    client_for: ClientFor, blob_of: BlobOf, local_registry: LocalRegistry, least: str
) -> None:
    """The blob goes in one request, as ever."""
    place = {"Location": "/v2/app/blobs/uploads/x", "OCI-Chunk-Min-Length": least}
    local_registry.inject(Fault(method="POST", action=Status(202, headers=place)))
    taken = local_registry.inject(Fault(method="PUT", action=Status(201)))

    placed = client_for().put_blob(
        Repository(local_registry.host, "app"), blob_of(b"x"), lambda: iter((b"x",))
    )

    assert (placed, taken.fired) == ("uploaded", 1)


def test_a_download_that_fails_does_not_tell_the_password_in_its_address(
    run: Run, tmp_path: Path
) -> None:
    """Messages name the host alone."""
    with pytest.raises(RegistryUnavailableError) as caught:
        download("http://ci:s3cret@127.0.0.1:1/x", tmp_path / "x", run=run, policy=ONCE)

    assert "127.0.0.1:1" in caught.value.message
    assert "s3cret" not in caught.value.report()


def test_the_host_that_cannot_be_reached_is_named_not_the_one_that_named_it(
    client_for: ClientFor, local_registry: LocalRegistry
) -> None:
    """Whoever opens a firewall must know for whom."""
    answer = Status(307, headers={"Location": "http://127.0.0.1:1/storage"})
    local_registry.inject(Fault(path="/v2/app/", action=answer))

    with pytest.raises(RegistryUnavailableError, match=r"cannot reach 127\.0\.0\.1:1: "):
        client_for(policy=ONCE).get_manifest(
            ImageReference.parse(local_registry.reference("app:1"))
        )


def test_what_a_tag_names_is_read_where_asking_for_its_head_is_redirected(
    client_for: ClientFor, local_registry: LocalRegistry
) -> None:
    """Some registries are a front for others, and send both to those."""
    digest = local_registry.add_manifest("far", INDEX, MediaType.OCI_INDEX, tag="1")
    place = f"http://{local_registry.host}/v2/far/manifests/1"
    answer = Status(307, headers={"Location": place})
    local_registry.inject(Fault(path="/v2/app/manifests/1", action=answer, times=None))

    found = client_for().head_manifest(ImageReference.parse(local_registry.reference("app:1")))

    assert found is not None
    assert found.digest == digest


def test_a_credential_in_a_body_is_redirected_to_no_other_server(
    client_for: ClientFor, blob_of: BlobOf
) -> None:
    """Of a header that goes without saying."""
    credential = Credential(identity_token="refresh-s3cret", source="the test")
    with LocalRegistry() as thief, LocalRegistry(auth="token", users={"ci": "s3cret"}) as registry:
        place = {"Location": f"http://{thief.host}/token"}
        registry.inject(Fault(method="POST", path="/token", action=Status(307, headers=place)))
        client = client_for(
            StaticKeychain(prefix=registry.host, credential=credential), policy=ONCE
        )

        with pytest.raises(RegistryError, match="carry a credential to another server"):
            client.get_manifest(ImageReference.parse(registry.reference("app:1")))

        assert thief.requests == ()

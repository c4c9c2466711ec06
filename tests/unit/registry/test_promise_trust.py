"""What is promised of TLS: who is believed for which host, and what is said when nobody is."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from buildpush.auth import Credential, StaticKeychain
from buildpush.errors import RegistryError
from buildpush.http.answers import FinalError
from buildpush.http.trust import Certificates
from buildpush.oci import Digest, ImageReference, Repository
from buildpush.oci.wire import Descriptor, Index, MediaType, dump
from buildpush.registry import RegistryClient
from buildpush.runtime.retry import RetryPolicy
from buildpush.testing import Dialect, LocalRegistry, PrivateCa, RecordingSink, TokenServer

ClientFor = Callable[..., RegistryClient]
BlobOf = Callable[..., Descriptor]
INDEX = dump(Index(media_type=MediaType.OCI_INDEX, manifests=()))
DATA = b"layer" * 1000
USERS = {"ci": "s3cret"}
ONCE = RetryPolicy(attempts=1)


@pytest.fixture(scope="module")
def authority() -> PrivateCa:
    """An authority that no system knows."""
    return PrivateCa()


@pytest.fixture
def ca(authority: PrivateCa, tmp_path: Path) -> Path:
    """Its certificate."""
    return authority.file(tmp_path)


def login(registry: LocalRegistry) -> StaticKeychain:
    return StaticKeychain(
        prefix=registry.host, credential=Credential(username="ci", password="s3cret")
    )


def app(registry: LocalRegistry) -> ImageReference:
    return ImageReference.parse(registry.reference("app:1"))


@pytest.mark.parametrize("token_host", ["", "localhost", "127.0.0.2"])
@pytest.mark.parametrize("elsewhere", ["here", "other-host", "other-port"])
def test_a_registrys_own_authority_counts_for_it_its_token_service_and_its_storage(
    client_for: ClientFor,
    blob_of: BlobOf,
    authority: PrivateCa,
    ca: Path,
    token_host: str,
    elsewhere: Literal["here", "other-host", "other-port"],
) -> None:
    """One entry under registries is enough: pushed, redirected, pulled."""
    tls = authority.server("127.0.0.1", "localhost", "127.0.0.2")
    tokens = TokenServer(host=token_host, tls=tls if token_host else None)
    dialect = Dialect(downloads=elsewhere)
    with LocalRegistry(
        auth="token", users=USERS, tls=tls, tokens=tokens, dialect=dialect
    ) as registry:
        client = client_for(login(registry), certificates={registry.host: Certificates(ca=ca)})
        repository = Repository(registry.host, "app")

        client.put_blob(repository, blob_of(DATA), lambda: iter((DATA,)))
        client.put_manifest(app(registry), INDEX, MediaType.OCI_INDEX)
        with client.get_blob(repository, blob_of(DATA)) as pieces:
            found = b"".join(pieces)

        assert (found, client.get_manifest(app(registry)).data) == (DATA, INDEX)
        assert registry.token_url.startswith("https://")


def test_a_registrys_own_authority_counts_for_no_other_registry(
    client_for: ClientFor, authority: PrivateCa, ca: Path
) -> None:
    """Each host has its own entry."""
    tls = authority.server("127.0.0.1")
    with LocalRegistry(tls=tls) as known, LocalRegistry(tls=tls) as other:
        known.add_manifest("app", INDEX, MediaType.OCI_INDEX, tag="1")
        client = client_for(certificates={known.host: Certificates(ca=ca)})

        assert client.get_manifest(app(known)).data == INDEX
        with pytest.raises(FinalError, match="CERTIFICATE_VERIFY_FAILED"):
            client.get_manifest(app(other))


def test_an_unknown_authority_names_the_setting_that_helps(
    client_for: ClientFor, authority: PrivateCa, recording_sink: RecordingSink
) -> None:
    """And it is not tried again: the next attempt would meet the same certificate."""
    with LocalRegistry(tls=authority.server("127.0.0.1")) as registry:
        with pytest.raises(FinalError, match="CERTIFICATE_VERIFY_FAILED") as caught:
            client_for().get_manifest(app(registry))

        assert "ca of 127.0.0.1 under registries" in caught.value.hint
        assert recording_sink.warnings == ()


def test_a_wrong_authority_names_the_setting_that_helps(
    client_for: ClientFor, authority: PrivateCa, tmp_path: Path
) -> None:
    """Somebody else's certificate in the setting does not do."""
    wrong = PrivateCa().file(tmp_path)
    with LocalRegistry(tls=authority.server("127.0.0.1")) as registry:
        client = client_for(certificates={registry.host: Certificates(ca=wrong)})

        with pytest.raises(FinalError, match="CERTIFICATE_VERIFY_FAILED") as caught:
            client.get_manifest(app(registry))

        assert "under registries" in caught.value.hint


def test_a_certificate_for_another_name_is_refused(
    client_for: ClientFor, authority: PrivateCa, ca: Path
) -> None:
    """An authority that is believed does not make every server right."""
    with LocalRegistry(tls=authority.server("registry.example.com")) as registry:
        client = client_for(certificates={registry.host: Certificates(ca=ca)})

        with pytest.raises(FinalError, match=r"mismatch|not valid for"):
            client.get_manifest(app(registry))


def test_a_client_certificate_is_shown_to_the_registry_and_its_token_service(
    client_for: ClientFor, authority: PrivateCa, ca: Path, tmp_path: Path
) -> None:
    """Both ask for it, both get the same one."""
    certificate, key = authority.client(tmp_path)
    tls = authority.server("127.0.0.1", "localhost", clients=True)
    tokens = TokenServer(host="localhost", tls=tls)
    with LocalRegistry(auth="token", users=USERS, tls=tls, tokens=tokens) as registry:
        own = Certificates(ca=ca, certificate=certificate, key=key)
        client = client_for(login(registry), certificates={registry.host: own})

        client.put_manifest(app(registry), INDEX, MediaType.OCI_INDEX)

        first = certificate.read_text().split("-----END CERTIFICATE-----")[0]
        der = ssl.PEM_cert_to_DER_cert(f"{first}-----END CERTIFICATE-----\n")
        shown = {r.certificate for r in registry.requests if r.status in (200, 201, 401)}
        assert shown == {hashlib.sha256(der).hexdigest()}
        assert "/token" in {r.path for r in registry.requests}


def test_a_registry_that_wants_a_client_certificate_is_explained(
    client_for: ClientFor, authority: PrivateCa, ca: Path, recording_sink: RecordingSink
) -> None:
    """With the setting to put it in; and at once."""
    with LocalRegistry(tls=authority.server("127.0.0.1", clients=True)) as registry:
        client = client_for(certificates={registry.host: Certificates(ca=ca)})
        client._exchange.endpoints.settle(registry.host, "https")

        with pytest.raises(FinalError, match="wants to see a client certificate") as caught:
            client.get_manifest(app(registry))

        assert f"certificate and key of {registry.host} under registries" in caught.value.hint
        assert recording_sink.warnings == ()


def test_a_certificate_that_cannot_be_read_is_named(
    client_for: ClientFor, authority: PrivateCa, tmp_path: Path
) -> None:
    """Its file, not its contents."""
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nc4n4ry\n-----END CERTIFICATE-----\n")
    with LocalRegistry(tls=authority.server("127.0.0.1")) as registry:
        client = client_for(certificates={registry.host: Certificates(ca=broken)})
        client._exchange.endpoints.settle(registry.host, "https")

        with pytest.raises(RegistryError, match=r"broken\.pem") as caught:
            client.get_manifest(app(registry))

        assert "c4n4ry" not in caught.value.report()


def test_an_insecure_host_makes_no_other_host_insecure(
    client_for: ClientFor, authority: PrivateCa
) -> None:
    """Not its token service under another name, and no password goes there."""
    tls = authority.server("127.0.0.1", "localhost")
    tokens = TokenServer(host="localhost", tls=tls)
    with LocalRegistry(auth="token", users=USERS, tls=tls, tokens=tokens) as registry:
        client = client_for(login(registry), insecure=frozenset({registry.host}), policy=ONCE)

        with pytest.raises(FinalError, match=r"localhost:\d+: .*CERTIFICATE_VERIFY_FAILED"):
            client.put_manifest(app(registry), INDEX, MediaType.OCI_INDEX)

        assert "/token" not in {r.path for r in registry.requests}


def test_an_insecure_registrys_storage_elsewhere_still_has_to_prove_itself(
    client_for: ClientFor, blob_of: BlobOf, authority: PrivateCa
) -> None:
    """Being redirected is no reason to believe."""
    tls = authority.server("127.0.0.1", "localhost")
    with LocalRegistry(tls=tls, dialect=Dialect(downloads="other-host")) as registry:
        registry.add_blob("app", DATA)
        client = client_for(insecure=frozenset({registry.host}), policy=ONCE)

        with (
            pytest.raises(FinalError, match="CERTIFICATE_VERIFY_FAILED"),
            client.get_blob(Repository(registry.host, "app"), blob_of(DATA)),
        ):
            pass


def test_the_same_host_can_be_pushed_to_by_two_clients_that_trust_differently(
    client_for: ClientFor, authority: PrivateCa, ca: Path
) -> None:
    """What one client was told is no business of the other."""
    with LocalRegistry(tls=authority.server("127.0.0.1")) as registry:
        trusting = client_for(certificates={registry.host: Certificates(ca=ca)})
        trusting.put_manifest(app(registry), INDEX, MediaType.OCI_INDEX)

        with pytest.raises(FinalError):
            client_for().get_manifest(app(registry))

        assert registry.digest("app", "1") == Digest.of(INDEX)

"""What is promised of token services that mean harm: they fill no memory and get no secret."""

from __future__ import annotations

import json
import tracemalloc
import zlib
from collections.abc import Callable

import pytest

from buildpush.auth import Credential, StaticKeychain
from buildpush.errors import AuthError, RegistryError
from buildpush.oci import ImageReference
from buildpush.oci.wire import Index, MediaType, dump
from buildpush.registry import RegistryClient
from buildpush.testing import Fault, LocalRegistry, ReplaceHeaders, Request, Status

ClientFor = Callable[..., RegistryClient]
INDEX = dump(Index(media_type=MediaType.OCI_INDEX, manifests=()))


def login(registry: LocalRegistry) -> StaticKeychain:
    return StaticKeychain(
        prefix=registry.host,
        credential=Credential(username="ci", password="s3cret", source="the test's keychain"),
    )


def registry_of(**settings: object) -> LocalRegistry:
    return LocalRegistry(auth="token", users={"ci": "s3cret"}, **settings)  # type: ignore[arg-type]


def app(registry: LocalRegistry, tag: str = "1") -> ImageReference:
    return ImageReference.parse(registry.reference(f"app:{tag}"))


def tokens(registry: LocalRegistry) -> list[Request]:
    return [request for request in registry.requests if request.path == "/token"]


def test_a_gzip_bomb_from_a_token_service_is_not_unpacked(client_for: ClientFor) -> None:
    """A megabyte of it is looked at, not the gigabyte it stands for."""
    bomb = zlib.compress(b" " * (64 << 20), level=9, wbits=31)
    with registry_of() as registry:
        headers = {"Content-Encoding": "gzip"}
        registry.inject(
            Fault(path="/token", action=Status(200, headers=headers, body=bomb), times=None)
        )
        tracemalloc.start()
        try:
            with pytest.raises(RegistryError, match="holds no token"):
                client_for(login(registry)).get_manifest(app(registry))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()

        assert peak < 8 << 20


@pytest.mark.parametrize("wbits", [31, 15])
def test_a_packed_answer_nobody_asked_for_is_read_all_the_same(
    client_for: ClientFor, wbits: int
) -> None:
    """Some proxies pack whatever they pass on."""
    with registry_of() as registry:
        registry.add_manifest("app", INDEX, MediaType.OCI_INDEX, tag="1")
        client = client_for(login(registry))
        client.get_manifest(app(registry))
        issued = next(iter(client._exchange.authorizer._slots.values())).issued
        assert issued is not None
        body = zlib.compress(json.dumps({"token": issued.token}).encode(), wbits=wbits)
        packed = Status(200, headers={"Content-Encoding": "gzip"}, body=body)
        registry.inject(Fault(path="/token", action=packed))

        assert client_for(login(registry)).get_manifest(app(registry)).data == INDEX


def test_a_realm_without_end_is_not_asked(client_for: ClientFor) -> None:
    """Nor quoted in full."""
    with registry_of() as registry:
        challenge = f'Bearer realm="{registry.url}/token?{"x" * 20_000}"'
        registry.inject(
            Fault(path="/v2/", action=Status(401, headers={"WWW-Authenticate": challenge}))
        )

        with pytest.raises(AuthError, match="more than 16384 characters") as caught:
            client_for(login(registry)).get_manifest(app(registry))

        assert len(caught.value.report()) < 2000
        assert tokens(registry) == []


def test_headers_without_end_are_not_read(client_for: ClientFor) -> None:
    """They end in an error, not in a full memory."""
    with LocalRegistry() as registry:
        huge = ReplaceHeaders({"X-Long": "x" * (1 << 20)})
        registry.inject(Fault(action=huge, times=None))

        with pytest.raises(RegistryError):
            client_for().get_manifest(app(registry))


def test_storage_that_asks_for_a_login_gets_none(client_for: ClientFor) -> None:
    """Only the registry itself may challenge: its redirect's realm is not asked for a token."""
    with registry_of() as registry, LocalRegistry() as storage, LocalRegistry() as thief:
        challenge = {"WWW-Authenticate": f'Bearer realm="{thief.url}/token"'}
        storage.inject(Fault(action=Status(401, headers=challenge), times=None))
        to = {"Location": f"{storage.url}/v2/app/manifests/1"}
        registry.inject(
            Fault(method="GET", path="/manifests/", skip=1, action=Status(307, headers=to))
        )

        with pytest.raises(AuthError):
            client_for(login(registry), anonymous_fallback=False).get_manifest(app(registry))

        assert thief.requests == ()
        assert {request.scheme for request in storage.requests} == {""}


def test_a_wrong_password_names_the_token_service_with_its_port(client_for: ClientFor) -> None:
    """Several may be on one machine."""
    with LocalRegistry(auth="token", users={"ci": "another"}) as registry:
        host = registry.host
        with pytest.raises(AuthError) as caught:
            client_for(login(registry)).get_manifest(app(registry))

    assert f"asking {host} for a token" in caught.value.message
    assert "s3cret" not in caught.value.report()

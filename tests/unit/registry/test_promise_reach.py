"""What is promised of addresses that servers name: none that is nearer to us than who named it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from buildpush.auth import Credential, StaticKeychain
from buildpush.errors import RegistryError
from buildpush.http import reach
from buildpush.http.reach import Reach, reach_of
from buildpush.http.trust import Certificates, Trust, is_near
from buildpush.oci import ImageReference
from buildpush.oci.wire import Index, MediaType, dump
from buildpush.registry import RegistryClient
from buildpush.testing import Fault, LocalRegistry, PrivateCa, Status, TokenServer

ClientFor = Callable[..., RegistryClient]
INDEX = dump(Index(media_type=MediaType.OCI_INDEX, manifests=()))
NAMES = {
    "registry.example.com": "127.0.0.1",
    "auth.example.com": "127.0.0.2",
    "storage.example.com": "127.0.0.2",
}


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", Reach.MACHINE),
        ("::1", Reach.MACHINE),
        ("0.0.0.0", Reach.MACHINE),
        ("169.254.169.254", Reach.MACHINE),
        ("fe80::1%eth0", Reach.MACHINE),
        ("::ffff:169.254.169.254", Reach.MACHINE),
        ("64:ff9b::a9fe:a9fe", Reach.MACHINE),
        ("2002:7f00:1::", Reach.MACHINE),
        ("10.1.2.3", Reach.PRIVATE),
        ("192.168.0.1", Reach.PRIVATE),
        ("172.16.0.1", Reach.PRIVATE),
        ("100.100.100.200", Reach.PRIVATE),
        ("fd00:ec2::254", Reach.PRIVATE),
        ("::ffff:10.0.0.1", Reach.PRIVATE),
        ("140.82.121.33", Reach.PUBLIC),
        ("2606:4700::6810:84e5", Reach.PUBLIC),
        ("registry.example.com", None),
        ("", None),
    ],
)
def test_an_address_reaches_this_machine_a_network_or_everybody(
    address: str, expected: Reach | None
) -> None:
    """Whatever it is wrapped in; a name says nothing yet."""
    assert reach_of(address) == expected


@pytest.mark.parametrize(
    "name", ["metadata.google.internal", "METADATA.google.internal.", "metadata:80", "localhost"]
)
def test_a_clouds_metadata_server_is_near_by_its_name_too(name: str) -> None:
    """A proxy would resolve it for us."""
    assert is_near(name)


def test_a_listed_host_may_be_anywhere() -> None:
    """Somebody has thought about it: with certificates, or as insecure."""
    trust = Trust(frozenset({"a.example"}), certificates={"b.example": Certificates()})

    assert trust.nearest("https://a.example/t", Reach.PUBLIC) is Reach.MACHINE
    assert trust.nearest("https://b.example:1/t", Reach.PUBLIC) is Reach.MACHINE
    assert trust.nearest("https://c.example/t", Reach.PUBLIC) is Reach.PUBLIC
    assert trust.nearest("https://c.example/t", None) is Reach.PRIVATE


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Callable[[Mapping[str, Reach]], None]:
    """Names of the world on this machine's addresses, whose reach the test decides."""
    ask = socket.getaddrinfo

    def resolve(host: str | bytes, *rest: Any, **more: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        return ask(NAMES.get(name, name), *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    def decide(reaches: Mapping[str, Reach]) -> None:
        monkeypatch.setattr(reach, "reach_of", reaches.get)

    return decide


@pytest.fixture(scope="module")
def authority() -> PrivateCa:
    """An authority for all of that world."""
    return PrivateCa()


def remote(registry: LocalRegistry) -> str:
    return registry.host.replace("127.0.0.1", "registry.example.com")


def guarded(authority: PrivateCa) -> LocalRegistry:
    """A registry of that world whose token service has another address."""
    tls = authority.server(*NAMES)
    tokens = TokenServer(host="127.0.0.2", tls=tls)
    return LocalRegistry(auth="token", users={"ci": "s3cret"}, tls=tls, tokens=tokens)


@pytest.mark.parametrize("nearer", [Reach.MACHINE, Reach.PRIVATE])
@pytest.mark.parametrize("listed", [False, True])
def test_a_public_registrys_token_service_is_not_in_our_network(
    client_for: ClientFor,
    world: Callable[[Mapping[str, Reach]], None],
    authority: PrivateCa,
    tmp_path: Path,
    nearer: Reach,
    listed: bool,
) -> None:
    """Whatever its name: the address counts that was connected to, before anything is sent."""
    world({"127.0.0.1": Reach.PUBLIC, "127.0.0.2": nearer})
    with guarded(authority) as registry:
        realm = registry.token_url.replace("127.0.0.2", "auth.example.com")
        challenge = {"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'}
        registry.inject(Fault(path="/v2/", action=Status(401, headers=challenge)))
        own = Certificates(ca=authority.file(tmp_path))
        certificates = {remote(registry): own, **({"auth.example.com": own} if listed else {})}
        credential = Credential(username="ci", password="s3cret")
        client = client_for(
            StaticKeychain(prefix=remote(registry), credential=credential),
            certificates=certificates,
        )
        reference = ImageReference.parse(f"{remote(registry)}/app:1")

        if listed:
            client.put_manifest(reference, INDEX, MediaType.OCI_INDEX)
            assert registry.tags("app") == ("1",)
        else:
            with pytest.raises(RegistryError, match=r"auth\.example\.com:\d+ has an address"):
                client.put_manifest(reference, INDEX, MediaType.OCI_INDEX)
            assert "/token" not in {request.path for request in registry.requests}


def test_a_private_registry_has_its_token_service_in_the_same_network(
    client_for: ClientFor,
    world: Callable[[Mapping[str, Reach]], None],
    authority: PrivateCa,
    tmp_path: Path,
) -> None:
    """That is how most companies have it; nothing needs to be listed."""
    world({"127.0.0.1": Reach.PRIVATE, "127.0.0.2": Reach.PRIVATE})
    with guarded(authority) as registry:
        realm = registry.token_url.replace("127.0.0.2", "auth.example.com")
        challenge = {"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'}
        registry.inject(Fault(path="/v2/", action=Status(401, headers=challenge)))
        own = Certificates(ca=authority.file(tmp_path))
        credential = Credential(username="ci", password="s3cret")
        client = client_for(
            StaticKeychain(prefix=remote(registry), credential=credential),
            certificates={remote(registry): own},
        )

        client.put_manifest(
            ImageReference.parse(f"{remote(registry)}/app:1"), INDEX, MediaType.OCI_INDEX
        )

        assert registry.tags("app") == ("1",)


@pytest.mark.parametrize(
    ("there", "allowed"), [(Reach.MACHINE, False), (Reach.PRIVATE, True), (Reach.PUBLIC, True)]
)
def test_a_redirect_by_name_may_end_in_our_network_and_not_on_our_machine(
    client_for: ClientFor,
    world: Callable[[Mapping[str, Reach]], None],
    authority: PrivateCa,
    tmp_path: Path,
    there: Reach,
    allowed: bool,
) -> None:
    """Clouds give storage private addresses; it has no credential of ours, and a certificate."""
    world({"127.0.0.1": Reach.PUBLIC, "127.0.0.2": there})
    tls = authority.server(*NAMES)
    with (
        LocalRegistry(tls=tls) as registry,
        LocalRegistry(auth="token", tls=tls, tokens=TokenServer(host="127.0.0.2", tls=tls)) as far,
    ):
        port = far.token_url.rpartition(":")[2].partition("/")[0]
        target = {"Location": f"https://storage.example.com:{port}/x"}
        registry.inject(Fault(path="/v2/app/", action=Status(307, headers=target)))
        far.inject(Fault(path="/x", action=Status(200, body=INDEX)))
        client = client_for(
            certificates={remote(registry): Certificates(ca=authority.file(tmp_path))}
        )
        reference = ImageReference.parse(f"{remote(registry)}/app:1")

        if allowed:
            assert client.get_manifest(reference).data == INDEX
        else:
            with pytest.raises(RegistryError, match="this machine's own"):
                client.get_manifest(reference)
            assert far.requests == ()


def test_a_metadata_server_is_no_realm_of_anybody_elses() -> None:
    """A cloud's credentials are not for registries to have asked for; also not through a proxy."""
    realm = "https://metadata.google.internal/computeMetadata/v1/token"

    assert Trust().objection(realm, "//registry.example.com") == "which is this machine's own"
    assert Trust().objection(realm, "//127.0.0.1:5000") == ""

"""Servers that mean harm: what they say neither leaks, nor leads astray, nor stalls the client."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Callable
from traceback import TracebackException
from typing import Any, Literal

import httpx
import pytest

from buildpush.auth import Chain, Credential, StaticKeychain
from buildpush.errors import AuthError, RegistryError
from buildpush.http.answers import safe_url
from buildpush.http.bodies import parse_errors
from buildpush.oci import Digest, ImageReference, Repository
from buildpush.oci.wire import Descriptor, Index, MediaType, dump
from buildpush.registry import RegistryClient
from buildpush.registry.bodies import parse_grant
from buildpush.registry.challenges import Challenge, parse_challenges
from buildpush.runtime import Run
from buildpush.testing import Fault, LocalRegistry, RecordingSink, Reset, Status

ClientFor = Callable[..., RegistryClient]
CANARY = "c4n4ry"
INDEX = dump(Index(media_type=MediaType.OCI_INDEX, manifests=()))


@pytest.mark.parametrize("token", ["a\r\nX: y", "a\nb", "a\0b", "a b", "tokén", "\x1b[31m"])
def test_a_token_that_no_header_can_carry_is_none(token: str) -> None:
    """It would fail later, in a library that quotes what it could not send."""
    assert parse_grant(json.dumps({"token": token}).encode()) is None


@pytest.mark.parametrize("token", [f"{CANARY}\n", f"{CANARY}-é"])
def test_a_registry_token_that_no_header_can_carry_is_not_quoted(
    client_for: ClientFor,
    local_registry: LocalRegistry,
    recording_sink: RecordingSink,
    token: str,
) -> None:
    """The error says where the token came from, not what it is."""
    local_registry.inject(
        Fault(path="/v2/", action=Status(401, headers={"WWW-Authenticate": 'Basic realm="r"'}))
    )
    credential = Credential(registry_token=token, source="the test's keychain")
    client = client_for(StaticKeychain(prefix=local_registry.host, credential=credential))

    with pytest.raises(AuthError, match="the test's keychain") as caught:
        client.get_manifest(ImageReference.parse(local_registry.reference("app:1")))

    assert CANARY not in f"{caught.value.report()}{recording_sink.events}"


@pytest.mark.parametrize("blanks", [" " * 90_000, "\t " * 45_000])
def test_a_challenge_of_blanks_is_read_in_one_pass(blanks: str) -> None:
    """Going back and forth in them would take minutes."""
    assert parse_challenges([f'Bearer{blanks}"']) == (Challenge("bearer"),)


def test_what_a_server_says_cannot_steer_a_terminal() -> None:
    """Control characters of an error body are blanks."""
    body = (
        b'{"errors": [{"code": "\\u001b[2J", "message": "a\\r\\nb\\u001b]0;evil\\u0007\\u009b"}]}'
    )

    codes, detail = parse_errors(body)

    assert codes == ("[2J",)
    assert detail == "a b ]0;evil"
    assert parse_errors(b"\x1b[2Jgone") == ((), "[2Jgone")
    assert safe_url("https://h/\x1b[2J?digest=\x1b[1m") == "https://h/ [2J?digest= [1m"


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch, local_registry: LocalRegistry) -> str:
    """`local_registry` under a name that is not this machine's."""
    ask = socket.getaddrinfo

    def resolve(host: str | bytes, *rest: Any, **more: Any) -> Any:
        known = host in ("registry.example.com", b"registry.example.com")
        return ask("127.0.0.1" if known else host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return local_registry.host.replace("127.0.0.1", "registry.example.com")


NEAR = [
    "http://127.0.0.1:1/x",
    "http://localhost:1/x",
    "https://127.0.0.1:1/x",
    "https://[::1]:1/x",
    "https://169.254.169.254/latest",
    "https://[fe80::1]/x",
    "https://0.0.0.0:1/x",
    "https://[::ffff:127.0.0.1]:1/x",
]


@pytest.mark.parametrize("address", NEAR)
def test_a_remote_registry_redirects_nobody_to_his_own_machine(
    client_for: ClientFor, local_registry: LocalRegistry, remote: str, address: str
) -> None:
    """What listens on loopback trusts whoever is here, and so does a cloud's metadata service."""
    local_registry.inject(
        Fault(path="/v2/app/manifests/", action=Status(307, headers={"Location": address}))
    )
    client = client_for(insecure=frozenset({remote}))

    with pytest.raises(RegistryError, match="which is this machine's own"):
        client.get_manifest(ImageReference.parse(f"{remote}/app:1"))


@pytest.mark.parametrize("address", NEAR)
def test_a_remote_registry_sends_no_upload_to_the_callers_own_machine(
    client_for: ClientFor, local_registry: LocalRegistry, remote: str, address: str
) -> None:
    """A Location is as little trusted as a redirect."""
    local_registry.inject(
        Fault(method="POST", path="/v2/", action=Status(202, headers={"Location": address}))
    )
    client = client_for(insecure=frozenset({remote}))
    blob = Descriptor(media_type="x", digest=Digest.of(b"x"), size=1)

    with pytest.raises(RegistryError, match="which is this machine's own"):
        client.put_blob(Repository(remote, "app"), blob, lambda: iter((b"x",)))


@pytest.mark.parametrize("address", NEAR)
def test_a_remote_registry_has_no_token_service_on_the_callers_own_machine(
    client_for: ClientFor, local_registry: LocalRegistry, remote: str, address: str
) -> None:
    """Nor is a realm."""
    challenge = {"WWW-Authenticate": f'Bearer realm="{address}",service="s"'}
    local_registry.inject(Fault(path="/v2/", action=Status(401, headers=challenge)))
    client = client_for(insecure=frozenset({remote}))

    with pytest.raises(AuthError, match="which is this machine's own"):
        client.get_manifest(ImageReference.parse(f"{remote}/app:1"))


def test_a_local_service_that_is_listed_may_be_named_by_a_remote_registry(
    client_for: ClientFor, local_registry: LocalRegistry, remote: str
) -> None:
    """Whoever lists a host has thought about it."""
    local_registry.add_manifest("app", INDEX, MediaType.OCI_INDEX, tag="1")
    address = f"http://{local_registry.host}/v2/app/manifests/1"
    local_registry.inject(
        Fault(path="/v2/app/manifests/2", action=Status(307, headers={"Location": address}))
    )
    client = client_for(insecure=frozenset({remote, local_registry.host}))

    found = client.get_manifest(ImageReference.parse(f"{remote}/app:2"))

    assert found.data == INDEX


def test_the_http_librarys_own_logging_tells_no_secret(
    client_for: ClientFor, local_registry: LocalRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """A signed address, which is as good as a password, is in no record at any level."""
    local_registry.add_manifest("app", INDEX, MediaType.OCI_INDEX, tag="1")
    address = f"http://{local_registry.host}/v2/app/manifests/1?X-Amz-Signature={CANARY}&n=1"
    local_registry.inject(
        Fault(path="/v2/app/manifests/2", action=Status(307, headers={"Location": address}))
    )
    caplog.set_level(logging.DEBUG)

    client_for().get_manifest(ImageReference.parse(local_registry.reference("app:2")))

    said = "\n".join(record.getMessage() for record in caplog.records)
    assert CANARY not in said
    assert "X-Amz-Signature=***&n=1" in said
    assert "receive_response_body" in said


def test_the_logging_of_others_is_left_alone(
    run: Run, local_registry: LocalRegistry, caplog: pytest.LogCaptureFixture
) -> None:
    """A filter is there as long as a client is, and speaks of its requests only."""
    caplog.set_level(logging.DEBUG)
    with RegistryClient(Chain(()), run):
        httpx.get(f"http://{local_registry.host}/v2/?mine=shown")
        assert "mine=shown" in caplog.text
    assert not logging.getLogger("httpx").filters
    assert not logging.getLogger("httpcore.http11").filters


@pytest.mark.parametrize("scheme", ["basic", "token"])
def test_the_local_variables_of_a_traceback_hold_no_credential(
    client_for: ClientFor, run: Run, scheme: Literal["basic", "token"]
) -> None:
    """Some programs print them, or send them to a service that collects errors."""
    with LocalRegistry(auth=scheme, users={"ci": CANARY}) as registry:
        registry.add_manifest("app", INDEX, MediaType.OCI_INDEX, tag="1")
        keychain = StaticKeychain(
            prefix=registry.host, credential=Credential(username="ci", password=CANARY)
        )
        client = client_for(keychain)
        client.get_manifest(ImageReference.parse(registry.reference("app:1")))
        registry.inject(Fault(path="/v2/app/manifests/", action=Reset(), times=99))

        with pytest.raises(RegistryError) as caught:
            client.get_manifest(ImageReference.parse(registry.reference("app:1")))

    shown = "".join(TracebackException.from_exception(caught.value, capture_locals=True).format())
    assert "proof = '***'" in shown
    assert run.redact(shown) == shown

"""Servers that mean harm: what they say neither leaks, nor leads astray, nor stalls the client."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from buildpush.auth import Credential, StaticKeychain
from buildpush.errors import AuthError
from buildpush.oci import ImageReference
from buildpush.oci.wire import Index, MediaType, dump
from buildpush.registry import RegistryClient
from buildpush.registry.bodies import parse_errors, parse_grant
from buildpush.registry.challenges import Challenge, parse_challenges
from buildpush.registry.failures import safe_url
from buildpush.testing import Fault, LocalRegistry, RecordingSink, Status

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

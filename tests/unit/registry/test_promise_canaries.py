"""What is promised of secrets: however a request ends, nothing that was written shows one."""

from __future__ import annotations

import base64
import io
import json
import logging
import pickle
from collections.abc import Callable, Iterator
from traceback import TracebackException
from typing import Literal
from urllib.parse import quote

import pytest

from buildpush.auth import Credential, Keychain, StaticKeychain
from buildpush.errors import BuildpushError
from buildpush.oci import Digest, ImageReference, Repository
from buildpush.oci.wire import Descriptor, Index, MediaType, dump
from buildpush.registry import RegistryClient
from buildpush.runtime.retry import RetryPolicy
from buildpush.testing import (
    Close,
    DropUpload,
    Fault,
    LocalRegistry,
    PrivateCa,
    RateLimit,
    RecordingSink,
    Reset,
    Status,
    Truncate,
    find_secrets,
)
from buildpush.testing.faults import Action

ClientFor = Callable[..., RegistryClient]
Kind = Literal["basic", "token", "identity", "bearer"]
INDEX = dump(Index(media_type=MediaType.OCI_INDEX, manifests=()))
DATA = b"layer" * 10_000
BLOB = Descriptor(media_type="x", digest=Digest.of(DATA), size=len(DATA))
PASSWORD = "c4n4ry/of+a&p4ss%word"
IDENTITY = "c4n4ry-of-an+identity/t0ken=="
BEARER = "c4n4ry-of-a-registry.t0ken"
SIGNATURE = "c4n4ry%2Fof%2Ba%2Bsign4ture"
SECRETS: dict[Kind, tuple[str, ...]] = {
    "basic": (PASSWORD, f"ci:{PASSWORD}"),
    "token": (PASSWORD, f"ci:{PASSWORD}"),
    "identity": (IDENTITY,),
    "bearer": (BEARER,),
}
TWICE = RetryPolicy(attempts=2, first_wait=0.001, longest_wait=0.002, limited_wait=0.001)


def endings(secrets: tuple[str, ...]) -> dict[str, Action | None]:
    """How a request may end, at servers that repeat what they were sent in every spelling."""
    encoded = [base64.b64encode(secret.encode()).decode() for secret in secrets]
    said = " ".join([*secrets, *encoded, *(quote(secret, safe="") for secret in secrets)])
    error = {"code": f"BAD {secrets[0]}", "message": said, "detail": {"sent": said}}
    document = json.dumps({"errors": [error]}).encode()
    page = f"<html><h1>Error</h1>{said}</html>".encode()
    challenge = {"WWW-Authenticate": f'Bearer realm="{secrets[0]}'}
    return {
        "well": None,
        "401": Status(401, body=document),
        "403": Status(403, body=document),
        "403 in HTML": Status(403, body=page),
        "400 in text": Status(400, body=said.encode()),
        "404": Status(404, body=document),
        "429": RateLimit(0),
        "500": Status(500, body=page),
        "200 and nonsense": Status(200, body=said.encode()),
        "a broken challenge": Status(401, headers=challenge),
        "reset": Reset(),
        "closed": Close(),
        "cut off": Truncate(3),
        "dropped": DropUpload(1000),
        "an id that tells": Status(400, headers={"X-Request-Id": secrets[0]}),
    }


class Whole(logging.Handler):
    """Keeps every record of every logger, with its arguments and its traceback."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.getMessage()} {record.args!r} {record.exc_info!r}")


@pytest.fixture
def whole() -> Iterator[Whole]:
    """Everything that anybody logs, at DEBUG."""
    handler, root = Whole(), logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield handler
    root.setLevel(level)
    root.removeHandler(handler)


def seen(
    errors: list[BuildpushError], client: RegistryClient, sink: RecordingSink, whole: Whole
) -> tuple[str | bytes, ...]:
    """All that leaves the client: what is printed, logged, sent on or kept."""
    shown: list[str | bytes] = ["\n".join(whole.lines), repr(sink.events), repr(client)]
    shown += [repr(client._exchange), repr(client._exchange.authorizer)]
    for error in errors:
        shown += [str(error), repr(error), error.report(), error.hint, repr(error.evidence)]
        shown += [pickle.dumps(error), pickle.dumps(error.evidence)]
        shown.append("".join(TracebackException.from_exception(error).format()))
    return tuple(shown)


def locals_of(errors: list[BuildpushError]) -> str:
    """What a service that collects errors would be sent: the variables of every frame of ours."""
    text = io.StringIO()
    for error in errors:
        found: TracebackException | None = TracebackException.from_exception(
            error, capture_locals=True
        )
        while found is not None:
            for frame in found.stack:
                if "/buildpush/" in frame.filename:
                    text.write(f"{frame.name} {frame.locals}\n")
            found = found.__cause__ or found.__context__
    return text.getvalue()


def everything(client: RegistryClient, host: str) -> list[BuildpushError]:
    """Pull and push, and keep going; what went wrong."""
    repository = Repository(host, "app")
    reference = ImageReference(repository=repository, tag="1")
    errors: list[BuildpushError] = []

    def read() -> None:
        with client.get_blob(repository, BLOB) as pieces:
            b"".join(pieces)

    for action in (
        lambda: client.get_manifest(reference),
        read,
        lambda: client.put_blob(repository, BLOB, lambda: iter((DATA,))),
        lambda: client.put_manifest(reference, INDEX, MediaType.OCI_INDEX),
        lambda: client.check_push(repository),
    ):
        try:
            action()
        except BuildpushError as error:
            errors.append(error)
    return errors


def keychain(registry: LocalRegistry, kind: Kind) -> Keychain:
    credential = {
        "basic": Credential(username="ci", password=PASSWORD),
        "token": Credential(username="ci", password=PASSWORD),
        "identity": Credential(identity_token=IDENTITY),
        "bearer": Credential(registry_token=BEARER),
    }[kind]
    return StaticKeychain(prefix=registry.host, credential=credential)


def guarded(kind: Kind, **settings: object) -> LocalRegistry:
    auth = "basic" if kind == "basic" else "token"
    return LocalRegistry(auth=auth, users={"ci": PASSWORD}, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["basic", "token", "identity", "bearer"])
@pytest.mark.parametrize("place", ["/v2/", "/token"])
@pytest.mark.parametrize("ending", endings(("x",)))
def test_however_a_request_ends_no_credential_is_seen(
    client_for: ClientFor,
    recording_sink: RecordingSink,
    whole: Whole,
    kind: Kind,
    place: str,
    ending: str,
) -> None:
    """Also where the server repeats in its error what it was sent."""
    with guarded(kind) as registry:
        action = endings(SECRETS[kind])[ending]
        if action is not None:
            skip = 1 if place == "/v2/" else 0  # the first answer asks for the credential
            registry.inject(Fault(path=place, action=action, times=None, skip=skip))
        client = client_for(keychain(registry, kind), policy=TWICE)

        errors = everything(client, registry.host)

        tokens = [
            slot.issued.token
            for slot in client._exchange.authorizer._slots.values()
            if slot.issued
        ]
        needles = [*SECRETS[kind], *tokens]
        assert find_secrets(needles, *seen(errors, client, recording_sink, whole)) == ()
        if ending != "200 and nonsense":  # there, the manifest itself repeats them
            assert find_secrets(needles, locals_of(errors)) == ()


STORAGE: dict[str, Action] = {
    "refuses": Status(403, body=f"<Error><Key>{SIGNATURE}</Key></Error>".encode()),
    "refuses decoded": Status(403, body=b"you sent c4n4ry/of+a+sign4ture"),
    "fails": Status(500),
    "is busy": RateLimit(0),
    "resets": Reset(),
    "closes": Close(),
    "cuts off": Truncate(3),
    "sends on": Status(307, headers={"Location": f"http://far.example.com/x?sig={SIGNATURE}"}),
    "sends to nowhere": Status(307, headers={"Location": f"http://[::1/x?sig={SIGNATURE}"}),
}


@pytest.mark.parametrize("what", STORAGE)
def test_a_signed_address_is_seen_nowhere(
    client_for: ClientFor, recording_sink: RecordingSink, whole: Whole, what: str
) -> None:
    """Neither that of a download nor that of an upload, whatever becomes of it."""
    with LocalRegistry() as registry, LocalRegistry() as storage:
        storage.inject(Fault(action=STORAGE[what], times=None))
        there = f"{storage.url}/v2/app/blobs/x?_state={SIGNATURE}&X-Amz-Signature={SIGNATURE}"
        to = {"Location": there}
        registry.inject(
            Fault(method="GET", path="/v2/app/", action=Status(307, headers=to), times=None)
        )
        registry.inject(
            Fault(method="POST", path="/v2/app/", action=Status(202, headers=to), times=None)
        )
        client = client_for(policy=TWICE)

        errors = everything(client, registry.host)

        needles = (SIGNATURE, "c4n4ry/of+a+sign4ture")
        assert errors
        assert find_secrets(needles, *seen(errors, client, recording_sink, whole)) == ()


@pytest.mark.parametrize("kind", ["basic", "token", "identity", "bearer"])
def test_a_registry_that_is_not_believed_learns_and_shows_nothing(
    client_for: ClientFor, recording_sink: RecordingSink, whole: Whole, kind: Kind
) -> None:
    """The handshake fails before a word is said."""
    with guarded(kind, tls=PrivateCa().server("127.0.0.1")) as registry:
        client = client_for(keychain(registry, kind), policy=TWICE)

        errors = everything(client, registry.host)

        assert len(errors) == 5
        assert registry.requests == ()
        shown = seen(errors, client, recording_sink, whole)
        assert find_secrets(SECRETS[kind], *shown, locals_of(errors)) == ()


def test_a_connection_that_is_gone_when_the_header_is_written_shows_no_header(
    client_for: ClientFor, recording_sink: RecordingSink, whole: Whole
) -> None:
    """The library that writes it has it at hand, and so would a traceback of its frames."""
    with guarded("basic") as registry:
        host = registry.host
        client = client_for(keychain(registry, "basic"), policy=TWICE)
        everything(client, host)

    errors = everything(client, host)

    assert len(errors) == 5
    shown = seen(errors, client, recording_sink, whole)
    assert find_secrets(SECRETS["basic"], *shown, locals_of(errors)) == ()

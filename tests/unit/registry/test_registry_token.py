"""Challenges answered: accounts kept apart, scopes, refreshed tokens, nothing leaked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from buildpush.auth import Chain, Credential, StaticKeychain
from buildpush.errors import AuthError, BuildpushError, PermissionDeniedError, RegistryError
from buildpush.events import TaskStarted
from buildpush.oci import Digest, ImageReference, Repository
from buildpush.oci.wire import Descriptor, Manifest, MediaType, dump
from buildpush.registry import RegistryClient
from buildpush.runtime import Run
from buildpush.testing import Fault, LocalRegistry, RecordingSink, ReplaceHeaders, Status

ClientFor = Callable[..., RegistryClient]
BlobOf = Callable[..., Descriptor]
CANARY = "c4n4ry-p4ssw0rd"
USERS = {"puller": "pull-s3cret", "pusher": "push-s3cret"}
DATA = b"layer" * 100_000
MANIFEST = dump(
    Manifest(
        media_type=MediaType.OCI_MANIFEST,
        config=Descriptor(
            media_type=MediaType.OCI_CONFIG, digest=Digest.of(b"{}"), size=len(b"{}")
        ),
        layers=(),
    )
)


def again(data: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: iter((data,))


def who(user: str, password: str = "") -> Credential:
    return Credential(
        username=user, password=password or USERS[user], source="the test's keychain"
    )


@pytest.fixture(params=["basic", "token"])
def guarded(request: pytest.FixtureRequest) -> Iterator[LocalRegistry]:
    """A registry where one account may pull and the other push, by either scheme."""
    with LocalRegistry(
        auth=request.param,
        users=USERS,
        permissions={
            "puller": [("", "pull")],
            "pusher": [("app", "pull"), ("app", "push")],
        },
    ) as registry:
        yield seeded(registry)


@pytest.fixture
def tokens() -> Iterator[LocalRegistry]:
    """A registry with a token service."""
    with LocalRegistry(auth="token", users=USERS) as registry:
        yield seeded(registry)


def seeded(registry: LocalRegistry) -> LocalRegistry:
    for repository in ("app", "base"):
        registry.add_blob(repository, b"{}")
        registry.add_manifest(repository, MANIFEST, MediaType.OCI_MANIFEST, tag="1")
    return registry


def token_requests(registry: LocalRegistry) -> list[str]:
    return [r.query for r in registry.requests if r.path == "/token"]


def test_two_accounts_on_one_host_never_mix(
    client_for: ClientFor, accounts: Any, guarded: LocalRegistry
) -> None:
    """Pulls go out as the one that may pull, pushes as the one that may push."""
    client = client_for(
        accounts(
            {
                ("*", "pull"): ("puller", USERS["puller"]),
                ("app", "push"): ("pusher", USERS["pusher"]),
            }
        )
    )
    app = ImageReference.parse(guarded.reference("app:2"))

    client.get_manifest(ImageReference.parse(guarded.reference("base:1")))
    client.put_manifest(app, MANIFEST, MediaType.OCI_MANIFEST)
    client.get_manifest(ImageReference.parse(guarded.reference("app:1")))

    served = [
        (r.method, r.path.split("/")[2], r.principal)
        for r in guarded.requests
        if r.path.startswith("/v2/") and r.status < 400
    ]
    assert served == [
        ("GET", "base", "puller"),
        ("PUT", "app", "pusher"),
        ("GET", "app", "puller"),
    ]


def test_an_account_that_may_not_push_is_told_so(
    client_for: ClientFor, guarded: LocalRegistry
) -> None:
    """The account is named, and what to ask for; the password is not."""
    client = client_for(StaticKeychain(prefix=guarded.host, credential=who("puller")))
    reference = ImageReference.parse(guarded.reference("app:2"))

    with pytest.raises(PermissionDeniedError, match=r"'puller'.*may not push") as caught:
        client.put_manifest(reference, MANIFEST, MediaType.OCI_MANIFEST)

    assert "repository:app:pull,push" in caught.value.hint
    assert USERS["puller"] not in caught.value.report()


def test_an_anonymous_push_says_that_a_login_is_missing(
    client: RegistryClient, guarded: LocalRegistry
) -> None:
    """The message names the repository and the access, the hint how to give a credential."""
    reference = ImageReference.parse(guarded.reference("app:2"))

    with pytest.raises(AuthError, match=r"no credential was found for .*/app \(push\)") as caught:
        client.put_manifest(reference, MANIFEST, MediaType.OCI_MANIFEST)

    assert f"docker login {guarded.host}" in caught.value.hint


def test_a_wrong_password_names_where_it_came_from(
    client_for: ClientFor, guarded: LocalRegistry, recording_sink: RecordingSink
) -> None:
    """The source is shown; the password is in no message, event or repr."""
    keychain = StaticKeychain(prefix=guarded.host, credential=who("pusher", CANARY))
    client = client_for(keychain)

    with pytest.raises(
        AuthError, match="refused the credential from the test's keychain"
    ) as caught:
        client.get_manifest(ImageReference.parse(guarded.reference("app:1")))

    shown = [caught.value.report(), repr(caught.value), repr(client), repr(client._exchange)]
    shown += [repr(event) for event in recording_sink.events] + [repr(keychain)]
    assert not [text for text in shown if CANARY in text]


def test_secrets_and_tokens_are_taught_to_the_redactor(
    client_for: ClientFor, run: Run, tokens: LocalRegistry, recording_sink: RecordingSink
) -> None:
    """Whatever a tool prints later, neither the password nor the token shows."""
    client = client_for(StaticKeychain(prefix=tokens.host, credential=who("pusher")))
    client.get_manifest(ImageReference.parse(tokens.reference("app:1")))
    slots = client._exchange.authorizer._slots.values()
    secrets = [USERS["pusher"], *(slot.issued.token for slot in slots if slot.issued)]

    for number, secret in enumerate(secrets):
        run.emit(TaskStarted(at=0.0, task=str(number), title=f"x {secret} y"))

    assert len(secrets) == 2
    assert {e.title for e in recording_sink.of(TaskStarted)} == {"x *** y"}


def test_a_token_is_asked_for_once_per_scope(client_for: ClientFor, tokens: LocalRegistry) -> None:
    """Pull and push tokens are different tokens; each serves until it runs out."""
    client = client_for(StaticKeychain(prefix=tokens.host, credential=who("pusher")))
    one = ImageReference.parse(tokens.reference("app:1"))

    for _ in range(3):
        client.get_manifest(one)
        client.put_manifest(one, MANIFEST, MediaType.OCI_MANIFEST)

    scopes = [query.partition("scope=")[2].partition("&")[0] for query in token_requests(tokens)]
    assert scopes == ["repository:app:pull", "repository:app:pull,push"]


def test_many_threads_fetch_one_token(client_for: ClientFor, tokens: LocalRegistry) -> None:
    """Whoever comes second waits for the first."""
    client = client_for(StaticKeychain(prefix=tokens.host, credential=who("pusher")))
    one = ImageReference.parse(tokens.reference("app:1"))
    together = threading.Barrier(6)

    def read() -> None:
        together.wait()
        client.get_manifest(one)

    threads = [threading.Thread(target=read) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(token_requests(tokens)) == 1


def test_a_token_is_renewed_before_it_runs_out(
    client_for: ClientFor, run: Run, tokens: LocalRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After four fifths of its life it is not used again."""
    client = client_for(StaticKeychain(prefix=tokens.host, credential=who("pusher")))
    one = ImageReference.parse(tokens.reference("app:1"))
    client.get_manifest(one)
    slot = next(iter(client._exchange.authorizer._slots.values()))
    left = slot.until - run.clock()

    slot.until = run.clock()
    client.get_manifest(one)

    assert 200 < left <= 240
    assert len(token_requests(tokens)) == 2


def test_a_token_that_expires_during_a_push_is_replaced(
    client_for: ClientFor, tokens: LocalRegistry, blob_of: BlobOf
) -> None:
    """A 401 in the middle of the bytes: the body is sent again to the same upload."""
    client = client_for(StaticKeychain(prefix=tokens.host, credential=who("pusher")))
    data = DATA * 16
    challenge = {"WWW-Authenticate": f'Bearer realm="{tokens.url}/token"'}
    stale = tokens.inject(Fault(method="PUT", action=Status(401, headers=challenge, early=True)))
    asked: list[int] = []

    def body() -> Iterator[bytes]:
        tokens.expire_tokens() if not asked else None
        asked.append(1)
        yield data

    how = client.put_blob(Repository(tokens.host, "app"), blob_of(data), body)

    assert (how, stale.fired, len(asked)) == ("uploaded", 1, 2)
    assert len(token_requests(tokens)) == 2
    calls = [(r.method, r.status) for r in tokens.requests if r.path != "/token"]
    assert calls[:4] == [("HEAD", 401), ("HEAD", 404), ("POST", 202), ("PUT", 401)]
    assert calls[4:] == [("GET", 204), ("PUT", 201)]


def test_a_token_that_expires_before_the_manifest_is_replaced(
    client_for: ClientFor, tokens: LocalRegistry
) -> None:
    """A stale token costs one request, not the push."""
    client = client_for(StaticKeychain(prefix=tokens.host, credential=who("pusher")))
    client.head_manifest(ImageReference.parse(tokens.reference("app:1")), access="push")
    tokens.expire_tokens()

    client.put_manifest(
        ImageReference.parse(tokens.reference("app:2")), MANIFEST, MediaType.OCI_MANIFEST
    )

    assert tokens.digest("app", "2") == Digest.of(MANIFEST)


def test_a_token_nobody_accepts_ends_in_an_error(
    client_for: ClientFor, tokens: LocalRegistry
) -> None:
    """Fresh tokens that are refused, and an anonymous one, do not make a loop."""
    fault = tokens.inject(
        Fault(
            path="/v2/",
            times=None,
            action=Status(401, headers={"WWW-Authenticate": f'Bearer realm="{tokens.url}/token"'}),
        )
    )
    client = client_for(StaticKeychain(prefix=tokens.host, credential=who("pusher")))

    with pytest.raises(AuthError, match="refused the credential"):
        client.get_manifest(ImageReference.parse(tokens.reference("app:1")))

    assert fault.fired == 4


def test_an_identity_token_is_traded_for_a_token(
    client_for: ClientFor, tokens: LocalRegistry
) -> None:
    """OAuth2's refresh_token grant, by POST; never Basic with an empty password."""
    identity = Credential(identity_token=tokens.identity_token("pusher"))
    client = client_for(StaticKeychain(prefix=tokens.host, credential=identity))

    client.get_manifest(ImageReference.parse(tokens.reference("app:1")))

    asked = next(r for r in tokens.requests if r.path == "/token")
    assert (asked.method, asked.principal, asked.status) == ("POST", "pusher", 200)


@pytest.mark.parametrize("code", [400, 401, 404])
def test_a_refused_identity_token_is_an_auth_error(
    client_for: ClientFor, tokens: LocalRegistry, code: int
) -> None:
    """Token services disagree about the status; the remedy is the same."""
    tokens.inject(Fault(method="POST", path="/token", action=Status(code), times=None))
    identity = Credential(identity_token=CANARY, source="auth.json")
    client = client_for(StaticKeychain(prefix=tokens.host, credential=identity))

    with pytest.raises(AuthError, match=r"refused the credential from auth\.json") as caught:
        client.get_manifest(ImageReference.parse(tokens.reference("app:1")))

    assert CANARY not in caught.value.report()


def test_a_registry_token_is_sent_as_it_is(client_for: ClientFor, tokens: LocalRegistry) -> None:
    """It is a bearer token already: the token service is not asked."""
    borrowed = client_for(StaticKeychain(prefix=tokens.host, credential=who("pusher")))
    one = ImageReference.parse(tokens.reference("app:1"))
    borrowed.get_manifest(one)
    issued = next(iter(borrowed._exchange.authorizer._slots.values())).issued
    assert issued is not None
    tokens.clear_log()

    client_for(
        StaticKeychain(prefix=tokens.host, credential=Credential(registry_token=issued.token))
    ).get_manifest(one)

    assert [(r.path[:4], r.status) for r in tokens.requests] == [("/v2/", 401), ("/v2/", 200)]


def test_anonymous_callers_get_tokens_for_public_images(client: RegistryClient) -> None:
    """Docker Hub wants a token even from nobody."""
    with LocalRegistry(auth="token", users=USERS, anonymous_pull=True) as registry:
        seeded(registry)

        fetched = client.get_manifest(ImageReference.parse(registry.reference("app:1")))

    assert fetched.data == MANIFEST


def test_a_mount_asks_for_the_neighbours_scope_apart(
    client_for: ClientFor, tokens: LocalRegistry, blob_of: BlobOf
) -> None:
    """Two scopes are two parameters."""
    tokens.add_blob("base", DATA)
    client = client_for(StaticKeychain(prefix=tokens.host, credential=who("pusher")))

    how = client.put_blob(
        Repository(tokens.host, "app"),
        blob_of(DATA),
        again(DATA),
        mount_from=Repository(tokens.host, "base"),
    )

    assert how == "mounted"
    assert (
        "scope=repository:app:pull,push&scope=repository:base:pull" in token_requests(tokens)[-1]
    )


def test_a_mount_whose_scope_is_refused_becomes_an_upload(
    client_for: ClientFor, tokens: LocalRegistry, blob_of: BlobOf
) -> None:
    """Servers that know one scope only still get the blob."""
    tokens.add_blob("base", DATA)
    tokens.inject(Fault(path="/token", query="base", action=Status(403), times=None))
    client = client_for(StaticKeychain(prefix=tokens.host, credential=who("pusher")))

    how = client.put_blob(
        Repository(tokens.host, "app"),
        blob_of(DATA),
        again(DATA),
        mount_from=Repository(tokens.host, "base"),
    )

    assert how == "uploaded"


def test_a_basic_challenge_to_a_stale_token_does_not_change_the_scheme(
    client_for: ClientFor, tokens: LocalRegistry
) -> None:
    """Harbor asks for Basic when a bearer token is stale; the token is renewed instead."""
    client = client_for(StaticKeychain(prefix=tokens.host, credential=who("pusher")))
    one = ImageReference.parse(tokens.reference("app:1"))
    client.get_manifest(one)
    tokens.expire_tokens()
    basic = {"WWW-Authenticate": 'Basic realm="harbor"'}
    tokens.inject(Fault(path="/v2/", action=ReplaceHeaders(basic)))

    client.get_manifest(one)

    assert len(token_requests(tokens)) == 2


@pytest.mark.parametrize(
    "realm",
    ["http://auth.example.com/token", "ftp://127.0.0.1/token", "nonsense", "http://[::1/t"],
)
def test_credentials_go_to_no_unencrypted_realm_elsewhere(
    client_for: ClientFor, tokens: LocalRegistry, realm: str
) -> None:
    """A registry cannot make us send a password in the clear to another host."""
    challenge = {"WWW-Authenticate": f'Bearer realm="{realm}",service="s"'}
    tokens.inject(Fault(path="/v2/", action=Status(401, headers=challenge)))
    client = client_for(StaticKeychain(prefix=tokens.host, credential=who("pusher")))

    with pytest.raises(AuthError, match="not encrypted"):
        client.get_manifest(ImageReference.parse(tokens.reference("app:1")))


def test_a_scope_the_registry_names_otherwise_is_asked_for_too(
    client_for: ClientFor, tokens: LocalRegistry
) -> None:
    """Proxies that rename repositories say in the challenge what theirs is called."""
    challenge = {
        "WWW-Authenticate": f'Bearer realm="{tokens.url}/token",scope="repository:inner/app:pull"'
    }
    tokens.inject(Fault(path="/v2/", action=Status(401, headers=challenge)))
    client = client_for(StaticKeychain(prefix=tokens.host, credential=who("pusher")))

    client.get_manifest(ImageReference.parse(tokens.reference("app:1")))

    assert "scope=repository:app:pull&scope=repository:inner/app:pull" in token_requests(tokens)[0]


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"token": ""}', b'{"token": 7}'])
def test_an_answer_without_a_token_is_an_error(
    client_for: ClientFor, tokens: LocalRegistry, body: bytes
) -> None:
    """A token service that answers nonsense is named, and its answer not quoted."""
    tokens.inject(Fault(path="/token", action=Status(200, body=body)))
    client = client_for(StaticKeychain(prefix=tokens.host, credential=who("pusher")))

    with pytest.raises(RegistryError, match=f"asking {tokens.host} for a token"):
        client.get_manifest(ImageReference.parse(tokens.reference("app:1")))


@pytest.mark.parametrize("code", [429, 503])
def test_a_token_service_that_stumbles_is_asked_again(
    client_for: ClientFor, tokens: LocalRegistry, code: int
) -> None:
    """Its faults are as transient as the registry's."""
    tokens.inject(Fault(path="/token", action=Status(code, headers={"Retry-After": "0"})))
    client = client_for(StaticKeychain(prefix=tokens.host, credential=who("pusher")))

    assert client.get_manifest(ImageReference.parse(tokens.reference("app:1"))).data == MANIFEST


@pytest.mark.parametrize(
    "headers", [{}, {"WWW-Authenticate": "Negotiate"}, {"WWW-Authenticate": "Bearer"}]
)
def test_a_401_that_cannot_be_answered_is_an_auth_error(
    client_for: ClientFor, tokens: LocalRegistry, headers: Mapping[str, str]
) -> None:
    """Without a scheme we speak there is nothing to offer."""
    tokens.inject(Fault(path="/v2/", times=None, action=Status(401, headers=headers)))

    with pytest.raises(AuthError, match="needs a login"):
        client_for(Chain(())).get_manifest(ImageReference.parse(tokens.reference("app:1")))


def test_a_keychain_that_raises_stops_the_request(
    client_for: ClientFor, tokens: LocalRegistry
) -> None:
    """A keychain that cannot tell never means anonymous."""

    class Broken:
        def resolve(self, repository: Repository, access: str) -> Credential | None:
            raise AuthError(f"cannot tell who may {access} {repository.path}")

    with pytest.raises(BuildpushError, match="cannot tell who may pull app"):
        client_for(Broken()).get_manifest(ImageReference.parse(tokens.reference("app:1")))

    assert token_requests(tokens) == []

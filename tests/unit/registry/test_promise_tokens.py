"""What is promised of tokens: asked for in time, for the right thing, in the right way, once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal
from urllib.parse import parse_qs

import pytest
from attrs import evolve

from buildpush.auth import Access, Credential, StaticKeychain
from buildpush.errors import AuthError
from buildpush.oci import ImageReference, Repository
from buildpush.oci.wire import Descriptor, Index, MediaType, dump
from buildpush.registry import RegistryClient
from buildpush.runtime import Run
from buildpush.testing import (
    Dialect,
    Fault,
    LocalRegistry,
    Request,
    Status,
    TokenServer,
)

ClientFor = Callable[..., RegistryClient]
BlobOf = Callable[..., Descriptor]
INDEX = dump(Index(media_type=MediaType.OCI_INDEX, manifests=()))
CANARY = "c4n4ry-t0k3n"
DATA = b"layer" * 1000


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """One clock for the registry and the client."""
    return Clock()


@pytest.fixture
def timed(run: Run, clock: Clock) -> Run:
    """A run that lives by `clock`."""
    return evolve(run, clock=clock)


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


def scopes(request: Request) -> list[str]:
    return parse_qs(request.query).get("scope", [])


@pytest.mark.parametrize(("stated", "life"), [(True, 100.0), (False, 60.0)])
def test_a_token_is_renewed_after_four_fifths_of_its_life(
    client_for: ClientFor, timed: Run, clock: Clock, stated: bool, life: float
) -> None:
    """Sixty seconds when nobody says how long it lives; no request is refused on the way."""
    server = TokenServer(states_lifetime=stated)
    with registry_of(token_lifetime=100.0, tokens=server, clock=clock) as registry:
        registry.add_manifest("app", INDEX, MediaType.OCI_INDEX, tag="1")
        client = client_for(login(registry), run=timed)
        client.get_manifest(app(registry))
        registry.clear_log()

        clock.now += life * 0.79
        client.get_manifest(app(registry))
        before = len(tokens(registry))
        clock.now += life * 0.02
        client.get_manifest(app(registry))

        assert (before, len(tokens(registry))) == (0, 1)
        assert {request.status for request in registry.requests} == {200}


def test_a_push_never_uses_the_token_of_a_pull(client_for: ClientFor) -> None:
    """Nor the other way round: another access is another token, with its own scope."""
    with registry_of(tokens=TokenServer(jwt=True)) as registry:
        registry.add_manifest("app", INDEX, MediaType.OCI_INDEX, tag="1")
        client = client_for(login(registry))

        client.get_manifest(app(registry))
        client.put_manifest(app(registry, "2"), INDEX, MediaType.OCI_INDEX)
        client.get_manifest(app(registry, "2"))

        asked = [scopes(request) for request in tokens(registry)]
        assert asked == [["repository:app:pull"], ["repository:app:pull,push"]]
        refused = [r for r in registry.requests if r.status == 401]
        assert len(refused) == 1  # the first request of all, made without a token


class Rotating:
    """A keychain that has another credential each time, as those of clouds do."""

    def __init__(self, *credentials: Credential) -> None:
        self.credentials, self.asked = credentials, 0

    def resolve(self, repository: Repository, access: Access) -> Credential | None:
        self.asked += 1
        return self.credentials[min(self.asked, len(self.credentials)) - 1]


def cloud(name: str, password: str, expires: float | None = None) -> Credential:
    return Credential(username=name, password=password, source="the cloud", expires=expires)


@pytest.mark.parametrize("auth", ["basic", "token"])
def test_a_credential_that_ends_in_the_middle_of_a_build_is_asked_for_again(
    client_for: ClientFor, auth: Literal["basic", "token"]
) -> None:
    """ECR's live for twelve hours; the build took longer, and no request was refused for it."""
    users = {"morning": "first-p4ss", "evening": "second-p4ss"}
    with LocalRegistry(auth=auth, users=users) as registry:
        registry.add_manifest("app", INDEX, MediaType.OCI_INDEX, tag="1")
        keychain = Rotating(
            cloud("morning", "first-p4ss", expires=43_200.0),
            cloud("evening", "second-p4ss", expires=86_400.0),
        )
        client = client_for(keychain)
        client._exchange.authorizer.wall = lambda: 0.0
        for _ in range(3):
            client.get_manifest(app(registry))
        asked = keychain.asked
        registry.clear_log()

        client._exchange.authorizer.wall = lambda: 43_200.0 - 30
        client.get_manifest(app(registry))

        assert (asked, keychain.asked) == (1, 2)
        assert {(r.principal, r.status) for r in registry.requests} == {("evening", 200)}


@pytest.mark.parametrize("auth", ["basic", "token"])
def test_a_credential_that_is_refused_is_asked_for_again(
    client_for: ClientFor, auth: Literal["basic", "token"]
) -> None:
    """A helper that does not say when its answers end may have a newer one."""
    with LocalRegistry(auth=auth, users={"AWS": "second-p4ss"}) as registry:
        client = client_for(Rotating(cloud("AWS", "first-p4ss"), cloud("AWS", "second-p4ss")))

        client.put_manifest(app(registry), INDEX, MediaType.OCI_INDEX)

        assert registry.tags("app") == ("1",)


def test_a_403_that_means_an_old_credential_is_answered_with_a_new_one(
    client_for: ClientFor,
) -> None:
    """ECR says so when its tokens have ended; that is no missing permission."""
    said = b"denied: Your authorization token has expired. Reauthenticate and try again."
    with LocalRegistry(auth="basic", users={"AWS": "p4ss-w0rd", "AWS2": "p4ss-w0rd"}) as registry:
        keychain = Rotating(cloud("AWS", "p4ss-w0rd"), cloud("AWS2", "p4ss-w0rd"))
        client = client_for(keychain)
        registry.inject(Fault(method="PUT", skip=1, action=Status(403, body=said)))

        client.put_manifest(app(registry), INDEX, MediaType.OCI_INDEX)

        done = [(r.scheme, r.status) for r in registry.requests]
        assert done == [("", 401), ("basic", 403), ("basic", 201)]
        assert registry.requests[-1].principal == "AWS2"


def test_two_registries_on_one_realm_share_no_token(client_for: ClientFor) -> None:
    """A token is for an account, a scope and an access; two accounts get two."""
    with registry_of() as registry:
        registry.add_manifest("app", INDEX, MediaType.OCI_INDEX, tag="1")
        one, other = client_for(login(registry)), client_for(login(registry))

        one.get_manifest(app(registry))
        other.get_manifest(app(registry))

        assert len(tokens(registry)) == 2


# --- servers that know one scope ---


@pytest.mark.parametrize("kind", ["many", "first", "one"])
def test_a_mount_works_out_whatever_its_token_service_makes_of_two_scopes(
    client_for: ClientFor, blob_of: BlobOf, kind: Literal["many", "first", "one"]
) -> None:
    """Mounted where both are granted, uploaded where one is: the own scope always comes first."""
    with registry_of(tokens=TokenServer(scopes=kind)) as registry:
        registry.add_blob("base", DATA)
        client = client_for(login(registry))

        how = client.put_blob(
            Repository(registry.host, "app"),
            blob_of(DATA),
            lambda: iter((DATA,)),
            mount_from=Repository(registry.host, "base"),
        )

        assert how == ("mounted" if kind == "many" else "uploaded")
        assert registry.blob("app", blob_of(DATA).digest) == DATA
        asked = next(scopes(r) for r in tokens(registry) if "base" in r.query)
        assert asked == ["repository:app:pull,push", "repository:base:pull"]


def test_a_scope_the_challenge_names_beside_ours_is_dropped_when_it_is_refused(
    client_for: ClientFor,
) -> None:
    """What is needed is asked for on its own then."""
    with registry_of(tokens=TokenServer(scopes="one")) as registry:
        registry.add_manifest("app", INDEX, MediaType.OCI_INDEX, tag="1")
        challenge = f'Bearer realm="{registry.token_url}",scope="repository:other:pull"'
        registry.inject(
            Fault(path="/v2/", action=Status(401, headers={"WWW-Authenticate": challenge}))
        )

        found = client_for(login(registry)).get_manifest(app(registry))

        assert found.data == INDEX


# --- Harbor ---


HARBOR = Dialect(after_bad_bearer="basic")


def test_a_stale_token_that_is_answered_with_basic_is_replaced_by_a_token(
    client_for: ClientFor,
) -> None:
    """Harbor's way to say that a token is stale: one more request, and the password stays here."""
    with registry_of(dialect=HARBOR) as registry:
        registry.add_manifest("app", INDEX, MediaType.OCI_INDEX, tag="1")
        client = client_for(login(registry))
        client.get_manifest(app(registry))
        registry.expire_tokens()
        registry.clear_log()

        client.get_manifest(app(registry))

        sent = [(r.scheme, r.status) for r in registry.requests if r.path != "/token"]
        assert sent == [("bearer", 401), ("bearer", 200)]


def test_a_registry_that_takes_no_token_at_all_is_given_the_password_in_the_end(
    client_for: ClientFor,
) -> None:
    """After a new token was refused, too, the Basic challenge is believed; and no loop is made."""
    with registry_of(dialect=HARBOR) as registry:
        registry.add_manifest("app", INDEX, MediaType.OCI_INDEX, tag="1")
        basic = {"WWW-Authenticate": 'Basic realm="harbor"'}
        registry.inject(Fault(path="/v2/", skip=1, times=2, action=Status(401, headers=basic)))
        client = client_for(login(registry))

        client.get_manifest(app(registry))
        client.get_manifest(app(registry))

        sent = [(r.scheme, r.status) for r in registry.requests if r.path != "/token"]
        assert sent == [
            ("", 401),
            ("bearer", 401),
            ("bearer", 401),
            ("basic", 200),
            ("basic", 200),
        ]


def test_a_registry_that_refuses_everything_is_asked_a_bounded_number_of_times(
    client_for: ClientFor,
) -> None:
    """Bearer, then Basic, then Bearer again would go on for ever."""
    with registry_of(dialect=HARBOR) as registry:
        basic = {"WWW-Authenticate": 'Basic realm="harbor"'}
        fault = Fault(path="/v2/", skip=1, times=None, action=Status(401, headers=basic))
        registry.inject(fault)

        with pytest.raises(AuthError, match="refused the credential from the test's keychain"):
            client_for(login(registry)).put_manifest(app(registry), INDEX, MediaType.OCI_INDEX)

        assert fault.fired == 3


# --- identity tokens ---


def test_an_identity_token_is_traded_by_post_and_is_no_password(client_for: ClientFor) -> None:
    """ACR's way; a service that knows nothing else is never sent an empty password."""
    server = TokenServer(logins=frozenset({"refresh_token"}))
    with registry_of(tokens=server) as registry:
        identity = Credential(identity_token=registry.identity_token("ci"), source="acr")
        client = client_for(StaticKeychain(prefix=registry.host, credential=identity))

        client.put_manifest(app(registry), INDEX, MediaType.OCI_INDEX)

        assert [(r.method, r.scheme, r.status) for r in tokens(registry)] == [("POST", "", 200)]


@pytest.mark.parametrize("code", [404, 405])
def test_a_service_without_post_is_asked_with_get_where_there_is_a_password(
    client_for: ClientFor, code: int
) -> None:
    """The identity token has its chance first; the password is Basic's, not the token."""
    with registry_of() as registry:
        registry.inject(Fault(method="POST", path="/token", action=Status(code), times=None))
        both = Credential(username="ci", password="s3cret", identity_token=CANARY)
        client = client_for(StaticKeychain(prefix=registry.host, credential=both))

        client.put_manifest(app(registry), INDEX, MediaType.OCI_INDEX)

        asked = [(r.method, r.scheme, r.status) for r in tokens(registry)]
        assert asked == [("POST", "", code), ("GET", "basic", 200)]


@pytest.mark.parametrize("code", [404, 405])
def test_an_identity_token_alone_is_never_sent_with_get(client_for: ClientFor, code: int) -> None:
    """There is nothing that Basic could carry."""
    with registry_of() as registry:
        registry.inject(Fault(method="POST", path="/token", action=Status(code), times=None))
        identity = Credential(username="00000000", identity_token=CANARY, source="auth.json")
        client = client_for(StaticKeychain(prefix=registry.host, credential=identity))

        with pytest.raises(AuthError, match=r"refused the credential from auth\.json"):
            client.put_manifest(app(registry), INDEX, MediaType.OCI_INDEX)

        assert {r.method for r in tokens(registry)} == {"POST"}
        assert {r.scheme for r in registry.requests} == {""}


def test_an_identity_token_is_not_shown_to_a_registry_that_wants_basic(
    client_for: ClientFor,
) -> None:
    """An identity token is for token services: there is no password to send, not even an empty one."""
    with LocalRegistry(auth="basic", users={"ci": "s3cret"}) as registry:
        identity = Credential(username="ci", identity_token=CANARY, source="auth.json")
        client = client_for(StaticKeychain(prefix=registry.host, credential=identity))

        with pytest.raises(AuthError):
            client.put_manifest(app(registry), INDEX, MediaType.OCI_INDEX)

        assert {r.scheme for r in registry.requests} == {""}


@pytest.mark.parametrize("code", [404, 405])
def test_a_service_that_knows_post_only_is_given_the_password_by_post(
    client_for: ClientFor, code: int
) -> None:
    """OAuth2's password grant."""
    with registry_of() as registry:
        registry.inject(Fault(method="GET", path="/token", action=Status(code), times=None))

        client_for(login(registry)).put_manifest(app(registry), INDEX, MediaType.OCI_INDEX)

        asked = [(r.method, r.principal, r.status) for r in tokens(registry)]
        assert asked == [("GET", "", code), ("POST", "ci", 200)]

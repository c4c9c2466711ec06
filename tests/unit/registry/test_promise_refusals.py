"""What is promised of refusals: who asked for what, in the registry's words; a slip is forgiven."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import pytest

from buildpush.auth import Credential, Keychain, StaticKeychain
from buildpush.errors import (
    AuthError,
    BuildpushError,
    CredentialEvidence,
    HttpEvidence,
    PermissionDeniedError,
    RateLimitedError,
    RegistryError,
)
from buildpush.oci import ImageReference, Repository
from buildpush.oci.wire import Descriptor, Index, MediaType, dump
from buildpush.registry import RegistryClient
from buildpush.testing import (
    Dialect,
    Fault,
    LocalRegistry,
    RateLimit,
    RecordingSink,
    Status,
    TokenServer,
)

ClientFor = Callable[..., RegistryClient]
BlobOf = Callable[..., Descriptor]
INDEX = dump(Index(media_type=MediaType.OCI_INDEX, manifests=()))
JWT = TokenServer(jwt=True)
USERS = {"ci": "s3cret", "reader": "r3ad-only"}
MAY_READ = {"reader": [("", "pull")]}
READER = Credential(username="reader", password="r3ad-only", source="~/.docker/config.json")
CI = Credential(username="ci", password="s3cret", source="the vault")
STALE = Credential(username="ci", password="0ld-p4ss", source="~/.docker/config.json")


def by(registry: LocalRegistry, credential: Credential) -> Keychain:
    return StaticKeychain(prefix=registry.host, credential=credential)


def app(registry: LocalRegistry, tag: str = "1") -> ImageReference:
    return ImageReference.parse(registry.reference(f"app:{tag}"))


def put(client: RegistryClient, registry: LocalRegistry, tag: str = "1") -> None:
    client.put_manifest(app(registry, tag), INDEX, MediaType.OCI_INDEX)


def account(error: BuildpushError) -> CredentialEvidence:
    (found,) = (proof for proof in error.evidence if isinstance(proof, CredentialEvidence))
    return found


def exchange(error: BuildpushError) -> HttpEvidence:
    (found,) = (proof for proof in error.evidence if isinstance(proof, HttpEvidence))
    return found


# --- is it a permission, the wrong token, or a slip? ---


def test_a_denial_says_what_was_asked_what_was_granted_and_who_asked(
    client_for: ClientFor,
) -> None:
    """A token that says that it lacks push is believed: nothing is tried again."""
    with LocalRegistry(auth="token", users=USERS, permissions=MAY_READ, tokens=JWT) as registry:
        with pytest.raises(PermissionDeniedError) as caught:
            put(client_for(by(registry, READER)), registry)

        proof, said = account(caught.value), exchange(caught.value)
        assert (said.status, said.codes) == (403, ("DENIED",))
        assert "push in app" in said.detail
        assert proof.scope == "repository:app:pull,push"
        assert proof.granted == "repository:app:pull"
        assert not proof.anonymous
        assert any("~/.docker/config.json" in line for line in proof.trail)
        assert [r.status for r in registry.requests] == [401, 200, 403]
        report = caught.value.report()
        assert "was granted repository:app:pull" in report and "r3ad-only" not in report


@pytest.mark.parametrize("tokens", [JWT, TokenServer()])
def test_a_denial_after_a_success_is_tried_again_twice(
    client_for: ClientFor, recording_sink: RecordingSink, tokens: TokenServer
) -> None:
    """Some registries answer 403 when they stumble; each time a new token is asked for."""
    with LocalRegistry(auth="token", users=USERS, tokens=tokens) as registry:
        client = client_for(by(registry, CI))
        put(client, registry)
        before = sum(r.path == "/token" for r in registry.requests)
        registry.inject(Fault(method="PUT", path="/manifests/2", action=Status(403), times=2))

        put(client, registry, "2")

        assert registry.tags("app") == ("1", "2")
        assert sum(r.path == "/token" for r in registry.requests) == before + 2
        assert len(recording_sink.warnings) == 2


def test_a_denial_that_stays_is_a_denial_after_two_more_tries(client_for: ClientFor) -> None:
    """And the error says how often it was tried."""
    with LocalRegistry(auth="token", users=USERS) as registry:
        client = client_for(by(registry, CI))
        put(client, registry)
        fault = Fault(method="PUT", path="/manifests/2", action=Status(403), times=None)
        registry.inject(fault)

        with pytest.raises(PermissionDeniedError) as caught:
            put(client, registry, "2")

        assert fault.fired == 3
        assert not caught.value.retryable
        assert exchange(caught.value).attempt == 3
        assert "attempt 3" in caught.value.report()


def test_a_denial_before_any_success_is_final(client_for: ClientFor) -> None:
    """Nothing suggests that this account may write here."""
    with LocalRegistry(auth="token", users=USERS) as registry:
        fault = registry.inject(Fault(method="PUT", action=Status(403), skip=1, times=None))

        with pytest.raises(PermissionDeniedError):
            put(client_for(by(registry, CI)), registry)

        assert fault.fired == 1


def test_a_denied_pull_is_not_tried_again_because_of_a_push(client_for: ClientFor) -> None:
    """Having written is no evidence for reading elsewhere."""
    with LocalRegistry(auth="token", users=USERS) as registry:
        client = client_for(by(registry, CI), anonymous_fallback=False)
        put(client, registry)
        fault = registry.inject(Fault(method="GET", path="/v2/", action=Status(403), times=None))

        with pytest.raises(PermissionDeniedError):
            client.get_manifest(app(registry))

        assert fault.fired == 1


def test_an_anonymous_refusal_says_so_and_where_credentials_were_looked_for(
    client_for: ClientFor,
) -> None:
    """Not "authentication required" alone."""
    with LocalRegistry(auth="token", users=USERS) as registry:
        elsewhere = StaticKeychain(prefix="ghcr.io", credential=CI)

        with pytest.raises(AuthError) as caught:
            client_for(elsewhere).get_manifest(app(registry))

        proof = account(caught.value)
        assert proof.anonymous and proof.scope == "repository:app:pull"
        assert [line for line in proof.trail if "ghcr.io" in line and "miss" in line]


# --- credentials that hinder, and credentials that are missing ---


@pytest.mark.parametrize("auth", ["basic", "token"])
@pytest.mark.parametrize("code", [401, 403])
def test_a_stale_credential_does_not_keep_anybody_from_a_public_image(
    client_for: ClientFor,
    recording_sink: RecordingSink,
    auth: Literal["basic", "token"],
    code: Literal[401, 403],
) -> None:
    """The pull is tried once without it, and a warning names where it came from."""
    dialect = Dialect(bad_credentials=code)
    with LocalRegistry(auth=auth, users=USERS, anonymous_pull=True, dialect=dialect) as registry:
        registry.add_manifest("app", INDEX, MediaType.OCI_INDEX, tag="1")
        blob = registry.add_blob("app", b"x")
        registry.inject(
            Fault(path="/v2/", action=Status(401))
        )  # what asks for the credential in the first place
        client = client_for(by(registry, STALE))

        found = client.get_manifest(app(registry))
        again = client.has_blob(Repository(registry.host, "app"), blob, access="pull")

        assert (found.data, again) == (INDEX, True)
        warnings = recording_sink.warnings
        assert len(warnings) == 1
        assert "refused the credential from ~/.docker/config.json" in warnings[0]
        assert "without one" in warnings[0] and "0ld-p4ss" not in warnings[0]


def test_without_the_fallback_a_stale_credential_is_an_error(
    client_for: ClientFor, recording_sink: RecordingSink
) -> None:
    """For those who would rather know."""
    with LocalRegistry(auth="token", users=USERS, anonymous_pull=True) as registry:
        registry.add_manifest("app", INDEX, MediaType.OCI_INDEX, tag="1")
        registry.inject(Fault(path="/v2/", action=Status(401)))
        client = client_for(by(registry, STALE), anonymous_fallback=False)

        with pytest.raises(AuthError, match=r"refused the credential from ~/\.docker"):
            client.get_manifest(app(registry))

        assert recording_sink.warnings == ()


def test_a_private_image_stays_the_credentials_error(client_for: ClientFor) -> None:
    """That nobody may pull it either is not the news."""
    with LocalRegistry(auth="token", users=USERS) as registry:
        registry.add_manifest("app", INDEX, MediaType.OCI_INDEX, tag="1")

        with pytest.raises(AuthError, match=r"refused the credential from ~/\.docker") as caught:
            client_for(by(registry, STALE)).get_manifest(app(registry))

        assert caught.value.evidence
        anonymous = [r for r in registry.requests if r.path == "/token" and r.status == 200]
        assert len(anonymous) == 1


@pytest.mark.parametrize("auth", ["basic", "token"])
def test_a_push_never_becomes_anonymous(
    client_for: ClientFor, auth: Literal["basic", "token"]
) -> None:
    """Not even to a registry that would take it."""
    with LocalRegistry(auth=auth, users=USERS, anonymous_pull=True) as registry:
        with pytest.raises(AuthError, match=r"refused the credential from ~/\.docker"):
            put(client_for(by(registry, STALE)), registry)

        assert registry.tags("app") == ()
        made = [r for r in registry.requests if r.path == "/token"]
        assert all(r.scheme == "basic" for r in made)


def test_a_push_for_which_a_source_has_nothing_is_an_error_also_where_none_is_needed(
    client_for: ClientFor,
) -> None:
    """Somebody set it up for this registry: an anonymous push would be a surprise."""
    with LocalRegistry() as registry:
        other = StaticKeychain(prefix=f"{registry.host}/team", credential=CI)

        with pytest.raises(AuthError, match="nothing is pushed there anonymously") as caught:
            put(client_for(other), registry)

        assert [r for r in registry.requests if r.method == "PUT"] == []
        assert any(f"{registry.host}/team" in line for line in account(caught.value).trail)


# --- quotas and mirrors ---


def test_a_rate_limit_names_the_anonymous_caller_or_the_credentials_source(
    client_for: ClientFor,
) -> None:
    """The remedy differs: log in, or buy more."""
    with LocalRegistry(auth="token", users=USERS, anonymous_pull=True) as registry:
        registry.inject(Fault(path="/manifests/", action=RateLimit(600, body="text"), times=None))

        with pytest.raises(RateLimitedError, match="limits an anonymous caller") as nobody:
            client_for().get_manifest(app(registry))
        registry.faults.clear()
        registry.inject(Fault(path="/v2/", action=Status(401)))
        registry.inject(Fault(path="/manifests/", action=RateLimit(600), times=None))
        with pytest.raises(RateLimitedError, match="'ci', from the vault") as somebody:
            client_for(by(registry, CI)).get_manifest(app(registry))

        assert account(nobody.value).anonymous and "log in" in nobody.value.hint
        assert not account(somebody.value).anonymous
        assert (nobody.value.retry_after, somebody.value.retry_after) == (600.0, 600.0)


@pytest.mark.parametrize("code", [401, 403, 404, 429, 500, 502, 503])
def test_every_mirror_is_asked_before_the_origin(
    client_for: ClientFor, recording_sink: RecordingSink, blob_of: BlobOf, code: int
) -> None:
    """One after the other, each once, whatever is wrong with it; only a miss is no news."""
    with LocalRegistry() as first, LocalRegistry() as second, LocalRegistry() as origin:
        origin.add_manifest("app", INDEX, MediaType.OCI_INDEX, tag="1")
        origin.add_blob("app", b"layer")
        broken = Status(code, headers={"Retry-After": "600"})
        faults = [m.inject(Fault(action=broken, times=None)) for m in (first, second)]
        client = client_for(mirrors={origin.host: (first.host, f"{second.host}/hub")})

        found = client.get_manifest(app(origin))
        with client.get_blob(Repository(origin.host, "app"), blob_of(b"layer")) as pieces:
            data = b"".join(pieces)

        assert (found.data, data) == (INDEX, b"layer")
        assert [fault.fired for fault in faults] == [2, 2]
        assert {r.repository for r in second.requests} == {"hub/app"}
        assert len(recording_sink.warnings) == (0 if code == 404 else 4)


def test_the_second_mirror_spares_the_origin(client_for: ClientFor) -> None:
    """A limit at the first is not the end."""
    with LocalRegistry() as first, LocalRegistry() as second, LocalRegistry() as origin:
        second.add_manifest("app", INDEX, MediaType.OCI_INDEX, tag="1")
        first.inject(Fault(action=RateLimit(1), times=None))

        client = client_for(mirrors={origin.host: (first.host, second.host)})

        assert client.get_manifest(app(origin)).data == INDEX
        assert origin.requests == ()


def test_nothing_is_pushed_to_a_mirror(client_for: ClientFor) -> None:
    """Nor looked for there before a push."""
    with LocalRegistry() as mirror, LocalRegistry() as origin:
        client = client_for(mirrors={origin.host: (mirror.host,)})

        client.head_manifest(app(origin), access="push")
        put(client, origin)

        assert mirror.requests == ()


# --- the registry's own words ---


@pytest.mark.parametrize(
    ("body", "codes", "detail"),
    [
        (b'{"errors":[{"code":"TOO_BAD","message":"no room"}]}', ("TOO_BAD",), "no room"),
        (b"<html><body><h1>418 short</h1>and stout</body></html>", (), "418 short and stout"),
        (b"just text\n", (), "just text"),
        (b"", (), ""),
        (b"{", (), "{"),
        (b"x" * 1_000_000, (), "x" * 2048),
    ],
)
def test_the_registrys_own_words_are_kept(
    client_for: ClientFor, body: bytes, codes: tuple[str, ...], detail: str
) -> None:
    """JSON, a proxy's page, plain text, nothing, or far too much; with the name of the request."""
    with LocalRegistry() as registry:
        headers = {"X-GitHub-Request-Id": "CAFE:1234"}
        registry.inject(
            Fault(method="PUT", action=Status(418, body=body, headers=headers), times=None)
        )

        with pytest.raises(RegistryError) as caught:
            put(client_for(), registry)

        said = exchange(caught.value)
        assert (said.status, said.codes, said.detail) == (418, codes, detail)
        assert (said.method, said.request_id, said.attempt) == ("PUT", "CAFE:1234", 1)
        assert said.url == f"{registry.url}/v2/app/manifests/1"
        assert "request id CAFE:1234" in caught.value.report()


def test_the_last_of_several_attempts_says_that_it_was_the_last(client_for: ClientFor) -> None:
    """Four, as the policy of these tests has it."""
    with LocalRegistry() as registry:
        registry.inject(Fault(method="PUT", action=Status(503), times=None))

        with pytest.raises(RegistryError) as caught:
            put(client_for(), registry)

        assert exchange(caught.value).attempt == 4


def test_an_amazon_or_azure_request_id_is_found_too(client_for: ClientFor) -> None:
    """Each has a header of its own."""
    with LocalRegistry() as registry:
        for name in ("x-amzn-requestid", "x-ms-correlation-request-id", "x-request-id"):
            registry.inject(
                Fault(method="PUT", action=Status(400, headers={name: f"id of {name}"}))
            )

            with pytest.raises(RegistryError) as caught:
                put(client_for(), registry)

            assert exchange(caught.value).request_id == f"id of {name}"


def test_a_header_that_steers_a_terminal_is_no_request_id(client_for: ClientFor) -> None:
    """It is shown without what it would do."""
    with LocalRegistry() as registry:
        registry.inject(
            Fault(method="PUT", action=Status(400, headers={"X-Request-Id": "a\x1b[2Jb"}))
        )

        with pytest.raises(RegistryError) as caught:
            put(client_for(), registry)

        assert exchange(caught.value).request_id == "a [2Jb"

"""What a run lends the keychains that it is given, and what they hear of refused logins."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from attrs import evolve
from aws_fixtures import KEYS, aws, clock, here
from aws_stand_in import Clock, StandIn

from buildpush.auth import Chain, Credential, Keychain, PullOnly, StaticKeychain
from buildpush.auth.bound import refused, within
from buildpush.auth.ecr import EcrKeychain
from buildpush.auth.gar import GoogleKeychain
from buildpush.auth.keeping import Kept
from buildpush.auth.learning import Learnt
from buildpush.errors import (
    AuthError,
    CredentialEvidence,
    PermissionDeniedError,
    StepCancelledError,
)
from buildpush.oci import ImageReference, Repository
from buildpush.registry import RegistryClient
from buildpush.runtime import CancelToken, Environment, Redactor, Run
from buildpush.testing import LocalRegistry, RecordingSink

__all__ = ["aws", "clock", "here"]

OTHERS = Repository("999999999999.dkr.ecr.eu-west-1.amazonaws.com", "acme/app")
ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
ClientOf = Callable[[Keychain], RegistryClient]


@pytest.fixture
def keychain(aws: StandIn, clock: Clock, here: Environment) -> EcrKeychain:
    return EcrKeychain(source=KEYS, environment=aws.environment(here), clock=clock)


@pytest.fixture
def client_of(tmp_path: Path) -> Iterator[ClientOf]:
    """Make clients that are closed in the end."""
    with ExitStack() as stack:

        def make(keychain: Keychain) -> RegistryClient:
            run = Run(workdir=tmp_path, cancel=CancelToken(), sink=RecordingSink())
            return stack.enter_context(RegistryClient(keychain, run))

        yield make


def test_a_run_hears_the_warnings_of_the_keychains_it_is_given(keychain: EcrKeychain) -> None:
    """However they are wrapped; each run hears them, from the same login."""
    first: list[str] = []
    second: list[str] = []
    wrapped = PullOnly(Learnt(Chain((keychain,)), Redactor()))

    for heard in (first, second):
        within(wrapped, heard.append, CancelToken()).resolve(OTHERS, "pull")

    assert len(first) == 1
    assert "belongs to account 999999999999" in first[0]
    assert first == second


def test_a_keychain_with_a_listener_of_its_own_keeps_it(keychain: EcrKeychain) -> None:
    """Whoever made it said where its warnings go."""
    heard: list[str] = []
    runs: list[str] = []
    keychain.warn = heard.append

    within(keychain, runs.append, CancelToken()).resolve(OTHERS, "push")

    assert (len(heard), runs) == (1, [])


def test_what_a_run_is_lent_shares_its_logins(aws: StandIn, keychain: EcrKeychain) -> None:
    """A second step logs in no second time."""
    for _ in range(2):
        assert within(keychain, print, CancelToken()).resolve(OTHERS, "push") is not None

    assert aws.count("GetAuthorizationToken") == 1
    assert keychain.cancel is None


def test_what_a_subclass_added_is_lent_with_the_rest() -> None:
    """Anybody may have added an attribute to a keychain of ours."""

    class Mine(EcrKeychain):
        label: str

    mine = Mine(source=KEYS)
    mine.label = "mine"

    assert mine.within(print, CancelToken()).label == "mine"


def test_a_slow_metadata_server_ends_with_the_run(here: Environment) -> None:
    """It has a connection, and never an answer."""
    token = CancelToken()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def stop() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(1)
                token.cancel()
                connection.recv(1 << 16)

        thread = threading.Thread(target=stop)
        thread.start()
        environment = evolve(
            here, variables={"GCE_METADATA_HOST": f"127.0.0.1:{server.getsockname()[1]}"}
        )
        bound = within(GoogleKeychain(environment=environment), print, token)

        with pytest.raises(StepCancelledError):
            bound.resolve(Repository("europe-docker.pkg.dev", "p/r/app"), "push")
        thread.join()


def test_a_keychain_that_takes_nothing_is_used_as_it_is() -> None:
    """The protocol is optional."""
    keychain = StaticKeychain(prefix="ghcr.io", credential=Credential(username="ci"))

    refused(keychain, Credential(username="ci"))

    assert within(keychain, print, CancelToken()) is keychain


def test_a_login_is_dropped_only_when_it_is_the_one_that_was_refused() -> None:
    """Of many threads with an old login, the first one has it renewed."""
    given = [Credential(username="u", password=word, expires=9e9) for word in ("old", "new")]
    answers = iter(given)
    kept = Kept(lambda: 0.0)

    def look() -> Credential | None:
        return kept.look("key", lambda _: next(answers), [])

    assert look() == given[0]
    for _ in range(3):
        kept.drop(given[0])
        assert look() == given[1]


@pytest.mark.parametrize("auth", ["basic", "token"])
def test_a_login_that_is_refused_before_its_time_is_fetched_anew(
    auth: str, aws: StandIn, keychain: EcrKeychain, client_of: ClientOf
) -> None:
    """It was revoked, and would have been given for twelve hours."""
    with LocalRegistry(auth=auth, users={"AWS": "ecr-password-2"}) as registry:  # type: ignore[arg-type]
        keychain.aliases = {registry.host: ECR}
        revoked = keychain.resolve(Repository(registry.host, "app"), "push")

        client_of(Learnt(Chain((keychain,)), Redactor())).check_push(
            Repository(registry.host, "app")
        )

        found = keychain.resolve(Repository(registry.host, "app"), "push")
    assert revoked == Credential(username="AWS", password="ecr-password-1")
    assert found == Credential(username="AWS", password="ecr-password-2")
    assert aws.count("GetAuthorizationToken") == 2


@pytest.mark.parametrize("auth", ["basic", "token"])
def test_a_login_that_is_always_refused_is_asked_for_a_few_times_at_most(
    auth: str, aws: StandIn, keychain: EcrKeychain, client_of: ClientOf
) -> None:
    """The same login again is refused as the first was: that is the answer."""
    aws.password = lambda _: "the-same"
    with LocalRegistry(auth=auth, users={"AWS": "another"}) as registry:  # type: ignore[arg-type]
        keychain.aliases = {registry.host: ECR}
        client = client_of(keychain)

        for _ in range(3):
            with pytest.raises(AuthError):
                client.check_push(Repository(registry.host, "app"))

    assert aws.count("GetAuthorizationToken") == 2


def test_a_login_that_may_not_do_something_is_kept(
    aws: StandIn, keychain: EcrKeychain, client_of: ClientOf
) -> None:
    """A missing permission is no reason to log in again."""
    permissions = {"AWS": [("app", "pull")]}
    with LocalRegistry(
        auth="basic",
        users={"AWS": "ecr-password-1"},
        permissions=permissions,
    ) as registry:
        keychain.aliases = {registry.host: ECR}

        with pytest.raises(PermissionDeniedError):
            client_of(keychain).check_push(Repository(registry.host, "app"))

    assert aws.count("GetAuthorizationToken") == 1


def test_the_refusal_of_a_token_service_says_where_the_credential_came_from(
    client_of: ClientOf,
) -> None:
    """As the refusals of a registry do."""
    with LocalRegistry(auth="token", users={"ci": "right"}) as registry:
        credential = Credential(username="ci", password="wrong-word", source="the test")
        client = client_of(StaticKeychain(prefix=registry.host, credential=credential))

        host = registry.host
        with pytest.raises(AuthError) as caught:
            client.get_manifest(ImageReference.parse(registry.reference("app:1")), access="push")

    (account,) = (p for p in caught.value.evidence if isinstance(p, CredentialEvidence))
    assert not account.anonymous
    assert account.scope == "repository:app:pull,push"
    assert account.trail == (f"the test, {host}: hit",)
    assert "wrong-word" not in caught.value.report()

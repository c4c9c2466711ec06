"""Logging in to ECR: what is asked, how long it holds, and whose keys they are."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from aws_fixtures import KEYS, aws, clock, here
from aws_stand_in import Answer, Clock, StandIn, refuse

from buildpush.auth import Credential, Keychain
from buildpush.auth.ecr import EcrKeychain, EnvironmentKeys, NewRepository
from buildpush.auth.making import RepositoryMaker, makers
from buildpush.errors import AuthError, PermissionDeniedError
from buildpush.oci import Repository
from buildpush.runtime import Environment

__all__ = ["aws", "clock", "here"]

APP = Repository("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "acme/app")
OTHERS = Repository("999999999999.dkr.ecr.eu-west-1.amazonaws.com", "acme/app")
PUBLIC = Repository("public.ecr.aws", "a1b2c3/app")


@pytest.fixture
def keychain(aws: StandIn, clock: Clock, here: Environment) -> EcrKeychain:
    return EcrKeychain(source=KEYS, environment=aws.environment(here), clock=clock)


def test_a_login_is_asked_for_in_the_registrys_region(aws: StandIn, keychain: EcrKeychain) -> None:
    """The region of the signature is the host's; nobody set AWS_REGION."""
    found = keychain.resolve(APP, "push")

    assert found == Credential(username="AWS", password="ecr-password-1")
    assert [(one.action, one.service, one.region) for one in aws.asked] == [
        ("GetAuthorizationToken", "ecr", "eu-west-1")
    ]


def test_the_credential_says_whose_it_is_and_until_when(
    clock: Clock, keychain: EcrKeychain
) -> None:
    """Whoever holds it can ask again in time."""
    found = keychain.resolve(APP, "push")

    assert found is not None
    assert (found.source, found.expires) == (
        "ECR, argument of account 123456789012",
        clock.now + 12 * 3600,
    )


def test_the_public_registry_has_logins_of_its_own(aws: StandIn, keychain: EcrKeychain) -> None:
    """Another service, in us-east-1, with another form of answer."""
    found = keychain.resolve(PUBLIC, "push")

    assert found == Credential(username="AWS", password="ecr-password-1")
    assert [(one.service, one.region) for one in aws.asked] == [("ecr-public", "us-east-1")]


def test_another_registry_is_not_asked_about(aws: StandIn, keychain: EcrKeychain) -> None:
    """None lets the next keychain answer."""
    assert keychain.resolve(Repository("ghcr.io", "acme/app"), "push") is None
    assert aws.asked == []


def test_one_login_serves_a_region(aws: StandIn, keychain: EcrKeychain) -> None:
    """Every repository, both kinds of access, and other accounts' registries too."""
    first = keychain.resolve(APP, "push")
    again = keychain.resolve(APP, "pull")
    other = keychain.resolve(OTHERS, "push")

    assert first == again == other
    assert len(aws.asked) == 1


def test_sixteen_threads_ask_once(aws: StandIn, keychain: EcrKeychain) -> None:
    """A push asks from many threads at its beginning."""
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: keychain.resolve(APP, "push"), range(16)))

    assert set(found) == {Credential(username="AWS", password="ecr-password-1")}
    assert len(aws.asked) == 1


def test_a_login_that_ends_during_the_build_is_renewed_before_the_push(
    aws: StandIn, clock: Clock, keychain: EcrKeychain
) -> None:
    """It lasts three seconds, and the build takes five."""
    aws.seconds = 3

    before = keychain.resolve(APP, "pull")
    clock.now += 5
    after = keychain.resolve(APP, "push")

    assert before == Credential(username="AWS", password="ecr-password-1")
    assert after == Credential(username="AWS", password="ecr-password-2")


def test_a_login_is_renewed_five_minutes_before_it_ends(
    aws: StandIn, clock: Clock, keychain: EcrKeychain
) -> None:
    """Not sooner: AWS limits how often it is asked."""
    keychain.resolve(APP, "push")
    clock.now += 12 * 3600 - 301
    early = keychain.resolve(APP, "push")
    clock.now += 2
    late = keychain.resolve(APP, "push")

    assert early == Credential(username="AWS", password="ecr-password-1")
    assert late == Credential(username="AWS", password="ecr-password-2")


def test_a_login_that_ended_long_ago_is_believed_to_be_new(
    aws: StandIn, clock: Clock, keychain: EcrKeychain
) -> None:
    """A stand-in may say 2015: asking again and again would help nobody."""
    aws.seconds = 1_420_070_400 - clock.now

    keychain.resolve(APP, "push")
    found = keychain.resolve(APP, "push")

    assert found is not None
    assert found.expires == clock.now + 12 * 3600
    assert len(aws.asked) == 1


def test_keys_of_another_account_are_a_warning_with_both_numbers(
    aws: StandIn, clock: Clock, here: Environment
) -> None:
    """It may be meant so, and it is the first thing to know when the push is refused."""
    said: list[str] = []
    keychain = EcrKeychain(
        source=KEYS, environment=aws.environment(here), clock=clock, warn=said.append
    )

    keychain.resolve(OTHERS, "push")
    found = keychain.resolve(OTHERS, "push")

    expected = (
        f"the keys are of AWS account 123456789012, and {OTHERS.host} belongs to account"
        " 999999999999: a policy of the repository has to let them in"
    )
    assert said == [expected]
    assert found is not None
    assert found.source == "ECR, argument of account 123456789012, not 999999999999"


def test_keys_of_another_account_can_be_refused(
    aws: StandIn, clock: Clock, here: Environment
) -> None:
    """For those who never push to other accounts."""
    keychain = EcrKeychain(
        source=KEYS, environment=aws.environment(here), clock=clock, foreign="refuse"
    )

    with pytest.raises(AuthError, match=r"account 123456789012, .* account 999999999999"):
        keychain.resolve(OTHERS, "push")
    assert keychain.resolve(APP, "push") is not None


def test_keys_of_another_account_can_be_meant_so(
    aws: StandIn, clock: Clock, here: Environment
) -> None:
    """Then nothing is said."""
    said: list[str] = []
    keychain = EcrKeychain(
        source=KEYS,
        environment=aws.environment(here),
        clock=clock,
        warn=said.append,
        foreign="allow",
    )

    assert keychain.resolve(OTHERS, "push") is not None
    assert said == []


def test_a_host_of_ones_own_can_stand_for_a_registry(
    aws: StandIn, clock: Clock, here: Environment
) -> None:
    """A name in front of ECR has neither account nor region in it."""
    keychain = EcrKeychain(
        source=KEYS,
        environment=aws.environment(here),
        clock=clock,
        aliases={"images.example.com": APP.host},
    )

    assert keychain.resolve(Repository("images.example.com", "app"), "push") is not None
    assert aws.asked[0].region == "eu-west-1"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"authorizationData": []}',
        b'{"authorizationData": [7]}',
        b'{"authorizationData": [{"authorizationToken": "%%%", "expiresAt": 1}]}',
        b'{"authorizationData": [{"authorizationToken": "QVdTOg==", "expiresAt": 1}]}',
        b'{"authorizationData": [{"authorizationToken": "Ym9iOng=", "expiresAt": 1}]}',
        b"[" * 100_000,
    ],
)
def test_an_answer_without_a_login_is_an_error(
    aws: StandIn, keychain: EcrKeychain, body: bytes
) -> None:
    """Never an anonymous push."""
    aws.answers["GetAuthorizationToken"] = [Answer(body=body)]

    with pytest.raises(AuthError, match=r"no login for ECR|is not JSON"):
        keychain.resolve(APP, "push")


def test_without_keys_the_next_keychain_is_asked_and_the_trail_says_where_we_looked(
    aws: StandIn, clock: Clock, here: Environment
) -> None:
    """A docker configuration may know; to push there without a login is never tried unheard."""
    keychain = EcrKeychain(environment=aws.environment(here), clock=clock)

    (step,) = keychain.explain(APP, "pull")

    assert keychain.resolve(APP, "pull") is None
    assert (step.outcome, step.expected) == ("miss", True)
    for place in ("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "~/.aws", "container"):
        assert place in step.why


def test_public_images_are_pulled_without_keys(
    aws: StandIn, clock: Clock, here: Environment
) -> None:
    """Pushing there takes some."""
    keychain = EcrKeychain(environment=aws.environment(here), clock=clock)

    assert keychain.resolve(PUBLIC, "pull") is None
    assert [step.expected for step in keychain.explain(PUBLIC, "pull")] == [False]
    assert [step.expected for step in keychain.explain(PUBLIC, "push")] == [True]


def test_keys_that_were_asked_for_by_name_must_be_there(
    aws: StandIn, clock: Clock, here: Environment
) -> None:
    """With a source, nothing else will do."""
    keychain = EcrKeychain(
        source=EnvironmentKeys(), environment=aws.environment(here), clock=clock
    )

    with pytest.raises(AuthError, match="AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set"):
        keychain.resolve(APP, "push")
    assert [step.outcome for step in keychain.explain(APP, "push")] == ["error"]


def test_the_trail_says_where_the_keys_came_from(keychain: EcrKeychain) -> None:
    """One line, and of no secret."""
    assert [str(step) for step in keychain.explain(APP, "push")] == [
        "ECR, argument of account 123456789012, ecr in eu-west-1: hit"
    ]
    other = keychain.explain(Repository("a.io", "b"), "push")
    assert [step.outcome for step in other] == ["skipped"]


def test_it_is_a_keychain_and_a_maker_of_repositories(keychain: EcrKeychain) -> None:
    """Found in whatever it is wrapped in."""
    assert isinstance(keychain, Keychain)
    assert isinstance(keychain, RepositoryMaker)
    assert list(makers(keychain)) == [keychain]


def test_a_repository_is_made_once_however_many_ask(aws: StandIn, keychain: EcrKeychain) -> None:
    """Many tags and platforms push at the same time."""
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda _: keychain.ensure_repository(APP), range(8)))

    assert sorted(made, key=bool) == [False] * 7 + [True]
    assert aws.count("CreateRepository") == 1
    assert aws.asked[-1].json == {"registryId": "123456789012", "repositoryName": "acme/app"}


def test_a_repository_that_exists_is_fine(aws: StandIn, keychain: EcrKeychain) -> None:
    """Somebody else may have been quicker."""
    aws.repositories.add("acme/app")

    assert keychain.ensure_repository(APP) is False


def test_a_repository_of_another_registry_is_not_made(keychain: EcrKeychain) -> None:
    """Most registries make them by themselves."""
    assert keychain.ensure_repository(Repository("ghcr.io", "acme/app")) is None


def test_who_may_not_make_repositories_may_still_use_one_that_exists(
    aws: StandIn, keychain: EcrKeychain
) -> None:
    """A role for pushes seldom has ecr:CreateRepository."""
    denied = "User: x is not authorized to perform: ecr:CreateRepository on resource: y"
    aws.repositories.add("acme/app")
    aws.answers["CreateRepository"] = [refuse("AccessDeniedException", denied)]

    assert keychain.ensure_repository(APP) is False


def test_who_may_not_make_a_repository_is_told_the_permission(
    aws: StandIn, keychain: EcrKeychain
) -> None:
    """And it is asked again the next time."""
    denied = "User: x is not authorized to perform: ecr:CreateRepository on resource: y"
    aws.answers["CreateRepository"] = [refuse("AccessDeniedException", denied)]

    with pytest.raises(PermissionDeniedError, match="ecr:CreateRepository"):
        keychain.ensure_repository(APP)
    assert keychain.ensure_repository(APP) is True


def test_a_new_repository_is_as_it_was_asked_for(
    aws: StandIn, clock: Clock, here: Environment
) -> None:
    """Immutable tags, scanning, and both policies; the existing one is left alone."""
    wish = NewRepository(
        immutable_tags=True, scan_on_push=True, lifecycle_policy='{"rules":[]}', policy="{}"
    )
    keychain = EcrKeychain(
        source=KEYS, environment=aws.environment(here), clock=clock, new_repository=wish
    )

    keychain.ensure_repository(APP)

    assert [(one.action, json.loads(one.body)) for one in aws.asked] == [
        (
            "CreateRepository",
            {
                "registryId": "123456789012",
                "repositoryName": "acme/app",
                "imageTagMutability": "IMMUTABLE",
                "imageScanningConfiguration": {"scanOnPush": True},
            },
        ),
        (
            "PutLifecyclePolicy",
            {
                "registryId": "123456789012",
                "repositoryName": "acme/app",
                "lifecyclePolicyText": '{"rules":[]}',
            },
        ),
        (
            "SetRepositoryPolicy",
            {"registryId": "123456789012", "repositoryName": "acme/app", "policyText": "{}"},
        ),
    ]


def test_a_public_repository_is_named_without_its_registrys_alias(
    aws: StandIn, keychain: EcrKeychain
) -> None:
    """The alias is the account's, and AWS knows that from the keys."""
    assert keychain.ensure_repository(PUBLIC) is True
    assert (aws.asked[0].service, aws.asked[0].json) == ("ecr-public", {"repositoryName": "app"})

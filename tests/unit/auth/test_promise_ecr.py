"""What is promised of Amazon's registries, through the registry client and in every log."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve
from aws_fixtures import KEYS, aws, clock, here
from aws_stand_in import Answer, Clock, StandIn, refuse, refuse_xml

from buildpush import push
from buildpush.auth import Chain, Credential, Keychain, PullOnly
from buildpush.auth.ecr import AssumedRole, AwsKeys, EcrKeychain, WebIdentity
from buildpush.auth.files import DockerConfigKeychain
from buildpush.auth.ghcr import GhcrKeychain
from buildpush.auth.learning import Learnt
from buildpush.auth.making import makers
from buildpush.errors import BuildpushError
from buildpush.oci import Repository
from buildpush.oci.layout import Layout
from buildpush.runtime import Environment, Redactor
from buildpush.testing import LocalRegistry, find_secrets, random_image
from buildpush.testing.conformance import KeychainConformance

__all__ = ["aws", "clock", "here"]

APP = Repository("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "acme/app")
ROLE = "arn:aws:iam::123456789012:role/push"
CANARIES = AwsKeys(
    access_key="AKIAC4N4RYC4N4RY1234",
    secret_key="c4n4ry/secret+key/of/forty/characters/xyz",
    session_token="c4n4ry//session//token==",
)
TOKEN = "eyJjNG40cnk.eyJjNG40cnkyIn0.c4n4rysignature"
NEEDLES = [
    str(CANARIES.access_key),
    str(CANARIES.secret_key),
    str(CANARIES.session_token),
    TOKEN,
    "ecr-password-c4n4ry",
    "session/secret+1",
    "session//token+1",
]


@pytest.fixture
def everything(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    with caplog.at_level(logging.DEBUG):
        yield caplog


def signatures(aws: StandIn) -> list[str]:
    """What was sent to prove who we are."""
    sent = [one.headers.get("authorization", "") for one in aws.asked]
    return [text.rpartition("Signature=")[2] for text in sent if text]


def test_a_stale_login_in_a_configuration_loses_against_a_provider(
    aws: StandIn, clock: Clock, here: Environment
) -> None:
    """Even one whose key is written with ``https://``, as the docker of old wrote it."""
    entries = {f"https://{APP.host}": {"username": "AWS", "password": "from-yesterday"}}
    (here.home / "config.json").write_text(json.dumps({"auths": entries}))
    config = DockerConfigKeychain(path=here.home / "config.json", environment=here)
    keychain = EcrKeychain(
        source=KEYS,
        environment=aws.environment(here),
        clock=clock,
    )

    found = Chain((keychain, config)).resolve(APP, "push")

    assert config.resolve(APP, "push") == Credential(username="AWS", password="from-yesterday")
    assert found == Credential(username="AWS", password="ecr-password-1")


def test_nothing_is_written_and_no_program_is_run(
    aws: StandIn, clock: Clock, here: Environment, tmp_path: Path
) -> None:
    """No helper, no config.json: PATH is empty, and so is home afterwards."""
    aws.keys.append(CANARIES)
    environment = aws.environment(here, PATH="")

    EcrKeychain(source=CANARIES, environment=environment, clock=clock).resolve(APP, "push")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("way", ["static", "role", "identity"])
def test_no_secret_of_a_login_is_in_any_log_or_repr(
    aws: StandIn,
    clock: Clock,
    here: Environment,
    everything: pytest.LogCaptureFixture,
    way: str,
) -> None:
    """Keys, tokens, signatures, and the login itself, at DEBUG."""
    aws.keys.append(CANARIES)
    aws.password = lambda _: "ecr-password-c4n4ry"
    source = {
        "static": CANARIES,
        "role": AssumedRole(role=ROLE, source=CANARIES),
        "identity": WebIdentity(role=ROLE, token=TOKEN),
    }[way]
    keychain = EcrKeychain(source=source, environment=aws.environment(here), clock=clock)

    found = keychain.resolve(APP, "push")
    keychain.ensure_repository(APP)

    shown = "\n".join([repr(found), repr(keychain), repr(source), everything.text])
    shown += repr(keychain.explain(APP, "push"))
    assert found is not None
    assert everything.text
    assert signatures(aws)
    assert find_secrets([*NEEDLES, *signatures(aws)], shown) == ()


REFUSALS = [
    refuse("InvalidSignatureException", "\n".join(["canonical", *NEEDLES])),
    refuse("AccessDeniedException", " ".join(NEEDLES)),
    refuse("OddException", " ".join(NEEDLES)),
    refuse(NEEDLES[1], "odd"),
    refuse_xml("AccessDenied", " ".join(NEEDLES)),
    Answer(body=" ".join(NEEDLES).encode()),
    Answer(status=500, body=" ".join(NEEDLES).encode()),
    Answer(status=302, headers={"Location": f"https://evil.example/?{NEEDLES[2]}"}),
]


@pytest.mark.parametrize("answer", REFUSALS, ids=range(len(REFUSALS)))
@pytest.mark.parametrize("way", ["static", "role", "identity"])
def test_no_secret_of_a_failed_login_is_in_any_log_or_error(
    aws: StandIn,
    clock: Clock,
    here: Environment,
    everything: pytest.LogCaptureFixture,
    way: str,
    answer: Answer,
) -> None:
    """Whatever AWS repeats of what it was sent."""
    aws.keys.append(CANARIES)
    action, source = {
        "static": ("GetAuthorizationToken", CANARIES),
        "role": ("AssumeRole", AssumedRole(role=ROLE, source=CANARIES)),
        "identity": ("AssumeRoleWithWebIdentity", WebIdentity(role=ROLE, token=TOKEN)),
    }[way]
    aws.answers[action] = [answer] * 3
    keychain = EcrKeychain(source=source, environment=aws.environment(here), clock=clock)

    with pytest.raises(BuildpushError) as caught:
        keychain.resolve(APP, "push")

    error: BaseException | None = caught.value
    shown = [everything.text, caught.value.report(), repr(keychain.explain(APP, "push"))]
    while error is not None:
        shown.append(repr(error))
        error = error.__cause__
    assert find_secrets([*NEEDLES, *signatures(aws)], "\n".join(shown)) == ()


class TestEcr(KeychainConformance):
    """With keys at hand."""

    @pytest.fixture
    def own(self) -> Repository:
        return APP

    @pytest.fixture
    def secrets(self) -> tuple[str, ...]:
        return tuple(NEEDLES)

    @pytest.fixture
    def keychain(self, aws: StandIn, clock: Clock, here: Environment) -> Keychain:
        aws.keys.append(CANARIES)
        return EcrKeychain(source=CANARIES, environment=aws.environment(here), clock=clock)

    @pytest.fixture
    def broken(self, aws: StandIn, clock: Clock, here: Environment) -> Keychain:
        aws.answers["AssumeRole"] = [refuse_xml("AccessDenied", " ".join(NEEDLES))] * 2
        source = AssumedRole(role=ROLE, source=CANARIES)
        return EcrKeychain(source=source, environment=aws.environment(here), clock=clock)


class TestGhcr(KeychainConformance):
    """With the token of a job."""

    @pytest.fixture
    def own(self) -> Repository:
        return Repository("ghcr.io", "acme/app")

    @pytest.fixture
    def keychain(self, here: Environment) -> Keychain:
        return GhcrKeychain(environment=evolve(here, variables={"GITHUB_TOKEN": "ghs_c4n4ry"}))


def test_the_maker_of_a_repository_is_found_in_whatever_wraps_it(here: Environment) -> None:
    """A step wraps its keychains before anybody asks them."""
    maker = EcrKeychain(source=CANARIES, environment=here)
    wrapped = Chain((GhcrKeychain(), Learnt(PullOnly(Chain((maker,))), Redactor())))

    assert list(makers(wrapped)) == [maker]


def test_a_push_half_a_day_later_has_a_login_of_its_own(
    aws: StandIn, clock: Clock, here: Environment, tmp_path: Path
) -> None:
    """One keychain for a process that runs for days: the first login has ended by then."""
    random_image(Layout.create(tmp_path / "layout"))
    today = LocalRegistry(auth="basic", users={"AWS": "ecr-password-1"})
    tomorrow = LocalRegistry(auth="basic", users={"AWS": "ecr-password-2"})
    with today, tomorrow:
        keychain = EcrKeychain(
            source=KEYS,
            environment=aws.environment(here),
            clock=clock,
            aliases={today.host: APP.host, tomorrow.host: APP.host},
        )

        push(tmp_path / "layout", [today.reference("acme/app:1")], auth=[keychain])
        clock.now += 12 * 3600 + 1
        push(tmp_path / "layout", [tomorrow.reference("acme/app:1")], auth=[keychain])

        assert today.tags("acme/app") == tomorrow.tags("acme/app") == ("1",)
    assert aws.count("GetAuthorizationToken") == 2

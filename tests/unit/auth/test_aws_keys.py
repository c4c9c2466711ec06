"""Where keys of AWS come from, one source at a time and in the order of AWS's own tools."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from attrs import evolve
from aws_fixtures import KEYS, aws, clock, here
from aws_stand_in import Answer, Clock, StandIn, refuse_xml, serving

from buildpush.auth.aws.calls import Aws
from buildpush.auth.aws.places import Place
from buildpush.auth.ecr import (
    AmbientKeys,
    AssumedRole,
    AwsKeys,
    ContainerKeys,
    EcrKeychain,
    EnvironmentKeys,
    InstanceKeys,
    KeySource,
    ProfileKeys,
    WebIdentity,
)
from buildpush.errors import AuthError, PermissionDeniedError, RegistryUnavailableError
from buildpush.oci import Repository
from buildpush.runtime import Environment

__all__ = ["aws", "clock", "here"]

APP = Repository("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "acme/app")
ROLE = "arn:aws:iam::123456789012:role/ci/push"
TOKEN = "eyJh.eyJz.c2ln"
EXPIRATION = "2027-01-01T00:00:00Z"
GIVEN = {
    "AccessKeyId": "ASIAGIVEN",
    "SecretAccessKey": "given-secret",
    "Token": "given-token",
    "Expiration": EXPIRATION,
}
IN_2027 = 1_798_761_600.0


def asking(environment: Environment, clock: Clock, **variables: str) -> Aws:
    known = {**environment.variables, **variables}
    return Aws(
        environment=evolve(environment, variables=known),
        place=Place(region="eu-west-1"),
        clock=clock,
    )


def parts(keys: AwsKeys) -> tuple[str, str, str]:
    return str(keys.access_key), str(keys.secret_key), str(keys.session_token)


@pytest.mark.parametrize("source", [EnvironmentKeys(), AmbientKeys()])
def test_keys_are_in_the_environment(source: KeySource, here: Environment, clock: Clock) -> None:
    """A session token comes with those that are temporary."""
    found = source.keys(
        asking(
            here,
            clock,
            AWS_ACCESS_KEY_ID="ASIAX",
            AWS_SECRET_ACCESS_KEY="secret",
            AWS_SESSION_TOKEN="token",
        )
    )

    assert parts(found) == ("ASIAX", "secret", "token")
    assert found.source == "AWS_ACCESS_KEY_ID"


def test_half_a_key_is_an_error(here: Environment, clock: Clock) -> None:
    """The next place would be another caller."""
    with pytest.raises(AuthError, match="AWS_SECRET_ACCESS_KEY is not set"):
        AmbientKeys().keys(asking(here, clock, AWS_ACCESS_KEY_ID="AKIAX"))


def test_an_identity_token_is_traded_unsigned(
    aws: StandIn, here: Environment, clock: Clock
) -> None:
    """STS gets the token, the role and a name for its logs, and nothing else."""
    found = WebIdentity(role=ROLE, token=TOKEN).keys(asking(aws.environment(here), clock))

    assert [one.form for one in aws.asked] == [
        {
            "Action": "AssumeRoleWithWebIdentity",
            "Version": "2011-06-15",
            "RoleArn": ROLE,
            "RoleSessionName": "buildpush",
            "WebIdentityToken": TOKEN,
        }
    ]
    assert parts(found) == parts(aws.keys[-1])
    assert found.expires == clock.now + 3600
    assert found.source == "role push of 123456789012 by web identity"


def test_a_pod_with_a_service_account_needs_no_setting(
    aws: StandIn, here: Environment, clock: Clock, tmp_path: Path
) -> None:
    """EKS sets two variables and keeps the file fresh: it is read for every exchange."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    environment = aws.environment(
        here,
        AWS_ROLE_ARN=ROLE,
        AWS_WEB_IDENTITY_TOKEN_FILE=str(tmp_path / "token"),
        AWS_ROLE_SESSION_NAME="pod-7",
    )

    EcrKeychain(environment=environment, clock=clock).resolve(APP, "push")
    (tmp_path / "token").write_text("new.new.new")
    EcrKeychain(environment=environment, clock=clock).resolve(APP, "push")

    traded = [one.form for one in aws.asked if one.service == "sts"]
    assert [one["WebIdentityToken"] for one in traded] == [TOKEN, "new.new.new"]
    assert traded[0]["RoleSessionName"] == "pod-7"


def test_a_role_is_assumed_with_keys_and_an_external_id(
    aws: StandIn, here: Environment, clock: Clock
) -> None:
    """Signed for STS by the keys at hand."""
    source = AssumedRole(
        role=ROLE, source=KEYS, external_id="acme-42", session="ci@acme", seconds=900
    )

    found = source.keys(asking(aws.environment(here), clock))

    assert [one.form for one in aws.asked] == [
        {
            "Action": "AssumeRole",
            "Version": "2011-06-15",
            "RoleArn": ROLE,
            "RoleSessionName": "ci@acme",
            "ExternalId": "acme-42",
            "DurationSeconds": "900",
        }
    ]
    assert parts(found) == parts(aws.keys[-1])


def test_roles_are_assumed_one_after_another(
    aws: StandIn, here: Environment, clock: Clock
) -> None:
    """From a token to a role, from there to the role in the registry's account, from there to ECR."""
    first = WebIdentity(role="arn:aws:iam::111111111111:role/ci", token=TOKEN)
    keychain = EcrKeychain(
        source=AssumedRole(role=ROLE, source=first),
        environment=aws.environment(here),
        clock=clock,
    )

    found = keychain.resolve(APP, "push")

    assert [(one.action, one.key) for one in aws.asked] == [
        ("AssumeRoleWithWebIdentity", ""),
        ("AssumeRole", "ASIASESSION1"),
        ("GetAuthorizationToken", "ASIASESSION2"),
    ]
    assert found is not None
    assert found.source == (
        "ECR, role push of 123456789012 by role ci of 111111111111 by web identity"
        " of account 123456789012"
    )


def test_a_session_is_kept_while_it_lasts(aws: StandIn, here: Environment, clock: Clock) -> None:
    """Two regions, one session; a minute before its end there is a new one."""
    keychain = EcrKeychain(
        source=AssumedRole(role=ROLE, source=KEYS), environment=aws.environment(here), clock=clock
    )

    keychain.resolve(APP, "push")
    keychain.resolve(Repository(APP.host.replace("eu-west-1", "us-east-2"), "app"), "push")
    clock.now += 3540
    keychain.ensure_repository(APP)

    assert [one.action for one in aws.asked if one.service == "sts"] == ["AssumeRole"] * 2
    assert aws.asked[-1].key == "ASIASESSION2"


def test_sts_is_asked_where_the_environment_says(
    aws: StandIn, here: Environment, clock: Clock
) -> None:
    """A region of the registry's own world; China's registries are not for others."""
    near = aws.environment(here, AWS_REGION="eu-central-1")
    far = aws.environment(here, AWS_DEFAULT_REGION="cn-north-1")
    role = AssumedRole(role=ROLE, source=KEYS)

    role.keys(asking(near, clock))
    role.keys(asking(far, clock))

    assert [one.region for one in aws.asked] == ["eu-central-1", "eu-west-1"]


def test_a_role_that_does_not_trust_us_is_said_so(
    aws: StandIn, here: Environment, clock: Clock
) -> None:
    """With the permission's name and what to look at."""
    words = f"User: arn:aws:iam::1:user/ci is not authorized to perform: sts:AssumeRole on {ROLE}"
    aws.answers["AssumeRole"] = [refuse_xml("AccessDenied", words, 403)]

    with pytest.raises(PermissionDeniedError, match=r"sts:AssumeRole: User") as caught:
        AssumedRole(role=ROLE, source=KEYS).keys(asking(aws.environment(here), clock))
    assert "trust policy" in caught.value.hint


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not xml",
        b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
        b"<AssumeRoleResponse><Credentials/></AssumeRoleResponse>",
    ],
)
def test_an_answer_of_sts_without_keys_is_an_error(
    aws: StandIn, here: Environment, clock: Clock, body: bytes
) -> None:
    """Entities are not looked at."""
    aws.answers["AssumeRole"] = [Answer(body=body)]

    with pytest.raises(AuthError, match=r"is not XML|lacks AccessKeyId, SecretAccessKey"):
        AssumedRole(role=ROLE, source=KEYS).keys(asking(aws.environment(here), clock))


@pytest.mark.parametrize(
    "role", ["", "push", "arn:aws:iam::1:role/x", "arn:aws:iam::123456789012:user/x"]
)
def test_a_role_is_named_by_its_arn(role: str) -> None:
    """A slip shows before anybody is asked."""
    with pytest.raises(AuthError, match="is not the ARN of a role"):
        WebIdentity(role=role, token=TOKEN)


def test_a_session_is_named_as_aws_allows() -> None:
    """AWS would refuse it too, with more words."""
    with pytest.raises(AuthError, match="cannot name a session"):
        AssumedRole(role=ROLE, source=KEYS, session="a job/1")


class Agent:
    """A server that gives keys to what runs on its machine."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.answers: dict[str, Answer] = {}

    def __call__(self, method: str, path: str, headers: Mapping[str, str], _: bytes) -> Answer:
        self.asked.append((method, path, {name.lower(): v for name, v in headers.items()}))
        return self.answers.get(path, Answer(status=404, body=b""))


def test_a_pod_identity_is_asked_for_with_its_token(
    here: Environment, clock: Clock, tmp_path: Path
) -> None:
    """EKS Pod Identity: an agent, and a file with the token for it, read anew each time."""
    (tmp_path / "pod").write_text("pod-token\n")
    agent = Agent()
    agent.answers["/v1/credentials"] = Answer(body=json.dumps(GIVEN).encode())

    with serving(agent, clock) as url:
        found = AmbientKeys().keys(
            asking(
                here,
                clock,
                AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{url}/v1/credentials",
                AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=str(tmp_path / "pod"),
                AWS_CONTAINER_AUTHORIZATION_TOKEN="older",
            )
        )

    assert parts(found) == ("ASIAGIVEN", "given-secret", "given-token")
    assert (found.source, found.expires) == ("the container's role", IN_2027)
    assert [(method, h["authorization"]) for method, _, h in agent.asked] == [("GET", "pod-token")]


@pytest.mark.parametrize(
    "uri",
    [
        "http://evil.example/keys",
        "http://169.254.169.254/keys",
        "http://10.0.0.1/keys",
        "http://127.0.0.1@evil.example/keys",
        "http://169.254.170.2.evil.example/keys",
        "ftp://127.0.0.1/keys",
        "keys",
    ],
)
def test_keys_are_not_asked_of_anybody_in_the_clear(
    here: Environment, clock: Clock, uri: str
) -> None:
    """A variable that somebody slipped in must not send the pod's token away."""
    variables = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": uri,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "pod-token",
    }

    with pytest.raises(AuthError, match="is not asked"):
        ContainerKeys().keys(asking(here, clock, **variables))


@pytest.mark.parametrize(
    "uri", ["http://localhost:1/k", "http://[::1]:1/k", "http://169.254.170.23/k", "https://a.b/k"]
)
def test_agents_and_servers_that_prove_themselves_may_be_asked(uri: str) -> None:
    """This machine, ECS's and EKS's agents, and whatever speaks TLS."""
    from buildpush.auth.aws.machine import _is_agent

    assert _is_agent(uri)


def test_a_relative_address_is_one_of_ecs_only(here: Environment, clock: Clock) -> None:
    """It begins with a slash, or it would continue the host's name."""
    with pytest.raises(AuthError, match="does not begin with a slash"):
        ContainerKeys().keys(
            asking(here, clock, AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=".evil.example/")
        )


def test_a_token_with_a_line_break_inside_is_none(here: Environment, clock: Clock) -> None:
    """It would be a header of its own."""
    with pytest.raises(AuthError, match="is no token"):
        ContainerKeys().keys(
            asking(
                here,
                clock,
                AWS_CONTAINER_CREDENTIALS_FULL_URI="http://127.0.0.1:1/",
                AWS_CONTAINER_AUTHORIZATION_TOKEN="a\r\nX-Evil: b",
            )
        )


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=403, body=b'{"code": "AccessDeniedException"}'),
        Answer(body=b"nonsense"),
        Answer(body=json.dumps({"Code": "AssumeRoleUnauthorizedAccess"}).encode()),
        Answer(body=json.dumps({**GIVEN, "SecretAccessKey": None}).encode()),
    ],
)
def test_an_agent_without_keys_is_an_error(
    here: Environment, clock: Clock, answer: Answer
) -> None:
    """It was set up for this pod: the next place would be another caller."""
    agent = Agent()
    agent.answers["/k"] = answer

    with (
        serving(agent, clock) as url,
        pytest.raises(AuthError, match=r"has no keys|lacks SecretAccessKey"),
    ):
        AmbientKeys().keys(asking(here, clock, AWS_CONTAINER_CREDENTIALS_FULL_URI=f"{url}/k"))


def test_an_instance_is_asked_with_a_token_of_its_own(here: Environment, clock: Clock) -> None:
    """IMDSv2: a token first, then the role's name, then its keys."""
    agent = Agent()
    roles = "/latest/meta-data/iam/security-credentials/"
    agent.answers["/latest/api/token"] = Answer(body=b"imds-token")
    agent.answers[roles] = Answer(body=b"builder")
    agent.answers[f"{roles}builder"] = Answer(
        body=json.dumps({"Code": "Success", **GIVEN}).encode()
    )

    with serving(agent, clock) as url:
        found = AmbientKeys().keys(asking(here, clock, AWS_EC2_METADATA_SERVICE_ENDPOINT=url))

    assert parts(found) == ("ASIAGIVEN", "given-secret", "given-token")
    assert found.source == "the instance's role builder"
    token = "x-aws-ec2-metadata-token"
    assert [(method, path, h.get(token)) for method, path, h in agent.asked] == [
        ("PUT", "/latest/api/token", None),
        ("GET", roles, "imds-token"),
        ("GET", f"{roles}builder", "imds-token"),
    ]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({}, "gives out no token"),
        ({"/latest/api/token": Answer(body=b"t")}, "runs as no role"),
    ],
)
def test_an_instance_without_a_role_has_no_keys(
    here: Environment, clock: Clock, answers: dict[str, Answer], said: str
) -> None:
    """What it said is in the trail."""
    agent = Agent()
    agent.answers = answers

    with serving(agent, clock) as url:
        environment = asking(here, clock, AWS_EC2_METADATA_SERVICE_ENDPOINT=url).environment
        (step,) = EcrKeychain(environment=environment, clock=clock).explain(APP, "push")
        with pytest.raises(AuthError, match=said):
            InstanceKeys().keys(asking(environment, clock))

    assert said in step.why


def test_a_machine_that_is_no_instance_is_found_out(here: Environment, clock: Clock) -> None:
    """Nobody listens there; nothing is tried again."""
    with pytest.raises((AuthError, RegistryUnavailableError)):
        InstanceKeys().keys(
            asking(here, clock, AWS_EC2_METADATA_SERVICE_ENDPOINT="http://127.0.0.1:1")
        )


def write(home: Path, **files: str) -> None:
    (home / ".aws").mkdir()
    for name, text in files.items():
        (home / ".aws" / name).write_text(text)


def test_plain_keys_of_a_profile_need_no_library(here: Environment, clock: Clock) -> None:
    """The credentials file counts more than the config file; both may name a profile."""
    write(
        here.home,
        config="[default]\nregion = x\n[profile ci]\naws_access_key_id = AKIAOLD\n",
        credentials="[ci]\naws_access_key_id = AKIACI\naws_secret_access_key = a%b=c\n"
        "aws_session_token = t\n[default]\naws_access_key_id = AKIAD\naws_secret_access_key = d\n",
    )

    named = AmbientKeys().keys(asking(here, clock, AWS_PROFILE="ci"))
    plain = AmbientKeys().keys(asking(here, clock))

    assert (parts(named), named.source) == (("AKIACI", "a%b=c", "t"), "the AWS profile ci")
    assert (parts(plain), plain.source) == (("AKIAD", "d", ""), "the AWS profile default")


def test_the_files_of_profiles_may_be_elsewhere(
    here: Environment, clock: Clock, tmp_path: Path
) -> None:
    """AWS's own variables name them."""
    (tmp_path / "creds").write_text("[x]\naws_access_key_id=AKIAX\naws_secret_access_key=s\n")

    found = ProfileKeys("x").keys(
        asking(here, clock, AWS_SHARED_CREDENTIALS_FILE="~/creds", AWS_CONFIG_FILE="none")
    )

    assert parts(found) == ("AKIAX", "s", "")


def test_a_profile_that_is_named_must_be_there(here: Environment, clock: Clock) -> None:
    """And hold something."""
    write(here.home, config="[profile empty]\nregion = eu-west-1\n")

    with pytest.raises(AuthError, match="there is no AWS profile gone"):
        AmbientKeys().keys(asking(here, clock, AWS_PROFILE="gone"))
    with pytest.raises(AuthError, match="the AWS profile empty holds no keys"):
        ProfileKeys("empty").keys(asking(here, clock))


def test_a_broken_file_is_an_error_that_quotes_nothing(here: Environment, clock: Clock) -> None:
    """Its lines are secrets."""
    write(here.home, credentials="[default]\naws_secret_access_key c4n4ry\n")

    with pytest.raises(AuthError, match="is malformed") as caught:
        AmbientKeys().keys(asking(here, clock))
    assert "c4n4ry" not in caught.value.report()
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "setting", ["sso_session = acme", "credential_process = /bin/x", "role_arn = " + ROLE]
)
def test_what_takes_botocore_says_how_to_install_it(
    here: Environment, clock: Clock, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """Only where it would have been needed."""
    monkeypatch.setitem(sys.modules, "botocore", None)
    monkeypatch.setitem(sys.modules, "botocore.session", None)
    write(here.home, config=f"[profile ci]\n{setting}\n")

    with pytest.raises(AuthError, match="botocore is not installed") as caught:
        AmbientKeys().keys(asking(here, clock, AWS_PROFILE="ci"))
    assert "pip install 'buildpush[aws]'" in caught.value.hint

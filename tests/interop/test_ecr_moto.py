"""Logins to ECR against moto's server, and keys of profiles by botocore: both as they are.

``nox -s interop`` has them; elsewhere these tests are skipped.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from attrs import evolve
from aws_fixtures import KEYS, aws, clock, here
from aws_stand_in import Clock, StandIn
from extras import need_library

from buildpush import BuildAndPushStep
from buildpush.auth.aws.calls import Aws
from buildpush.auth.aws.places import Place
from buildpush.auth.ecr import AssumedRole, EcrKeychain, NewRepository, ProfileKeys, WebIdentity
from buildpush.errors import AuthError
from buildpush.oci import Repository
from buildpush.runtime import Environment
from buildpush.testing import LocalRegistry, find_secrets

__all__ = ["aws", "clock", "here"]

need_library("moto.server")
need_library("botocore.auth")
SigV4Auth = import_module("botocore.auth").SigV4Auth
moto_server = import_module("moto.server")

APP = Repository("123456789012.dkr.ecr.eu-west-1.amazonaws.com", "acme/app")
ROLE = "arn:aws:iam::123456789012:role/push"


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    """moto's server; its URL."""
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def keychain(moto: str, here: Environment) -> EcrKeychain:
    environment = evolve(here, variables={"AWS_ENDPOINT_URL": moto})
    return EcrKeychain(source=KEYS, environment=environment)


def test_moto_gives_a_login_that_is_kept(keychain: EcrKeychain) -> None:
    """Its login ended in 2015: it is believed all the same, and once."""
    first = keychain.resolve(APP, "push")
    second = keychain.resolve(APP, "push")

    assert first is second
    assert first is not None
    assert (first.username, first.password) == ("AWS", "123456789012-auth-token")
    assert first.source == "ECR, argument of account 123456789012"


def test_moto_gives_a_login_for_an_assumed_role(moto: str, here: Environment) -> None:
    """AssumeRole, signed, and a login with the session's keys."""
    keychain = EcrKeychain(
        source=AssumedRole(role=ROLE, source=KEYS, external_id="x-1"),
        environment=evolve(here, variables={"AWS_ENDPOINT_URL": moto}),
    )

    found = keychain.resolve(APP, "push")

    assert found is not None
    assert found.source.startswith("ECR, role push of 123456789012 by argument")


def test_moto_gives_a_login_for_an_identity_token(moto: str, here: Environment) -> None:
    """AssumeRoleWithWebIdentity without any key."""
    keychain = EcrKeychain(
        source=WebIdentity(role=ROLE, token="eyJh.eyJz.c2ln"),
        environment=evolve(here, variables={"AWS_ENDPOINT_URL": moto}),
    )

    assert keychain.resolve(APP, "push") is not None


def test_moto_makes_a_repository_once(moto: str, here: Environment) -> None:
    """With both policies; the second one to ask finds it."""
    policy = {"rules": []}
    statement = {"Effect": "Allow", "Principal": "*", "Action": ["ecr:GetDownloadUrlForLayer"]}
    new = NewRepository(
        immutable_tags=True,
        scan_on_push=True,
        lifecycle_policy=json.dumps(policy),
        policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}),
    )
    environment = evolve(here, variables={"AWS_ENDPOINT_URL": moto})
    first = EcrKeychain(source=KEYS, environment=environment, new_repository=new)
    second = EcrKeychain(source=KEYS, environment=environment)

    assert first.ensure_repository(APP) is True
    assert second.ensure_repository(APP) is False


class Linked(EcrKeychain):
    """What moto has made exists in *registry*, too."""

    registry: LocalRegistry

    def ensure_repository(self, repository: Repository) -> bool | None:
        made = super().ensure_repository(repository)
        self.registry.create_repository(repository.path)
        return made


def test_a_step_has_moto_make_the_repository_it_pushes_to(moto: str, here: Environment) -> None:
    """Before it builds; the second step finds it."""
    users = {"AWS": "123456789012-auth-token"}
    with LocalRegistry(repositories=(), auth="basic", users=users) as registry:
        keychain = Linked(
            source=KEYS,
            environment=evolve(here, variables={"AWS_ENDPOINT_URL": moto}),
            aliases={registry.host: APP.host},
            create_repository=True,
        )
        keychain.registry = registry
        step = BuildAndPushStep(repo=registry.reference("acme/made"), auth=[keychain])

        assert [place.path for place in step.preflight()] == ["acme/made"]

    again = EcrKeychain(source=KEYS, environment=keychain.environment)
    assert again.ensure_repository(evolve(APP, path="acme/made")) is False


def test_a_request_for_a_login_is_signed_as_botocore_signs_it(
    aws: StandIn, here: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in, which refuses every other signature, takes botocore's word for it."""
    asked: list[str] = []
    real = SigV4Auth.signature

    def heard(self: object, text: str, request: object) -> str:
        asked.append(text)
        return str(real(self, text, request))

    monkeypatch.setattr(SigV4Auth, "signature", heard)
    keychain = EcrKeychain(source=KEYS, environment=aws.environment(here), clock=aws.clock)

    found = keychain.resolve(APP, "push")

    assert found is not None
    assert len(asked) == 1


def asking(here: Environment, clock: Clock) -> Aws:
    return Aws(environment=here, place=Place(region="eu-west-1"), clock=clock)


def test_botocore_runs_a_profiles_program(
    here: Environment, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What only the library can do; it logs nothing of it."""
    given = {
        "Version": 1,
        "AccessKeyId": "ASIAC4N4RYPROCESS",
        "SecretAccessKey": "c4n4ry-process-secret",
        "SessionToken": "c4n4ry-process-token",
        "Expiration": "2099-01-01T00:00:00Z",
    }
    (tmp_path / "keys.json").write_text(json.dumps(given))
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(
        f"[profile ci]\ncredential_process = /bin/cat {tmp_path / 'keys.json'}\n"
    )

    with caplog.at_level(logging.DEBUG):
        found = ProfileKeys("ci").keys(asking(here, clock))

    assert str(found.secret_key) == given["SecretAccessKey"]
    assert found.source == "the AWS profile ci (custom-process)"
    needles = [str(given[name]) for name in ("AccessKeyId", "SecretAccessKey", "SessionToken")]
    assert find_secrets(needles, caplog.text + repr(found)) == ()


def test_botocores_failures_are_ours_and_quote_nothing(
    here: Environment, clock: Clock, tmp_path: Path
) -> None:
    """A program may print anything."""
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".aws" / "config").write_text(
        "[profile ci]\ncredential_process = /bin/sh -c 'echo c4n4ry >&2; exit 1'\n"
    )

    with pytest.raises(AuthError, match="profile ci gives no keys") as caught:
        ProfileKeys("ci").keys(asking(here, clock))
    assert "c4n4ry" not in caught.value.report()
    assert "aws sso login --profile ci" in caught.value.hint


def test_botocore_is_not_loaded_for_plain_keys(aws: StandIn, here: Environment) -> None:
    """In a process of its own, since this one has loaded it."""
    code = (
        "import sys; from buildpush.auth.ecr import EcrKeychain; from buildpush import Repository;"
        f"EcrKeychain().resolve(Repository({APP.host!r}, 'app'), 'push');"
        "assert 'botocore' not in sys.modules and 'boto3' not in sys.modules"
    )
    variables = {
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_ACCESS_KEY_ID": str(KEYS.access_key),
        "AWS_SECRET_ACCESS_KEY": str(KEYS.secret_key),
        "HOME": str(here.home),
    }
    aws.clock = time.time

    done = subprocess.run(
        [sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")

"""Who logs in for a plugin: each cloud's variables as the keychain that they mean."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from buildpush import BuildAndPushStep, SpecError
from buildpush.auth.acr import AzureKeychain
from buildpush.auth.aws.ambient import AmbientKeys
from buildpush.auth.aws.roles import AssumedRole, WebIdentity
from buildpush.auth.azure.sources import CertificatePrincipal, FederatedIdentity, ServicePrincipal
from buildpush.auth.ecr import EcrKeychain
from buildpush.auth.gar import GoogleKeychain
from buildpush.auth.google.sources import JsonKey, WorkloadIdentity
from buildpush.auth.sigv4 import AwsKeys
from buildpush.backends.buildx import BuildxBackend
from buildpush.backends.kaniko import KanikoBackend
from buildpush.step.drone import keychains
from buildpush.step.variables import read_plugin

CANARY = "hunter2-canary"
ECR = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
ROLE = "arn:aws:iam::123456789012:role/ci"
KEY = json.dumps(
    {
        "type": "service_account",
        "client_email": "ci@shop.iam.gserviceaccount.com",
        "private_key": CANARY,
        "private_key_id": "1",
        "token_uri": "https://oauth2.googleapis.com/token",
    }
)
BASES = {
    "ecr": {"PLUGIN_REPO": f"{ECR}/app", "PLUGIN_REGISTRY": ECR},
    "gar": {"PLUGIN_REPO": "shop/app", "PLUGIN_LOCATION": "us"},
    "acr": {"PLUGIN_REPO": "app", "PLUGIN_REGISTRY": "shop.azurecr.io"},
    "kaniko-ecr": {"PLUGIN_REPO": "app", "PLUGIN_REGISTRY": ECR},
    "kaniko-gar": {"PLUGIN_REPO": "app", "PLUGIN_REGISTRY": "us-docker.pkg.dev/shop"},
    "kaniko-acr": {"PLUGIN_REPO": "app", "PLUGIN_REGISTRY": "shop.azurecr.io"},
}


def step(plugin: str, **variables: str) -> BuildAndPushStep:
    return BuildAndPushStep.from_plugin_env({**BASES[plugin], **variables}, plugin=plugin)


def login(plugin: str, **variables: str) -> Any:
    made = step(plugin, **variables)
    (found,) = made.auth
    assert CANARY not in repr(made)
    return found


@pytest.mark.parametrize("plugin", ["ecr", "kaniko-ecr"])
@pytest.mark.parametrize(
    ("variables", "source"),
    [
        ({}, type(None)),
        ({"PLUGIN_ACCESS_KEY": "AKIA", "PLUGIN_SECRET_KEY": CANARY}, AwsKeys),
        ({"PLUGIN_ASSUME_ROLE": ROLE, "PLUGIN_EXTERNAL_ID": "x"}, AssumedRole),
        ({"PLUGIN_ASSUME_ROLE": ROLE, "PLUGIN_OIDC_TOKEN_ID": CANARY}, WebIdentity),
    ],
)
def test_aws_is_asked_as_the_variables_say(
    plugin: str, variables: dict[str, str], source: type
) -> None:
    found = login(plugin, **variables)

    assert isinstance(found, EcrKeychain)
    assert isinstance(found.source, source)
    if isinstance(found.source, AssumedRole):
        assert isinstance(found.source.source, AmbientKeys)
        assert found.source.external_id == "x"


def test_a_role_is_assumed_with_the_keys_that_are_given() -> None:
    found = login(
        "ecr", PLUGIN_ACCESS_KEY="AKIA", PLUGIN_SECRET_KEY=CANARY, PLUGIN_ASSUME_ROLE=ROLE
    )

    assert isinstance(found.source, AssumedRole)
    assert isinstance(found.source.source, AwsKeys)


@pytest.mark.parametrize(
    ("plugin", "variables", "message"),
    [
        ("ecr", {"PLUGIN_ACCESS_KEY": CANARY}, "PLUGIN_SECRET_KEY: is missing"),
        ("ecr", {"PLUGIN_SECRET_KEY": CANARY}, "PLUGIN_ACCESS_KEY: is missing"),
        ("ecr", {"PLUGIN_OIDC_TOKEN_ID": CANARY}, "PLUGIN_ASSUME_ROLE: is missing"),
        ("ecr", {"PLUGIN_LIFECYCLE_POLICY": "/nowhere"}, "PLUGIN_LIFECYCLE_POLICY: names a file"),
        (
            "acr",
            {"CLIENT_CERTIFICATE": base64.b64encode(CANARY.encode()).decode()},
            "PLUGIN_CLIENT_CERTIFICATE: has to be a file",
        ),
        (
            "acr",
            {"CLIENT_CERTIFICATE": f"!{CANARY}"},
            "PLUGIN_CLIENT_CERTIFICATE: expected base64",
        ),
    ],
)
def test_the_half_of_a_login_is_refused(
    plugin: str, variables: dict[str, str], message: str
) -> None:
    with pytest.raises(SpecError, match=message) as caught:
        step(plugin, **variables)

    assert CANARY not in caught.value.report()


def test_a_repository_is_made_as_the_variables_say(tmp_path: Path) -> None:
    (tmp_path / "life.json").write_text("{}")

    found = login(
        "ecr",
        PLUGIN_CREATE_REPOSITORY="true",
        PLUGIN_SCAN_ON_PUSH="true",
        PLUGIN_LIFECYCLE_POLICY=str(tmp_path / "life.json"),
    )

    assert found.create_repository
    assert found.new_repository.scan_on_push
    assert found.new_repository.lifecycle_policy == "{}"


@pytest.mark.parametrize("plugin", ["gar", "kaniko-gar"])
def test_google_takes_a_key(plugin: str) -> None:
    found = login(plugin, PLUGIN_JSON_KEY=KEY)

    assert isinstance(found, GoogleKeychain)
    assert isinstance(found.source, JsonKey)
    assert login(plugin).source is None


def test_google_takes_a_key_in_base64() -> None:
    found = login("gar", PLUGIN_JSON_KEY=base64.b64encode(KEY.encode()).decode())

    assert json.loads(found.source.text)["private_key"] == CANARY


def test_google_trusts_another_s_token() -> None:
    found = login(
        "gar",
        PLUGIN_OIDC_TOKEN_ID=CANARY,
        PLUGIN_PROJECT_NUMBER="42",
        PLUGIN_POOL_ID="pool",
        PLUGIN_PROVIDER_ID="provider",
        PLUGIN_SERVICE_ACCOUNT_EMAIL="ci@shop",
    )

    assert isinstance(found.source, WorkloadIdentity)
    assert "projects/42/" in found.source.resource
    assert found.source.service_account == "ci@shop"


@pytest.mark.parametrize("plugin", ["acr", "kaniko-acr"])
@pytest.mark.parametrize(
    ("variables", "source"),
    [
        ({}, type(None)),
        ({"CLIENT_SECRET": CANARY}, ServicePrincipal),
        ({"PLUGIN_OIDC_TOKEN_ID": CANARY}, FederatedIdentity),
    ],
)
def test_azure_is_asked_as_the_variables_say(
    plugin: str, variables: dict[str, str], source: type
) -> None:
    who = {"CLIENT_ID": "app", "TENANT_ID": "tenant"} if variables else {}

    found = login(plugin, **who, **variables)

    assert isinstance(found, AzureKeychain)
    assert isinstance(found.source, source)


def test_azure_s_certificate_is_a_file_that_nobody_else_reads(tmp_path: Path) -> None:
    variables = {
        **BASES["acr"],
        "CLIENT_ID": "app",
        "TENANT_ID": "tenant",
        "CLIENT_CERTIFICATE": base64.b64encode(CANARY.encode()).decode(),
    }
    asked, environ = read_plugin(variables, "acr", "strict", folder=tmp_path)

    (found,) = keychains(asked, environ, private=tmp_path)

    assert isinstance(found, AzureKeychain)
    assert isinstance(found.source, CertificatePrincipal)
    path = found.source.certificate
    assert (path.read_text(), path.stat().st_mode & 0o777) == (CANARY, 0o600)


def test_options_that_one_backend_alone_has_reach_it() -> None:
    kaniko = BuildAndPushStep.from_plugin_env(
        {"PLUGIN_REPO": "acme/app", "PLUGIN_SNAPSHOT_MODE": "redo"},
        plugin="kaniko",
        backend="kaniko",
    )
    assert isinstance(kaniko.backend, KanikoBackend)
    assert kaniko.backend.options.snapshot_mode == "redo"

    buildx = BuildAndPushStep.from_plugin_env(
        {
            "PLUGIN_REPO": "acme/app",
            "PLUGIN_BUILDER_DRIVER": "docker-container",
            "PLUGIN_BUILDER_DRIVER_OPTS": "image=acme/buildkit:1;network=host",
        },
        plugin="buildx",
        backend="buildx",
    )
    assert isinstance(buildx.backend, BuildxBackend)
    assert buildx.backend.create is not None
    assert buildx.backend.create.options == {"image": "acme/buildkit:1", "network": "host"}

    named = BuildAndPushStep.from_plugin_env(
        {"PLUGIN_REPO": "acme/app", "PLUGIN_BUILDER_NAME": "mine"},
        plugin="buildx",
        backend="buildx",
    )
    assert isinstance(named.backend, BuildxBackend)
    assert named.backend.builder == "mine"


def test_what_another_backend_cannot_do_is_said() -> None:
    made = BuildAndPushStep.from_plugin_env(
        {
            "PLUGIN_REPO": "acme/app",
            "PLUGIN_BUILDER_NAME": "mine",
            "PLUGIN_CACHE_FROM": "type=gha",
        },
        plugin="buildx",
        backend="native",
    )

    assert made.cache_from == ()
    said = "\n".join(made.remarks)
    assert "a builder of buildx is not made" in said
    assert "cache_from: left out: native has a cache of its own" in said

"""The plugins that log in to a cloud: what they read themselves, and what they hand on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from buildpush.errors import SpecError
from buildpush.spec.drone import PROGRAMS, PluginSettings, own_variables, translate
from buildpush.spec.drone.clouds import CLOUDS

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
CANARY = "hunter2-canary"
HOST = "123456789012.dkr.ecr.eu-west-1.amazonaws.com"
FEDERATED = {
    "PLUGIN_OIDC_TOKEN_ID": CANARY,
    "PLUGIN_PROJECT_NUMBER": "42",
    "PLUGIN_POOL_ID": "pool",
    "PLUGIN_PROVIDER_ID": "provider",
    "PLUGIN_SERVICE_ACCOUNT_EMAIL": "ci@shop.iam",
}
ENOUGH: Mapping[str, Mapping[str, str]] = {
    "ecr": {"PLUGIN_REGISTRY": HOST},
    "gcr": {},
    "gar": {"PLUGIN_LOCATION": "us"},
    "acr": {"PLUGIN_REGISTRY": "shop.azurecr.io"},
    "heroku": {"PLUGIN_APP": "shop", "PLUGIN_EMAIL": "a@b.c", "PLUGIN_API_KEY": CANARY},
}


def asked(plugin: str, **variables: str) -> PluginSettings:
    kind = CLOUDS[plugin][1]
    return translate(
        {"PLUGIN_REPO": "app", "PLUGIN_TAGS": "1.4", **ENOUGH[kind], **variables}, plugin, now=NOW
    )


@pytest.mark.parametrize("plugin", CLOUDS)
def test_the_registry_stands_before_the_repository(plugin: str) -> None:
    kind = CLOUDS[plugin][1]
    expected = {
        "ecr": f"{HOST}/app",
        "gcr": "gcr.io/app",
        "gar": "us-docker.pkg.dev/app",
        "acr": "shop.azurecr.io/app",
        "heroku": "registry.heroku.com/shop/web",
    }[kind]

    found = asked(plugin)

    assert found.settings["repo"] == expected
    assert found.settings["tags"] == ("1.4",)
    assert found.raw_tags == ("1.4",)
    if kind != "heroku":
        again = asked(plugin, PLUGIN_REPO=expected)
        assert again.settings["repo"] == expected


@pytest.mark.parametrize(
    ("plugin", "variables", "repo"),
    [
        ("ecr", {"PLUGIN_REGISTRY": "", "PLUGIN_REPO": f"{HOST}/app"}, f"{HOST}/app"),
        ("ecr", {"PLUGIN_REGISTRY": "", "PLUGIN_REPO": "public.ecr.aws/x/app"}, "public.ecr.aws/x/app"),
        ("ecr", {"PLUGIN_REGISTRY": f"https://{HOST}/"}, f"{HOST}/app"),
        ("gcr", {"PLUGIN_REGISTRY": "eu.gcr.io/shop"}, "eu.gcr.io/shop/app"),
        ("gar", {"PLUGIN_LOCATION": "", "PLUGIN_REGISTRY": "us-docker.pkg.dev/shop"}, "us-docker.pkg.dev/shop/app"),
        ("gar", {"PLUGIN_LOCATION": "", "PLUGIN_REPO": "us-docker.pkg.dev/p/r/app"}, "us-docker.pkg.dev/p/r/app"),
        ("acr", {"PLUGIN_REGISTRY": "", "PLUGIN_REPO": "x.azurecr.io/app"}, "x.azurecr.io/app"),
        ("heroku", {"PLUGIN_PROCESS_TYPE": "worker"}, "registry.heroku.com/shop/worker"),
    ],
)  # fmt: skip
def test_the_registry_is_found_where_it_is_said(
    plugin: str, variables: dict[str, str], repo: str
) -> None:
    assert asked(plugin, **variables).settings["repo"] == repo


@pytest.mark.parametrize(
    ("plugin", "variable", "option"),
    [
        ("ecr", "PLUGIN_ACCESS_KEY", "access-key"),
        ("ecr", "ECR_ACCESS_KEY", "access-key"),
        ("ecr", "AWS_ACCESS_KEY_ID", "access-key"),
        ("ecr", "PLUGIN_SECRET_KEY", "secret-key"),
        ("ecr", "ECR_SECRET_KEY", "secret-key"),
        ("ecr", "AWS_SECRET_ACCESS_KEY", "secret-key"),
        ("ecr", "PLUGIN_REGION", "region"),
        ("ecr", "ECR_REGION", "region"),
        ("ecr", "AWS_REGION", "region"),
        ("ecr", "PLUGIN_ASSUME_ROLE", "assume-role"),
        ("ecr", "PLUGIN_EXTERNAL_ID", "external-id"),
        ("ecr", "PLUGIN_OIDC_TOKEN_ID", "oidc-token-id"),
        ("gcr", "PLUGIN_JSON_KEY", "json-key"),
        ("gcr", "GCR_JSON_KEY", "json-key"),
        ("gar", "GOOGLE_CREDENTIALS", "json-key"),
        ("gar", "TOKEN", "json-key"),
        ("acr", "CLIENT_ID", "client-id"),
        ("acr", "AZURE_CLIENT_ID", "client-id"),
        ("acr", "AZURE_APP_ID", "client-id"),
        ("acr", "PLUGIN_CLIENT_ID", "client-id"),
        ("acr", "CLIENT_SECRET", "client-secret"),
        ("acr", "PLUGIN_CLIENT_SECRET", "client-secret"),
        ("acr", "CLIENT_CERTIFICATE", "client-cert"),
        ("acr", "PLUGIN_CLIENT_CERTIFICATE", "client-cert"),
        ("acr", "TENANT_ID", "tenant-id"),
        ("acr", "AZURE_TENANT_ID", "tenant-id"),
        ("acr", "PLUGIN_TENANT_ID", "tenant-id"),
        ("acr", "AZURE_AUTHORITY_HOST", "azure-authority-host"),
        ("acr", "PLUGIN_OIDC_TOKEN_ID", "oidc-token-id"),
    ],
)
@pytest.mark.parametrize("engine", ["", "docker-", "buildx-", "buildah-"])
def test_a_variable_becomes_part_of_the_login(
    engine: str, plugin: str, variable: str, option: str
) -> None:
    (login,) = asked(engine + plugin, **{variable: CANARY}).logins

    assert login.options[option] == CANARY
    assert login.kind == {"gar": "gcr"}.get(plugin, plugin)
    assert CANARY not in repr(login)


def test_the_first_variable_that_is_set_counts() -> None:
    (login,) = asked("ecr", PLUGIN_REGION="", AWS_REGION="x").logins
    assert "region" not in login.options

    (login,) = asked("acr", CLIENT_ID="one", PLUGIN_CLIENT_ID="two").logins
    assert login.options["client-id"] == "one"


def test_a_service_principal_logs_in_directly() -> None:
    variables = {"SERVICE_PRINCIPAL_CLIENT_ID": "id", "SERVICE_PRINCIPAL_CLIENT_SECRET": CANARY}

    (login,) = asked("acr", **variables).logins

    assert (login.kind, login.host, login.username) == ("basic", "shop.azurecr.io", "id")
    assert login.password == CANARY


def test_heroku_takes_a_mail_address_and_a_key() -> None:
    (login,) = asked("heroku").logins

    assert (login.kind, login.host, login.username) == ("basic", "registry.heroku.com", "a@b.c")
    assert login.password == CANARY


def test_what_is_for_the_docker_plugin_is_handed_on() -> None:
    found = asked(
        "ecr",
        PLUGIN_BUILD_ARGS="A=1",
        PLUGIN_BASE_IMAGE_REGISTRY="ghcr.io",
        PLUGIN_BASE_IMAGE_USERNAME="u",
        PLUGIN_BASE_IMAGE_PASSWORD=CANARY,
        PLUGIN_CREATE_REPOSITORY="true",
        PLUGIN_SCAN_ON_PUSH="1",
        PLUGIN_LIFECYCLE_POLICY="life.json",
        PLUGIN_REPOSITORY_POLICY="repo.json",
        PLUGIN_SKIP_PUSH_IF_TAG_EXISTS="t",
        PLUGIN_ARTIFACT_FILE="a.json",
    )

    assert found.settings["build_args"] == {"A": "1"}
    assert [(each.kind, each.host, each.pull_only) for each in found.logins] == [
        ("ecr", HOST, False),
        ("basic", "ghcr.io", True),
    ]
    assert found.create_repository
    assert found.scan_on_push
    assert found.skip_if_tag_exists
    assert (found.lifecycle_policy, found.repository_policy) == ("life.json", "repo.json")
    assert (found.registry_type, found.registry_url) == ("ECR", HOST)


@pytest.mark.parametrize(
    ("plugin", "kind"),
    [
        ("ecr", "ECR"),
        ("acr", "ACR"),
        ("gcr", "Docker"),
        ("gar", "Docker"),
        ("buildx-gcr", "GCR"),
        ("buildx-gar", "GAR"),
        ("buildx-acr", "ACR"),
        ("buildx-ecr", "Docker"),
    ],
)
def test_the_artifact_file_names_the_registry_as_the_plugin_does(plugin: str, kind: str) -> None:
    assert asked(plugin).registry_type == kind


@pytest.mark.parametrize(
    ("plugin", "variables", "message"),
    [
        ("ecr", {"PLUGIN_REGISTRY": ""}, "PLUGIN_REGISTRY: is needed"),
        ("gar", {"PLUGIN_LOCATION": ""}, "PLUGIN_LOCATION: is needed"),
        ("heroku", {"PLUGIN_APP": ""}, "PLUGIN_APP: is needed"),
        ("heroku", {"PLUGIN_API_KEY": ""}, "PLUGIN_EMAIL and PLUGIN_API_KEY"),
        ("ecr", {"PLUGIN_SCAN_ON_PUSH": "maybe"}, "PLUGIN_SCAN_ON_PUSH: is neither"),
        ("ecr", {"PLUGIN_REGIN": "x"}, "PLUGIN_REGIN: the plugin does not read it"),
        ("gcr", {"PLUGIN_POOL_ID": "p"}, "PLUGIN_POOL_ID: does nothing without"),
        ("acr", {"SUBSCRIPTION_ID": "p"}, "PLUGIN_SUBSCRIPTION_ID: is for a link"),
    ],
)
def test_what_is_wrong_names_its_variable(
    plugin: str, variables: dict[str, str], message: str
) -> None:
    with pytest.raises(SpecError) as caught:
        asked(plugin, **variables)

    assert message in caught.value.report()


def test_all_of_a_federated_login_is_none_to_complain_of() -> None:
    (login,) = asked("gar", **FEDERATED).logins

    assert login.options["pool-id"] == "pool"
    assert CANARY not in repr(login)


def test_no_other_plugin_is_known() -> None:
    with pytest.raises(SpecError, match="no plugin") as caught:
        translate({}, "podman", now=NOW)

    assert "kaniko-ecr" in caught.value.hint
    assert {"ecr", "buildx-gar", "kaniko-acr", "docker"} <= set(PROGRAMS)
    assert "PLUGIN_LOCATION" in own_variables("gar")

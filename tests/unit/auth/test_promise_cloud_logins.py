"""Promises about Google's and Azure's registries: every route to a login, and refusals that help."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import evolve
from stand_in_azure import CLIENT, MANIFEST, REGISTRY, TENANT, AzureStandIn
from stand_in_google import (
    JWT,
    GoogleStandIn,
    authorized_user,
    external_account,
    workload_identity,
    write,
)
from stand_in_internet import Answer, Asked, Internet

from buildpush import ImageReference, Repository
from buildpush.auth.acr import AzureKeychain, ServicePrincipal
from buildpush.auth.gar import AccessToken, GoogleKeychain
from buildpush.errors import PermissionDeniedError
from buildpush.registry.client import RegistryClient
from buildpush.runtime import CancelToken, Environment, Run

HOSTS = ("europe-west1-docker.pkg.dev", "gcr.io", "eu.gcr.io")
KEY = json.dumps(
    {"type": "service_account", "client_email": "a@b", "private_key": "private-key-canary"}
)


def client(keychain: GoogleKeychain | AzureKeychain, environment: Environment) -> RegistryClient:
    run = Run(
        workdir=environment.temporary,
        cancel=CancelToken(),
        sink=lambda _: None,
        environment=environment,
    )
    return RegistryClient(keychain, run)


class Bare:
    """A machine without gcloud, on which one route to Google is set up."""

    def __init__(self, google: GoogleStandIn, home: Path) -> None:
        self.google, self.home = google, home

    def environment(self, **variables: str) -> Environment:
        net = self.google.internet
        return net.environment(self.home, PATH="/nowhere", **variables)

    def default_credentials(self) -> tuple[GoogleKeychain, str]:
        self.google.subject, self.google.client = "1//refresh", ("id", "secret")
        folder = self.home / ".config" / "gcloud"
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "application_default_credentials.json"
        write(path, authorized_user(self.google))
        return GoogleKeychain(environment=self.environment()), self.google.refreshed

    def metadata_server(self) -> tuple[GoogleKeychain, str]:
        environment = self.environment(GCE_METADATA_HOST=self.google.internet.near)
        return GoogleKeychain(environment=environment), self.google.machine

    def workload_identity_file(self) -> tuple[GoogleKeychain, str]:
        token = write(self.home / "token", JWT)
        path = write(self.home / "wif.json", external_account(file=str(token)))
        environment = self.environment(GOOGLE_APPLICATION_CREDENTIALS=str(path))
        return GoogleKeychain(environment=environment), self.google.impersonated

    def key_file(self) -> tuple[GoogleKeychain, str]:
        path = write(self.home / "key.json", KEY)
        environment = self.environment(GOOGLE_APPLICATION_CREDENTIALS=str(path))
        return GoogleKeychain(environment=environment), KEY

    def raw_token(self) -> tuple[GoogleKeychain, str]:
        return GoogleKeychain(source=AccessToken("ya29.raw")), "ya29.raw"

    def settings_of_a_pool(self) -> tuple[GoogleKeychain, str]:
        keychain = GoogleKeychain(source=workload_identity(), environment=self.environment())
        return keychain, self.google.impersonated


Route = Callable[[Bare], tuple[GoogleKeychain, str]]


@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize(
    "route",
    [
        Bare.default_credentials,
        Bare.metadata_server,
        Bare.workload_identity_file,
        Bare.key_file,
        Bare.raw_token,
        Bare.settings_of_a_pool,
    ],
)
def test_every_route_to_google_works_for_every_host_without_gcloud(
    route: Route, host: str, google: GoogleStandIn, tmp_path: Path
) -> None:
    """No helper, no gcloud, nothing on PATH: and what comes out, the registry is sent."""
    keychain, secret = route(Bare(google, tmp_path))

    def registry(asked: Asked) -> Answer:
        user = "_json_key" if secret == KEY else "oauth2accesstoken"
        pair = base64.b64encode(f"{user}:{secret}".encode()).decode()
        match asked.path:
            case "/v2/token":
                assert asked.headers.get("authorization") == f"Basic {pair}"
                return Answer(200, {"token": "registry-token"})
            case _ if asked.headers.get("authorization") == "Bearer registry-token":
                return Answer(200, MANIFEST, {"Content-Type": json.loads(MANIFEST)["mediaType"]})
            case _:
                realm = f'Bearer realm="https://{host}/v2/token",service="{host}"'
                return Answer(401, b"", {"WWW-Authenticate": realm})

    google.internet.servers[host] = registry
    environment = google.internet.environment(tmp_path)
    with client(keychain, environment) as asking:
        fetched = asking.get_manifest(ImageReference.parse(f"{host}/acme/app:1"))

    assert google.complaints == []
    assert fetched.data == MANIFEST


def test_a_denied_upload_names_the_permission_and_the_resource(
    internet: Internet, tmp_path: Path
) -> None:
    """Which role is missing, and on what: Google says so, and it is passed on."""
    said = (
        'Permission "artifactregistry.repositories.uploadArtifacts" denied on resource'
        ' "projects/acme/locations/europe-west1/repositories/images" (or it may not exist)'
    )
    refused = {"errors": [{"code": "DENIED", "message": said}]}

    def registry(asked: Asked) -> Answer:
        if asked.path == "/v2/token":
            return Answer(200, {"token": "registry-token"})
        if "authorization" not in asked.headers:
            realm = f'Bearer realm="https://{HOSTS[0]}/v2/token",service="{HOSTS[0]}"'
            return Answer(401, b"", {"WWW-Authenticate": realm})
        return Answer(403, refused)

    internet.servers[HOSTS[0]] = registry
    environment = internet.environment(tmp_path)
    keychain = GoogleKeychain(source=AccessToken("ya29.raw"))

    with (
        client(keychain, environment) as asking,
        pytest.raises(PermissionDeniedError) as caught,
    ):
        asking.check_push(Repository(HOSTS[0], "acme/images/app"))

    assert "artifactregistry.repositories.uploadArtifacts" in str(caught.value)
    assert "projects/acme/locations/europe-west1/repositories/images" in str(caught.value)


def test_an_identity_token_is_posted_and_never_sent_as_a_password(
    internet: Internet, tmp_path: Path
) -> None:
    """From Entra to /oauth2/exchange to /oauth2/token, and no Basic header on the way."""
    azure = AzureStandIn(internet)
    environment = internet.environment(tmp_path)
    source = ServicePrincipal(client_id=CLIENT, client_secret=azure.secret, tenant_id=TENANT)
    keychain = AzureKeychain(source=source, environment=environment)

    with client(keychain, environment) as asking:
        fetched = asking.get_manifest(ImageReference.parse(f"{REGISTRY}/app:1"))

    assert azure.complaints == []
    assert fetched.data == MANIFEST
    assert [(a.host, a.path) for a in internet.asked if a.method == "POST"] == [
        ("login.microsoftonline.com", f"/{TENANT}/oauth2/v2.0/token"),
        (REGISTRY, "/oauth2/exchange"),
        (REGISTRY, "/oauth2/token"),
    ]
    sent = [a.headers.get("authorization", "") for a in internet.asked]
    assert [header for header in sent if header.startswith("Basic")] == []


def test_a_token_file_that_is_rotated_is_read_again_for_each_exchange(
    internet: Internet, tmp_path: Path
) -> None:
    """A pod's token lives for an hour, and a build may not care."""
    clock = [1000.0]
    azure = AzureStandIn(internet, assertion="e30.e30.first", ends=2000.0)
    token = write(tmp_path / "token", azure.assertion)
    environment = internet.environment(
        tmp_path,
        AZURE_TENANT_ID=TENANT,
        AZURE_CLIENT_ID=CLIENT,
        AZURE_FEDERATED_TOKEN_FILE=str(token),
    )
    keychain = AzureKeychain(environment=environment, clock=lambda: clock[0])
    where = Repository(REGISTRY, "app")

    first = keychain.resolve(where, "push")
    azure.assertion, azure.ends, clock[0] = "e30.e30.second", 9000.0, 1990.0
    write(token, azure.assertion)
    fresh = keychain.resolve(where, "push")

    assert azure.complaints == []
    assert first is not None
    assert fresh is not None
    assert (first.expires, fresh.expires) == (2000.0, 9000.0)
    assert evolve(first, identity_token=azure.refresh) == fresh

"""No key, assertion or token of a cloud is ever shown: on success, and in every refusal."""

from __future__ import annotations

import base64
import json
import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from stand_in_azure import CLIENT, REGISTRY, TENANT, AzureStandIn, jwt
from stand_in_google import (
    IMPERSONATION,
    JWT,
    GoogleStandIn,
    authorized_user,
    external_account,
    workload_identity,
    write,
)
from stand_in_internet import Answer, Asked, Internet

from buildpush import Repository
from buildpush.auth import Keychain, trail
from buildpush.auth.acr import AzureKeychain, FederatedIdentity, ManagedIdentity, ServicePrincipal
from buildpush.auth.gar import GoogleKeychain, JsonKey, KeyFile
from buildpush.errors import BuildpushError
from buildpush.testing import find_secrets

GAR = Repository("europe-west1-docker.pkg.dev", "acme/images/app")
ACR = Repository(REGISTRY, "app")
SECRET = "client/secret+canary=="
REFRESH = "1//refresh-token-canary"
HEADER = "identity-header-canary"
KEY = json.dumps({"type": "service_account", "client_email": "a@b", "private_key": "pk-canary"})
ASSERTION = jwt("assertion", 10_000)


class Cloud:
    """Both clouds in one Internet, and every secret that is used in it."""

    def __init__(self, internet: Internet, home: Path) -> None:
        self.internet, self.home = internet, home
        self.google = GoogleStandIn(internet, subject=JWT, client=("", ""))
        google_near = internet.servers["near"]
        self.azure = AzureStandIn(internet, secret=SECRET, header=HEADER)
        azure_near = internet.servers["near"]
        internet.servers["near"] = lambda asked: (
            google_near(asked) if "metadata-flavor" in asked.headers else azure_near(asked)
        )
        given = (JWT, ASSERTION, SECRET, REFRESH, HEADER, "pk-canary")
        google, azure = self.google, self.azure
        made = (google.federated, google.impersonated, google.refreshed, google.machine)
        self.needles = (*given, *made, azure.entra, azure.refresh)

    def refuse(self, status: int, wrap: Callable[[str], object]) -> None:
        """Have every server answer with all that it was sent, as it is and decoded."""

        def echo(asked: Asked) -> Answer:
            body = asked.body.decode()
            fields = [value for _, value in parse_qsl(body)]
            told = wrap(" ".join([body, *fields, *asked.headers.values()]))
            return Answer(status, told, {"Metadata-Flavor": "Google"})

        for host in list(self.internet.servers):
            self.internet.servers[host] = echo

    def keychains(self) -> Iterator[tuple[Keychain, Repository]]:
        """One keychain for each kind of secret."""
        home, google = self.home, self.google
        environment = self.internet.environment(
            home,
            GCE_METADATA_HOST=self.internet.near,
            IDENTITY_ENDPOINT=f"http://{self.internet.near}/msi/token",
            IDENTITY_HEADER=HEADER,
        )
        yield GoogleKeychain(source=JsonKey(KEY), environment=environment), GAR
        yield GoogleKeychain(source=workload_identity(), environment=environment), GAR
        yield GoogleKeychain(environment=environment), GAR
        token = write(home / "token", JWT)
        wif = write(home / "wif.json", external_account(file=str(token)))
        yield GoogleKeychain(source=KeyFile(wif), environment=environment), GAR
        google.subject, google.client = REFRESH, ("id", SECRET)
        person = authorized_user(google)
        login = write(home / "adc.json", person)
        yield GoogleKeychain(source=KeyFile(login), environment=environment), GAR
        acting = {
            "type": "impersonated_service_account",
            "service_account_impersonation_url": IMPERSONATION,
            "source_credentials": person,
        }
        path = write(home / "acting.json", acting)
        yield GoogleKeychain(source=KeyFile(path), environment=environment), GAR
        secret = ServicePrincipal(client_id=CLIENT, client_secret=SECRET, tenant_id=TENANT)
        yield AzureKeychain(source=secret, environment=environment), ACR
        self.azure.assertion = ASSERTION
        federated = FederatedIdentity(tenant_id=TENANT, client_id=CLIENT, token=ASSERTION)
        yield AzureKeychain(source=federated, environment=environment), ACR
        self.azure.tenant = ""
        yield AzureKeychain(source=ManagedIdentity(), environment=environment), ACR


@pytest.fixture
def cloud(internet: Internet, tmp_path: Path) -> Cloud:
    return Cloud(internet, tmp_path)


def test_a_login_that_works_shows_none_of_its_secrets(
    cloud: Cloud, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in a repr, a trail, or a log at DEBUG level."""
    shown: list[str] = []
    with caplog.at_level(logging.DEBUG):
        for keychain, repository in cloud.keychains():
            found = keychain.resolve(repository, "push")
            assert found is not None
            shown += [repr(keychain), repr(found), *map(str, trail(keychain, repository, "push"))]

    assert cloud.google.complaints == []
    assert cloud.azure.complaints == []
    assert find_secrets(cloud.needles, "\n".join(shown), caplog.text) == ()


@pytest.mark.parametrize("status", [200, 400, 403, 500])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda text: text.encode(),
        lambda text: base64.b64encode(text.encode()),
        lambda text: {"error": text, "error_description": text},
        lambda text: {"error": {"status": text, "message": text}},
        lambda text: {"errors": [{"code": text, "message": text, "detail": text}]},
        lambda text: {"access_token": 7, "refresh_token": [text], "other": text},
    ],
    ids=["text", "base64", "oauth", "api", "registry", "token"],
)
def test_a_refusal_that_repeats_every_secret_is_not_repeated(
    status: int,
    wrap: Callable[[str], object],
    cloud: Cloud,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Servers quote what they were sent; we do not quote them back."""
    monkeypatch.setattr("buildpush.runtime.CancelToken.sleep", lambda self, seconds: None)
    shown: list[str] = []
    with caplog.at_level(logging.DEBUG):
        pairs = tuple(cloud.keychains())
        cloud.refuse(status, wrap)
        for keychain, repository in pairs[1:]:
            try:
                shown.append(repr(keychain.resolve(repository, "push")))
            except BuildpushError as error:
                shown += [error.report(), repr(error), "".join(traceback.format_exception(error))]
            shown += map(str, trail(keychain, repository, "push"))

    assert find_secrets(cloud.needles, "\n".join(shown), caplog.text) == ()

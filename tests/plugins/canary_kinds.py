"""Every kind of credential, each set up as its users do, at a registry that takes it: `KINDS`.

The registry is a `LocalRegistry` with TLS under the name it has outside, behind a proxy that wants
a password. Every secret has ``c4n4ry`` in it, and characters that are written differently in URLs,
JSON and base64.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl

import pytest
from attrs import define, evolve, field, frozen
from aws_stand_in import StandIn, serving
from stand_in_azure import CLIENT, TENANT, AzureStandIn, jwt
from stand_in_google import GoogleStandIn, workload_identity
from stand_in_internet import Answer, Asked, Internet

from buildpush.auth import Credential, Keychain, StaticKeychain
from buildpush.auth.acr import AzureKeychain, ServicePrincipal
from buildpush.auth.asking import now
from buildpush.auth.ecr import AwsKeys, EcrKeychain, WebIdentity
from buildpush.auth.gar import GoogleKeychain
from buildpush.auth.jfrog import JFrogKeychain
from buildpush.auth.oidc import GithubOidc, VariableToken
from buildpush.testing import Dialect, Fault, LocalRegistry, Status, TokenServer

PASSWORD = 'c4n4ry/of+a&"p4ss%wörd'
ACCESS = "ya29.c4n4ry-of-an/access+token"
PROXY = "c4n4ry/of+the&pr0xy%word"
ROLE = "arn:aws:iam::123456789012:role/push"
_HARMLESS = frozenset({"account", "digest", "from", "mount", "scope", "service"})


@define(eq=False)
class World:
    """A registry, the Internet it is in, and what is known of who may push there."""

    host: str
    registry: LocalRegistry
    internet: Internet
    inputs: Path
    monkeypatch: pytest.MonkeyPatch
    stack: ExitStack
    needles: list[str] = field(factory=lambda: [PASSWORD, PROXY])
    auth: Sequence[Keychain | str] = ()
    settings: dict[str, Any] = field(factory=dict[str, Any])

    def setenv(self, **variables: str) -> None:
        for name, value in variables.items():
            self.monkeypatch.setenv(name, value)

    def write(self, name: str, content: object) -> Path:
        """A file that the user has put there."""
        path = self.inputs / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        path.chmod(0o700 if name.startswith("bin/") else 0o600)
        return path

    def docker_config(self, **document: object) -> None:
        self.write("config.json", document)
        self.setenv(DOCKER_CONFIG=str(self.inputs))

    def secrets(self) -> tuple[str, ...]:
        """What must not be seen: what was given, what servers gave, and what addresses granted."""
        issued = self.registry._now.tokens._tokens
        return tuple(dict.fromkeys([*self.needles, *issued, *signed(self.registry)]))


def signed(registry: LocalRegistry) -> set[str]:
    """What the addresses of uploads and downloads granted."""
    pairs = (pair for request in registry.requests for pair in parse_qsl(request.query))
    return {value for name, value in pairs if name not in _HARMLESS}


Arrange = Callable[[World], None]


@frozen(kw_only=True)
class Kind:
    """One kind of credential: the registry that takes it, and how it is set up."""

    arrange: Arrange
    host: str = "registry.example.com"
    user: str = "ci"
    password: str = PASSWORD
    auth: Literal["basic", "token"] = "token"


@contextmanager
def world(
    kind: Kind, folder: Path, monkeypatch: pytest.MonkeyPatch, **registry: Any
) -> Iterator[World]:
    """The world of *kind*, whose environment is this process's for as long as it lasts."""
    inputs = folder / "inputs"
    inputs.mkdir()
    with ExitStack() as stack:
        internet = stack.enter_context(Internet(inputs, password=PROXY))
        settings: dict[str, Any] = {
            "auth": kind.auth,
            "users": {kind.user: kind.password},
            "tls": internet.context(kind.host),
            "tokens": TokenServer(realm=f"https://{kind.host}/token"),
            "dialect": Dialect(locations="relative"),
            "folder": folder / "registry",
        }
        (folder / "registry").mkdir()
        running = stack.enter_context(LocalRegistry(**{**settings, **registry}))
        internet.routes[kind.host] = int(running.host.rpartition(":")[2])
        made = World(kind.host, running, internet, inputs, monkeypatch, stack)
        made.setenv(**internet.variables)
        kind.arrange(made)
        yield made


# --- how each is set up ---


def _login(world: World) -> None:
    credential = Credential(username="ci", password=PASSWORD)
    world.auth = (StaticKeychain(prefix=world.host, credential=credential),)


def _config(**entry: str) -> Arrange:
    def arrange(world: World) -> None:
        world.docker_config(auths={world.host: entry})

    return arrange


def _identity(world: World) -> None:
    token = world.registry.identity_token("ci")
    world.needles.append(token)
    world.docker_config(auths={world.host: {"identitytoken": token}})


def _registry_token(world: World) -> None:
    scopes = frozenset({("app", "pull"), ("app", "push"), ("base", "pull")})
    token = world.registry._now.tokens._remember("ci", scopes)
    world.docker_config(auths={world.host: {"registrytoken": token}})


def _helper(world: World) -> None:
    answer = json.dumps({"ServerURL": world.host, "Username": "ci", "Secret": PASSWORD})
    world.write("bin/docker-credential-one", f"#!/bin/sh\nread s\nprintf %s '{answer}'\n")
    world.setenv(PATH=f"{world.inputs / 'bin'}:{os.environ['PATH']}")
    world.docker_config(credHelpers={world.host: "one"})


def _named(name: str, **variables: str) -> Arrange:
    def arrange(world: World) -> None:
        world.setenv(**variables)
        world.auth = (name,)

    return arrange


def _amazon(world: World) -> StandIn:
    keys = AwsKeys(
        access_key="AKIAIOSFODNN7EXAMPLE",
        secret_key="c4n4ry/of+an&AWS%secret",
        session_token="c4n4ry//of+an&AWS%session==",
    )
    aws = StandIn(keys=[keys], clock=now, password=lambda _: PASSWORD)
    url = world.stack.enter_context(serving(aws.answer, now))
    world.setenv(AWS_ENDPOINT_URL=url, AWS_EC2_METADATA_DISABLED="true")
    world.needles += [keys.secret_key, keys.session_token]
    world.needles += ["session/secret+1", "session//token+1=="]
    return aws


def _ecr(world: World) -> None:
    keys = _amazon(world).keys[0]
    world.setenv(
        AWS_ACCESS_KEY_ID=keys.access_key,
        AWS_SECRET_ACCESS_KEY=keys.secret_key,
        AWS_SESSION_TOKEN=keys.session_token,
    )
    world.auth = ("ecr",)


def _ecr_by_file(world: World) -> None:
    _amazon(world)
    token = jwt("c4n4ry-web-identity", 10_000)
    world.needles.append(token)
    path = world.write("web-identity", token)
    world.setenv(AWS_WEB_IDENTITY_TOKEN_FILE=str(path), AWS_ROLE_ARN=ROLE)
    world.auth = ("ecr",)


def _ecr_by_github(world: World) -> None:
    _amazon(world)
    request, token = "c4n4ry/of+a&request%token", jwt("c4n4ry-github", 10_000)
    world.needles += [request, token]

    def actions(asked: Asked) -> Answer:
        assert asked.headers["authorization"] == f"Bearer {request}"
        return Answer(200, {"value": token})

    world.internet.servers["token.actions.example.com"] = actions
    world.setenv(
        ACTIONS_ID_TOKEN_REQUEST_URL="https://token.actions.example.com/x?api-version=2",
        ACTIONS_ID_TOKEN_REQUEST_TOKEN=request,
    )
    world.auth = (EcrKeychain(source=WebIdentity(role=ROLE, token=GithubOidc())),)


GOOGLE_KEY = json.dumps(
    {
        "type": "service_account",
        "client_email": "a@b",
        "private_key": "-----BEGIN\nc4n4ry/of+a&pr1vate%key\n-----END\n",
    }
)


def _gar_by_key(world: World) -> None:
    path = world.write("key.json", GOOGLE_KEY)
    world.setenv(GOOGLE_APPLICATION_CREDENTIALS=str(path))
    world.needles += [GOOGLE_KEY, "c4n4ry/of+a&pr1vate%key"]
    world.auth = ("gar",)


def _gar_by_identity(world: World) -> None:
    token = jwt("c4n4ry-google", 10_000)
    google = GoogleStandIn(world.internet, subject=token, impersonated=ACCESS)
    world.needles += [token, google.federated, ACCESS]
    world.auth = (GoogleKeychain(source=workload_identity(token)),)


def _acr(world: World) -> None:
    secret = "c4n4ry/of+a&client%secret"
    azure = AzureStandIn(world.internet, secret=secret)
    refresh = world.registry.identity_token("ci")
    world.registry.inject(
        Fault(
            method="POST",
            path="^/oauth2/exchange$",
            action=Status(200, body=json.dumps({"refresh_token": refresh}).encode()),
            times=None,
        )
    )
    world.needles += [secret, azure.entra, refresh]
    source = ServicePrincipal(client_id=CLIENT, client_secret=secret, tenant_id=TENANT)
    world.auth = (AzureKeychain(source=source),)


def _jfrog_by_identity(world: World) -> None:
    token = jwt("c4n4ry-jfrog", 10_000)
    world.needles.append(token)
    answer = {"access_token": PASSWORD, "expires_in": 3600, "username": "ci"}
    world.registry.inject(
        Fault(
            method="POST",
            path="^/access/api/v1/oidc/token$",
            action=Status(200, body=json.dumps(answer).encode()),
            times=None,
        )
    )
    world.setenv(JF_URL=f"https://{world.host}", ID_TOKEN=token)
    world.auth = (JFrogKeychain(oidc=VariableToken("ID_TOKEN"), provider="ci"),)


_ENTRY = base64.b64encode(f"ci:{PASSWORD}".encode()).decode()
_GITLAB = "registry.gitlab.example.com"
_HARBOR = "harbor.example.com"
_JFROG = "acme.jfrog.io"
_ECR = Kind(
    arrange=_ecr, host="123456789012.dkr.ecr.eu-west-1.amazonaws.com", user="AWS", auth="basic"
)
_GAR = Kind(arrange=_gar_by_key, host="europe-west1-docker.pkg.dev", user="oauth2accesstoken")

KINDS: dict[str, Kind] = {
    "password, Basic": Kind(arrange=_login, auth="basic"),
    "password, tokens": Kind(arrange=_login),
    "config: auth": Kind(arrange=_config(auth=_ENTRY)),
    "config: username": Kind(arrange=_config(username="ci", password=PASSWORD), auth="basic"),
    "config: identitytoken": Kind(arrange=_identity),
    "config: registrytoken": Kind(arrange=_registry_token),
    "helper": Kind(arrange=_helper),
    "GITHUB_TOKEN": Kind(
        arrange=_named("ghcr", GITHUB_TOKEN=PASSWORD, GITHUB_ACTOR="ci"), host="ghcr.io"
    ),
    "GitLab, job": Kind(
        arrange=_named("gitlab", CI_REGISTRY=_GITLAB, CI_JOB_TOKEN=PASSWORD),
        host=_GITLAB,
        user="gitlab-ci-token",
    ),
    "Quay, robot": Kind(
        arrange=_named("quay", QUAY_USERNAME="acme+ci", QUAY_PASSWORD=PASSWORD),
        host="quay.io",
        user="acme+ci",
    ),
    "Harbor, robot": Kind(
        arrange=_named(
            "harbor",
            HARBOR_URL=f"https://{_HARBOR}",
            HARBOR_USERNAME="robot$ci",
            HARBOR_PASSWORD=PASSWORD,
        ),
        host=_HARBOR,
        user="robot$ci",
    ),
    "JFrog, access token": Kind(
        arrange=_named(
            "jfrog", JF_URL=f"https://{_JFROG}", JF_USER="ci", JF_ACCESS_TOKEN=PASSWORD
        ),
        host=_JFROG,
        auth="basic",
    ),
    "JFrog, OIDC": Kind(arrange=_jfrog_by_identity, host=_JFROG, auth="basic"),
    "ECR, keys": _ECR,
    "ECR, token file": evolve(_ECR, arrange=_ecr_by_file),
    "ECR, GitHub's OIDC": evolve(_ECR, arrange=_ecr_by_github),
    "GAR, json key": evolve(_GAR, user="_json_key", password=GOOGLE_KEY),
    "GAR, access token": evolve(
        _GAR, arrange=_named("gar", GOOGLE_OAUTH_ACCESS_TOKEN=PASSWORD), auth="basic"
    ),
    "GAR, workload identity": evolve(_GAR, arrange=_gar_by_identity, password=ACCESS),
    "ACR, service principal": Kind(arrange=_acr, host="acme.azurecr.io"),
}

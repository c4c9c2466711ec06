"""Every keychain of ours against the suite that others' are held to."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from stand_in_internet import Answer, Internet

from buildpush.auth import Chain, Credential, Keychain, PullOnly, StaticKeychain
from buildpush.auth.files import DockerConfigKeychain, ambient
from buildpush.auth.gar import AccessToken, GoogleKeychain
from buildpush.auth.ghcr import GhcrKeychain
from buildpush.auth.gitlab import GitLabKeychain
from buildpush.auth.harbor import HarborKeychain
from buildpush.auth.jfrog import JFrogKeychain
from buildpush.auth.learning import Learnt
from buildpush.auth.quay import QuayKeychain
from buildpush.oci import Repository
from buildpush.runtime import Environment, Redactor
from buildpush.testing.conformance import KeychainConformance

CANARY = "canary-of-a-password"
OTHER = "canary.of-an.identity-token"


def environment(folder: Path, **variables: str) -> Environment:
    return Environment(
        variables=variables, uid=1, gid=1, home=folder, cwd=folder, cache=folder, temporary=folder
    )


def static(prefix: str) -> StaticKeychain:
    return StaticKeychain(prefix=prefix, credential=Credential(username="u", password=CANARY))


def file(folder: Path, **document: object) -> DockerConfigKeychain:
    path = folder / "config.json"
    path.write_text(json.dumps(document))
    return DockerConfigKeychain(path=path, environment=environment(folder, PATH="/nowhere"))


class _OnRegistry(KeychainConformance):
    @pytest.fixture
    def own(self) -> Repository:
        return Repository("r.example", "acme/app")


class TestStatic(_OnRegistry):
    @pytest.fixture
    def keychain(self) -> Keychain:
        return static("r.example/acme")


class TestAround(_OnRegistry):
    @pytest.fixture
    def keychain(self, own: Repository) -> Keychain:
        chain = Chain((static("q.example"), static("r.example")))
        return Learnt(PullOnly(chain, frozenset({own})), Redactor())


class TestFile(_OnRegistry):
    @pytest.fixture
    def keychain(self, tmp_path: Path) -> Keychain:
        auth = base64.b64encode(f"u:{CANARY}".encode()).decode()
        return file(tmp_path, auths={"r.example": {"auth": auth}})

    @pytest.fixture
    def broken(self, tmp_path: Path) -> Keychain:
        return file(tmp_path, auths={"r.example": {"auth": CANARY}})

    @pytest.fixture
    def secrets(self) -> Sequence[str]:
        return (CANARY,)


class TestAmbient(_OnRegistry):
    @pytest.fixture
    def keychain(self, tmp_path: Path) -> Keychain:
        text = json.dumps({"auths": {"r.example": {"identitytoken": CANARY}}})
        return ambient(environment(tmp_path, DOCKER_AUTH_CONFIG=text), lambda _: None)

    @pytest.fixture
    def broken(self, tmp_path: Path) -> Keychain:
        text = json.dumps({"auths": {}, "identitytoken": CANARY})[:-1]
        return ambient(environment(tmp_path, DOCKER_AUTH_CONFIG=text), lambda _: None)

    @pytest.fixture
    def secrets(self) -> Sequence[str]:
        return (CANARY,)


class TestHelper(_OnRegistry):
    @pytest.fixture
    def keychain(self, tmp_path: Path) -> Keychain:
        answer = json.dumps({"Username": "u", "Secret": CANARY})
        program = tmp_path / "bin" / "docker-credential-one"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\necho '{answer}'\n")
        program.chmod(0o755)
        keychain = file(tmp_path, credHelpers={"r.example": "one"})
        keychain.environment = environment(tmp_path, PATH=f"{program.parent}:/usr/bin:/bin")
        return keychain

    @pytest.fixture
    def broken(self, tmp_path: Path) -> Keychain:
        return file(tmp_path, credHelpers={"r.example": "not-installed"})


class TestGitLab(_OnRegistry):
    @pytest.fixture
    def keychain(self, tmp_path: Path) -> Keychain:
        job = {"CI_REGISTRY": "r.example", "CI_JOB_TOKEN": CANARY}
        return GitLabKeychain(environment=environment(tmp_path, **job))

    @pytest.fixture
    def broken(self, tmp_path: Path) -> Keychain:
        job = {"CI_REGISTRY": "r.example", "CI_REGISTRY_PASSWORD": CANARY}
        return GitLabKeychain(environment=environment(tmp_path, **job))

    @pytest.fixture
    def secrets(self) -> Sequence[str]:
        return (CANARY,)


class TestHarbor(_OnRegistry):
    @pytest.fixture
    def keychain(self, tmp_path: Path) -> Keychain:
        return HarborKeychain(
            host="r.example",
            username="robot$ci",
            password=CANARY,
            environment=environment(tmp_path),
        )

    @pytest.fixture
    def broken(self, tmp_path: Path) -> Keychain:
        return HarborKeychain(
            host="r.example", username="robot", password=CANARY, environment=environment(tmp_path)
        )

    @pytest.fixture
    def secrets(self) -> Sequence[str]:
        return (CANARY,)


class TestQuay(KeychainConformance):
    @pytest.fixture
    def own(self) -> Repository:
        return Repository("quay.io", "acme/app")

    @pytest.fixture
    def secrets(self) -> Sequence[str]:
        return (OTHER,)

    @pytest.fixture
    def keychain(self, tmp_path: Path, internet: Internet) -> Keychain:
        internet.servers["quay.io"] = lambda _: Answer(200, {"token": CANARY})
        return QuayKeychain(
            username="acme+ci", oidc=OTHER, environment=internet.environment(tmp_path)
        )

    @pytest.fixture
    def broken(self, tmp_path: Path, internet: Internet) -> Keychain:
        internet.servers["quay.io"] = lambda _: Answer(401, {"message": OTHER})
        return QuayKeychain(
            username="acme+ci", oidc=OTHER, environment=internet.environment(tmp_path)
        )


class TestJFrog(KeychainConformance):
    @pytest.fixture
    def own(self) -> Repository:
        return Repository("acme.jfrog.io", "docker-local/app")

    @pytest.fixture
    def secrets(self) -> Sequence[str]:
        return (OTHER,)

    def made(self, folder: Path, internet: Internet, answer: Answer) -> Keychain:
        internet.servers["acme.jfrog.io"] = lambda _: answer
        return JFrogKeychain(
            url="https://acme.jfrog.io",
            username="ci",
            oidc=OTHER,
            provider="github",
            environment=internet.environment(folder),
        )

    @pytest.fixture
    def keychain(self, tmp_path: Path, internet: Internet) -> Keychain:
        given = {"access_token": CANARY, "expires_in": 3600}
        return self.made(tmp_path, internet, Answer(200, given))

    @pytest.fixture
    def broken(self, tmp_path: Path, internet: Internet) -> Keychain:
        return self.made(tmp_path, internet, Answer(400, {"detail": OTHER}))


class TestGhcr(KeychainConformance):
    @pytest.fixture
    def own(self) -> Repository:
        return Repository("ghcr.io", "acme/app")

    @pytest.fixture
    def keychain(self, tmp_path: Path) -> Keychain:
        return GhcrKeychain(environment=environment(tmp_path, GITHUB_TOKEN=CANARY))


class TestGoogle(KeychainConformance):
    @pytest.fixture
    def own(self) -> Repository:
        return Repository("europe-west1-docker.pkg.dev", "acme/images/app")

    @pytest.fixture
    def keychain(self, tmp_path: Path) -> Keychain:
        return GoogleKeychain(source=AccessToken(CANARY), environment=environment(tmp_path))

"""`buildpush.explain` and ``python -m buildpush explain``: the trail, and no secret in it."""

from __future__ import annotations

import base64
import json
import os
import pickle
from pathlib import Path

import pytest

import buildpush
from buildpush import Credential, Explanation, StaticKeychain
from buildpush.auth import Access, Consulted
from buildpush.cli import main
from buildpush.errors import InvalidReferenceError, PlanError
from buildpush.oci import ImageReference, Repository
from buildpush.testing.canaries import find_secrets

PASSWORD = "hunter2-canary"


class Ending:
    """A keychain whose credential ends."""

    def __init__(self, credential: Credential) -> None:
        self.credential = credential

    def resolve(self, repository: Repository, access: Access) -> Credential | None:
        return self.credential


@pytest.fixture
def login() -> Path:
    """The user is logged in to ghcr.io/acme."""
    path = Path(os.environ["HOME"], ".docker", "config.json")
    path.parent.mkdir()
    auth = base64.b64encode(f"ci:{PASSWORD}".encode()).decode()
    path.write_text(json.dumps({"auths": {"ghcr.io/acme": {"auth": auth}}}))
    return path


def test_a_found_credential_is_explained(login: Path) -> None:
    """Every source in its order, the key that matched, and what it holds, by kind."""
    other = StaticKeychain(prefix="q.io", credential=Credential(password=PASSWORD))

    explanation = buildpush.explain("ghcr.io/acme/app:1.4", "push", auth=[other, "quay"])

    assert explanation.render() == (
        "credential to push ghcr.io/acme/app:\n"
        "  1. argument, q.io: miss (q.io does not cover ghcr.io/acme/app)\n"
        "  2. QuayKeychain: skipped (ghcr.io is not quay.io)\n"
        "  3. ~/.docker/config.json, auths.ghcr.io/acme: hit\n"
        "found: a user name and a password, from ~/.docker/config.json"
    )
    assert not explanation.anonymous
    shown = (repr(explanation), explanation.render(), pickle.dumps(explanation))
    assert find_secrets([PASSWORD], *shown, json.dumps(explanation.to_json())) == ()


def test_nothing_found_says_what_happens_then(login: Path) -> None:
    """A neighbour's key is pointed at; a push with it there is never anonymous."""
    pushed = buildpush.explain(ImageReference.parse("ghcr.io/else/app"))
    pulled = buildpush.explain("ghcr.io/else/app", "pull")
    other = buildpush.explain("quay.io/acme/app")

    assert "auths.ghcr.io/acme: miss (it does not cover ghcr.io/else/app)" in pushed.render()
    assert "nothing is pushed anonymously then" in pushed.render()
    assert pulled.render().endswith("the registry is asked anonymously")
    assert other.render().endswith("the registry is asked anonymously")
    assert [bool(e.overlooked) for e in (pushed, pulled, other)] == [True, True, False]
    assert pushed.anonymous


def test_an_error_is_part_of_the_answer(login: Path) -> None:
    """What a run would end with."""
    login.write_text("{broken")

    explanation = buildpush.explain("ghcr.io/acme/app")

    message = "~/.docker/config.json is not JSON at line 1, column 2"
    assert explanation.problem == message
    assert explanation.render().endswith(f"error: {message}")
    assert [one.outcome for one in explanation.asked] == ["error"]


def test_a_missing_helper_is_a_warning_to_pull(login: Path) -> None:
    """As in a run."""
    login.write_text('{"credsStore": "desktop"}')

    explanation = buildpush.explain("ghcr.io/acme/app", "pull")

    (warning,) = explanation.warnings
    assert "docker-credential-desktop" in warning
    assert f"warning: {warning}" in explanation.render()


@pytest.mark.parametrize(
    ("credential", "line"),
    [
        (
            Credential(registry_token="t", source="a", expires=0),
            "found: a registry token, from a, until 1970-01-01 00:00:00 UTC",
        ),
        (
            Credential(identity_token="t", source="a", expires=1e30),
            "found: an identity token, from a, until a far day",
        ),
    ],
)
def test_the_kind_and_the_end_are_told(credential: Credential, line: str) -> None:
    """Never the token."""
    assert buildpush.explain("r.io/a", auth=[Ending(credential)]).render().endswith(line)


def test_what_cannot_be_explained_is_an_error() -> None:
    """Text that is no reference; a name that no keychain has."""
    with pytest.raises(InvalidReferenceError):
        buildpush.explain("ghcr.io/Acme/app")
    with pytest.raises(PlanError, match="no keychain is called 'nobody'"):
        buildpush.explain("r.io/a", auth=["nobody"])


def test_the_command_line_explains(login: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As text for people."""
    assert main(["explain", "ghcr.io/acme/app", "--auth", "gitlab"]) == 0

    out = capsys.readouterr().out
    assert out.splitlines()[-1] == (
        "found: a user name and a password, from ~/.docker/config.json"
    )
    assert "  1. GitLabKeychain: skipped (CI_REGISTRY is not set: is this a job of GitLab?)" in out
    assert PASSWORD not in out


def test_the_command_line_explains_to_programs(
    login: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As JSON."""
    assert main(["explain", "ghcr.io/acme/app", "--access", "pull", "--json"]) == 0

    assert json.loads(capsys.readouterr().out) == {
        "repository": "ghcr.io/acme/app",
        "access": "pull",
        "asked": [
            {
                "source": "~/.docker/config.json",
                "key": "auths.ghcr.io/acme",
                "outcome": "hit",
                "why": "",
                "expected": True,
            }
        ],
        "anonymous": False,
        "kind": "a user name and a password",
        "source": "~/.docker/config.json",
        "expires": None,
        "problem": "",
        "warnings": [],
    }


def test_nobody_to_ask_is_told_as_well() -> None:
    """An explanation of no sources, as somebody may make one."""
    empty = Explanation(repository=Repository("r.io", "a"), access="pull", asked=())

    assert "nobody was asked" in empty.render()


class Talkative:
    """A keychain whose words hold its password."""

    def resolve(self, repository: Repository, access: Access) -> Credential | None:
        return Credential(username="ci", password=PASSWORD, source=f"vault?token={PASSWORD}")

    def explain(self, repository: Repository, access: Access) -> tuple[Consulted, ...]:
        return (Consulted(source="vault", key=PASSWORD, outcome="hit", why=f"it has {PASSWORD}"),)


def test_no_secret_is_shown_whatever_a_keychain_says() -> None:
    """Its words come from others."""
    found = buildpush.explain("r.io/app", auth=[Talkative()])

    assert found.source == "vault?token=***"
    assert found.asked[0].why == "it has ***"
    assert find_secrets([PASSWORD], found.render() + json.dumps(found.to_json())) == ()

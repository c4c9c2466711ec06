"""Logging in to GitHub's registry with the token that is there anyway."""

from __future__ import annotations

import pytest
from attrs import evolve
from aws_fixtures import here

from buildpush.auth import Credential
from buildpush.auth.ghcr import GhcrKeychain
from buildpush.oci import Repository
from buildpush.runtime import Environment

__all__ = ["here"]

APP = Repository("ghcr.io", "acme/app")


@pytest.mark.parametrize(
    ("variables", "expected", "source"),
    [
        (
            {"GITHUB_TOKEN": "one\n", "GH_TOKEN": "two", "GITHUB_ACTOR": "ada"},
            Credential(username="ada", password="one"),
            "GITHUB_TOKEN",
        ),
        (
            {"GITHUB_TOKEN": "", "GH_TOKEN": "two"},
            Credential(username="x-access-token", password="two"),
            "GH_TOKEN",
        ),
    ],
)
def test_the_token_of_the_job_or_of_the_user_logs_in(
    here: Environment, variables: dict[str, str], expected: Credential, source: str
) -> None:
    """GITHUB_TOKEN before GH_TOKEN; the user name is for show."""
    keychain = GhcrKeychain(environment=evolve(here, variables=variables))

    found = keychain.resolve(APP, "push")

    assert found == expected
    assert found.source == source
    assert [str(step) for step in keychain.explain(APP, "push")] == [f"{source}, ghcr.io: hit"]


def test_a_token_that_is_given_counts_more(here: Environment) -> None:
    """And is not shown."""
    keychain = GhcrKeychain(
        token="c4n4ry",
        username="bot",
        environment=evolve(here, variables={"GITHUB_TOKEN": "other"}),
    )

    assert keychain.resolve(APP, "pull") == Credential(username="bot", password="c4n4ry")
    assert "c4n4ry" not in repr(keychain) + repr(keychain.token)


@pytest.mark.parametrize(
    "host", ["docker.io", "github.com", "ghcr.io.evil.example", "ghcr.io:444"]
)
def test_no_other_host_gets_the_token(here: Environment, host: str) -> None:
    """GITHUB_TOKEN can do more than pull images."""
    keychain = GhcrKeychain(environment=evolve(here, variables={"GITHUB_TOKEN": "t"}))

    assert keychain.resolve(Repository(host, "acme/app"), "push") is None
    assert [s.outcome for s in keychain.explain(Repository(host, "a"), "push")] == ["skipped"]


@pytest.mark.parametrize(
    ("variables", "said"),
    [({"GITHUB_ACTIONS": "true"}, "${{ github.token }}"), ({}, "write:packages")],
)
def test_without_a_token_the_trail_says_how_to_get_one(
    here: Environment, variables: dict[str, str], said: str
) -> None:
    """A job has its token only if it asks for it."""
    keychain = GhcrKeychain(environment=evolve(here, variables=variables))

    (step,) = keychain.explain(APP, "push")

    assert keychain.resolve(APP, "push") is None
    assert (step.outcome, step.expected) == ("miss", True)
    assert said in step.why
    assert [step.expected for step in keychain.explain(APP, "pull")] == [False]

"""Identity tokens of CI systems: asked for, read, and never shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from attrs import evolve
from aws_fixtures import clock, here
from aws_stand_in import Answer, Clock, serving

from buildpush.auth.oidc import (
    FileToken,
    GithubOidc,
    TextToken,
    TokenSource,
    VariableToken,
    Wanted,
    as_token_source,
)
from buildpush.errors import AuthError
from buildpush.runtime import Environment

__all__ = ["clock", "here"]

TOKEN = "eyJc4n4ry.eyJc4n4ry.c4n4ry"


def wanted(here: Environment, **variables: str) -> Wanted:
    return Wanted(audience="sts.amazonaws.com", environment=evolve(here, variables=variables))


class Github:
    """A stand-in for the token server of GitHub Actions, from its public documentation."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[tuple[str, str, str]] = []

    def __call__(self, method, path, headers, body):  # type: ignore[no-untyped-def]
        self.asked.append((method, path, headers["Authorization"]))
        return self.answer


def ask(source: TokenSource, here: Environment, clock: Clock, github: Github, query: str) -> str:
    with serving(github, clock) as url:
        return source.token(
            wanted(
                here,
                GITHUB_ACTIONS="true",
                ACTIONS_ID_TOKEN_REQUEST_URL=f"{url}/token{query}",
                ACTIONS_ID_TOKEN_REQUEST_TOKEN="c4n4ry-bearer",
            )
        )


@pytest.mark.parametrize(
    ("source", "query", "path"),
    [
        (GithubOidc(), "?api-version=2.0", "/token?api-version=2.0&audience=sts.amazonaws.com"),
        (GithubOidc(audience="api://x/y"), "", "/token?audience=api%3A%2F%2Fx%2Fy"),
    ],
)
def test_github_is_asked_for_a_token_for_one_audience(
    here: Environment, clock: Clock, source: GithubOidc, query: str, path: str
) -> None:
    """The cloud's own, unless another is wanted."""
    github = Github(Answer(body=json.dumps({"count": 1, "value": TOKEN}).encode()))

    found = ask(source, here, clock, github, query)

    assert found == TOKEN
    assert github.asked == [("GET", path, "Bearer c4n4ry-bearer")]
    assert "c4n4ry" not in repr(found)


def test_a_job_without_the_permission_is_told_which(here: Environment) -> None:
    """GitHub simply leaves the variables out."""
    with pytest.raises(AuthError, match="lacks the permission id-token: write") as caught:
        GithubOidc().token(wanted(here, GITHUB_ACTIONS="true"))
    assert "permissions: id-token: write" in caught.value.hint


def test_outside_of_a_job_there_is_no_token(here: Environment) -> None:
    """Then the permission is not the point."""
    with pytest.raises(AuthError, match="ACTIONS_ID_TOKEN_REQUEST_URL is not set"):
        GithubOidc().token(wanted(here))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(status=401, body=b"c4n4ry"), "refused to make an OIDC token: HTTP 401"),
        (Answer(body=b"c4n4ry"), "is not its JSON"),
        (Answer(body=b"[]"), "is not its JSON"),
        (Answer(body=b'{"value": 7}'), "is not its JSON"),
        (Answer(body=b'{"value": "c4n4ry"}'), "6 characters that are no JSON web token"),
    ],
)
def test_an_answer_without_a_token_is_an_error_that_quotes_nothing(
    here: Environment, clock: Clock, answer: Answer, said: str
) -> None:
    """It may be half a token."""
    with pytest.raises(AuthError, match=said) as caught:
        ask(GithubOidc(), here, clock, Github(answer), "")
    assert "c4n4ry" not in caught.value.report()


def test_a_token_in_the_clear_is_not_asked_for(here: Environment) -> None:
    """The bearer would be everybody's."""
    with pytest.raises(AuthError, match="is not encrypted"):
        GithubOidc().token(
            wanted(
                here,
                ACTIONS_ID_TOKEN_REQUEST_URL="http://github.example/",
                ACTIONS_ID_TOKEN_REQUEST_TOKEN="t",
            )
        )


def test_a_variable_a_file_and_a_text_give_what_they_hold(
    here: Environment, tmp_path: Path
) -> None:
    """GitLab's id_tokens, Kubernetes' projected tokens, and whatever one has."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")

    assert VariableToken("AWS_ID_TOKEN").token(wanted(here, AWS_ID_TOKEN=TOKEN)) == TOKEN
    assert FileToken(Path("token")).token(wanted(here)) == TOKEN
    assert TextToken(f"{TOKEN}\n").token(wanted(here)) == TOKEN


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (VariableToken("ID"), "the variable ID, which is to hold"),
        (FileToken(Path("gone")), "in gone cannot be read: No such file"),
        (TextToken(""), "the OIDC token is empty"),
        (TextToken("a.b.c\nx"), "7 characters that are no JSON web token"),
    ],
)
def test_what_is_no_token_is_an_error(here: Environment, source: TokenSource, said: str) -> None:
    """Before anybody is asked to trade it."""
    with pytest.raises(AuthError, match=said):
        source.token(wanted(here))


def test_a_text_is_a_token_and_a_path_a_file() -> None:
    """What providers take besides sources."""
    assert as_token_source(TOKEN) == TextToken(TOKEN)
    assert as_token_source(Path("t")) == FileToken(Path("t"))
    assert as_token_source(GithubOidc()) == GithubOidc()
    assert "c4n4ry" not in repr(TextToken(TOKEN))

"""Identity tokens of a CI system, which clouds trade for credentials: nothing secret is stored.

Follows GitHub's "OpenID Connect reference"; GitLab and others hand theirs over in a variable or
a file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final, Protocol, runtime_checkable
from urllib.parse import quote

from attrs import field, frozen

from ..errors import AuthError
from ..runtime import CancelToken, Environment, Hidden
from .asking import ask

__all__ = [
    "FileToken",
    "GithubOidc",
    "TextToken",
    "TokenSource",
    "VariableToken",
    "Wanted",
    "as_token_source",
]

_URL: Final = "ACTIONS_ID_TOKEN_REQUEST_URL"
_TOKEN: Final = "ACTIONS_ID_TOKEN_REQUEST_TOKEN"  # noqa: S105 - a variable's name
_PERMISSION: Final = "give the job (or the workflow) permissions: id-token: write"


@frozen(kw_only=True)
class Wanted:
    """For whom a token is to be, and where its source looks: variables, folders, proxies.

    *audience* is what the cloud wants unless the source has one of its own.
    """

    audience: str
    environment: Environment
    cancel: CancelToken | None = None


def _hidden(text: str) -> str:
    return Hidden(text.strip())


@runtime_checkable
class TokenSource(Protocol):
    """Where an OpenID Connect token comes from; asked anew for every exchange."""

    def token(self, wanted: Wanted, /) -> str:
        """The token; raises `AuthError` when there is none to be had."""
        ...


@frozen
class TextToken:
    """A token that is at hand already. It is hidden in the repr."""

    text: str = field(repr=False, converter=_hidden)

    def token(self, _: Wanted, /) -> str:
        """The text, if it can be one."""
        return _checked(self.text, "the OIDC token")


@frozen
class FileToken:
    """A file that somebody else keeps up to date, as Kubernetes does: read for every exchange."""

    path: Path = field(converter=Path)

    def token(self, wanted: Wanted, /) -> str:
        """What the file holds now. Raises `AuthError` when it cannot be read, or is no token."""
        try:
            data = (wanted.environment.cwd / self.path).read_bytes()
        except OSError as error:
            raise AuthError(
                f"the OIDC token in {self.path} cannot be read: {error.strerror}",
                hint="is it mounted into this container, and may this user read it?",
            ) from error
        return _checked(data.decode("utf-8", "replace"), f"the OIDC token in {self.path}")


@frozen
class VariableToken:
    """An environment variable that holds the token, such as one of GitLab's ``id_tokens``."""

    name: str

    def token(self, wanted: Wanted, /) -> str:
        """What the variable holds. Raises `AuthError` when it is not set."""
        value = wanted.environment.variables.get(self.name, "")
        if not value.strip():
            raise AuthError(
                f"the variable {self.name}, which is to hold an OIDC token, is not set",
                hint=f"GitLab: declare {self.name} under the job's id_tokens",
            )
        return _checked(value, f"the OIDC token in {self.name}")


@frozen(kw_only=True)
class GithubOidc:
    """The token that GitHub Actions makes for the running job.

    *audience* is whom the token is for; empty means what the cloud wants by default
    (``sts.amazonaws.com`` for AWS).
    """

    audience: str = ""

    def token(self, wanted: Wanted, /) -> str:
        """Ask GitHub for a token; raises `AuthError` when the job may not have one."""
        variables = wanted.environment.variables
        url, bearer = variables.get(_URL, ""), variables.get(_TOKEN, "")
        if not url or not bearer:
            if variables.get("GITHUB_ACTIONS") == "true":
                raise AuthError(
                    "GitHub gives this job no OIDC token: it lacks the permission id-token: write",
                    hint=f"{_PERMISSION}; jobs of pull requests from forks never have it",
                )
            raise AuthError(
                f"there is no OIDC token of GitHub Actions here: {_URL} is not set",
                hint="this works inside a job of GitHub Actions only",
            )
        audience = self.audience or wanted.audience
        if audience:
            url += f"{'&' if '?' in url else '?'}audience={quote(audience, safe='')}"
        answered = ask(
            "GET",
            url,
            headers={"Authorization": f"Bearer {bearer.strip()}", "Accept": "application/json"},
            about="asking GitHub Actions for an OIDC token",
            environment=wanted.environment,
            cancel=wanted.cancel,
        )
        if answered.status != 200:
            raise AuthError(
                f"GitHub Actions refused to make an OIDC token: HTTP {answered.status}",
                evidence=(answered.evidence,),
                hint=f"{_PERMISSION}; the job may also have ended, or run for too long",
            )
        return _checked(_value(answered.data), "the answer of GitHub Actions")


def as_token_source(value: TokenSource | Path | str) -> TokenSource:
    """*value* as a source: a text is the token itself, a `Path` the file that holds it."""
    match value:
        case str():
            return TextToken(value)
        case Path():
            return FileToken(value)
        case _:
            return value


def _value(data: bytes) -> str:
    try:
        value = json.loads(data)["value"]
    except (ValueError, KeyError, TypeError, RecursionError):
        value = None
    if not isinstance(value, str):
        # `from None`, were it raised above: the decoder's error carries the whole answer.
        raise AuthError("GitHub Actions answered something that is not its JSON with a token")
    return value


def _checked(text: str, what: str) -> str:
    """*text* if it looks like a JSON web token: three parts, none of them quoted."""
    found = text.strip()
    if found.count(".") != 2 or not found.isascii() or any(c.isspace() for c in found):
        state = "empty" if not found else f"{len(found)} characters that are no JSON web token"
        raise AuthError(f"{what} is {state}", hint="it has three parts, joined by dots")
    return Hidden(found)

"""JSON that token services answer with, checked; what a readable token says it grants."""

from __future__ import annotations

import base64
from typing import Final

from attrs import field, frozen
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..http.bodies import plain, sendable

_SHOWN: Final = 500


class _Token(BaseModel):
    model_config = ConfigDict(defer_build=True, extra="ignore", hide_input_in_errors=True)

    token: str | None = Field(default=None, repr=False)
    access_token: str | None = Field(default=None, repr=False)
    expires_in: float | None = None


@frozen(kw_only=True)
class Grant:
    """A bearer token and how many seconds it lives, 0 when the service does not say."""

    token: str = field(repr=False)
    seconds: float


def parse_grant(data: bytes) -> Grant | None:
    """Read the JSON of a token service; None when it holds no token that can be sent."""
    try:
        answer = _Token.model_validate_json(data)
    except ValidationError:
        return None
    token = answer.token or answer.access_token
    if not token or not sendable(token):
        return None
    return Grant(token=token, seconds=answer.expires_in or 0.0)


class _Access(BaseModel):
    model_config = ConfigDict(defer_build=True, extra="ignore", hide_input_in_errors=True)

    type: str = ""
    name: str = ""
    actions: tuple[str, ...] = ()


class _Claims(BaseModel):
    model_config = ConfigDict(defer_build=True, extra="ignore", hide_input_in_errors=True)

    access: tuple[_Access, ...] | None


@frozen
class Granted:
    """What a token says it may be used for: actions by ``type:name``."""

    actions: tuple[tuple[str, frozenset[str]], ...]

    def __str__(self) -> str:
        """As scopes are written; ``nothing`` when it grants nothing."""
        scopes = (f"{name}:{','.join(sorted(actions))}" for name, actions in self.actions)
        return plain(" ".join(scopes))[:_SHOWN] or "nothing"

    def allows(self, scope: str) -> bool:
        """Whether every action of *scope*, one repository's, is granted."""
        name, _, actions = scope.rpartition(":")
        given = frozenset[str]().union(*(a for n, a in self.actions if n == name))
        return "*" in given or given.issuperset(actions.split(","))


def parse_granted(token: str) -> Granted | None:
    """Read the access that a JSON web token claims (distribution, "Token Authentication").

    None when it is none, or says nothing about access: many are opaque. Its signature is not
    looked at, since nothing is believed but why a registry said no.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        data = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        access = _Claims.model_validate_json(data).access
    except ValueError:  # not base64, not JSON, or other claims
        return None
    if access is None:
        return None
    return Granted(
        tuple((f"{a.type}:{a.name}", frozenset(a.actions)) for a in access if a.actions)
    )

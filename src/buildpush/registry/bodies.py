"""JSON that token services answer with, checked."""

from __future__ import annotations

from attrs import field, frozen
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..http.bodies import sendable


class _Token(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

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

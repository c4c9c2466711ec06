"""JSON that servers answer with, checked: token grants and error bodies."""

from __future__ import annotations

import json

from attrs import field, frozen
from pydantic import BaseModel, ConfigDict, Field, ValidationError


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
    """Read the JSON of a token service; None when it holds no token."""
    try:
        answer = _Token.model_validate_json(data)
    except ValidationError:
        return None
    token = answer.token or answer.access_token
    return Grant(token=token, seconds=answer.expires_in or 0.0) if token else None


class _Error(BaseModel):
    model_config = ConfigDict(extra="ignore")

    code: object = None
    message: object = None
    detail: object = None


class _Errors(BaseModel):
    model_config = ConfigDict(extra="ignore")

    errors: tuple[_Error, ...]


def parse_errors(data: bytes) -> tuple[tuple[str, ...], str]:
    """The codes and the messages of a distribution-spec error body; of anything else, its text."""
    try:
        errors = _Errors.model_validate_json(data).errors
    except ValidationError:
        return (), " ".join(data.decode("utf-8", "replace").split())
    parts: list[str] = []
    for error in errors:
        parts += [str(error.message)] if error.message else []
        parts += [json.dumps(error.detail)] if error.detail else []
    return tuple(str(error.code) for error in errors if error.code), "; ".join(parts)

"""JSON that servers answer with, checked: token grants and error bodies."""

from __future__ import annotations

import json
import re
from typing import Final

from attrs import field, frozen
from pydantic import BaseModel, ConfigDict, Field, ValidationError

_SENDABLE: Final = re.compile("[!-~]+")
_CODES: Final = 10
_CODE: Final = 100


def sendable(token: str) -> bool:
    """Whether *token* can be part of a header: a library that cannot send it may quote it."""
    return _SENDABLE.fullmatch(token) is not None


def plain(text: str) -> str:
    """*text* in one line, with a blank for everything that steers a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


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


class _Error(BaseModel):
    model_config = ConfigDict(extra="ignore")

    code: object = None
    message: object = None
    detail: object = None


class _Errors(BaseModel):
    model_config = ConfigDict(extra="ignore")

    errors: tuple[_Error, ...]


def parse_errors(data: bytes) -> tuple[tuple[str, ...], str]:
    """The codes and the messages of a distribution-spec error body; of anything else, its text.

    Whoever sent it: what comes back is printable.
    """
    try:
        errors = _Errors.model_validate_json(data).errors
    except ValidationError:
        return (), plain(data.decode("utf-8", "replace"))
    parts: list[str] = []
    for error in errors:
        parts += [str(error.message)] if error.message else []
        parts += [json.dumps(error.detail)] if error.detail else []
    codes = tuple(plain(str(error.code))[:_CODE] for error in errors[:_CODES] if error.code)
    return codes, plain("; ".join(parts))

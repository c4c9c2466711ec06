"""What servers answer with, made harmless: error bodies, tokens, text for a terminal."""

from __future__ import annotations

import json
import re
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

_SENDABLE: Final = re.compile("[!-~]+")
_CODES: Final = 10
_CODE: Final = 100


def sendable(token: str) -> bool:
    """Whether *token* can be part of a header: a library that cannot send it may quote it."""
    return _SENDABLE.fullmatch(token) is not None


def plain(text: str) -> str:
    """*text* in one line, with a blank for everything that steers a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


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

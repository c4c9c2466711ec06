"""What servers answer with, made harmless: error bodies, tokens, text for a terminal."""

from __future__ import annotations

import html
import json
import re
import zlib
from collections.abc import Callable
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

_SENDABLE: Final = re.compile("[!-~]+")
_ANY_WINDOW: Final = 47  # gzip or zlib, whichever it is
_CODES: Final = 10
_CODE: Final = 100
_HTML: Final = re.compile(r"\s*<(?:!doctype|html|head|body)\b", re.IGNORECASE)
# No < within: a page full of them would otherwise be searched to its end for each.
_TAG: Final = re.compile(r"<(?P<name>[!/]?[\w-]*)[^<>]*>")
_UNSEEN: Final = frozenset({"script", "style"})


def sendable(token: str) -> bool:
    """Whether *token* can be part of a header: a library that cannot send it may quote it."""
    return _SENDABLE.fullmatch(token) is not None


def unpacking(encoding: str) -> Callable[[bytes, int], bytes]:
    """How to read pieces of a body in *encoding*, each into at most so many bytes.

    We ask for none: who packs all the same is read, and cannot fill our memory with it. What is
    packed in a way that is not known, or is broken, is taken as it is.
    """
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return lambda piece, _: piece
    unpacker = zlib.decompressobj(_ANY_WINDOW)

    def unpack(piece: bytes, limit: int) -> bytes:
        try:
            return unpacker.decompress(piece, max(1, limit))
        except zlib.error:
            return piece

    return unpack


def plain(text: str) -> str:
    """*text* in one line, with a blank for everything that steers a terminal."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


class _Error(BaseModel):
    model_config = ConfigDict(defer_build=True, extra="ignore")

    code: object = None
    message: object = None
    detail: object = None


class _Errors(BaseModel):
    model_config = ConfigDict(defer_build=True, extra="ignore")

    errors: tuple[_Error, ...]


class _Other(BaseModel):
    """What is said by servers that do not follow the specification: token services, gateways."""

    model_config = ConfigDict(defer_build=True, extra="ignore")

    error: str | None = None
    error_description: str | None = None
    message: str | None = None
    details: str | None = None
    detail: str | None = None


def parse_errors(data: bytes) -> tuple[tuple[str, ...], str]:
    """The codes and the messages of a distribution-spec error body; of anything else, its text.

    Pages of HTML lose their tags. Whoever sent it: what comes back is printable.
    """
    try:
        errors = _Errors.model_validate_json(data).errors
    except ValidationError:
        return (), plain(_text(data))
    parts: list[str] = []
    for error in errors:
        parts += [str(error.message)] if error.message else []
        parts += [json.dumps(error.detail)] if error.detail else []
    codes = tuple(plain(str(error.code))[:_CODE] for error in errors[:_CODES] if error.code)
    return codes, plain("; ".join(parts))


def _text(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    if _HTML.match(text):
        return _without_tags(text)
    try:
        said = _Other.model_validate_json(data)
    except ValidationError:
        return text
    words = (said.error, said.error_description, said.message, said.details, said.detail)
    return ": ".join(word for word in words if word) or text


def _without_tags(text: str) -> str:
    """What a browser would show of a page, in one pass."""
    shown: list[str] = []
    position, hidden = 0, ""
    for tag in _TAG.finditer(text):
        if not hidden:
            shown.append(text[position : tag.start()])
        position = tag.end()
        name = tag["name"].lower()
        if not hidden and name in _UNSEEN:
            hidden = name
        elif name == f"/{hidden}":
            hidden = ""
    return html.unescape(" ".join(shown if hidden else [*shown, text[position:]]))

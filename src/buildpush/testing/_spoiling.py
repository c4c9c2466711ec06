"""Answers made, or spoilt, as the action of a fault says."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Final

from attrs import evolve

from ._actions import (
    FlipByte,
    Present,
    RateLimit,
    ReplaceHeaders,
    Reset,
    Status,
    Truncate,
    WrongDigest,
)
from ._messages import HangupError, Response
from ._refusals import Refusal

_CODES: Final = {401: "UNAUTHORIZED", 403: "DENIED", 429: "TOOMANYREQUESTS"}
_TEXTS: Final = {
    "text": ("text/plain; charset=utf-8", b"too many requests, please slow down\n"),
    "html": ("text/html", b"<html><head><title>429 Too Many Requests</title></head></html>\r\n"),
    "": ("application/json", b""),
}


def instead(action: Status | RateLimit | Present, path: str) -> Response:
    """The answer that *action* gives in the registry's place to a request for *path*."""
    match action:
        case Status(code=code, headers=headers, body=None):
            fallback = "UNAVAILABLE" if code >= 500 else "UNKNOWN"
            codes = action.errors or (_CODES.get(code, fallback),)
            return Refusal(status=code, codes=codes, headers=headers).response()
        case Status(code=code, headers=headers, body=body):
            return Response(status=code, headers=dict(headers), body=body or b"")
        case RateLimit():
            return _rate_limit(action)
        case Present(digest=digest, size=size, media_type=media_type):
            last = path.rpartition("/")[2]
            headers = {
                "Content-Type": "application/octet-stream" if "/blobs/" in path else media_type,
                "Docker-Content-Digest": last if ":" in last else digest,
                "Content-Length": str(size),
            }
            return Response(status=200, headers=headers)


def spoilt(
    action: Reset | Truncate | FlipByte | WrongDigest | ReplaceHeaders, response: Response
) -> Response:
    """*response* with what *action* does to it."""
    match action:
        case Reset(after=after):
            return evolve(response, transform=_cut(after or 0, reset=True))
        case Truncate(after=after):
            return evolve(response, transform=_cut(after, reset=False))
        case FlipByte(at=at):
            return evolve(response, transform=_flip(at % max(1, response.length)))
        case WrongDigest(digest=digest):
            return _with_headers(response, {"Docker-Content-Digest": digest})
        case ReplaceHeaders(headers=headers):
            return _with_headers(response, headers)


def _rate_limit(action: RateLimit) -> Response:
    headers: dict[str, str] = {}
    if action.seconds is not None:
        until = datetime.now(UTC) + timedelta(seconds=math.ceil(action.seconds))
        seconds = f"{action.seconds:g}"
        headers["Retry-After"] = format_datetime(until, usegmt=True) if action.date else seconds
    if action.body == "json":
        return Refusal(status=429, codes=("TOOMANYREQUESTS",), headers=headers).response()
    kind, text = _TEXTS[action.body]
    return Response(status=429, headers={**headers, "Content-Type": kind}, body=text)


def _with_headers(response: Response, headers: Mapping[str, str | None]) -> Response:
    names = {name.lower() for name in headers}
    kept = {name: value for name, value in response.headers.items() if name.lower() not in names}
    added = {name: value for name, value in headers.items() if value is not None}
    return evolve(response, headers={**kept, **added})


def _cut(after: int, *, reset: bool) -> Callable[[Iterator[bytes]], Iterator[bytes]]:
    def cut(chunks: Iterator[bytes]) -> Iterator[bytes]:
        left = after
        for chunk in chunks:
            if left > 0:
                yield chunk[:left]
            left -= len(chunk)
            if left < 0:
                break
        raise HangupError(reset=reset)

    return cut


def _flip(at: int) -> Callable[[Iterator[bytes]], Iterator[bytes]]:
    def flip(chunks: Iterator[bytes]) -> Iterator[bytes]:
        position = 0
        for chunk in chunks:
            spot = at - position
            position += len(chunk)
            if 0 <= spot < len(chunk):
                yield chunk[:spot] + bytes([chunk[spot] ^ 0xFF]) + chunk[spot + 1 :]
            else:
                yield chunk

    return flip

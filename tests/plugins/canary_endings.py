"""How requests end badly at servers that repeat every secret they were sent: `PLACES`, `ENDINGS`."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote, unquote, unquote_plus

from attrs import define, field

from buildpush.testing import LocalRegistry
from buildpush.testing._messages import HangupError, Incoming, Response
from buildpush.testing.faults import Faults

Ending = Callable[[str], Response]

PLACES = {
    "asking for a token": (r"\S+ /token", 0),
    "the preflight": (r"POST /v2/app/blobs/uploads/", 0),
    "looking for a blob": (r"HEAD /v2/app/blobs/", 0),
    "beginning an upload": (r"POST /v2/app/blobs/uploads/", 1),
    "sending bytes": (r"(?:PUT|PATCH) /v2/app/blobs/uploads/", 0),
    "putting a manifest": (r"PUT /v2/app/manifests/sha256:", 0),
    "putting a tag": (r"PUT /v2/app/manifests/latest", 0),
    "reading a tag back": (r"GET /v2/app/manifests/latest", 0),
}


def _json(status: int) -> Ending:
    def end(said: str) -> Response:
        error = {"code": f"BAD {said}", "message": said, "detail": {"sent": said}}
        body = json.dumps({"errors": [error]}).encode()
        headers = {"Content-Type": "application/json", "Retry-After": "0"}
        return Response(status=status, headers=headers, body=body)

    return end


def _hang_up(*, reset: bool) -> Ending:
    def end(said: str) -> Response:
        raise HangupError(reset=reset)

    return end


def _says(status: int, spell: Callable[[str], str] = str, **headers: str) -> Ending:
    """Status and body; in *headers* a dash is an underscore, and ``%`` is what is said."""

    def end(said: str) -> Response:
        named = {n.replace("_", "-"): v.replace("%", said) for n, v in headers.items()}
        return Response(status=status, headers=named, body=spell(said).encode())

    return end


def _elsewhere(address: str) -> Ending:
    def end(said: str) -> Response:
        return Response(status=307, headers={"Location": address + quote(said[:4000], safe="")})

    return end


def _cut_off(said: str) -> Response:
    def most(pieces: Iterator[bytes]) -> Iterator[bytes]:
        yield from (piece[:-1] for piece in pieces)
        raise HangupError(reset=False)

    return Response(status=500, body=said.encode() or b"nothing", transform=most)


def _base64(said: str) -> str:
    return base64.b64encode(said.encode()).decode()


ENDINGS: dict[str, Ending] = {
    "401": _json(401),
    "403": _json(403),
    "404": _json(404),
    "429": _json(429),
    "503": _json(503),
    "403 in HTML": _says(403, lambda said: f"<html><h1>No</h1>{said}</html>"),
    "400 in text": _says(400),
    "500 in base64": _says(500, _base64),
    "400 in JSON's escapes": _says(400, json.dumps),
    "an id that tells": _says(400, X_Request_Id="%"),
    "200 and nonsense": _says(200),
    "a strange challenge": _says(401, WWW_Authenticate='Odd of="%"'),
    "a redirect to nobody": _elsewhere("https://far.example.com/x?sig="),
    "a redirect in the clear": _elsewhere("http://far.example.com/x?sig="),
    "a redirect to no address": _elsewhere("https://[::1/x?sig="),
    "cut off": _cut_off,
    "reset": _hang_up(reset=True),
    "closed": _hang_up(reset=False),
}


@define(eq=False)
class _Echo(Faults):
    """Ends the requests whose ``METHOD /path`` matches, after *skip* of them."""

    matches: str = field(kw_only=True)
    skip: int = field(kw_only=True)
    end: Ending = field(kw_only=True)
    inner: Faults = field(kw_only=True)
    ended: int = field(default=0, init=False)

    def around(self, incoming: Incoming, handle: Callable[[Incoming], Response]) -> Response:
        if re.match(self.matches, f"{incoming.method} {incoming.path}"):
            if not self.skip:
                self.ended += 1
                body = incoming.body.read(1 << 14) or b"" if "/token" in incoming.path else b""
                incoming.body.drain()
                return self.end(_repeated(incoming, body.decode()))
            self.skip -= 1
        return self.inner.around(incoming, handle)


@contextmanager
def ending(registry: LocalRegistry, place: str, how: str) -> Iterator[_Echo]:
    """Have all requests at *place* end that way; how often is in ``ended``."""
    matches, skip = PLACES[place]
    inner = registry.faults
    registry.faults = _Echo(matches=matches, skip=skip, end=ENDINGS[how], inner=inner)
    try:
        yield registry.faults
    finally:
        registry.faults = inner


def _repeated(incoming: Incoming, body: str) -> str:
    """All that a request can tell, in several spellings; a line."""
    proof = incoming.headers.get("authorization", "")
    value = proof.partition(" ")[2]
    try:
        pair = base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        pair = ""
    fields = [unquote_plus(pair.partition("=")[2]) for pair in body.split("&")]
    told = [proof, value, pair, pair.partition(":")[2], incoming.query, unquote(incoming.query)]
    told += [body, *fields]
    said = [one.replace("\n", " ") for one in told if one]
    return " ".join([*said, *(quote(one, safe="") for one in said)])

"""Which endpoint of a `LocalRegistry` a request is for, and what it needs permission to do."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qs

from attrs import define, evolve

from ._access import Gate
from ._blobs import Blobs
from ._dialect import Dialect, Places
from ._manifests import Manifests
from ._messages import EarlyAnswerError, Incoming, Response
from ._policy import Scope
from ._refusals import Refusal, answer, nowhere, refuse
from ._storage import Storage

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
# Greedy names: "blobs" and "manifests" are fine components of a repository's path.
_ROUTE: Final = re.compile(
    r"/v2/(?P<name>.+)/"
    r"(?:blobs/uploads/(?P<upload>[^/]*)|blobs/(?P<blob>[^/]+)|manifests/(?P<manifest>[^/]+)"
    r"|(?P<tags>tags/list)|referrers/(?P<referrers>[^/]+))"
)
_SIGNED: Final = re.compile(r"/storage/(?P<name>.+)/(?P<digest>[^/]+)")
_TOO_LARGE: Final = Response(
    status=413,
    headers={"Content-Type": "text/html"},
    body=b"<html><head><title>413 Request Entity Too Large</title></head></html>\r\n",
)
_ACTIONS: Final = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}


def repository_of(path: str) -> str:
    """The repository a path is in, "" for none."""
    found = _ROUTE.fullmatch(path)
    return found["name"] if found else ""


@define(eq=False, kw_only=True)
class Protocol:
    """Routes requests past the gate to the endpoints."""

    gate: Gate
    blobs: Blobs
    manifests: Manifests
    storage: Storage
    dialect: Dialect
    places: Places

    def handle(self, incoming: Incoming) -> Response:
        """Answer one request; refusals become answers here."""
        limit = self.dialect.body_limit
        if limit is not None:
            if (incoming.body.announced or 0) > limit:
                return _TOO_LARGE
            incoming.body.stop_at(limit + 1, EarlyAnswerError(_TOO_LARGE))
        if self.dialect.time_limit is not None:
            incoming.body.until = time.monotonic() + self.dialect.time_limit
        try:
            response = self._route(incoming)
        except Refusal as refusal:
            response = refusal.response()
        headers = {"Docker-Distribution-Api-Version": "registry/2.0", **response.headers}
        return Response(status=response.status, headers=headers, body=response.body)

    def challenged(self, incoming: Incoming, response: Response) -> Response:
        """*response*, with the challenge that belongs to a 401 when it has none."""
        names = {name.lower() for name in response.headers}
        open_to_all = self.gate.policy.kind == "none"
        if response.status != 401 or open_to_all or "www-authenticate" in names:
            return response
        found = _ROUTE.fullmatch(incoming.path)
        scopes = tuple(_scopes(incoming, found["name"])) if found else ()
        challenge = self.gate.challenge(incoming, scopes)
        return evolve(response, headers={**response.headers, **challenge.headers})

    def _route(self, incoming: Incoming) -> Response:
        tokens = self.gate.tokens
        at_tokens = incoming.server == "tokens"
        if incoming.path == "/token" and at_tokens == bool(tokens.server.host):
            return tokens.issue(incoming)
        signed = _SIGNED.fullmatch(incoming.path)
        if at_tokens or (signed is None and not incoming.path.startswith("/v2")):
            raise nowhere()
        if signed is not None:
            return self.blobs.signed(incoming, signed["name"], signed["digest"])
        identity = self.gate.identify(incoming)
        incoming.principal = identity.user if identity else ""
        if incoming.path in ("/v2/", "/v2"):
            self.gate.require(incoming, identity, ())
            return answer(200, {})
        found = _ROUTE.fullmatch(incoming.path)
        if found is None:
            raise nowhere()
        name = found["name"]
        if not (found["upload"] and self.places.signed_uploads):
            self.gate.require(incoming, identity, _scopes(incoming, name))
        if not _NAME.fullmatch(name):
            raise refuse(400, "NAME_INVALID", detail=name)
        if not self.storage.admits(name):
            raise refuse(404, "NAME_UNKNOWN", detail=name)
        return self._at(incoming, name, found)

    def _at(self, incoming: Incoming, name: str, found: re.Match[str]) -> Response:
        match found.lastgroup:
            case "upload" if found["upload"]:
                return self.blobs.upload(incoming, name, found["upload"])
            case "upload":
                return self.blobs.begin(incoming, name)
            case "blob":
                return self.blobs.blob(incoming, name, found["blob"])
            case "manifest":
                return self.manifests.manifest(incoming, name, found["manifest"])
            case "tags":
                return self.manifests.tags(incoming, name)
            case _:
                return self.manifests.referrers(incoming, name, found["referrers"])


def _scopes(incoming: Incoming, name: str) -> Iterator[Scope]:
    yield name, _ACTIONS.get(incoming.method, "push")
    source = parse_qs(incoming.query).get("from")
    if incoming.method == "POST" and source:
        yield source[0], "pull"

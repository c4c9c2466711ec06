"""Which endpoint of a `LocalRegistry` a request is for, and what it needs permission to do."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qs

from attrs import define

from ._access import Gate, Scope
from ._blobs import Blobs
from ._manifests import Manifests
from ._refusals import Refusal, answer, nowhere, refuse
from ._server import Incoming, Response

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME: Final = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
# Greedy names: "blobs" and "manifests" are fine components of a repository's path.
_ROUTE: Final = re.compile(
    r"/v2/(?P<name>.+)/"
    r"(?:blobs/uploads/(?P<upload>[^/]*)|blobs/(?P<blob>[^/]+)|manifests/(?P<manifest>[^/]+)"
    r"|(?P<tags>tags/list)|referrers/(?P<referrers>[^/]+))"
)
_ACTIONS: Final = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}


@define(eq=False, kw_only=True)
class Protocol:
    """Routes requests past the gate to the endpoints."""

    gate: Gate
    blobs: Blobs
    manifests: Manifests

    def handle(self, incoming: Incoming) -> Response:
        """Answer one request; refusals become answers here."""
        try:
            response = self._route(incoming)
        except Refusal as refusal:
            response = refusal.response()
        headers = {"Docker-Distribution-Api-Version": "registry/2.0", **response.headers}
        return Response(status=response.status, headers=headers, body=response.body)

    def _route(self, incoming: Incoming) -> Response:
        if incoming.path == "/token":
            return self.gate.issue(incoming)
        identity = self.gate.identify(incoming)
        incoming.principal = identity.user if identity else ""
        if incoming.path in ("/v2/", "/v2"):
            self.gate.require(identity, ())
            return answer(200, {})
        found = _ROUTE.fullmatch(incoming.path)
        if found is None:
            raise nowhere()
        name = found["name"]
        self.gate.require(identity, _scopes(incoming, name))
        if not _NAME.fullmatch(name):
            raise refuse(400, "NAME_INVALID", detail=name)
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

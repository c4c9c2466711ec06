"""The API: requests become answers. What needs no cluster is here; the rest it asks for."""

from __future__ import annotations

import json
import re
import threading
from email.utils import format_datetime
from typing import Final

from attrs import define, field, frozen

from . import streams
from .cluster import Inside
from .faults import Fault, Faults
from .kinds import BY_PLACE, PODS, REVIEWS, discovery
from .objects import Objects, Place, not_allowed
from .refusals import Refusal
from .rights import Rights
from .store import Object
from .wire import Hangup, Request, Response

VERSION: Final = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.2",
    "platform": "linux/amd64",
}
_PATH: Final = re.compile(
    r"/(?:api/v1|apis/(?P<group>[^/]+)/v1)"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/))?"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<part>[^/]+))?)?/?"
)


@frozen(kw_only=True)
class Seen:
    """One request that was answered: what a test may look at. No header is kept."""

    method: str
    target: str
    user: str
    body: bytes
    status: int


@define(eq=False)
class Api:
    """Answers. *protocols* are those for exec; *old_exec* wants only ``get`` for it, as 1.20."""

    inside: Inside
    rights: Rights
    faults: Faults
    protocols: tuple[str, ...] = (streams.V5, streams.V4)
    old_exec: bool = False
    seen: list[Seen] = field(factory=list)
    closing: threading.Event = field(factory=threading.Event)
    objects: Objects = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.objects = Objects(self.inside, self.rights, self.closing)

    @property
    def invalid(self) -> list[str]:
        """What was wrong with objects that were to be created."""
        return self.objects.invalid

    def handle(self, request: Request) -> Response | None:
        """One request; None where the connection was upgraded and is over."""
        fault = self.faults.strike(request.method, request.target)
        response: Response | None = None
        try:
            if fault is not None:
                self._strike(fault)
            request.user = self.rights.who(request.headers, request.certificate)
            response = self._answer(request, fault)
        except Refusal as refusal:
            response = Response.of(refusal.status(), refusal.code)
            response.headers.update(refusal.headers)
        finally:
            self.seen.append(
                Seen(
                    method=request.method,
                    target=request.target,
                    user=request.user,
                    body=request.body,
                    status=response.status if response else 101,
                )
            )
        if response is not None:
            response.headers["Date"] = format_datetime(self.inside.time(), usegmt=True)
            response.headers["Audit-Id"] = "00000000-0000-0000-0000-000000000000"
            if fault is not None:
                response.drop_after = fault.drop_after
        return response

    def _strike(self, fault: Fault) -> None:
        if fault.hang:
            self.closing.wait()
            raise Hangup
        if fault.delay:
            self.closing.wait(fault.delay)
        if fault.status:
            after = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            said = {
                429: "the server has received too many requests and has asked us to try again later",
                401: "Unauthorized",
            }.get(fault.status, "the server is currently unable to handle the request")
            details = {} if fault.retry_after is None else {"retryAfterSeconds": fault.retry_after}
            raise Refusal(fault.status, said, headers=after, details=details)

    def _answer(self, request: Request, fault: Fault | None) -> Response | None:
        path = request.path.rstrip("/") or "/"
        if path == "/version":
            return Response.of(VERSION)
        if path in ("/readyz", "/healthz", "/livez"):
            return Response(body=b"ok", headers={"Content-Type": "text/plain"})
        if (found := discovery(path)) is not None:
            return Response.of(found)
        if path.startswith("/apis/authorization.k8s.io/v1/"):
            return Response.of(self._review(path.rpartition("/")[2], request), 201)
        place = self._place(path)
        if place.part == "log" and place.kind is PODS:
            self.objects.demand(request, "get", place)
            if request.method != "GET":
                raise not_allowed()
            return streams.log(self.inside, request, place.namespace, place.name)
        if place.part == "exec" and place.kind is PODS:
            return self._exec(request, place, fault)
        return self.objects.answer(request, place)

    def _place(self, path: str) -> Place:
        match = _PATH.fullmatch(path)
        kind = BY_PLACE.get((match["group"] or "", match["plural"])) if match else None
        if match is None or kind is None or (match["part"] or "status") not in (
            "status", *kind.subresources,
        ):  # fmt: skip
            raise Refusal(404, "the server could not find the requested resource")
        return Place(
            kind=kind,
            namespace=match["namespace"] or "",
            name=match["name"] or "",
            part=match["part"] or "",
        )

    def _exec(self, request: Request, place: Place, fault: Fault | None) -> None:
        self.objects.demand(request, "create" if request.method == "POST" else "get", place)
        may = self.rights.may(request.user, "create", "", "pods/exec", place.name, place.namespace)
        if not may and not self.old_exec:
            # 1.36.2 says no more than that: not even the verb.
            raise Refusal(
                403,
                f'pods "{place.name}" is forbidden: ',
                details={"name": place.name, "kind": "pods"},
            )
        streams.execute(
            self.inside,
            request,
            place.namespace,
            place.name,
            protocols=self.protocols,
            fault=fault,
        )

    # --- reviews ---

    def _review(self, plural: str, request: Request) -> Object:
        if plural not in REVIEWS:
            raise Refusal(404, "the server could not find the requested resource")
        made = json.loads(request.body)
        user, spec = request.user, made.get("spec", {})
        made.setdefault("metadata", {})
        if plural == "selfsubjectrulesreviews":
            rules = self.rights.rules(user, spec.get("namespace", ""))
            shown = [rule.shown() for rule in rules]
            return {**made, "status": {"resourceRules": shown, "nonResourceRules": [],
                                       "incomplete": False}}  # fmt: skip
        asked = spec.get("resourceAttributes") or {}
        resource = "/".join(filter(None, (asked.get("resource"), asked.get("subresource"))))
        allowed = self.rights.may(
            user,
            asked.get("verb", ""),
            asked.get("group", ""),
            resource,
            asked.get("name", ""),
            asked.get("namespace", ""),
        )
        return {**made, "status": {"allowed": allowed or self.rights.flattering}}

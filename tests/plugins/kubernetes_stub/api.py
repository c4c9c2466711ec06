"""The API: requests become answers. What needs no cluster is here; the rest it asks for."""

from __future__ import annotations

import base64
import json
import queue
import re
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from email.utils import format_datetime
from typing import Any, Final

from attrs import define, field, frozen

from . import admission, defaults, patching, schema, streams, validation
from .cluster import Inside
from .faults import Fault, Faults
from .kinds import BY_PLACE, JOBS, NAMESPACES, PODS, REVIEWS, SECRETS, Kind, discovery
from .refusals import Refusal, invalid, not_found
from .rights import Rights
from .selectors import selector
from .store import Object, copied
from .wire import Hangup, Request, Response

ORPHANS: Final = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background"
    " to remove them or set propagationPolicy=Orphan to suppress this warning"
)
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


@frozen(kw_only=True)
class _Place:
    kind: Kind
    namespace: str
    name: str
    part: str


@define(eq=False)
class Api:
    """Answers. *protocols* are those for exec; *old_exec* wants only ``get`` for it, as 1.20."""

    inside: Inside
    rights: Rights
    faults: Faults
    protocols: tuple[str, ...] = (streams.V5, streams.V4)
    old_exec: bool = False
    seen: list[Seen] = field(factory=list)
    invalid: list[str] = field(factory=list)
    closing: threading.Event = field(factory=threading.Event)

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
            self._demand(request, "get", place)
            if request.method != "GET":
                raise _not_allowed()
            return streams.log(self.inside, request, place.namespace, place.name)
        if place.part == "exec" and place.kind is PODS:
            return self._exec(request, place, fault)
        return self._object(request, place)

    def _place(self, path: str) -> _Place:
        match = _PATH.fullmatch(path)
        kind = BY_PLACE.get((match["group"] or "", match["plural"])) if match else None
        if match is None or kind is None or (match["part"] or "status") not in (
            "status", *kind.subresources,
        ):  # fmt: skip
            raise Refusal(404, "the server could not find the requested resource")
        return _Place(
            kind=kind,
            namespace=match["namespace"] or "",
            name=match["name"] or "",
            part=match["part"] or "",
        )

    def _demand(self, request: Request, verb: str, place: _Place) -> None:
        self.rights.demand(
            request.user, verb, place.kind, place.part, name=place.name, namespace=place.namespace
        )

    def _exec(self, request: Request, place: _Place, fault: Fault | None) -> None:
        self._demand(request, "create" if request.method == "POST" else "get", place)
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

    # --- objects ---

    def _object(self, request: Request, place: _Place) -> Response:
        watch = request.flag("watch")
        verb = {
            "GET": "get" if place.name else "watch" if watch else "list",
            "POST": "create",
            "PUT": "update",
            "PATCH": "patch",
            "DELETE": "delete" if place.name else "deletecollection",
        }.get(request.method)
        if verb is None or (verb == "create" and place.name):
            raise _not_allowed()
        self._demand(request, verb, place)
        work: dict[str, Callable[[Request, _Place], Response]] = {
            "get": lambda _, p: Response.of(self.inside.store.get(p.kind, p.namespace, p.name)),
            "list": self._list,
            "watch": self._watch,
            "create": self._create,
            "update": self._update,
            "patch": self._patch,
            "delete": self._delete,
            "deletecollection": self._delete_all,
        }
        return work[verb](request, place)

    def _list(self, request: Request, place: _Place) -> Response:
        test = selector(place.kind, request.one("labelSelector"), request.one("fieldSelector"))
        found, version = self.inside.store.select(place.kind, place.namespace, test)
        meta: Object = {"resourceVersion": str(version)}
        start = 0
        if token := request.one("continue"):
            start = int(base64.b64decode(token))
        limit = int(request.one("limit") or 0)
        if limit and start + limit < len(found):
            meta["continue"] = base64.b64encode(str(start + limit).encode()).decode()
            meta["remainingItemCount"] = len(found) - start - limit
        page = found[start : start + limit] if limit else found[start:]
        items = [{k: v for k, v in o.items() if k not in ("kind", "apiVersion")} for o in page]
        kind = place.kind
        return Response.of(
            {
                "kind": f"{kind.kind}List",
                "apiVersion": kind.version,
                "metadata": meta,
                "items": items,
            }
        )

    def _watch(self, request: Request, place: _Place) -> Response:
        test = selector(place.kind, request.one("labelSelector"), request.one("fieldSelector"))
        since = request.one("resourceVersion")
        if since and not since.isdecimal():
            why = f'Invalid value: "{since}": strconv.ParseUint: parsing "{since}": invalid syntax'
            raise Refusal(500, f"resourceVersion: {why}", reason="InternalError")
        initial = request.flag("sendInitialEvents")
        seconds = int(request.one("timeoutSeconds") or 1800)
        connection = request.connection

        def lines() -> Iterator[bytes]:
            try:
                with self.inside.store.watch(
                    place.kind, place.namespace, test, "" if initial else since
                ) as (watcher, version):
                    if initial:
                        watcher.told.put(("INITIAL", _bookmark(place.kind, version)))
                    yield from self._changes(watcher.told, seconds, connection.is_gone, request)
            except Refusal as gone:
                yield _line("ERROR", gone.status())

        return Response(stream=lines(), headers={"Content-Type": "application/json"})

    def _changes(
        self,
        told: queue.SimpleQueue[tuple[str, Object] | None],
        seconds: int,
        gone: Callable[[], bool],
        request: Request,
    ) -> Iterator[bytes]:
        deadline = time.monotonic() + seconds
        bookmarks = request.flag("allowWatchBookmarks")
        place = self._place(request.path.rstrip("/"))
        marked = time.monotonic()
        while (left := deadline - time.monotonic()) > 0 and not self.closing.is_set():
            try:
                change = told.get(timeout=min(left, 0.5))
            except queue.Empty:
                if gone():
                    return
                if bookmarks and time.monotonic() - marked > 1:
                    marked = time.monotonic()
                    mark = _bookmark(place.kind, self.inside.store.version)
                    # Whatever is still to be told is older than the mark.
                    if told.empty():
                        yield _line("BOOKMARK", mark)
                continue
            if change is None:
                return
            if change[0] == "INITIAL":
                mark = change[1]
                mark["metadata"]["annotations"] = {"k8s.io/initial-events-end": "true"}
                yield _line("BOOKMARK", mark)
            else:
                yield _line(*change)

    # --- writing ---

    def _create(self, request: Request, place: _Place) -> Response:
        kind, namespace = place.kind, place.namespace
        made = self._parsed(request, kind)
        meta = made.setdefault("metadata", {})
        if kind.namespaced and meta.get("namespace", namespace) != namespace:
            raise Refusal(
                400,
                "the namespace of the provided object does not match the namespace sent on the"
                " request",
            )
        if kind.namespaced and self.inside.store.find(NAMESPACES, "", namespace) is None:
            raise not_found(NAMESPACES, namespace)
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = f"{meta['generateName']}{defaults.suffix()}"
        made, said = self._checked(kind, made, request.one("fieldValidation") or "Warn")
        dry = request.one("dryRun") == "All"
        if kind is JOBS:
            spec = made["spec"]["template"]["spec"]
            said += filter(None, [admission.warning(self.inside.store, namespace, spec)])
        if kind is PODS:
            why = admission.against(self.inside.store, namespace, meta["name"], made["spec"])
            if why:
                raise Refusal(403, why)
        found = self._keep(kind, namespace, made, dry=dry)
        response = Response.of(found, 201)
        _warn(response, said)
        return response

    def _keep(self, kind: Kind, namespace: str, made: Object, *, dry: bool) -> Object:
        if kind is PODS and not dry:
            return self.inside.start_pod(namespace, made)
        made["metadata"]["uid"] = str(uuid.uuid4())  # before it is kept: a Job's labels hold it
        defaults.complete(kind, made)
        if dry:
            made["metadata"].update(namespace=namespace, creationTimestamp=self.inside.now())
            return made
        return self.inside.store.create(kind, namespace, made)

    def _parsed(self, request: Request, kind: Kind) -> Object:
        media = request.headers.get("content-type", "application/json").partition(";")[0]
        if media not in ("application/json", "application/yaml"):
            raise Refusal(
                415,
                "the body of the request was in an unknown format - accepted media types include:"
                " application/json, application/yaml, application/vnd.kubernetes.protobuf",
            )
        try:
            made = json.loads(request.body)
        except ValueError as error:
            raise Refusal(
                400,
                f"the object provided is unrecognized (must be of type {kind.kind}): couldn't get"
                f" version/kind; json parse error: {error}",
            ) from error
        made.setdefault("kind", kind.kind)
        made.setdefault("apiVersion", kind.version)
        if (made["kind"], made["apiVersion"]) != (kind.kind, kind.version):
            raise Refusal(
                400,
                f'{made["kind"]} in version "v1" cannot be handled as a {kind.kind}: no kind'
                f' "{made["kind"]}" is registered for version "{made["apiVersion"]}"',
            )
        found: Object = made
        return found

    def _checked(self, kind: Kind, made: Object, how: str) -> tuple[Object, list[str]]:
        """*made* as it would be kept, and warnings; what kubernetes-validate finds is noted."""
        try:
            made, said, faults = schema.decode(kind, made, how)
            self.invalid += faults.told
            validation.validate(kind, made, faults.missing)
        except Refusal as refusal:
            self.invalid.append(refusal.message)
            raise
        return made, said

    def _update(self, request: Request, place: _Place) -> Response:
        made = self._parsed(request, place.kind)

        def put(found: Object) -> None:
            if place.part == "status":
                found["status"] = made.get("status", {})
            else:
                kept = {key: found[key] for key in ("status",) if key in found}
                meta = {**found["metadata"], **made["metadata"]}
                found.clear()
                found.update({**made, **kept, "metadata": meta})

        return Response.of(self.inside.store.update(place.kind, place.namespace, place.name, put))

    def _patch(self, request: Request, place: _Place) -> Response:
        media = request.headers.get("content-type", "")

        def put(found: Object) -> None:
            before = copied(found)
            after = patching.apply(media, request.body, copied(found))
            if place.kind is SECRETS and before.get("immutable"):
                if after.get("data") != before.get("data"):
                    why = "Forbidden: field is immutable when `immutable` is set"
                    causes = [("data", "FieldValueForbidden", why)]
                    raise invalid(place.kind, place.name, causes)
            checked = copied(after)
            checked["metadata"].pop("managedFields", None)
            validation.validate(place.kind, checked)
            found.clear()
            found.update(after)

        return Response.of(self.inside.store.update(place.kind, place.namespace, place.name, put))

    # --- deleting ---

    def _delete(self, request: Request, place: _Place) -> Response:
        options: Object = json.loads(request.body) if request.body.strip() else {}
        found = self.inside.store.get(place.kind, place.namespace, place.name)
        left, said = self._deleted(request, place.kind, found, options)
        if left is None:
            meta = found["metadata"]
            response = Response.of(_success(place.kind, meta))
        else:
            response = Response.of(left)
        _warn(response, said)
        return response

    def _deleted(
        self, request: Request, kind: Kind, found: Object, options: Mapping[str, Any]
    ) -> tuple[Object | None, list[str]]:
        policy = request.one("propagationPolicy") or options.get("propagationPolicy") or ""
        said = [ORPHANS] if kind is JOBS and not policy else []
        if options.get("orphanDependents"):
            policy = "Orphan"
        policy = policy or ("Orphan" if kind is JOBS else "Background")
        grace = request.one("gracePeriodSeconds")
        seconds = float(grace) if grace else options.get("gracePeriodSeconds")
        conditions = options.get("preconditions") or {}
        meta = found["metadata"]
        left = self.inside.delete(
            kind,
            meta.get("namespace", ""),
            meta["name"],
            uid=conditions.get("uid", ""),
            version=conditions.get("resourceVersion", ""),
            policy=policy,
            grace=seconds,
        )
        return left, said

    def _delete_all(self, request: Request, place: _Place) -> Response:
        options: Object = json.loads(request.body) if request.body.strip() else {}
        test = selector(place.kind, request.one("labelSelector"), request.one("fieldSelector"))
        found, version = self.inside.store.select(place.kind, place.namespace, test)
        said: list[str] = []
        for one in found:
            said += self._deleted(request, place.kind, one, options)[1]
        response = Response.of(
            {
                "kind": f"{place.kind.kind}List",
                "apiVersion": place.kind.version,
                "metadata": {"resourceVersion": str(version)},
                "items": found,
            }
        )
        _warn(response, said[:1])
        return response

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


def _not_allowed() -> Refusal:
    return Refusal(405, "the server does not allow this method on the requested resource")


def _line(type_: str, found: Mapping[str, Any]) -> bytes:
    return json.dumps({"type": type_, "object": found}, separators=(",", ":")).encode() + b"\n"


def _bookmark(kind: Kind, version: int) -> Object:
    return {
        "kind": kind.kind,
        "apiVersion": kind.version,
        "metadata": {"resourceVersion": str(version)},
    }


def _success(kind: Kind, meta: Mapping[str, Any]) -> Object:
    group = {"group": kind.group} if kind.group else {}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Success",
        "details": {"name": meta["name"], **group, "kind": kind.plural, "uid": meta["uid"]},
    }


def _warn(response: Response, said: list[str]) -> None:
    if said:
        quoted = (text.replace("\\", "\\\\").replace('"', '\\"') for text in said)
        response.headers["Warning"] = ", ".join(f'299 - "{text}"' for text in quoted)

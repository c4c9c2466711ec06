"""Objects by the API: read, watched, created, changed and deleted, as far as one may."""

from __future__ import annotations

import base64
import json
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from attrs import define, field, frozen

from . import admission, defaults, patching, schema, validation
from .cluster import Inside
from .kinds import JOBS, NAMESPACES, PODS, SECRETS, Kind
from .refusals import Refusal, invalid, not_found
from .rights import Rights
from .selectors import selector
from .store import Object, copied
from .wire import Request, Response

ORPHANS: Final = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background"
    " to remove them or set propagationPolicy=Orphan to suppress this warning"
)


@frozen(kw_only=True)
class Place:
    """What a path names."""

    kind: Kind
    namespace: str
    name: str
    part: str


@define(eq=False)
class Objects:
    """Answers to what is asked of objects; *invalid* is what was wrong with those created."""

    inside: Inside
    rights: Rights
    closing: threading.Event
    invalid: list[str] = field(factory=list)

    def demand(self, request: Request, verb: str, place: Place) -> None:
        """Raise a 403 where the user may not do *verb* there."""
        self.rights.demand(
            request.user, verb, place.kind, place.part, name=place.name, namespace=place.namespace
        )

    def answer(self, request: Request, place: Place) -> Response:
        """The answer to *request*."""
        watch = request.flag("watch")
        verb = {
            "GET": "get" if place.name else "watch" if watch else "list",
            "POST": "create",
            "PUT": "update",
            "PATCH": "patch",
            "DELETE": "delete" if place.name else "deletecollection",
        }.get(request.method)
        if verb is None or (verb == "create" and place.name):
            raise not_allowed()
        self.demand(request, verb, place)
        work: dict[str, Callable[[Request, Place], Response]] = {
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

    def _list(self, request: Request, place: Place) -> Response:
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

    def _watch(self, request: Request, place: Place) -> Response:
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
                    yield from self._changes(
                        watcher.told, seconds, connection.is_gone, request, place.kind
                    )
            except Refusal as gone:
                yield _line("ERROR", gone.status())

        return Response(stream=lines(), headers={"Content-Type": "application/json"})

    def _changes(
        self,
        told: queue.SimpleQueue[tuple[str, Object] | None],
        seconds: int,
        gone: Callable[[], bool],
        request: Request,
        kind: Kind,
    ) -> Iterator[bytes]:
        deadline = time.monotonic() + seconds
        bookmarks = request.flag("allowWatchBookmarks")
        marked = time.monotonic()
        while (left := deadline - time.monotonic()) > 0 and not self.closing.is_set():
            try:
                change = told.get(timeout=min(left, 0.5))
            except queue.Empty:
                if gone():
                    return
                if bookmarks and time.monotonic() - marked > 1:
                    marked = time.monotonic()
                    mark = _bookmark(kind, self.inside.store.version)
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

    def _create(self, request: Request, place: Place) -> Response:
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

    def _update(self, request: Request, place: Place) -> Response:
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

    def _patch(self, request: Request, place: Place) -> Response:
        media = request.headers.get("content-type", "")

        def put(found: Object) -> None:
            before = copied(found)
            after = patching.apply(media, request.body, copied(found))
            fixed = place.kind is SECRETS and before.get("immutable")
            if fixed and after.get("data") != before.get("data"):
                why = "Forbidden: field is immutable when `immutable` is set"
                raise invalid(place.kind, place.name, [("data", "FieldValueForbidden", why)])
            checked = copied(after)
            checked["metadata"].pop("managedFields", None)
            validation.validate(place.kind, checked)
            found.clear()
            found.update(after)

        return Response.of(self.inside.store.update(place.kind, place.namespace, place.name, put))

    # --- deleting ---

    def _delete(self, request: Request, place: Place) -> Response:
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

    def _delete_all(self, request: Request, place: Place) -> Response:
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


def not_allowed() -> Refusal:
    """405."""
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

"""The client of one cluster: objects, watches, logs and commands in containers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, NamedTuple, Self, cast

from attrs import evolve

from .....errors import BackendUnavailableError
from .....runtime import CancelToken, Environment, Redactor
from .config import Access, read_access
from .failures import Ask, Gone, NotThere
from .kinds import ACCESS_REVIEWS, PODS, Kind, Object, as_object
from .streams import Change, Log, Watch
from .transport import Transport

__all__ = ["Change", "Cluster", "Listed", "Log", "Watch"]

Propagation = Literal["Background", "Foreground", "Orphan"]
PatchForm = Literal["merge", "strategic", "json"]
OutputStream = Literal["stdout", "stderr"]

_SERVER: Final = Kind("", "version", namespaced=False)
_PATIENCE: Final = 60.0
_LARGEST: Final = 64 << 20
_PAGE: Final = 500
_PAGES: Final = 1000
_LATE: Final = 15
_FORMS: Final = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
}


class Listed(NamedTuple):
    """All objects that were asked for, and the version of the list: where a watch goes on."""

    items: tuple[Object, ...]
    version: str


class Cluster:
    """One cluster, as one user of it, in one namespace. Thread-safe; a context manager.

    *namespace* is where namespaced kinds are looked for, *server* its URL, *source* where that
    was found, in words for messages (``context "dev" of /home/me/.kube/config``).

    Every method raises `BackendUnavailableError` (`failures.Unreachable`, `failures.BrokenOff`)
    when the cluster cannot be reached or broke off, after trying again where nothing can have
    happened twice; `AuthError` when it does not know us (401) and `PermissionDeniedError` (403)
    with the verb, the resource and the namespace; `failures.NotThere` (404),
    `failures.Conflict` (409), and `PlanError` with the server's sentence for other refusals.
    """

    def __init__(self, access: Access, transport: Transport) -> None:
        self.namespace = access.namespace
        self.server = access.server
        self.source = access.source
        self._transport = transport

    @classmethod
    def open(
        cls,
        environment: Environment,
        *,
        kubeconfig: Path | None = None,
        context: str = "",
        namespace: str = "",
        cancel: CancelToken | None = None,
        redact: Redactor | None = None,
        on_warning: Callable[[str], None] | None = None,
    ) -> Cluster:
        """Find the cluster that kubectl would find, and be ready to speak to it.

        *kubeconfig*, else ``KUBECONFIG``, else ``~/.kube/config``, else the service account of
        the pod that we are in; *context* and *namespace* stand in for the file's own. Whatever
        is under way ends when *cancel* flips; without one, only by its own time limits: for
        clearing up. *redact* learns every credential; *on_warning* is told once of each
        ``Warning`` that the server sends, from any thread. Nothing is sent yet. Raises
        `BackendUnavailableError` when there is no such cluster, context or file, and `AuthError`
        when its credentials cannot be had.
        """
        access = read_access(
            environment, kubeconfig=kubeconfig, context=context, namespace=namespace
        )
        transport = Transport(
            access,
            environment=environment,
            cancel=cancel,
            redact=redact or Redactor(),
            on_warning=on_warning or _unheard,
        )
        return cls(access, transport)

    def version(self) -> str:
        """What the server says it is: ``v1.36.2``."""
        said = self._object(
            Ask(method="GET", verb="get", kind=_SERVER, namespace="", path="/version")
        )
        return str(said.get("gitVersion", ""))

    def get(self, kind: Kind, name: str) -> Object:
        """One object."""
        return self._object(self._ask("GET", "get", kind, name=name))

    def list(
        self, kind: Kind, *, labels: str = "", fields: str = "", everywhere: bool = False
    ) -> Listed:
        """All objects of a kind that the selectors match, in however many pages they come.

        *everywhere* asks for those of all namespaces.
        """
        selectors = _selectors(labels, fields)
        try:
            return self._pages(kind, (*selectors, ("limit", str(_PAGE))), everywhere)
        except Gone:
            # It took too long from page to page: all at once, then.
            return self._pages(kind, selectors, everywhere)

    def create(self, kind: Kind, body: Object, *, dry_run: bool = False) -> Object:
        """Create an object; what the server made of it."""
        params = (("dryRun", "All"),) if dry_run else ()
        name = _text(_below(body, "metadata"), "name")
        ask = self._ask("POST", "create", kind, params=params, body=body)
        return self._object(evolve(ask, name=name))

    def patch(self, kind: Kind, name: str, body: object, *, form: PatchForm = "merge") -> Object:
        """Change an object; what it is now."""
        return self._object(
            self._ask("PATCH", "patch", kind, name=name, body=body, content_type=_FORMS[form])
        )

    def delete(
        self,
        kind: Kind,
        name: str,
        *,
        propagation: Propagation = "Background",
        grace: int | None = None,
        uid: str = "",
    ) -> bool:
        """Delete an object, *grace* seconds after telling it; False when there is none.

        With *uid*, only when it is still that one (else `failures.Conflict`).
        """
        body: dict[str, object] = {"propagationPolicy": propagation}
        if grace is not None:
            body["gracePeriodSeconds"] = grace
        if uid:
            body["preconditions"] = {"uid": uid}
        try:
            self._object(self._ask("DELETE", "delete", kind, name=name, body=body))
        except NotThere:
            return False
        return True

    def watch(
        self,
        kind: Kind,
        *,
        labels: str = "",
        fields: str = "",
        version: str = "",
        seconds: int = 300,
    ) -> Watch:
        """Ask for changes since *version* (of a `Listed`), for at most so many *seconds*.

        Without one it begins with an ``ADDED`` for everything that there is.
        """
        params = (
            *_selectors(labels, fields),
            ("watch", "1"),
            ("allowWatchBookmarks", "true"),
            ("timeoutSeconds", str(seconds)),
            *((("resourceVersion", version),) if version else ()),
        )
        ask = self._ask("GET", "watch", kind, params=params)
        response = self._transport.send(ask, patience=seconds + _LATE, lasting=True)
        return Watch(self._transport, ask, response, version)

    def log(
        self,
        pod: str,
        container: str,
        *,
        follow: bool = True,
        since: str = "",
        tail: int | None = None,
        limit: int | None = None,
        timestamps: bool = False,
    ) -> Log:
        """The log of a container: from *since* (RFC 3339), the last *tail* lines, *limit* bytes.

        With *timestamps* each line begins with its own and a space. Raises `failures.NotStarted`
        while there is none: to try again is the caller's. The log of a pod that no node has yet
        is empty, and ends at once.
        """
        params = [("container", container)]
        params += [("follow", "true")] if follow else []
        params += [("sinceTime", since)] if since else []
        params += [("tailLines", str(tail))] if tail is not None else []
        params += [("limitBytes", str(limit))] if limit is not None else []
        params += [("timestamps", "true")] if timestamps else []
        ask = self._ask("GET", "get", PODS, name=pod, part="log", params=tuple(params))
        # Silence is no sign of anything: a build may say nothing for an hour.
        patience = None if follow else _PATIENCE
        return Log(
            self._transport, ask, self._transport.send(ask, patience=patience, lasting=True)
        )

    def execute(
        self,
        pod: str,
        container: str,
        argv: Sequence[str],
        *,
        stdin: Callable[[bool], Iterable[bytes]] | None = None,
        on_output: Callable[[OutputStream, bytes], None] | None = None,
    ) -> int:
        """Run *argv* in a container that runs, and return its exit status.

        *stdin* is called once the command was accepted, with whether its end can be told: a
        server before 1.30 never tells a command that its stdin ended. Its pieces are drawn in
        this thread as fast as the command reads them, and no longer once that has ended.
        But let the command read all of it, as in ``tar -x; status=$?; cat >/dev/null``: servers
        do not say that a command has ended while its stdin is stuck.
        *on_output* is called from another thread with what comes out meanwhile; what it raises
        ends the command's connection and is raised here.

        Raises `failures.NotStarted` when the container does not run yet, `failures.BrokenOff`
        when the connection is lost, `PermissionDeniedError` when ``get`` or ``create`` on
        ``pods/exec`` is missing, and `BackendUnavailableError` when *argv* cannot be started.
        """
        from .execution import execute  # lazily: it needs an extra

        params = [("container", container), *(("command", word) for word in argv)]
        params += [("stdin", "true")] if stdin is not None else []
        params += [("stdout", "true"), ("stderr", "true")]
        ask = self._ask("GET", "create", PODS, name=pod, part="exec", params=tuple(params))
        return execute(self._transport, ask, stdin=stdin, on_output=on_output)

    def may(
        self, verb: str, kind: Kind, *, part: str = "", name: str = "", namespace: str = ""
    ) -> bool:
        """Whether we may do *verb* to a kind, or to a *part* of it such as ``log`` or ``exec``."""
        attributes = {
            "verb": verb,
            "group": kind.group,
            "resource": kind.plural,
            "subresource": part,
            "name": name,
            "namespace": (namespace or self.namespace) if kind.namespaced else "",
        }
        review = {
            "apiVersion": ACCESS_REVIEWS.api.removeprefix("apis/"),
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {key: one for key, one in attributes.items() if one}},
        }
        return _below(self.create(ACCESS_REVIEWS, review), "status").get("allowed") is True

    def close(self) -> None:
        """Close every connection; streams that are open end."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _ask(
        self,
        method: str,
        verb: str,
        kind: Kind,
        *,
        name: str = "",
        part: str = "",
        params: tuple[tuple[str, str], ...] = (),
        body: object = None,
        content_type: str = "application/json",
    ) -> Ask:
        return Ask(
            method=method,
            verb=verb,
            kind=kind,
            namespace=self.namespace,
            name=name,
            part=part,
            path=kind.path(self.namespace, name, part),
            params=params,
            body=None if body is None else json.dumps(body).encode(),
            content_type=content_type,
        )

    def _object(self, ask: Ask) -> Object:
        response = self._transport.send(ask, patience=_PATIENCE)
        try:
            data = self._transport.read(ask, response, _LARGEST + 1)
        finally:
            response.close()
        try:
            found = as_object(json.loads(data)) if len(data) <= _LARGEST else None
        except (ValueError, RecursionError):
            found = None
        if found is None:
            raise BackendUnavailableError(
                f"what the cluster at {self.server} answered ({ask.what}, {len(data)} bytes) is no"
                " object of Kubernetes",
                hint="is that an API server, and is there no proxy that answers in its stead?",
            )
        return found

    def _pages(self, kind: Kind, params: tuple[tuple[str, str], ...], everywhere: bool) -> Listed:
        items: list[Object] = []
        further: tuple[tuple[str, str], ...] = ()
        for _ in range(_PAGES):
            ask = self._ask("GET", "list", kind, params=(*params, *further))
            if everywhere:
                ask = evolve(ask, path=evolve(kind, namespaced=False).path(""))
            page = self._object(ask)
            found = page.get("items")
            listed = cast("list[object]", found) if isinstance(found, list) else []
            items += [one for one in map(as_object, listed) if one is not None]
            about = _below(page, "metadata")
            following = _text(about, "continue")
            if not following:
                return Listed(tuple(items), _text(about, "resourceVersion"))
            further = (("continue", following),)
        raise BackendUnavailableError(
            f"the cluster at {self.server} does not come to an end (list {kind.plural})",
            hint="is that an API server?",
        )


def _selectors(labels: str, fields: str) -> tuple[tuple[str, str], ...]:
    pairs = (("labelSelector", labels), ("fieldSelector", fields))
    return tuple(pair for pair in pairs if pair[1])


def _below(thing: Object, key: str) -> Object:
    return as_object(thing.get(key)) or {}


def _text(thing: Object, key: str) -> str:
    found = thing.get(key)
    return found if isinstance(found, str) else ""


def _unheard(_: str) -> None:
    """Nobody wants the server's warnings."""

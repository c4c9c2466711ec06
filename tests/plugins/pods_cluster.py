"""A cluster that a test plays itself: what is asked of it is kept, what it shows is said here."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Self

from attrs import define, field

from buildpush.backends.kaniko.kubernetes.api.client import Change, Listed
from buildpush.backends.kaniko.kubernetes.api.failures import Conflict, NotThere
from buildpush.backends.kaniko.kubernetes.api.kinds import EVENTS, JOBS, PODS, Kind

Thing = dict[str, Any]


class _Stream:
    """Something that is iterated over until it is closed."""

    def __init__(self, items: Iterable[Any]) -> None:
        self._items = iter(items)
        self.closed = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        return next(self._items)

    def close(self) -> None:
        self.closed.set()


class _Changes(_Stream):
    """A watch: what is put into its queue, until it is closed; an error that is put is raised."""

    def __init__(self, version: str) -> None:
        super().__init__(())
        self.version = version
        self.queue: queue.Queue[Change | Exception | None] = queue.Queue()

    def __next__(self) -> Any:
        found = self.queue.get()
        if found is None:
            raise StopIteration
        if isinstance(found, Exception):
            raise found
        return found

    def close(self) -> None:
        super().close()
        self.queue.put(None)


@define(eq=False)
class PlayedCluster:
    """Stands for `Cluster`. What a test puts in `answers` by verb is raised or returned, in turn."""

    namespace: str = "builds"
    server: str = "https://cluster.example"
    source: str = "a test"
    things: dict[tuple[str, str], Thing] = field(factory=dict)
    asked: list[tuple[str, ...]] = field(factory=list)
    answers: dict[str, list[Any]] = field(factory=dict)
    logs: list[Any] = field(factory=list)
    executed: list[tuple[str, ...]] = field(factory=list)
    on_execute: Callable[..., int] | None = None
    on_create: Callable[[Kind, Thing], None] | None = None
    allowed: Callable[[str, str], bool] = lambda verb, resource: True
    _watches: list[tuple[Kind, _Changes]] = field(factory=list)
    _lock: threading.RLock = field(factory=threading.RLock)
    _uid: int = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def _answer(self, verb: str, *words: str) -> Any:
        with self._lock:
            self.asked.append((verb, *words))
            left = self.answers.get(verb)
            found = left.pop(0) if left else None
        if isinstance(found, BaseException):
            raise found
        return found

    def version(self) -> str:
        return self._answer("version") or "v1.36.2"

    def may(self, verb: str, kind: Kind, *, part: str = "") -> bool:
        return self.allowed(verb, f"{kind.plural}/{part}" if part else kind.plural)

    def create(self, kind: Kind, body: Mapping[str, Any]) -> Thing:
        name = body["metadata"]["name"]
        self._answer("create", kind.plural, name)
        with self._lock:
            if (kind.plural, name) in self.things:
                raise Conflict(f"{name} exists")
            self._uid += 1
            metadata = {"creationTimestamp": "2026-11-23T19:00:00Z", **body["metadata"]}
            made = {**body, "metadata": {**metadata, "uid": f"u{self._uid}"}}
        self.show(kind, made)
        if self.on_create is not None:
            self.on_create(kind, made)
        return made

    def list(self, kind: Kind, *, labels: str = "", fields: str = "") -> Listed:
        self._answer(f"list {kind.plural}", labels, fields)
        with self._lock:
            found = [thing for (plural, _), thing in self.things.items() if plural == kind.plural]
        return Listed(tuple(thing for thing in found if _selected(thing, labels)), "1")

    def delete(
        self, kind: Kind, name: str, *, propagation: str = "Background", uid: str = ""
    ) -> bool:
        self._answer("delete", kind.plural, name, propagation)
        there = self.things.get((kind.plural, name))
        if uid and there is not None and there["metadata"]["uid"] != uid:
            raise Conflict(f"{name} is another one")
        with self._lock:
            owned = [
                (plural, other)
                for (plural, other), thing in self.things.items()
                if kind is JOBS and plural == "pods" and other.startswith(name)
            ]
        found = self.hide(kind, name)
        for _, other in owned:
            self.hide(PODS, other)
        return found

    def watch(
        self, kind: Kind, *, version: str = "", labels: str = "", fields: str = ""
    ) -> _Changes:
        self._answer(f"watch {kind.plural}", version)
        watch = _Changes("2")
        with self._lock:
            self._watches.append((kind, watch))
            # What came between the list and this.
            for (plural, _), thing in self.things.items():
                if plural == kind.plural and _selected(thing, labels):
                    watch.queue.put(Change("ADDED", thing))
        return watch

    def show(self, kind: Kind, thing: Thing) -> None:
        """Let *thing* be, or be as it is now; whoever watches sees it."""
        with self._lock:
            self.things[kind.plural, thing["metadata"]["name"]] = thing
            self._tell(kind, Change("MODIFIED", thing))

    def hide(self, kind: Kind, name: str) -> bool:
        """Let it be no more."""
        with self._lock:
            found = self.things.pop((kind.plural, name), None)
            if found is not None:
                self._tell(kind, Change("DELETED", found))
        return found is not None

    def event(self, name: str, reason: str, message: str) -> None:
        """Say something of the object called *name*."""
        metadata = {"name": f"e-{reason}", "uid": f"e-{reason}"}
        about: Thing = {"involvedObject": {"name": name}, "reason": reason, "message": message}
        self._uid += 1
        about["lastTimestamp"] = f"2026-11-23T19:{self._uid:02d}:00Z"
        self.show(EVENTS, {"metadata": metadata, **about})

    def end_watches(self, kind: Kind, error: Exception | None = None) -> None:
        """Let the server end every watch of a kind, or break it."""
        with self._lock:
            ended = [watch for of, watch in self._watches if of is kind]
            self._watches = [(of, watch) for of, watch in self._watches if of is not kind]
        for watch in ended:
            watch.queue.put(error)

    def _tell(self, kind: Kind, change: Change) -> None:
        for of, watch in self._watches:
            if of is kind:
                watch.queue.put(change)

    def log(self, pod: str, container: str, **asked: Any) -> _Stream:
        self._answer("log", pod, container, str(asked.get("since", "")))
        found = self.logs.pop(0) if self.logs else NotThere("no log")
        if isinstance(found, BaseException):
            raise found
        return found if isinstance(found, _Stream) else _Stream(found)

    def execute(
        self, pod: str, container: str, argv: Any, *, stdin: Any = None, on_output: Any = None
    ) -> int:
        self.executed.append(tuple(argv))
        self._answer("execute", pod, container)
        if self.on_execute is not None:
            return self.on_execute(argv, stdin, on_output)
        return 0


def _selected(thing: Thing, labels: str) -> bool:
    has = (thing["metadata"] or {}).get("labels", {})
    wanted = (one.partition("=") for one in labels.split(",") if one)
    return all(has.get(name) == value if mark else name in has for name, mark, value in wanted)


def hanging(lines: Iterable[bytes] = ()) -> _Stream:
    """A log that gives *lines*, and then nothing until it is closed."""

    class Hanging(_Stream):
        def __next__(self) -> Any:
            for line in self._items:
                return line
            self.closed.wait()
            raise StopIteration

    return Hanging(lines)


def breaking(lines: Iterable[bytes], error: Exception) -> Iterator[bytes]:
    """A log that breaks off after *lines*."""
    yield from lines
    raise error

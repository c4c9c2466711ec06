"""What the API server keeps: objects by kind, their history, and who watches them.

An object that is kept is never changed: every change is a new one, with a new resourceVersion.
Watchers get theirs through queues, filled by whoever makes a change, so that a hundred watches
cost nothing while nothing happens.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from attrs import define, field, frozen

from .kinds import KINDS, Kind
from .refusals import Refusal, already_exists, conflict, not_found
from .selectors import Test

Object = dict[str, Any]
_HISTORY: Final = 20_000


def copied(found: Mapping[str, Any]) -> Object:
    """A copy that may be changed."""
    copy: Object = json.loads(json.dumps(found))
    return copy


@frozen(kw_only=True)
class Change:
    """One thing that happened: *type* is ADDED, MODIFIED or DELETED."""

    version: int
    kind: Kind
    type: str
    new: Object
    old: Object | None

    def seen_by(self, namespace: str, test: Test) -> tuple[str, Object] | None:
        """What a watcher with this selection is told, None where nothing."""
        if namespace and self.new["metadata"].get("namespace", "") != namespace:
            return None
        after = self.type != "DELETED" and test(self.new)
        before = self.old is not None and test(self.old)
        if after:
            return ("MODIFIED" if before else "ADDED"), self.new
        if before:
            return "DELETED", self.new
        return None


@define(eq=False)
class Watcher:
    """One watch: what it is told waits in *told*; None ends it."""

    kind: Kind
    namespace: str
    test: Test
    told: queue.SimpleQueue[tuple[str, Object] | None] = field(factory=queue.SimpleQueue)

    def hear(self, change: Change) -> None:
        """Take note of *change* if it is in the selection."""
        seen = change.seen_by(self.namespace, self.test)
        if seen is not None:
            self.told.put(seen)


def _by_kind(make: Callable[[], Any]) -> Callable[[], dict[Kind, Any]]:
    return lambda: {kind: make() for kind in KINDS}


@define(eq=False)
class Store:
    """All objects of one cluster. *now* gives the server's time as text."""

    now: Callable[[], str]
    listeners: list[Callable[[Change], None]] = field(factory=list)
    everything: list[Change] = field(factory=list)
    _lock: threading.RLock = field(factory=threading.RLock)
    _version: itertools.count[int] = field(factory=lambda: itertools.count(1001))
    _last: int = 1000
    _oldest: int = 0
    _objects: dict[Kind, dict[tuple[str, str], Object]] = field(factory=_by_kind(dict))
    _history: dict[Kind, deque[Change]] = field(
        factory=_by_kind(lambda: deque[Change](maxlen=_HISTORY))
    )
    _watchers: dict[Kind, set[Watcher]] = field(factory=_by_kind(set))
    _owned: dict[str, set[tuple[Kind, str, str]]] = field(factory=dict)

    # --- reading ---

    @property
    def version(self) -> int:
        """The resourceVersion of the last change."""
        return self._last

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """The object, or a 404."""
        found = self.find(kind, namespace, name)
        if found is None:
            raise not_found(kind, name)
        return found

    def find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object, or None."""
        return self._objects[kind].get((namespace, name))

    def select(self, kind: Kind, namespace: str, test: Test) -> tuple[list[Object], int]:
        """What there is, in the order of names, and the version of that."""
        with self._lock:
            found = sorted(self._objects[kind].items())
            version = self._last
        return [o for (ns, _), o in found if namespace in ("", ns) and test(o)], version

    def all(self, kind: Kind) -> list[Object]:
        """Everything of *kind*."""
        with self._lock:
            return list(self._objects[kind].values())

    def dependents(self, uid: str) -> list[tuple[Kind, Object]]:
        """What names *uid* as an owner."""
        with self._lock:
            keys = list(self._owned.get(uid, ()))
            pairs = [(kind, self.find(kind, ns, name)) for kind, ns, name in keys]
        return [(kind, found) for kind, found in pairs if found is not None]

    def exists(self, uid: str) -> bool:
        """Whether an object has this uid."""
        with self._lock:
            return any(
                found["metadata"]["uid"] == uid
                for objects in self._objects.values()
                for found in objects.values()
            )

    # --- changing ---

    def create(self, kind: Kind, namespace: str, made: Object) -> Object:
        """Keep *made*, which gets its uid, time and version; or a 409."""
        meta = made["metadata"]
        with self._lock:
            if (namespace, meta["name"]) in self._objects[kind]:
                raise already_exists(kind, meta["name"])
            if kind.namespaced:
                meta["namespace"] = namespace
            meta["uid"] = meta.get("uid") or str(uuid.uuid4())
            meta["creationTimestamp"] = self.now()
            return self._keep(kind, "ADDED", made, None)

    def update(
        self, kind: Kind, namespace: str, name: str, change: Callable[[Object], None]
    ) -> Object:
        """Let *change* work on a copy, and keep that; unless it is what there was."""
        with self._lock:
            old = self.get(kind, namespace, name)
            new = copied(old)
            change(new)
            wanted = new["metadata"].get("resourceVersion")
            if wanted and wanted != old["metadata"]["resourceVersion"]:
                raise conflict(kind, name)
            new["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"]
            if new == old:
                return old
            if new["metadata"].get("deletionTimestamp") and not _is_held(new):
                return self._remove(kind, new, old)
            if new.get("spec") != old.get("spec") and "generation" in new["metadata"]:
                new["metadata"]["generation"] += 1
            return self._keep(kind, "MODIFIED", new, old)

    def try_update(
        self, kind: Kind, namespace: str, name: str, change: Callable[[Object], None]
    ) -> Object | None:
        """Like `update`, None where there is no such object any more."""
        with self._lock:
            if self.find(kind, namespace, name) is None:
                return None
            return self.update(kind, namespace, name, change)

    def remove(self, kind: Kind, namespace: str, name: str, *, uid: str = "") -> Object | None:
        """Forget the object, whatever holds it; None where there is none (with that uid)."""
        with self._lock:
            old = self.find(kind, namespace, name)
            if old is None or (uid and old["metadata"]["uid"] != uid):
                return None
            return self._remove(kind, copied(old), old)

    def _remove(self, kind: Kind, new: Object, old: Object) -> Object:
        return self._keep(kind, "DELETED", new, old)

    def _keep(self, kind: Kind, type_: str, new: Object, old: Object | None) -> Object:
        meta = new["metadata"]
        key = (meta.get("namespace", ""), meta["name"])
        self._last = next(self._version)
        meta["resourceVersion"] = str(self._last)
        if type_ == "DELETED":
            del self._objects[kind][key]
        else:
            self._objects[kind][key] = new
        self._index(kind, key, new if type_ != "DELETED" else None, old)
        change = Change(version=self._last, kind=kind, type=type_, new=new, old=old)
        self._history[kind].append(change)
        self.everything.append(change)
        for watcher in self._watchers[kind]:
            watcher.hear(change)
        for listener in self.listeners:
            listener(change)
        return new

    def _index(
        self, kind: Kind, key: tuple[str, str], new: Object | None, old: Object | None
    ) -> None:
        before, after = _owners(old), _owners(new)
        for uid in before - after:
            self._owned[uid].discard((kind, *key))
        for uid in after - before:
            self._owned.setdefault(uid, set()).add((kind, *key))

    # --- watching ---

    @contextlib.contextmanager
    def watch(
        self, kind: Kind, namespace: str, test: Test, since: str
    ) -> Iterator[tuple[Watcher, int]]:
        """A watcher that has been told what it missed; and the version it starts at.

        Without *since* (or with 0) it has been told what there is. Raises a 410 for a version
        that is too old.
        """
        watcher = Watcher(kind, namespace, test)
        with self._lock:
            if since in ("", "0"):
                for found in self.select(kind, namespace, test)[0]:
                    watcher.told.put(("ADDED", found))
            else:
                self._replay(watcher, int(since))
            self._watchers[kind].add(watcher)
            version = self._last
        try:
            yield watcher, version
        finally:
            with self._lock:
                self._watchers[kind].discard(watcher)

    def _replay(self, watcher: Watcher, since: int) -> None:
        if since < self._oldest:
            raise Refusal(410, f"too old resource version: {since} ({self._oldest})")
        for change in self._history[watcher.kind]:
            if change.version > since:
                watcher.hear(change)

    def compact(self) -> None:
        """Forget all history, as etcd does every five minutes: older versions are Gone."""
        with self._lock:
            self._oldest = self._last + 1
            self._last = next(self._version)
            for history in self._history.values():
                history.clear()

    def end_watches(self) -> None:
        """End every watch that there is."""
        with self._lock:
            for watchers in self._watchers.values():
                for watcher in watchers:
                    watcher.told.put(None)


def _owners(found: Object | None) -> frozenset[str]:
    references = (found or {}).get("metadata", {}).get("ownerReferences") or ()
    return frozenset(reference["uid"] for reference in references)


def _is_held(found: Object) -> bool:
    """Whether something still has to happen before a deleted object is gone."""
    meta = found["metadata"]
    return bool(meta.get("finalizers")) or bool(meta.get("deletionGracePeriodSeconds"))

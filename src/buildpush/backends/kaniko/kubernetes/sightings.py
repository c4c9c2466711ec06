"""Three watches for any number of builds: what is seen of each of them, as it happens.

A thousand builds from one process open three connections for it, not three thousand.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

from attrs import define, evolve, field

from ....errors import AuthError, BackendUnavailableError, BuildpushError
from ....runtime import CancelToken
from .api.client import Change, Cluster
from .api.failures import Gone
from .api.kinds import EVENTS, JOBS, PODS, Kind, as_object
from .builds import CLIENT_LABEL, JOB_LABEL
from .judging import Seen, Thing, judge

__all__ = ["Lookout", "Sight"]

_MOST_EVENTS: Final = 50
_PATIENCE: Final = 60.0
"""Seconds for which the cluster may be out of reach before builds in it are given up."""
_PAUSES: Final = (0.2, 0.5, 1.0, 2.0, 4.0)


@define(eq=False, kw_only=True)
class Sight:
    """What is seen of one build."""

    name: str
    seen: Seen = field(factory=Seen, init=False)
    error: BuildpushError | None = field(default=None, init=False)
    blind: str = field(default="", init=False)
    """Why no events are seen, empty when they are."""
    _changed: threading.Condition = field(factory=threading.Condition, init=False)
    _version: int = field(default=0, init=False)
    _watchers: list[Callable[[], None]] = field(factory=list[Callable[[], None]], init=False)

    @property
    def version(self) -> int:
        """A number that grows with every change."""
        return self._version

    def wait(self, version: int, seconds: float) -> None:
        """Wait until something has changed since *version*, or for so many *seconds*."""
        with self._changed:
            self._changed.wait_for(lambda: self._version != version, seconds)

    def on_change(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call *callback* at every change, from another thread. Returns an undo."""
        self._watchers.append(callback)
        return lambda: self._watchers.remove(callback)

    def wake(self) -> None:
        """End every `wait`."""
        with self._changed:
            self._version += 1
            self._changed.notify_all()
        for callback in tuple(self._watchers):
            callback()

    def fail(self, error: BuildpushError) -> None:
        """Nothing will be seen any more, because of *error*."""
        self.error = self.error or error
        self.wake()

    def note(self, kind: Kind, thing: Thing, *, gone: bool) -> None:
        """Take in one object, or that it is *gone*; one that makes no sense is an error."""
        with self._changed:  # three threads tell
            seen = self.seen
            if kind is JOBS:
                seen = evolve(seen, job=thing, job_gone=gone)
            elif kind is PODS:
                seen = evolve(seen, pod=thing, pod_gone=gone)
            elif not gone:
                seen = evolve(seen, events=_with(seen.events, thing))
            judge(seen)
            self.seen = seen
        self.wake()


def _with(events: tuple[Thing, ...], event: Thing) -> tuple[Thing, ...]:
    """*events* and *event*, which takes the place of its earlier self, in the order of time.

    A list has them in the order of their names.
    """
    uid = event["metadata"].get("uid")
    others = tuple(e for e in events if e["metadata"].get("uid") != uid)
    return tuple(sorted((*others, event), key=_when)[-_MOST_EVENTS:])


def _when(event: Thing) -> str:
    """When it happened last: RFC 3339, which sorts as text."""
    series: Thing = event.get("series") or {}
    metadata: Thing = event["metadata"]
    return str(
        series.get("lastObservedTime")
        or event.get("lastTimestamp")
        or event.get("eventTime")
        or metadata.get("creationTimestamp", "")
    )


@define(eq=False, kw_only=True)
class Lookout:
    """Watches everything that one *client*, a process, has made in a namespace.

    *open_cluster* is called when the first build is to be watched and given up with the last.
    """

    client: str
    open_cluster: Callable[[CancelToken], Cluster]
    _lock: threading.Lock = field(factory=threading.Lock, init=False)
    _sights: dict[str, Sight] = field(factory=dict[str, Sight], init=False)
    _shift: _Shift | None = field(default=None, init=False)

    def begin(self, name: str) -> Sight:
        """See what becomes of the Job *name* and its pods, from before it is made."""
        sight = Sight(name=name)
        with self._lock:
            self._sights[name] = sight
            if self._shift is None or self._shift.over:
                self._shift = _Shift(lookout=self)
                self._shift.start()
        return sight

    def end(self, sight: Sight) -> None:
        """See no more of it; with the last one, everything is closed."""
        with self._lock:
            self._sights.pop(sight.name, None)
            shift = self._shift if not self._sights else None
            if shift is not None:
                self._shift = None
        if shift is not None:
            shift.stop()

    def sights(self, name: str = "") -> tuple[Sight, ...]:
        """All that is watched, or what an object called *name* belongs to."""
        with self._lock:
            if not name:
                return tuple(self._sights.values())
            # An event's object is the Job, or a pod, whose name is the Job's and five letters.
            found = self._sights.get(name) or self._sights.get(name.rpartition("-")[0])
        return (found,) if found else ()


@define(eq=False, kw_only=True)
class _Shift:
    """The watching threads between the first build and the last."""

    lookout: Lookout
    over: bool = field(default=False, init=False)
    _token: CancelToken = field(factory=CancelToken, init=False)
    _threads: list[threading.Thread] = field(factory=list[threading.Thread], init=False)

    def start(self) -> None:
        opener = threading.Thread(target=self._work, name="buildpush-lookout", daemon=True)
        self._threads.append(opener)
        opener.start()

    def stop(self) -> None:
        self.over = True
        self._token.cancel()
        for thread in tuple(self._threads):
            thread.join()

    def _work(self) -> None:
        try:
            with self.lookout.open_cluster(self._token) as cluster:
                others = [
                    threading.Thread(target=self._guarded, args=(kind, cluster), daemon=True)
                    for kind in (PODS, EVENTS)
                ]
                for thread in others:
                    thread.start()
                self._guarded(JOBS, cluster)
                for thread in others:
                    thread.join()
        except BuildpushError as error:
            self._fail(error)

    def _guarded(self, kind: Kind, cluster: Cluster) -> None:
        """Watch one kind until the shift is over; tell everybody when that cannot be."""
        try:
            _Watching(shift=self, kind=kind, cluster=cluster, token=self._token).work()
        except AuthError as error:
            if kind is not EVENTS:
                self._fail(error)
                return
            # Builds go on without them: only the reasons of pods that do not start are missing.
            for sight in self.lookout.sights():
                sight.blind = error.message
                sight.wake()
        except BuildpushError as error:
            self._fail(error)

    def _fail(self, error: BuildpushError) -> None:
        if self.over or self._token.cancelled:
            return
        self.over = True
        self._token.cancel()
        for sight in self.lookout.sights():
            sight.fail(error)


@define(eq=False, kw_only=True)
class _Watching:
    """One kind of objects: list, watch from there, list again whenever that is lost."""

    shift: _Shift
    kind: Kind
    cluster: Cluster
    token: CancelToken
    _known: dict[str, Thing] = field(factory=dict[str, Thing], init=False)

    def work(self) -> None:
        failures = 0
        waited = 0.0
        version = ""
        while not self.token.cancelled:
            try:
                if not version:
                    version = self._list()
                    failures, waited = 0, 0.0
                version = self._watch(version)
            except Gone:
                version = ""
            except BackendUnavailableError as error:
                if self.token.cancelled:
                    return
                if waited >= _PATIENCE or not error.retryable:
                    raise
                version = ""
                pause = _PAUSES[min(failures, len(_PAUSES) - 1)]
                failures += 1
                waited += pause
                self._pause(pause)
            except BuildpushError:
                if self.token.cancelled:
                    return
                raise

    def _pause(self, seconds: float) -> None:
        with_reason = threading.Event()
        undo = self.token.on_cancel(with_reason.set)
        with_reason.wait(seconds)
        undo()

    @property
    def _labels(self) -> str:
        return "" if self.kind is EVENTS else f"{CLIENT_LABEL}={self.shift.lookout.client}"

    @property
    def _fields(self) -> str:
        return "type=Warning" if self.kind is EVENTS else ""  # they bear no labels

    def _list(self) -> str:
        listed = self.cluster.list(self.kind, labels=self._labels, fields=self._fields)
        found = {_uid(thing): thing for thing in listed.items}
        for uid, thing in tuple(self._known.items()):
            if uid not in found:
                self._tell(thing, gone=True)
        for thing in found.values():
            self._tell(thing, gone=False)
        return listed.version

    def _watch(self, version: str) -> str:
        """Pass on changes until the server ends the watch; where the next one begins."""
        with self.cluster.watch(
            self.kind, version=version, labels=self._labels, fields=self._fields
        ) as watch:
            undo = self.token.on_cancel(watch.close)
            try:
                for change in watch:
                    self._take(change)
            finally:
                undo()
            return watch.version or version

    def _take(self, change: Change) -> None:
        if change.what in ("ADDED", "MODIFIED", "DELETED"):
            self._tell(change.thing, gone=change.what == "DELETED")

    def _tell(self, thing: Thing, *, gone: bool) -> None:
        """Raises `BackendUnavailableError` for what no API server says."""
        try:
            self._note(thing, gone=gone)
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            raise BackendUnavailableError(
                f"what the cluster at {self.cluster.server} says of {self.kind.plural} is"
                " malformed",
                hint="is that an API server, and is there no proxy that answers in its stead?",
            ) from error

    def _note(self, thing: Thing, *, gone: bool) -> None:
        if self.kind is not EVENTS:
            if gone:
                self._known.pop(_uid(thing), None)
            else:
                self._known[_uid(thing)] = thing
        for sight in self.shift.lookout.sights(self._belongs_to(thing)):
            sight.note(self.kind, thing, gone=gone)

    def _belongs_to(self, thing: Thing) -> str:
        if self.kind is EVENTS:
            return str(thing.get("involvedObject", {}).get("name", "?"))
        return str(thing["metadata"].get("labels", {}).get(JOB_LABEL, "?"))


def _uid(thing: Any) -> str:
    return str((as_object(thing.get("metadata")) or {}).get("uid", ""))

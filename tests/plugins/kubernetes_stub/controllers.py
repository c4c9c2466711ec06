"""What works inside a cluster: the Job controller, the garbage collector, the TTL controller.

One thread, told of every change. As seen on 1.36.2: a Job first gets FailureTarget or
SuccessCriteriaMet and then Failed or Complete, Failed only once its pods are gone or have ended; a
pod that cannot be created is an event on the Job and nothing else, and is tried again.
"""

from __future__ import annotations

import heapq
import itertools
import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from attrs import define, field

from . import admission, defaults
from .kinds import JOBS, PODS
from .store import Change, Object, copied

if TYPE_CHECKING:
    from .cluster import Inside

_BY: Final = "job-controller"
_SAID: Final = {
    "BackoffLimitExceeded": "Job has reached the specified backoff limit",
    "DeadlineExceeded": "Job was active longer than specified deadline",
    "CompletionsReached": "Reached expected number of succeeded pods",
}
_OVER: Final = ("Succeeded", "Failed")


@define(eq=False)
class Controllers:
    """All of them."""

    inside: Inside
    _work: queue.SimpleQueue[Change | Callable[[], None] | None] = field(factory=queue.SimpleQueue)
    _later: list[tuple[float, int, Callable[[], None]]] = field(factory=list)
    _numbers: itertools.count[int] = field(factory=itertools.count)
    _counted: dict[str, dict[str, str]] = field(factory=dict)
    _tries: dict[str, int] = field(factory=dict)
    _planned: set[tuple[str, str]] = field(factory=set)
    _thread: threading.Thread | None = None

    def begin(self) -> None:
        """Start."""
        self.inside.store.listeners.append(self._work.put)
        self._thread = threading.Thread(target=self._run, name="controllers", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Stop."""
        self._work.put(None)
        if self._thread is not None:
            self._thread.join(5)

    def _run(self) -> None:
        while True:
            wait = max(0.0, self._later[0][0] - time.monotonic()) if self._later else None
            try:
                work = self._work.get(timeout=wait)
            except queue.Empty:
                heapq.heappop(self._later)[2]()
                continue
            if work is None:
                return
            if isinstance(work, Change):
                self._heard(work)
            else:
                work()

    def _after(self, seconds: float, do: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._numbers), do))

    # --- what changed ---

    def _heard(self, change: Change) -> None:
        meta = change.new["metadata"]
        if change.type == "DELETED":
            self._collect(meta["uid"])
        elif change.type == "ADDED" and meta.get("ownerReferences"):
            self._adopt(change)
        elif meta.get("deletionTimestamp") and meta.get("finalizers"):
            self._finalize(change)
        if change.kind is JOBS and change.type != "DELETED":
            self._job(meta["namespace"], meta["name"])
        elif change.kind is PODS:
            for owner in meta.get("ownerReferences") or ():
                if owner["kind"] == "Job":
                    if change.type == "DELETED":
                        self._count(owner["uid"], change.new, gone=True)
                    self._job(meta["namespace"], owner["name"])
                    job = self.inside.store.find(JOBS, meta["namespace"], owner["name"])
                    if job is None and change.type == "DELETED":
                        self._counted.pop(owner["uid"], None)

    # --- garbage ---

    def _adopt(self, change: Change) -> None:
        """Remove what says it belongs to something that is not there."""
        meta = change.new["metadata"]
        if not any(self.inside.store.exists(owner["uid"]) for owner in meta["ownerReferences"]):
            self.inside.delete(change.kind, meta["namespace"], meta["name"], uid=meta["uid"])

    def _collect(self, uid: str) -> None:
        for kind, found in self.inside.store.dependents(uid):
            meta = found["metadata"]
            owners = [o for o in meta["ownerReferences"] if o["uid"] != uid]
            if any(self.inside.store.exists(owner["uid"]) for owner in owners):
                continue
            self.inside.delete(kind, meta.get("namespace", ""), meta["name"], uid=meta["uid"])

    def _finalize(self, change: Change) -> None:
        meta = change.new["metadata"]
        store = self.inside.store
        if "orphan" in meta["finalizers"]:
            for kind, found in store.dependents(meta["uid"]):
                about = found["metadata"]
                store.try_update(
                    kind, about["namespace"], about["name"], lambda f: _disown(f, meta["uid"])
                )
            self._let_go(change, "orphan")
        if "foregroundDeletion" in meta["finalizers"]:
            dependents = store.dependents(meta["uid"])
            blocking = [f for _, f in dependents if _blocks(f, meta["uid"])]
            for kind, found in dependents:
                about = found["metadata"]
                if not about.get("deletionTimestamp"):
                    self.inside.delete(kind, about["namespace"], about["name"], uid=about["uid"])
            if blocking:
                self._after(0.05, lambda: self._again(change))
            else:
                self._let_go(change, "foregroundDeletion")

    def _again(self, change: Change) -> None:
        meta = change.new["metadata"]
        found = self.inside.store.find(change.kind, meta.get("namespace", ""), meta["name"])
        if found is not None and found["metadata"]["uid"] == meta["uid"]:
            self._finalize(change)

    def _let_go(self, change: Change, finalizer: str) -> None:
        meta = change.new["metadata"]

        def drop(found: Object) -> None:
            left = [f for f in found["metadata"].get("finalizers", ()) if f != finalizer]
            found["metadata"]["finalizers"] = left
            found["metadata"].pop("deletionGracePeriodSeconds", None)

        self.inside.store.try_update(change.kind, meta.get("namespace", ""), meta["name"], drop)

    # --- jobs ---

    def _job(self, namespace: str, name: str) -> None:
        job = self.inside.store.find(JOBS, namespace, name)
        if job is None:
            return
        uid, spec, status = job["metadata"]["uid"], job["spec"], job["status"]
        conditions = {c["type"]: c for c in status.get("conditions") or ()}
        if "Complete" in conditions or "Failed" in conditions:
            self._plan_ttl(job)
            return
        if job["metadata"].get("deletionTimestamp") or spec.get("suspend"):
            return
        if "startTime" not in status:
            self._edit(job, lambda s: s.setdefault("startTime", self.inside.store.now()))
            if spec.get("activeDeadlineSeconds") is not None:
                self._after(spec["activeDeadlineSeconds"], lambda: self._expire(job))
        pods = [f for kind, f in self.inside.store.dependents(uid) if kind is PODS]
        for pod in pods:
            self._count(uid, pod, gone=False)
        counted = list(self._counted.get(uid, {}).values())
        failed, succeeded = counted.count("failed"), counted.count("succeeded")
        active = [p for p in pods if self._is_active(p)]
        target = next((c for c in conditions if c in ("FailureTarget", "SuccessCriteriaMet")), "")
        if target:
            if not any(p["status"].get("phase") not in _OVER for p in pods):
                self._finish(job, conditions[target], failed, succeeded)
        elif failed > spec["backoffLimit"]:
            self._aim(job, "FailureTarget", "BackoffLimitExceeded")
        elif succeeded >= spec["completions"]:
            self._aim(job, "SuccessCriteriaMet", "CompletionsReached")
        elif not active and spec["parallelism"]:
            self._create_pod(job)
        else:
            self._edit(job, lambda s: _count_into(s, _numbers(active, pods, failed, succeeded)))

    @staticmethod
    def _is_active(pod: Object) -> bool:
        return pod["status"].get("phase") not in _OVER and not pod["metadata"].get(
            "deletionTimestamp"
        )

    def _count(self, uid: str, pod: Object, *, gone: bool) -> None:
        phase = pod["status"].get("phase")
        going = gone or bool(pod["metadata"].get("deletionTimestamp"))
        if phase == "Succeeded":
            self._counted.setdefault(uid, {}).setdefault(pod["metadata"]["uid"], "succeeded")
        elif phase == "Failed" or going:
            self._counted.setdefault(uid, {}).setdefault(pod["metadata"]["uid"], "failed")

    def _create_pod(self, job: Object) -> None:
        meta, spec = job["metadata"], job["spec"]
        name = f"{meta['name'][:58]}-{defaults.suffix()}"
        template = copied(spec["template"])
        why = admission.against(self.inside.store, meta["namespace"], name, template["spec"])
        if why:
            tries = self._tries[meta["uid"]] = self._tries.get(meta["uid"], 0) + 1
            said = f"Error creating: {why}"
            self.inside.events.say(job, "FailedCreate", said, by=_BY, warning=True)
            wait = self.inside.pace.retry * min(tries, 10)
            self._after(wait, lambda: self._job(meta["namespace"], meta["name"]))
            self._edit(job, lambda s: s.update(terminating=0, ready=0))
            return
        self.inside.create_pod(job, name, template)
        self.inside.events.say(job, "SuccessfulCreate", f"Created pod: {name}", by=_BY)

    def _expire(self, job: Object) -> None:
        meta = job["metadata"]
        found = self.inside.store.find(JOBS, meta["namespace"], meta["name"])
        if found is None or found["metadata"]["uid"] != meta["uid"]:
            return
        if not found["status"].get("conditions"):
            self._aim(found, "FailureTarget", "DeadlineExceeded")

    def _aim(self, job: Object, kind: str, reason: str) -> None:
        meta = job["metadata"]
        self._edit(job, lambda s: self._put_condition(s, kind, reason))
        if kind == "FailureTarget":
            for dependent, pod in self.inside.store.dependents(meta["uid"]):
                if dependent is PODS and self._is_active(pod):
                    about = pod["metadata"]
                    self.inside.delete(PODS, about["namespace"], about["name"], uid=about["uid"])
                    said = f"Deleted pod: {about['name']}"
                    self.inside.events.say(job, "SuccessfulDelete", said, by=_BY)
        self._job(meta["namespace"], meta["name"])

    def _finish(self, job: Object, target: Object, failed: int, succeeded: int) -> None:
        meta = job["metadata"]
        key = ("finish", meta["uid"])
        pace = self.inside.pace.job
        if pace and key not in self._planned:
            self._planned.add(key)
            self._after(pace, lambda: self._job(meta["namespace"], meta["name"]))
            return
        reason = target["reason"]
        good = target["type"] == "SuccessCriteriaMet"

        def end(status: Object) -> None:
            self._put_condition(status, "Complete" if good else "Failed", reason)
            _count_into(status, _numbers([], [], failed, succeeded))
            if good:
                status["completionTime"] = self.inside.store.now()

        self._edit(job, end)
        self.inside.events.say(
            job, "Completed" if good else reason,
            "Job completed" if good else _SAID[reason], by=_BY, warning=not good,
        )  # fmt: skip

    def _plan_ttl(self, job: Object) -> None:
        meta, ttl = job["metadata"], job["spec"].get("ttlSecondsAfterFinished")
        key = ("ttl", meta["uid"])
        if ttl is None or key in self._planned:
            return
        self._planned.add(key)
        self._after(
            ttl,
            lambda: self.inside.delete(JOBS, meta["namespace"], meta["name"], uid=meta["uid"]),
        )

    def _put_condition(self, status: Object, kind: str, reason: str) -> None:
        now = self.inside.store.now()
        entry = {"type": kind, "status": "True", "lastProbeTime": now, "lastTransitionTime": now,
                 "reason": reason, "message": _SAID[reason]}  # fmt: skip
        status.setdefault("conditions", []).append(entry)

    def _edit(self, job: Object, change: Callable[[Object], Any]) -> None:
        meta = job["metadata"]
        self.inside.store.try_update(
            JOBS, meta["namespace"], meta["name"], lambda found: _ignore(change(found["status"]))
        )


def _ignore(_: object) -> None:
    return None


def _count_into(status: Object, numbers: Object) -> None:
    status.pop("active", None)
    status.update(numbers)


def _numbers(active: list[Object], pods: list[Object], failed: int, succeeded: int) -> Object:
    ready = sum(
        any(
            c["type"] == "Ready" and c["status"] == "True"
            for c in p["status"].get("conditions", ())
        )
        for p in active
    )
    going = sum(
        bool(p["metadata"].get("deletionTimestamp")) and p["status"].get("phase") not in _OVER
        for p in pods
    )
    return {
        **({"active": len(active)} if active else {}),
        **({"failed": failed} if failed else {}),
        **({"succeeded": succeeded} if succeeded else {}),
        "terminating": going,
        "uncountedTerminatedPods": {},
        "ready": ready,
    }


def _disown(found: Object, uid: str) -> None:
    meta = found["metadata"]
    left = [o for o in meta["ownerReferences"] if o["uid"] != uid]
    if left:
        meta["ownerReferences"] = left
    else:
        del meta["ownerReferences"]


def _blocks(found: Object, uid: str) -> bool:
    references = found["metadata"].get("ownerReferences") or ()
    return any(o["uid"] == uid and o.get("blockOwnerDeletion") for o in references)

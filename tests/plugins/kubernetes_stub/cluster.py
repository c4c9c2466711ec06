"""The inside of the stub: what its API, its controllers and its kubelets share."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from attrs import define, field

from . import defaults
from .events import Events
from .fates import Fates
from .images import Images
from .kinds import NODES, PODS, Kind
from .kubelet import Life
from .podstatus import condition, ended
from .refusals import conflict
from .scheduling import Node
from .store import Object, Store


@define(kw_only=True)
class Pace:
    """How long things take, in seconds; a real cluster is slower in all of them.

    *start* from scheduled to started; *end* from a container's end (and that of its log) until its
    status tells; *phase* from there to the pod's phase, *job* from there to the Job's condition
    (together 1.5 to 2.2 s in a real one); *retry* between attempts at what fails.
    """

    start: float = 0.0
    end: float = 0.0
    phase: float = 0.0
    job: float = 0.0
    retry: float = 0.2


@define(eq=False)
class Inside:
    """One cluster's state and its moving parts."""

    folder: Path
    nodes: list[Node]
    pace: Pace
    skew: float = 0.0
    fates: Fates = field(factory=Fates)
    images: Images = field(factory=Images)
    lives: dict[str, Life] = field(factory=dict)
    logs: list[str] = field(factory=list)
    store: Store = field(init=False)
    events: Events = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.store = Store(self.now)
        self.events = Events(self.store)

    def time(self) -> datetime:
        """The server's time, which may be wrong."""
        return datetime.now(UTC) + timedelta(seconds=self.skew)

    def now(self) -> str:
        """The same, as objects have it."""
        return self.time().strftime("%Y-%m-%dT%H:%M:%SZ")

    # --- pods ---

    def create_pod(self, job: Object, name: str, template: Mapping[str, Any]) -> None:
        """Create the pod of a Job."""
        meta = job["metadata"]
        made: Object = {
            "kind": "Pod",
            "apiVersion": "v1",
            "metadata": {
                **(template.get("metadata") or {}),
                "name": name,
                "generateName": f"{meta['name']}-",
                "ownerReferences": [
                    {
                        "apiVersion": "batch/v1",
                        "kind": "Job",
                        "name": meta["name"],
                        "uid": meta["uid"],
                        "controller": True,
                        "blockOwnerDeletion": True,
                    }
                ],
            },
            "spec": template["spec"],
        }
        self.start_pod(meta["namespace"], made)

    def start_pod(self, namespace: str, made: Object) -> Object:
        """Keep a pod, and let it live."""
        defaults.complete(PODS, made)
        found = self.store.create(PODS, namespace, made)
        meta = found["metadata"]
        life = Life(self, namespace, meta["name"], meta["uid"], found["spec"])
        self.lives[meta["uid"]] = life
        life.begin()
        return found

    # --- deleting ---

    def delete(
        self,
        kind: Kind,
        namespace: str,
        name: str,
        *,
        uid: str = "",
        version: str = "",
        policy: str = "Background",
        grace: float | None = None,
    ) -> Object | None:
        """Delete as the API does: None where it is gone at once, else what waits to go."""
        found = self.store.find(kind, namespace, name)
        if found is None:
            return None
        meta = found["metadata"]
        if uid and meta["uid"] != uid:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: "
            raise conflict(kind, name, why + meta["uid"])
        if version and meta["resourceVersion"] != version:
            raise conflict(kind, name, "Precondition failed: ResourceVersion does not match")
        if kind is PODS:
            return self._delete_pod(found, grace)
        finalizer = {"Orphan": "orphan", "Foreground": "foregroundDeletion"}.get(policy, "")
        if not finalizer:
            self.store.remove(kind, namespace, name, uid=meta["uid"])
            return None

        def mark(changed: Object) -> None:
            about = changed["metadata"]
            about["deletionTimestamp"] = about.get("deletionTimestamp") or self.now()
            about["deletionGracePeriodSeconds"] = 0
            about["finalizers"] = [*about.get("finalizers", ()), finalizer]

        return self.store.try_update(kind, namespace, name, mark)

    def _delete_pod(self, found: Object, grace: float | None) -> Object | None:
        meta, spec = found["metadata"], found["spec"]
        seconds = spec["terminationGracePeriodSeconds"] if grace is None else grace
        over = found["status"].get("phase") in ("Succeeded", "Failed")
        life = self.lives.get(meta["uid"])
        if "nodeName" not in spec or over:
            seconds = 0
        stamp = (self.time() + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")

        def mark(changed: Object) -> None:
            changed["metadata"]["deletionTimestamp"] = stamp
            # 0 would say that nothing holds it; it is the kubelet that lets it go.
            changed["metadata"]["deletionGracePeriodSeconds"] = seconds or 1

        marked = self.store.try_update(PODS, meta["namespace"], meta["name"], mark)
        if seconds == 0:
            self.store.remove(PODS, meta["namespace"], meta["name"], uid=meta["uid"])
        if life is not None:
            self._tell_killing(found)
            life.delete(seconds)
        return marked

    def _tell_killing(self, found: Object) -> None:
        for status in found["status"].get("containerStatuses") or ():
            if "running" in status["state"]:
                said = f"Stopping container {status['name']}"
                self.events.say(found, "Killing", said, by="kubelet")

    # --- what happens to nodes ---

    def preempt(self, life: Life, message: str) -> None:
        """Have the scheduler take a pod's place away: it is deleted, not evicted."""

        def mark(found: Object) -> None:
            condition(
                found["status"], "DisruptionTarget", "True", self.now(),
                reason="PreemptionByScheduler", message=message,
            )  # fmt: skip

        found = self.store.try_update(PODS, life.namespace, life.name, mark)
        if found is not None:
            self.events.say(found, "Preempted", message, by="default-scheduler", warning=True)
            self.delete(PODS, life.namespace, life.name, uid=life.uid)

    def lose_node(self, life: Life) -> None:
        """Have a pod's node fall silent, be given up, and be removed; its pods with it."""
        life.lost = True
        node = life.node
        assert node is not None
        for output in life.outputs.values():
            output.wake()

        def silent(found: Object) -> None:
            found["status"]["conditions"] = [
                {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown",
                 "message": "Kubelet stopped posting node status."}
            ]  # fmt: skip

        self.store.try_update(NODES, "", node.name, silent)
        self._edit_pod(
            life,
            lambda f: condition(f["status"], "Ready", "False", self.now(), reason="NodeNotReady"),
        )
        found = self.store.find(PODS, life.namespace, life.name)
        if found is not None:
            said = "Node is not ready"
            self.events.say(found, "NodeNotReady", said, by="node-controller", warning=True)
        time.sleep(self.pace.retry)
        said = "Taint manager: deleting due to NoExecute taint"
        self._edit_pod(
            life,
            lambda f: condition(
                f["status"], "DisruptionTarget", "True", self.now(),
                reason="DeletionByTaintManager", message=said,
            ),
        )  # fmt: skip
        self.delete(PODS, life.namespace, life.name, uid=life.uid)
        time.sleep(self.pace.retry)
        self._edit_pod(life, lambda f: self._lost(f))
        self.store.remove(PODS, life.namespace, life.name, uid=life.uid)
        for shell in life.shells.values():
            shell.kill()
        life.delete(0)

    def _lost(self, found: Object) -> None:
        ended(found["status"], "Failed", self.now())
        found["status"]["reason"] = "NodeLost"

    def _edit_pod(self, life: Life, change: Callable[[Object], Any]) -> None:
        def edit(found: Object) -> None:
            change(found)

        self.store.try_update(PODS, life.namespace, life.name, edit)

    def end(self, seconds: float = 5.0) -> None:
        """Kill every pod and wait, no longer than so, until they are gone."""
        deadline = time.monotonic() + seconds
        lives = list(self.lives.values())
        for life in lives:
            life.delete(0)
        for life in lives:
            life.over.wait(max(0.0, deadline - time.monotonic()))

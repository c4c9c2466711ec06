"""What a Job, its pod and their events say: how far the build is, and whether anything is wrong.

Pure. What "wrong" means was read off real servers: a pod that will never start keeps the phase
``Pending``, and the reason is a container's, a condition's or only an event's.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final, Literal

from attrs import frozen

from .builds import INIT, JOB_LABEL, MAIN
from .quantities import quantity

__all__ = ["Finished", "Seen", "Stage", "Standing", "Trouble", "judge"]

Thing = Mapping[str, Any]

NEVER: Final = math.inf
"""The patience with what may pass: as long as the schedule's time limit allows."""
_SOON: Final = 10.0
_AT_ONCE: Final = 0.0

_HOPELESS_PULL: Final = re.compile(
    r"not found|notfound|manifest unknown|unauthorized|denied|forbidden|authentication required"
    r"|no match for platform|no basic auth|invalid reference|does not exist",
    re.IGNORECASE,
)
_EXCEEDED: Final = re.compile(r"exceeded quota: .*?requested: (\S+), used: \S+, limited: (\S+)")
_TAKEN_AWAY: Final = frozenset(
    ("Evicted", "Preempting", "Preempted", "NodeLost", "Shutdown", "NodeShutdown", "Terminated")
)
_REJECTED: Final = re.compile(r"OutOf\w+|NodeAffinity|UnexpectedAdmissionError|\w*AdmissionError")
_OOM: Final = "OOMKilled"


class Stage(Enum):
    """How far a pod is."""

    PENDING = "starting"
    FILLING = "waiting for its context"
    RUNNING = "running"
    OVER = "over"


@frozen(kw_only=True)
class Trouble:
    """Something is wrong: *reason* is the cluster's word for it, *message* its sentence.

    *kind* says what it comes to once *patience* seconds have passed in which it did not change.
    *expected* is what hardly any build is spared and passes by itself: nobody is warned of it.
    """

    kind: Literal["not started", "lost", "deadline", "filling"]
    reason: str
    message: str
    patience: float = _AT_ONCE
    exit_code: int = 0
    expected: bool = False

    @property
    def key(self) -> str:
        """What two troubles have in common that are one: pulling fails and backs off by turns."""
        return f"{self.kind} {'pull' if self.reason in _PULLING else self.reason}"


@frozen(kw_only=True)
class Finished:
    """Kaniko's container has ended; *message* is what it left as its last words."""

    exit_code: int
    message: str
    out_of_memory: bool = False


@frozen(kw_only=True)
class Standing:
    """What was made of everything that was seen; *note* is the last word of a pod that waits."""

    stage: Stage = Stage.PENDING
    trouble: Trouble | None = None
    finished: Finished | None = None
    pod: str = ""
    note: str = ""


@frozen(kw_only=True)
class Seen:
    """The last that was seen of one build's objects, and its events in their order."""

    job: Thing | None = None
    pod: Thing | None = None
    job_gone: bool = False
    pod_gone: bool = False
    events: tuple[Thing, ...] = ()


def judge(seen: Seen) -> Standing:
    """Say how far the build is and what is wrong with it, if anything is."""
    if seen.pod is None:
        return Standing(trouble=_without_pod(seen), note=_last_event(seen))
    pod = seen.pod
    name = str(pod["metadata"]["name"])
    ended = _terminated(_status(pod, "containerStatuses", MAIN))
    finished = _finished(ended) if ended else None
    trouble = _taken_away(seen, finished)
    if finished is not None and (finished.exit_code == 0 or trouble is None):
        return _over(name, finished, str(ended.get("reason", "")))
    if trouble is not None:
        return Standing(stage=_stage(pod), trouble=trouble, pod=name, note=trouble.message)
    stage = _stage(pod)
    if stage is Stage.PENDING:
        pending = _pending(seen)
        return Standing(trouble=pending, pod=name, note=_note(pending, seen))
    return Standing(stage=stage, pod=name)


def _note(pending: Trouble | None, seen: Seen) -> str:
    return f"{pending.reason}: {pending.message}" if pending else _last_event(seen)


def _finished(ended: Thing) -> Finished:
    return Finished(
        exit_code=int(ended.get("exitCode", 0)),
        message=str(ended.get("message", "")),
        out_of_memory=ended.get("reason") == _OOM,
    )


def _over(name: str, finished: Finished, reason: str) -> Standing:
    """The container has ended by itself: it ran, or its program could not even be started."""
    if reason in ("StartError", "ContainerCannotRun"):
        trouble = Trouble(kind="not started", reason=reason, message=finished.message)
        return Standing(stage=Stage.OVER, trouble=trouble, pod=name)
    if reason == "ContainerStatusUnknown":
        message = "nobody knows any more how it ended"
        lost = Trouble(kind="lost", reason=reason, message=message)
        return Standing(stage=Stage.OVER, trouble=lost, pod=name)
    return Standing(stage=Stage.OVER, finished=finished, pod=name)


def _stage(pod: Thing) -> Stage:
    main = _status(pod, "containerStatuses", MAIN)
    if _terminated(main):
        return Stage.OVER
    if "running" in main.get("state", {}):
        return Stage.RUNNING
    filling = _status(pod, "initContainerStatuses", INIT)
    return Stage.FILLING if "running" in filling.get("state", {}) else Stage.PENDING


# ------------------------------------------------------------------ taken away


def _taken_away(seen: Seen, finished: Finished | None) -> Trouble | None:
    """Whether the pod was ended by anybody but itself, and by whom."""
    pod = seen.pod or {}
    status = pod.get("status", {})
    deadline = _deadline(seen.job)
    if deadline is not None:
        return deadline
    reason = str(status.get("reason", ""))
    if reason in _TAKEN_AWAY or _REJECTED.fullmatch(reason):
        return _lost(reason, str(status.get("message", "")))
    disrupted = _condition(pod, "DisruptionTarget")
    if disrupted is not None:
        return _lost(str(disrupted.get("reason", "")), str(disrupted.get("message", "")))
    if reason == "DeadlineExceeded":
        return Trouble(kind="deadline", reason=reason, message=str(status.get("message", "")))
    if seen.pod_gone or (finished is None and pod["metadata"].get("deletionTimestamp")):
        return _removed(seen)
    if finished is not None and pod["metadata"].get("deletionTimestamp"):
        return _removed(seen) if finished.exit_code in (2, 137, 143) else None
    ready = _condition(pod, "Ready", status="False")
    running = "running" in _status(pod, "containerStatuses", MAIN).get("state", {})
    if running and ready is not None and not ready.get("reason"):
        # The node's controller says so of the pods of a node that no longer reports.
        return _lost("NodeLost", "its node does not report any more", patience=_SOON)
    if finished is None and status.get("phase") == "Failed":
        return _failed_before(pod)
    return None


def _lost(reason: str, message: str, *, patience: float = _AT_ONCE) -> Trouble:
    return Trouble(
        kind="lost", reason=reason or "Disrupted", message=message.strip(), patience=patience
    )


def _removed(seen: Seen) -> Trouble:
    """The pod is going or gone; of why, the Job's verdict may still be on its way."""
    if seen.job_gone:
        return _lost("Deleted", "somebody has deleted the Job")
    return _lost("Deleted", "somebody has deleted the pod", patience=3.0)


def _failed_before(pod: Thing) -> Trouble | None:
    """The pod failed, and kaniko's container never ran."""
    init = _terminated(_status(pod, "initContainerStatuses", INIT))
    if init and int(init.get("exitCode", 0)) != 0:
        reason = str(init.get("reason", "Error"))
        message = str(init.get("message", "")).strip()
        code = int(init["exitCode"])
        return Trouble(kind="filling", reason=reason, message=message, exit_code=code)
    status = pod["status"]
    return _lost(str(status.get("reason", "Failed")), str(status.get("message", "")))


def _deadline(job: Thing | None) -> Trouble | None:
    # FailureTarget says so first, while the pod is still being ended.
    for kind in ("Failed", "FailureTarget"):
        found = _condition(job or {}, kind)
        if found is not None and found.get("reason") == "DeadlineExceeded":
            message = str(found.get("message", ""))
            return Trouble(kind="deadline", reason="DeadlineExceeded", message=message)
    return None


# ------------------------------------------------------------------ no pod yet


def _without_pod(seen: Seen) -> Trouble | None:
    """Why there is no pod: only the Job's own events tell."""
    if seen.job_gone:
        return _lost("Deleted", "somebody has deleted the Job")
    deadline = _deadline(seen.job)
    if deadline is not None:
        return deadline
    failed = _condition(seen.job or {}, "Failed")
    if failed is not None:
        return _lost(str(failed.get("reason", "")), str(failed.get("message", "")))
    refused = _event(seen.events, ("FailedCreate",))
    if refused is None:
        return None
    message = str(refused.get("message", ""))
    return Trouble(
        kind="not started", reason="FailedCreate", message=message, patience=_refusal(message)
    )


def _refusal(message: str) -> float:
    """How long to wait for a pod that was refused with *message*.

    A policy does not change its mind. A quota does as others end, unless what was asked for is
    more than there is altogether, or the quota wants to be told something that was not said. Of
    other refusals (a missing service account or priority class, a webhook) some are the object
    that is made a moment later; a webhook that did not answer may do so yet.
    """
    if "violates PodSecurity" in message or "must specify" in message:
        return _AT_ONCE
    exceeded = _EXCEEDED.search(message)
    if exceeded:
        asked, limited = (_amounts(words) for words in exceeded.groups())
        never = any(amount > limited.get(name, amount) for name, amount in asked.items())
        return _AT_ONCE if never else NEVER
    if "failed calling webhook" in message or "Internal error" in message:
        return NEVER
    return _SOON


def _amounts(words: str) -> dict[str, Any]:
    pairs = (word.partition("=") for word in words.split(","))
    found: dict[str, Any] = {}
    for name, _, text in pairs:
        try:
            found[name] = quantity(text)
        except ValueError:
            continue
    return found


# ------------------------------------------------------------------ a pod that waits


_FINAL: Final = frozenset(("InvalidImageName", "ErrImageNeverPull"))
_SETTLING: Final = frozenset(
    ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
)
_PULLING: Final = frozenset(
    ("ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable")
)


def _pending(seen: Seen) -> Trouble | None:
    """What keeps the pod from starting: a container, a condition, or an event says it."""
    pod = seen.pod or {}
    for word, name in (("initContainerStatuses", INIT), ("containerStatuses", MAIN)):
        waiting = _status(pod, word, name).get("state", {}).get("waiting", {})
        reason = str(waiting.get("reason", ""))
        message = str(waiting.get("message", ""))
        if reason in _FINAL:
            return Trouble(kind="not started", reason=reason, message=message)
        if reason in _PULLING:
            return _pull(seen, reason, message)
        if reason in _SETTLING:
            # Such a Secret or ConfigMap may be on its way; a user that is refused is not.
            patience = _AT_ONCE if "runAsNonRoot" in message else _SOON
            return Trouble(kind="not started", reason=reason, message=message, patience=patience)
    scheduled = _condition(pod, "PodScheduled", status="False")
    if scheduled is not None:
        reason, message = str(scheduled.get("reason", "")), str(scheduled.get("message", ""))
        # A node may be added: clusters that grow by themselves take minutes.
        return Trouble(kind="not started", reason=reason, message=message, patience=NEVER)
    return _mounting(seen)


def _pull(seen: Seen, reason: str, message: str) -> Trouble:
    """An image that does not come: its registry's answer tells whether it ever will."""
    event = _event(seen.events, ("Failed",), containing="pull image")
    said = message
    if event is not None and reason == "ImagePullBackOff" and "rror" not in message:
        said = str(event.get("message", ""))  # older kubelets keep the cause out of the state
    hopeless = _HOPELESS_PULL.search(said)
    patience = _AT_ONCE if hopeless else 60.0
    return Trouble(kind="not started", reason=reason, message=said, patience=patience)


def _mounting(seen: Seen) -> Trouble | None:
    event = _event(seen.events, ("FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"))
    if event is None:
        return None
    message = str(event.get("message", ""))
    pod = seen.pod or {}
    ours = f'secret "{pod["metadata"].get("labels", {}).get(JOB_LABEL)}" not found'
    # Our own Secret comes a moment after the Job; what else is missing hardly ever does.
    early = ours in message
    missing = event["reason"] == "FailedMount" and "not found" in message and not early
    return Trouble(
        kind="not started",
        reason=str(event["reason"]),
        message=message,
        patience=_SOON if missing else NEVER,
        expected=early,
    )


# ------------------------------------------------------------------ reading objects


def _status(pod: Thing, word: str, name: str) -> Thing:
    """The status of the container called *name*, empty before there is one."""
    for found in pod.get("status", {}).get(word) or ():
        if found.get("name") == name:
            status: Thing = found
            return status
    return {}


def _terminated(status: Thing) -> Thing:
    ended: Thing = status.get("state", {}).get("terminated") or {}
    return ended


def _condition(thing: Thing, kind: str, status: str = "True") -> Thing | None:
    for found in thing.get("status", {}).get("conditions") or ():
        if found.get("type") == kind and found.get("status") == status:
            condition: Thing = found
            return condition
    return None


def _event(
    events: Sequence[Thing], reasons: Sequence[str], *, containing: str = ""
) -> Thing | None:
    """The last of *events* with one of *reasons*."""
    for event in reversed(events):
        if event.get("reason") in reasons and containing in str(event.get("message", "")):
            return event
    return None


def _last_event(seen: Seen) -> str:
    for event in reversed(seen.events):
        return f"{event.get('reason', '')}: {event.get('message', '')}"
    return ""

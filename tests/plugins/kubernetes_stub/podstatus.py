"""A pod's status, as the kubelet writes it (shapes and words of 1.36.2)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from .store import Object


def image_id(image: str) -> str:
    """Some id for an image."""
    return f"sha256:{uuid.uuid5(uuid.NAMESPACE_URL, image).hex * 2}"


def waiting(spec: Mapping[str, Any], reason: str, message: str = "") -> Object:
    """A container that is not there yet."""
    said = {"message": message} if message else {}
    return {
        "name": spec["name"],
        "state": {"waiting": {"reason": reason, **said}},
        "lastState": {},
        "ready": False,
        "restartCount": 0,
        "image": spec["image"],
        "imageID": "",
        "started": False,
    }


def running(spec: Mapping[str, Any], at: str, container_id: str, *, main: bool) -> Object:
    """A container that runs."""
    return {
        **waiting(spec, ""),
        "state": {"running": {"startedAt": at}},
        "ready": main,
        "imageID": image_id(spec["image"]),
        "containerID": container_id,
        "started": True,
    }


def terminated(found: Mapping[str, Any], end: Mapping[str, Any], *, init: bool) -> Object:
    """A container that has ended; *found* is its status before."""
    return {
        **found,
        "state": {"terminated": dict(end)},
        "ready": init and end["exitCode"] == 0,
        "started": False,
        "imageID": image_id(found["image"]),
        "containerID": end.get("containerID", ""),
    }


def put(status: Object, entry: Object, *, init: bool) -> None:
    """Put a container's status into the pod's."""
    key = "initContainerStatuses" if init else "containerStatuses"
    entries = status.setdefault(key, [])
    for number, known in enumerate(entries):
        if known["name"] == entry["name"]:
            entries[number] = entry
            return
    entries.append(entry)


def condition(
    status: Object, kind: str, value: str, now: str, *, reason: str = "", message: str = ""
) -> None:
    """Set one of the pod's conditions."""
    entry: Object = {"type": kind, "status": value, "lastProbeTime": None}
    entry |= {"reason": reason} if reason else {}
    entry |= {"message": message} if message else {}
    conditions = status.setdefault("conditions", [])
    for number, known in enumerate(conditions):
        if known["type"] == kind:
            changed = known["status"] != value
            entry["lastTransitionTime"] = now if changed else known["lastTransitionTime"]
            conditions[number] = entry
            return
    conditions.append({**entry, "lastTransitionTime": now})


def bound(status: Object, spec: Mapping[str, Any], now: str) -> None:
    """What the kubelet says when it has taken the pod."""
    inits = spec.get("initContainers") or ()
    reason = "PodInitializing" if inits else "ContainerCreating"
    names = " ".join(c["name"] for c in spec["containers"])
    if inits:
        listed = " ".join(c["name"] for c in inits)
        why = f"containers with incomplete status: [{listed}]"
        condition(
            status, "Initialized", "False", now, reason="ContainersNotInitialized", message=why
        )
    else:
        condition(status, "Initialized", "True", now)
    why = f"containers with unready status: [{names}]"
    for kind in ("Ready", "ContainersReady"):
        condition(status, kind, "False", now, reason="ContainersNotReady", message=why)
    status.update(hostIP="127.0.0.1", podIP="127.0.0.1", startTime=now)
    for container in inits:
        put(status, waiting(container, "PodInitializing"), init=True)
    for container in spec["containers"]:
        put(status, waiting(container, reason), init=False)


def ended(status: Object, phase: str, now: str) -> None:
    """The whole pod has ended."""
    status["phase"] = phase
    reason = "PodCompleted" if phase == "Succeeded" else "PodFailed"
    for kind in ("Ready", "ContainersReady"):
        condition(status, kind, "False", now, reason=reason)
    condition(status, "PodReadyToStartContainers", "False", now)


def unstartable(program: str) -> str:
    """What the runtime says of a program that is not there."""
    why = (
        f"stat {program}: no such file or directory"
        if "/" in program
        else "executable file not found in $PATH"
    )
    return (
        "failed to create containerd task: failed to create shim task: OCI runtime create failed:"
        f' runc create failed: unable to start container process: exec: "{program}": {why}'
    )


def not_begun(spec: Mapping[str, Any], why: str, now: str, *, init: bool) -> Object:
    """A container whose program could not be started."""
    end = {
        "exitCode": 128,
        "reason": "StartError",
        "message": why,
        "startedAt": "1970-01-01T00:00:00Z",
        "finishedAt": now,
    }
    return terminated(waiting(spec, ""), end, init=init)

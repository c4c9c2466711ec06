"""What the server adds to an object that was not said: defaults of Jobs, pods and Secrets."""

from __future__ import annotations

import base64
import secrets
from typing import Any, Final

from .kinds import JOBS, NAMESPACES, PODS, SECRETS, Kind

_ALPHABET: Final = "bcdfghjklmnpqrstvwxz2456789"


def suffix(length: int = 5) -> str:
    """What ``generateName`` ends in."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def complete(kind: Kind, made: dict[str, Any]) -> None:
    """Fill *made*, which has its uid already."""
    meta = made["metadata"]
    for empty in [key for key, value in meta.items() if value in (None, {}, [])]:
        del meta[empty]
    if kind is JOBS:
        _job(made)
    elif kind is PODS:
        made.setdefault("status", {"phase": "Pending", "qosClass": "BestEffort"})
        meta.setdefault("generation", 1)
        pod(made["spec"])
    elif kind is SECRETS:
        made.setdefault("type", "Opaque")
        for key, text in (made.pop("stringData", None) or {}).items():
            made.setdefault("data", {})[key] = base64.b64encode(text.encode()).decode()
    elif kind is NAMESPACES:
        made.setdefault("status", {"phase": "Active"})


def _job(made: dict[str, Any]) -> None:
    meta, spec = made["metadata"], made.setdefault("spec", {})
    meta.setdefault("generation", 1)
    uid = meta["uid"]
    given = {
        "parallelism": 1,
        "completions": 1,
        "backoffLimit": 6,
        "manualSelector": False,
        "completionMode": "NonIndexed",
        "suspend": False,
        "podReplacementPolicy": "TerminatingOrFailed",
    }
    for key, value in given.items():
        spec.setdefault(key, value)
    spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}
    template = spec["template"].setdefault("metadata", {})
    template["labels"] = {
        **(template.get("labels") or {}),
        "batch.kubernetes.io/controller-uid": uid,
        "batch.kubernetes.io/job-name": meta["name"],
        "controller-uid": uid,
        "job-name": meta["name"],
    }
    _template(spec["template"]["spec"])
    made["status"] = {}


def _template(spec: dict[str, Any]) -> None:
    given: dict[str, Any] = {
        "terminationGracePeriodSeconds": 30,
        "dnsPolicy": "ClusterFirst",
        "securityContext": {},
        "schedulerName": "default-scheduler",
    }
    for key, value in given.items():
        spec.setdefault(key, value)
    if spec.get("serviceAccountName"):
        spec["serviceAccount"] = spec["serviceAccountName"]
    for group in ("initContainers", "containers"):
        for container in spec.get(group) or ():
            tag = container["image"].partition("@")[0].rpartition("/")[2].partition(":")[2]
            pinned = "@" in container["image"] or tag not in ("", "latest")
            container.setdefault("resources", {})
            container.setdefault("terminationMessagePath", "/dev/termination-log")
            container.setdefault("terminationMessagePolicy", "File")
            container.setdefault("imagePullPolicy", "IfNotPresent" if pinned else "Always")
    for volume in spec.get("volumes") or ():
        if "secret" in volume:
            volume["secret"].setdefault("defaultMode", 0o644)
        if not set(volume) - {"name"}:
            volume["emptyDir"] = {}


def pod(spec: dict[str, Any]) -> None:
    """Fill a pod's spec, as admission does when it is created."""
    _template(spec)
    spec.setdefault("serviceAccountName", "default")
    spec["serviceAccount"] = spec["serviceAccountName"]
    spec.setdefault("enableServiceLinks", True)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    spec.setdefault("priority", 0)
    wanted = [
        {"key": f"node.kubernetes.io/{key}", "operator": "Exists", "effect": "NoExecute",
         "tolerationSeconds": 300}
        for key in ("not-ready", "unreachable")
    ]  # fmt: skip
    spec["tolerations"] = [*(spec.get("tolerations") or ()), *wanted]
    if spec.get("automountServiceAccountToken") is not False:
        name = f"kube-api-access-{suffix()}"
        spec["volumes"] = [*(spec.get("volumes") or ()), {"name": name, "projected": _token()}]
        mount = {"name": name, "readOnly": True,
                 "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}  # fmt: skip
        for group in ("initContainers", "containers"):
            for container in spec.get(group) or ():
                container["volumeMounts"] = [*(container.get("volumeMounts") or ()), mount]


def _token() -> dict[str, Any]:
    return {
        "sources": [{"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}}],
        "defaultMode": 420,
    }

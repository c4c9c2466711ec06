"""What keeps a pod from being created although its Job was: PodSecurity, quotas, accounts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from .kinds import NAMESPACES, PODS, QUOTAS, SERVICE_ACCOUNTS
from .store import Store

ENFORCE: Final = "pod-security.kubernetes.io/enforce"


def violations(spec: Mapping[str, Any]) -> str:
    """Why a pod is not ``restricted``, in the words of PodSecurity; empty where it is."""
    return ", ".join(_violations(spec))


def _violations(spec: Mapping[str, Any]) -> Iterator[str]:
    pod = spec.get("securityContext") or {}
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    if spec.get("hostNetwork"):
        yield "host namespaces (hostNetwork=true)"
    loud = [c for c in containers if _of(c).get("allowPrivilegeEscalation") is not False]
    if loud:
        yield (
            f"allowPrivilegeEscalation != false ({_named(loud)} must set"
            " securityContext.allowPrivilegeEscalation=false)"
        )
    able = [
        c for c in containers if "ALL" not in (_of(c).get("capabilities") or {}).get("drop", ())
    ]
    if able:
        yield (
            f'unrestricted capabilities ({_named(able)} must set securityContext.capabilities.drop=["ALL"])'
        )
    roots = [
        c for c in containers if _of(c).get("runAsNonRoot", pod.get("runAsNonRoot")) is not True
    ]
    if roots:
        yield (
            f"runAsNonRoot != true (pod or {_named(roots)} must set"
            " securityContext.runAsNonRoot=true)"
        )
    users = [c for c in containers if _of(c).get("runAsUser", pod.get("runAsUser")) == 0]
    if users:
        yield f"runAsUser=0 (pod or {_named(users)} must not set runAsUser=0)"
    profiles = [
        c
        for c in containers
        if (_of(c).get("seccompProfile") or pod.get("seccompProfile") or {}).get("type")
        not in ("RuntimeDefault", "Localhost")
    ]
    if profiles:
        yield (
            f"seccompProfile (pod or {_named(profiles)} must set securityContext.seccompProfile."
            'type to "RuntimeDefault" or "Localhost")'
        )


def _of(container: Mapping[str, Any]) -> Mapping[str, Any]:
    return container.get("securityContext") or {}


def _named(containers: list[Mapping[str, Any]]) -> str:
    names = ", ".join(f'"{container["name"]}"' for container in containers)
    return f"container{'s' if len(containers) > 1 else ''} {names}"


def warning(store: Store, namespace: str, spec: Mapping[str, Any]) -> str:
    """What is said when a Job is created whose pods will be refused."""
    found = violations(spec) if _enforced(store, namespace) else ""
    return f'would violate PodSecurity "restricted:latest": {found}' if found else ""


def _enforced(store: Store, namespace: str) -> bool:
    found = store.find(NAMESPACES, "", namespace)
    labels = (found or {}).get("metadata", {}).get("labels") or {}
    return labels.get(ENFORCE) == "restricted"


def against(store: Store, namespace: str, name: str, spec: Mapping[str, Any]) -> str:
    """Why this pod must not be created; empty where it may."""
    account = spec.get("serviceAccountName") or "default"
    if account != "default" and store.find(SERVICE_ACCOUNTS, namespace, account) is None:
        prefix = name.rpartition("-")[0]
        return (
            f'pods "{prefix}-" is forbidden: error looking up service account'
            f' {namespace}/{account}: serviceaccount "{account}" not found'
        )
    if _enforced(store, namespace) and (found := violations(spec)):
        return f'pods "{name}" is forbidden: violates PodSecurity "restricted:latest": {found}'
    for quota in store.all(QUOTAS):
        limit = (quota.get("spec", {}).get("hard") or {}).get("pods")
        if quota["metadata"]["namespace"] == namespace and limit is not None:
            used = sum(
                pod["metadata"]["namespace"] == namespace
                and pod["status"].get("phase") not in ("Succeeded", "Failed")
                for pod in store.all(PODS)
            )
            if used + 1 > int(limit):
                return (
                    f'pods "{name}" is forbidden: exceeded quota: {quota["metadata"]["name"]},'
                    f" requested: pods=1, used: pods={used}, limited: pods={limit}"
                )
    return ""

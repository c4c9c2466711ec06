"""The kinds of objects that the stub serves, and what it says about them when discovered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from attrs import frozen

_ALL: Final = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@frozen(kw_only=True, eq=False)
class Kind:
    """One row of the API: ``jobs`` of ``batch/v1``. *fields* are its own field selectors."""

    group: str = ""
    plural: str
    kind: str
    namespaced: bool = True
    short: tuple[str, ...] = ()
    subresources: Mapping[str, tuple[str, ...]] = {}
    fields: tuple[str, ...] = ()
    verbs: tuple[str, ...] = _ALL

    @property
    def version(self) -> str:
        """``v1`` or ``batch/v1``."""
        return f"{self.group}/v1" if self.group else "v1"

    @property
    def dotted(self) -> str:
        """``jobs.batch``, as it stands in messages."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


POD_FIELDS: Final = (
    *("spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName"),
    *("spec.hostNetwork", "status.phase", "status.podIP", "status.nominatedNodeName"),
)
EVENT_FIELDS: Final = (
    *("involvedObject.kind", "involvedObject.namespace", "involvedObject.name"),
    *("involvedObject.uid", "involvedObject.apiVersion", "involvedObject.resourceVersion"),
    *("involvedObject.fieldPath", "reason", "reportingComponent", "source", "type"),
)
_STATUS: Final = {"status": ("get", "patch", "update")}
NAMESPACES: Final = Kind(
    plural="namespaces",
    kind="Namespace",
    namespaced=False,
    short=("ns",),
    fields=("status.phase",),
)
NODES: Final = Kind(plural="nodes", kind="Node", namespaced=False, short=("no",))
PODS: Final = Kind(
    plural="pods",
    kind="Pod",
    short=("po",),
    subresources={**_STATUS, "log": ("get",), "exec": ("create", "get")},
    fields=POD_FIELDS,
)
SECRETS: Final = Kind(plural="secrets", kind="Secret", fields=("type",))
CONFIGMAPS: Final = Kind(plural="configmaps", kind="ConfigMap", short=("cm",))
EVENTS: Final = Kind(plural="events", kind="Event", short=("ev",), fields=EVENT_FIELDS)
SERVICE_ACCOUNTS: Final = Kind(plural="serviceaccounts", kind="ServiceAccount", short=("sa",))
QUOTAS: Final = Kind(plural="resourcequotas", kind="ResourceQuota", short=("quota",))
CLAIMS: Final = Kind(plural="persistentvolumeclaims", kind="PersistentVolumeClaim", short=("pvc",))
JOBS: Final = Kind(
    group="batch",
    plural="jobs",
    kind="Job",
    subresources=_STATUS,
    fields=("status.successful",),
)
KINDS: Final = (
    *(NAMESPACES, NODES, PODS, SECRETS, CONFIGMAPS, EVENTS, SERVICE_ACCOUNTS, QUOTAS, CLAIMS),
    JOBS,
)
BY_PLACE: Final[Mapping[tuple[str, str], Kind]] = {(k.group, k.plural): k for k in KINDS}
REVIEWS: Final = {
    "selfsubjectaccessreviews": "SelfSubjectAccessReview",
    "selfsubjectrulesreviews": "SelfSubjectRulesReview",
}
GROUPS: Final = ("authorization.k8s.io", "batch")


def discovery(path: str) -> dict[str, Any] | None:
    """What is served under ``/api``, ``/apis`` and the like; None for another path."""
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
    if path == "/apis":
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(g) for g in GROUPS]}
    if path == "/api/v1":
        return _resources("")
    for group in GROUPS:
        if path == f"/apis/{group}":
            return {"kind": "APIGroup", "apiVersion": "v1", **_group(group)}
        if path == f"/apis/{group}/v1":
            return _resources(group)
    return None


def _group(group: str) -> dict[str, Any]:
    version = {"groupVersion": f"{group}/v1", "version": "v1"}
    return {"name": group, "versions": [version], "preferredVersion": version}


def _resources(group: str) -> dict[str, Any]:
    rows: list[dict[str, Any]] = []
    for kind in KINDS:
        if kind.group == group:
            rows.append(
                {
                    "name": kind.plural,
                    "singularName": kind.kind.lower(),
                    "namespaced": kind.namespaced,
                    "kind": kind.kind,
                    "verbs": list(kind.verbs),
                    **({"shortNames": list(kind.short)} if kind.short else {}),
                }
            )
            rows += [
                {
                    "name": f"{kind.plural}/{name}",
                    "singularName": "",
                    "namespaced": kind.namespaced,
                    "kind": "PodExecOptions" if name == "exec" else kind.kind,
                    "verbs": list(verbs),
                }
                for name, verbs in kind.subresources.items()
            ]
    if group == "authorization.k8s.io":
        rows += [
            {"name": p, "singularName": k.lower(), "namespaced": False, "kind": k,
             "verbs": ["create"]}
            for p, k in REVIEWS.items()
        ]  # fmt: skip
    version = f"{group}/v1" if group else "v1"
    return {
        "kind": "APIResourceList",
        **({"apiVersion": "v1"} if group else {}),
        "groupVersion": version,
        "resources": rows,
    }

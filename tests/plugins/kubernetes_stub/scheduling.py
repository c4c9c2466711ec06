"""The nodes, and on which of them a pod may run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from attrs import field, frozen

from .validation import quantity


@frozen(kw_only=True)
class Node:
    """One machine of the cluster."""

    name: str = "node-1"
    architecture: str = "amd64"
    labels: Mapping[str, str] = field(factory=dict)
    taints: tuple[Mapping[str, str], ...] = ()
    memory: str = "16Gi"
    cpus: str = "8"

    @property
    def all_labels(self) -> dict[str, str]:
        """What the kubelet says of it, and what was given."""
        return {
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": self.architecture,
            **self.labels,
        }

    def manifest(self) -> dict[str, Any]:
        """As the API shows it."""
        amounts = {"cpu": self.cpus, "memory": self.memory, "pods": "110"}
        info = {"architecture": self.architecture, "operatingSystem": "linux",
                "kubeletVersion": "v1.36.2"}  # fmt: skip
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.name, "labels": self.all_labels},
            "spec": {"taints": [dict(taint) for taint in self.taints]} if self.taints else {},
            "status": {
                "capacity": amounts,
                "allocatable": amounts,
                "nodeInfo": info,
                "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
            },
        }


def choose(nodes: Sequence[Node], spec: Mapping[str, Any]) -> tuple[Node | None, str]:
    """A node for the pod *spec*, or what the scheduler says about why there is none."""
    reasons: dict[str, int] = {}
    for node in nodes:
        why = _against(node, spec)
        if not why:
            return node, ""
        reasons[why] = reasons.get(why, 0) + 1
    count = len(nodes)
    listed = ", ".join(f"{number} {why}" for why, number in sorted(reasons.items()))
    return None, (
        f"0/{count} nodes are available: {listed}. no new claims to deallocate, preemption:"
        f" 0/{count} nodes are available: {count} Preemption is not helpful for scheduling."
    )


def _against(node: Node, spec: Mapping[str, Any]) -> str:
    labels = node.all_labels
    for taint in node.taints:
        if taint.get("effect") != "PreferNoSchedule" and not _tolerated(taint, spec):
            return f"node(s) had untolerated taint(s) {{{taint['key']}: {taint.get('value', '')}}}"
    selector = spec.get("nodeSelector") or {}
    if any(labels.get(key) != value for key, value in selector.items()):
        return "node(s) didn't match Pod's node affinity/selector"
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    terms = (affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}).get(
        "nodeSelectorTerms"
    )
    if terms and not any(_matches(labels, term) for term in terms):
        return "node(s) didn't match Pod's node affinity/selector"
    for name, amount in (("cpu", node.cpus), ("memory", node.memory)):
        if _asked(spec, name) > quantity(amount):
            return f"Insufficient {name}"
    return ""


def _tolerated(taint: Mapping[str, str], spec: Mapping[str, Any]) -> bool:
    for toleration in spec.get("tolerations") or ():
        key = toleration.get("key", "")
        same = toleration.get("operator", "Equal") == "Exists" or toleration.get(
            "value", ""
        ) == taint.get("value", "")
        effect = toleration.get("effect", "")
        if key in ("", taint["key"]) and same and effect in ("", taint.get("effect")):
            return True
    return False


def _matches(labels: Mapping[str, str], term: Mapping[str, Any]) -> bool:
    for rule in term.get("matchExpressions") or ():
        found, values = labels.get(rule["key"]), rule.get("values") or ()
        match rule["operator"]:
            case "In":
                fine = found in values
            case "NotIn":
                fine = found not in values
            case "Exists":
                fine = found is not None
            case _:
                fine = found is None
        if not fine:
            return False
    return True


def _asked(spec: Mapping[str, Any], name: str) -> Any:
    def of(container: Mapping[str, Any]) -> Any:
        resources = container.get("resources") or {}
        text = (resources.get("requests") or {}).get(name) or (resources.get("limits") or {}).get(
            name
        )
        return quantity(text) if text else 0

    mains = sum(of(container) for container in spec.get("containers") or ())
    return max([mains, *(of(c) for c in spec.get("initContainers") or ())])

"""What a build may have to do in a cluster: the least rights, asked for and written down."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from attrs import frozen

from .api.client import Cluster
from .api.kinds import EVENTS, JOBS, PODS, SECRETS, Kind

__all__ = ["LEAST", "Right", "missing", "role_manifest", "wanted"]


@frozen
class Right:
    """May do *verb* to a *kind*, or to a *part* of it; *why* says what for."""

    verb: str
    kind: Kind
    part: str = ""
    why: str = ""

    @property
    def resource(self) -> str:
        """As a Role writes it: ``pods/exec``."""
        return f"{self.kind.plural}/{self.part}" if self.part else self.kind.plural

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}"


LEAST: Final = (
    Right("create", JOBS, why="one for each platform"),
    Right("list", JOBS, why="to watch, and to see that it is gone"),
    Right("watch", JOBS, why="how it ended"),
    Right("delete", JOBS, why="clearing up"),
    Right("list", PODS, why="to watch, and to see that it is gone"),
    Right("watch", PODS, why="whether it starts, and how it ended"),
    Right("get", PODS, "log", why="the build's output"),
    # WebSocket: older servers ask for get, those since 1.35 for both.
    Right("get", PODS, "exec", why="sending the build context"),
    Right("create", PODS, "exec", why="sending the build context"),
    Right("create", SECRETS, why="credentials and the Dockerfile"),
    Right("delete", SECRETS, why="clearing up"),
    Right("list", SECRETS, why="gc"),
    Right("list", EVENTS, why="why a pod does not start"),
    Right("watch", EVENTS, why="why a pod does not start"),
)
"""Every right that a build with a streamed context needs; nothing else is asked for."""


def wanted(*, exec_needed: bool = True) -> tuple[Right, ...]:
    """Those of the least rights that matter: without a streamed context nothing is executed."""
    return tuple(right for right in LEAST if exec_needed or right.part != "exec")


def missing(cluster: Cluster, *, exec_needed: bool = True) -> tuple[Right, ...]:
    """Those of the least rights that we do not have, asked one by one, a few at a time."""
    asked = wanted(exec_needed=exec_needed)

    def have(right: Right) -> bool:
        return cluster.may(right.verb, right.kind, part=right.part)

    with ThreadPoolExecutor(max_workers=4) as pool:
        answers = tuple(pool.map(have, asked))
    return tuple(right for right, yes in zip(asked, answers, strict=True) if not yes)


def role_manifest(namespace: str, name: str = "buildpush") -> str:
    """A Role with the least rights, as YAML; bind it to whoever builds."""
    lines = [
        "apiVersion: rbac.authorization.k8s.io/v1",
        "kind: Role",
        "metadata:",
        f"  name: {name}",
        f"  namespace: {namespace}",
        "rules:",
    ]
    for resource in dict.fromkeys((right.kind.group, right.resource) for right in LEAST):
        lines += _rule(*resource)
    return "\n".join(lines) + "\n"


def _rule(group: str, resource: str) -> Iterator[str]:
    rights = [right for right in LEAST if (right.kind.group, right.resource) == (group, resource)]
    reasons = "; ".join(dict.fromkeys(right.why for right in rights))
    yield f"  # {reasons}"
    yield f'  - apiGroups: ["{group}"]'
    yield f'    resources: ["{resource}"]'
    yield f"    verbs: [{', '.join(right.verb for right in rights)}]"

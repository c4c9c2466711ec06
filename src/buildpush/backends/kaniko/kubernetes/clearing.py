"""Clear up in the cluster: after every build, and what killed clients have left."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ....errors import BuildpushError, PermissionDeniedError
from ....runtime import CancelToken
from .api.client import Cluster
from .api.failures import Conflict
from .api.kinds import JOBS, PODS, SECRETS, Kind
from .builds import CLIENT_LABEL, JOB_LABEL, MANAGED_BY, PREFIX

__all__ = ["CLEARING_SECONDS", "clear", "collect"]

CLEARING_SECONDS: Final = 10.0
_LOOK: Final = 0.3


def clear(cluster: Cluster, name: str, token: CancelToken, *, keep_job: bool) -> tuple[str, ...]:
    """Remove the Secret and the Job called *name*; what could not be seen to be gone in time.

    *token* is not the run's, which may be cancelled: it bounds how long this takes. The Secret
    goes first, and always.
    """
    with suppress(Conflict):
        cluster.delete(SECRETS, name)
    if keep_job:
        return ()
    cluster.delete(JOBS, name, propagation="Background")
    while left := tuple(_still_there(cluster, name)):
        try:
            token.sleep(_LOOK)
        except BuildpushError:
            return left
    return ()


def _still_there(cluster: Cluster, name: str) -> Iterator[str]:
    selector = f"{JOB_LABEL}={name}"
    for kind in (PODS, JOBS):
        for thing in cluster.list(kind, labels=selector).items:
            yield _name(kind, thing)


def collect(cluster: Cluster, older_than: timedelta, now: datetime) -> tuple[str, ...]:
    """Remove every Job, Secret and pod of buildpush that is *older_than* that; their names.

    Others may have taken the name buildpush for something of theirs, and what was applied by hand
    is for whoever did it: ours has the labels of the client that made it.

    A Job takes its pods with it; those without a Job are of a client that was killed between two
    requests, or of somebody who deleted the Job and not its pods.
    """
    selector = f"{'='.join(MANAGED_BY)},{CLIENT_LABEL},{JOB_LABEL}"
    before = now - older_than
    found = {kind: cluster.list(kind, labels=selector).items for kind in (JOBS, SECRETS, PODS)}
    alive = {thing["metadata"]["uid"] for thing in _things(found[JOBS])}
    due: list[tuple[Kind, dict[str, Any]]] = []
    for kind in (JOBS, SECRETS, PODS):
        for thing in _things(found[kind]):
            owned = kind is PODS and bool(_owners(thing) & alive)
            if _is_ours(thing) and _made(thing) <= before and not owned:
                due.append((kind, thing))
    return tuple(_name(kind, thing) for kind, thing in due if _delete(cluster, kind, thing))


def _delete(cluster: Cluster, kind: Kind, thing: dict[str, Any]) -> bool:
    """Delete it; pods without an owner ask for a right that builds do not need."""
    about = thing["metadata"]
    try:
        return cluster.delete(kind, about["name"], uid=about["uid"])
    except Conflict:
        return False  # it is another one by now
    except PermissionDeniedError:
        if kind is not PODS:
            raise
        return False


def _is_ours(thing: dict[str, Any]) -> bool:
    """Whether its name is that of an execution, or of an execution's pod."""
    about = thing["metadata"]
    name = str(about["labels"].get(JOB_LABEL, ""))
    return name.startswith(PREFIX) and f"{about['name']}-".startswith(f"{name}-")


def _things(items: Any) -> tuple[dict[str, Any], ...]:
    return tuple(items)


def _owners(thing: dict[str, Any]) -> set[str]:
    return {str(owner.get("uid")) for owner in thing["metadata"].get("ownerReferences") or ()}


def _made(thing: dict[str, Any]) -> datetime:
    text = str(thing["metadata"]["creationTimestamp"])
    return datetime.fromisoformat(text).astimezone(UTC)


def _name(kind: Kind, thing: Any) -> str:
    return f"{kind.plural.removesuffix('s')}/{thing['metadata']['name']}"

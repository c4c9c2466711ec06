"""The objects of one build: its Job and its Secret, as an API server takes them. Pure."""

from __future__ import annotations

import base64
import hashlib
from typing import Any, Final

from ....errors import SpecError
from .builds import Build, Naming, places, secret_keys
from .pods import pod_spec, version_spec
from .settings import PodSettings

__all__ = ["job", "preview_token", "secret", "version_job"]

Manifest = dict[str, Any]

_MOST_SECRET: Final = 1 << 20
_KEPT_SECONDS: Final = 24 * 3600


def job(build: Build) -> Manifest:
    """The Job: one pod, tried once, that the cluster ends and removes if nobody else does.

    Raises `UnsupportedFeatureError` for host names that only an engine can resolve.
    """
    return _wrapped(build.naming, build.pod, pod_spec(build), keep=build.keep)


def version_job(image: str, naming: Naming, pod: PodSettings) -> Manifest:
    """A Job that asks the executor in *image* what it calls itself."""
    return _wrapped(naming, pod, version_spec(image, pod), keep=False)


def secret(build: Build, uid: str) -> Manifest:
    """The Secret with the private files; it goes with the Job whose *uid* that is.

    Raises `SpecError` for more than a Secret can hold.
    """
    files = build.execution.files
    size = sum(map(len, files.values()))
    if size > _MOST_SECRET:
        largest = max(files, key=lambda name: len(files[name]))
        raise SpecError(
            f"the Dockerfile, credentials and secrets take {size} bytes, and a Secret holds"
            f" {_MOST_SECRET}; the largest is {largest} with {len(files[largest])}",
            hint="make it smaller, or mount it from a Secret of its own: PodSettings.volumes",
        )
    keys = secret_keys(files)
    data = {keys[name]: base64.b64encode(files[name]).decode() for name in sorted(files)}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "name": build.naming.name,
            "labels": build.naming.labels,
            "ownerReferences": [_owner("batch/v1", "Job", build.naming.name, uid)],
        },
        "type": "Opaque",
        "immutable": True,
        "data": data,
    }


def preview_token(build: Build) -> str:
    """What takes the place of chance in a preview's names: the same for the same input."""
    command = build.execution.command(places(build.delivery))
    told = repr((build.execution.image, command, sorted(build.execution.files), build.pod))
    return hashlib.sha256(told.encode()).hexdigest()[:10]


def _wrapped(naming: Naming, pod: PodSettings, spec: Manifest, *, keep: bool) -> Manifest:
    labels = {**pod.labels, **naming.labels}
    metadata: Manifest = {"name": naming.name, "labels": labels}
    template: Manifest = {"labels": dict(labels)}
    if pod.annotations:
        metadata["annotations"] = dict(pod.annotations)
        template["annotations"] = dict(pod.annotations)
    if pod.owner is not None:
        owner = pod.owner
        metadata["ownerReferences"] = [
            _owner(owner.api_version, owner.kind, owner.name, owner.uid)
        ]
    ttl = max(pod.ttl_seconds_after_finished, _KEPT_SECONDS if keep else 0)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {
            "backoffLimit": 0,
            "completions": 1,
            "parallelism": 1,
            "activeDeadlineSeconds": pod.active_deadline,
            "ttlSecondsAfterFinished": ttl,
            "template": {"metadata": template, "spec": spec},
        },
    }


def _owner(api_version: str, kind: str, name: str, uid: str) -> Manifest:
    # blockOwnerDeletion would ask for rights on the owner's finalizers.
    return {
        "apiVersion": api_version,
        "kind": kind,
        "name": name,
        "uid": uid,
        "controller": False,
        "blockOwnerDeletion": False,
    }

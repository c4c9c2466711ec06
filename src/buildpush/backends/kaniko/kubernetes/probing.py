"""What a cluster lets us do, and what the executor in an image calls itself; asked cheaply."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from ....errors import BackendUnavailableError, BuildpushError
from ....oci import ImageReference
from ....plan import Feature
from ....runtime import Environment
from ....runtime.environment import make_private
from ..executor.flavors import saying
from .api.client import Cluster
from .api.failures import NotStarted, NotThere
from .api.kinds import JOBS
from .builds import INIT, MAIN, Naming
from .following import Following
from .judging import Stage
from .manifests import version_job
from .rights import missing, role_manifest, wanted
from .settings import PodSettings

__all__ = ["FEATURES", "NOTES", "ask_version", "check", "recall", "remember"]

FEATURES: Final = frozenset(
    {
        Feature.PUSH_DIRECTLY,
        Feature.ADD_HOSTS,
        Feature.SHM_SIZE,
        Feature.RESOURCES,
        Feature.RUN_AS_USER,
        Feature.MULTI_PLATFORM,
        Feature.FOREIGN_PLATFORM,
    }
)
NOTES: Final[Mapping[Feature, str]] = {
    Feature.EXPORT_LAYOUT: "a pod has no folder that is shared with this machine",
    Feature.RUN_NETWORK: "a pod's network is the cluster's: PodSettings.host_network",
    Feature.ULIMITS: "a pod's ulimits are its node's",
    Feature.CGROUP_PARENT: "a pod's cgroup is its node's",
}
"""Why a pod cannot do what others can."""


def check(cluster: Cluster, *, exec_needed: bool) -> str:
    """The server's version. Raises `BackendUnavailableError` where a right is missing."""
    version = cluster.version()
    lacking = missing(cluster, exec_needed=exec_needed)
    if lacking:
        nothing = len(lacking) == len(wanted(exec_needed=exec_needed))
        what = "build at all" if nothing else ", ".join(map(str, lacking))
        other = "is there such a namespace, and is it the one that is meant? If so, "
        raise BackendUnavailableError(
            f"namespace {cluster.namespace} of {cluster.server} does not let us {what}",
            hint=f"{other if nothing else ''}have this applied and bound to whoever builds:"
            f"\n{role_manifest(cluster.namespace)}",
        )
    return version


def ask_version(
    cluster: Cluster,
    following: Following,
    image: str,
    naming: Naming,
    pod: PodSettings,
) -> str:
    """What the executor in *image* prints as its version, told by a Job that does nothing else."""
    cluster.create(JOBS, version_job(image, naming, pod))
    standing = following.until_started(Stage.OVER)
    said, usage = (_heard(cluster, standing.pod, name) for name in (INIT, MAIN))
    if standing.finished is None or standing.finished.exit_code != 0 or not said:
        raise BackendUnavailableError(
            f"{image} does not say its version: {said or 'it said nothing'}",
            hint="is it an image of kaniko's executor? KanikoBackend(flavor=…, version=…) says it",
        )
    return saying(said, usage)


def _heard(cluster: Cluster, pod: str, container: str) -> str:
    """What *container* has written, in one line."""
    try:
        with cluster.log(pod, container, follow=False) as log:
            return " ".join(raw.decode("utf-8", "replace").strip() for raw in log).strip()
    except (NotStarted, NotThere):
        return ""


def recall(environment: Environment, image: str) -> str:
    """What was remembered of *image*, empty when nothing was or its name may come to mean another."""
    path = _path(environment, image)
    if path is None:
        return ""
    try:
        return path.read_text("utf-8").strip()
    except OSError:
        return ""


def remember(environment: Environment, image: str, version: str) -> None:
    """Keep what *image*, if it is pinned by digest, calls itself."""
    path = _path(environment, image)
    if path is None:
        return
    try:
        make_private(path.parent)
        path.write_text(f"{version}\n", "utf-8")
    except OSError:
        return  # it is asked again


def _path(environment: Environment, image: str) -> Path | None:
    try:
        pinned = ImageReference.parse(image).digest
    except BuildpushError:
        return None
    if pinned is None:
        return None
    name = hashlib.sha256(image.encode()).hexdigest()[:32]
    return environment.cache / "kaniko-versions" / name

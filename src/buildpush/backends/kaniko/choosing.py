"""Which image and which runner, where the caller did not say: the environment, else what is found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from ...errors import BackendUnavailableError, SpecError
from ...runtime import Environment
from .executor.flavors import Flavor

if TYPE_CHECKING:
    from .runner import Runner

__all__ = ["choose_flavor", "choose_image", "choose_runner"]

IMAGE: Final = "BUILDPUSH_KANIKO_IMAGE"
RUNNER: Final = "BUILDPUSH_KANIKO_RUNNER"
NAMESPACE: Final = "BUILDPUSH_KANIKO_NAMESPACE"
FLAVOR: Final = "BUILDPUSH_KANIKO_FLAVOR"
SERVICE_ACCOUNT: Final = "BUILDPUSH_KANIKO_SERVICE_ACCOUNT"
_RUNNERS: Final = ("local", "container", "docker", "podman", "nerdctl", "kubernetes")
_EXECUTOR: Final = Path("/kaniko/executor")
_TOKEN: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")


def choose_image(environment: Environment) -> str:
    """The image that the environment names. Raises `BackendUnavailableError` where it names none."""
    image = environment.variables.get(IMAGE, "").strip()
    if image:
        return image
    raise BackendUnavailableError(
        "no kaniko image is chosen, and there is none to fall back on",
        hint=f"KanikoBackend(image=…), or {IMAGE}: choose a release of a fork that is looked"
        " after, by digest (ghcr.io/osscontainertools/kaniko:v1.28.3@sha256:…);"
        " gcr.io/kaniko-project/executor has been archived since June 2025",
    )


def choose_flavor(environment: Environment) -> Flavor | None:
    """The flavor that the environment names, if any. Raises `SpecError` for one that is none."""
    name = environment.variables.get(FLAVOR, "").strip()
    if not name:
        return None
    try:
        return Flavor(name)
    except ValueError:
        flavors = ", ".join(flavor.value for flavor in Flavor)
        raise SpecError(f"{FLAVOR}: {name} is none of {flavors}") from None


def choose_runner(environment: Environment) -> Runner:
    """The runner that the environment names, else the first that fits where we are.

    In kaniko's own container it is that; in a pod with a service account, the cluster; else a
    container engine. Raises `SpecError` for a name that none has.
    """
    name = environment.variables.get(RUNNER, "").strip()
    if name and name not in _RUNNERS:
        raise SpecError(f"{RUNNER}: {name} is none of {', '.join(_RUNNERS)}")
    if name == "local" or (not name and _EXECUTOR.is_file()):
        from .local import LocalRunner

        return LocalRunner()
    in_cluster = "KUBERNETES_SERVICE_HOST" in environment.variables and _TOKEN.is_file()
    if name == "kubernetes" or (not name and in_cluster):
        from .kubernetes import KubernetesRunner, PodSettings

        return KubernetesRunner(
            namespace=environment.variables.get(NAMESPACE, ""),
            pod=PodSettings(service_account=environment.variables.get(SERVICE_ACCOUNT, "")),
        )
    from .container import ContainerRunner

    match name:
        case "docker" | "podman" | "nerdctl":
            return ContainerRunner(engine=name)
        case _:
            return ContainerRunner()

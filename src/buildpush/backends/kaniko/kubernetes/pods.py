"""The pod of a build: where it runs, as whom, with what; each part of its spec. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ....errors import UnsupportedFeatureError
from .builds import (
    INIT,
    MAIN,
    PRIVATE,
    SHARED,
    TERMINATION_LOG,
    Build,
    places,
    secret_keys,
)
from .quantities import combine, quantity
from .scripts import COPY, HELD, OWN, TAKE_OVER, WAIT, WORK
from .settings import PodSettings, RegistryContext, RemoteContext, StreamedContext

__all__ = ["CONTEXT_IMAGE", "memory_limit", "pod_spec", "version_spec"]

Manifest = dict[str, Any]

CONTEXT_IMAGE: Final = "docker.io/library/busybox:1.37.0"
"""What receives a context where nothing else is said."""


def pod_spec(build: Build) -> Manifest:
    """The pod that builds.

    Raises `UnsupportedFeatureError` for host names that only an engine can resolve.
    """
    spec: Manifest = {**_pod(build), "containers": [_main(build)], "volumes": _volumes(build)}
    filling = _filling(build)
    if filling:
        spec["initContainers"] = [filling]
    return spec


def version_spec(image: str, pod: PodSettings) -> Manifest:
    """A pod that asks the executor in *image* what it calls itself, and then for its flags."""

    def asking(name: str, word: str) -> Manifest:
        return {
            "name": name,
            "image": image,
            "args": [word],
            "terminationMessagePolicy": "FallbackToLogsOnError",
            **_resources(combine(_limits(pod), _requests(pod))),
            **_pull_policy(pod),
            **_security(pod, None),
        }

    return {
        **_placing(pod, pod.node_selector),
        "initContainers": [asking(INIT, "version")],
        "containers": [asking(MAIN, "--help")],
    }


def _main(build: Build) -> Manifest:
    """Kaniko's container: its image's own entry point, told by arguments."""
    command = build.execution.command(places(build.delivery))
    words = list(command.words)
    if isinstance(build.delivery, RemoteContext) and build.delivery.sub_path:
        words.append(f"--context-sub-path={build.delivery.sub_path}")
    return {
        "name": MAIN,
        "image": build.execution.image,
        "args": [_literal(word) for word in words],
        **_environment(build.pod, command.variables),
        "terminationMessagePath": str(TERMINATION_LOG),
        "terminationMessagePolicy": "File",
        **_common(build),
        "volumeMounts": [
            {
                "name": "own" if _takes_over(build) else "private",
                "mountPath": str(PRIVATE),
                "readOnly": True,
            },
            *_shared(build, str(SHARED), read_only=True),
            *_shm_mount(build),
            *(dict(mount) for mount in build.pod.volume_mounts),
        ],
    }


def _pod(build: Build) -> Manifest:
    """The pod's part of the spec that is not its containers and volumes."""
    selector: dict[str, str] = {"kubernetes.io/os": "linux"}
    if build.execution.platform is not None:
        selector["kubernetes.io/os"] = build.execution.platform.os
        selector["kubernetes.io/arch"] = build.execution.platform.architecture
    spec = _placing(build.pod, {**selector, **build.pod.node_selector})
    context = _pod_security(build)
    if context:
        spec["securityContext"] = context
    aliases = _host_aliases({**build.pod.host_aliases, **build.execution.request.add_hosts})
    if aliases:
        spec["hostAliases"] = aliases
    return spec


def _placing(pod: PodSettings, selector: Mapping[str, str]) -> Manifest:
    """How and where the pod is run; the words that were left empty are left out."""
    said: Manifest = {
        "nodeSelector": dict(selector),
        "tolerations": [dict(toleration) for toleration in pod.tolerations],
        "affinity": dict(pod.affinity),
        "serviceAccountName": pod.service_account,
        "imagePullSecrets": [{"name": name} for name in pod.image_pull_secrets],
        "hostNetwork": pod.host_network,
        "dnsPolicy": pod.dns_policy,
        "dnsConfig": dict(pod.dns_config),
        "priorityClassName": pod.priority_class,
        "runtimeClassName": pod.runtime_class,
        "schedulerName": pod.scheduler,
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": pod.mount_token,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": pod.termination_grace,
        **{word: value for word, value in said.items() if value},
    }


def _user(build: Build) -> int | None:
    user = build.execution.request.run_as_user
    return build.pod.run_as_user if user is None else user


def _takes_over(build: Build) -> bool:
    """Whether the private files are copied, for a user that is not root."""
    return bool(_user(build))


def _pod_security(build: Build) -> Manifest:
    """Who the pod's processes are; its group reads the Secret where they are not root."""
    pod = build.pod
    user = _user(build)
    group = pod.fs_group
    if group is None and user and "fsGroup" not in pod.pod_security_context:
        group = pod.run_as_group if pod.run_as_group is not None else user
    said = {"runAsUser": user, "runAsGroup": pod.run_as_group, "fsGroup": group}
    return {
        **pod.pod_security_context,
        **{word: value for word, value in said.items() if value is not None},
    }


def _common(build: Build) -> Manifest:
    """What kaniko's container and the one before it have in common.

    That has the same resources: a pod needs the larger of both, and a quota wants both to say.
    """
    request = build.execution.request
    limits, requests = _limits(build.pod), _requests(build.pod)
    return {
        **_resources(combine(limits, requests, (request.limits, request.requests))),
        **_pull_policy(build.pod),
        **_security(build.pod, request.run_as_user),
    }


def _resources(found: Mapping[str, Mapping[str, str]]) -> Manifest:
    return {"resources": {kind: dict(amounts) for kind, amounts in found.items()}} if found else {}


def _limits(pod: PodSettings) -> dict[str, str]:
    disk = {"ephemeral-storage": pod.ephemeral_storage} if pod.ephemeral_storage else {}
    return {**disk, **pod.limits}


def _requests(pod: PodSettings) -> dict[str, str]:
    disk = {"ephemeral-storage": pod.ephemeral_storage} if pod.ephemeral_storage else {}
    return {**disk, **pod.requests}


def _pull_policy(pod: PodSettings) -> Manifest:
    return {"imagePullPolicy": pod.image_pull_policy} if pod.image_pull_policy else {}


def _security(pod: PodSettings, user: int | None) -> Manifest:
    context = dict(pod.security_context)
    if user is not None and "runAsUser" in context:
        context["runAsUser"] = user
    return {"securityContext": context} if context else {}


def _environment(pod: PodSettings, variables: Mapping[str, str]) -> Manifest:
    plain = {**pod.env, **variables}
    entries: list[Manifest] = [
        {"name": name, "value": _literal(value)} for name, value in sorted(plain.items())
    ]
    entries += [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": held.name, "key": held.key}}}
        for name, held in sorted(pod.env_from_secrets.items())
        if name not in plain
    ]
    return {"env": entries} if entries else {}


def _literal(text: str) -> str:
    """*text* so that the kubelet leaves it as it is: it expands ``$(NAME)`` and halves ``$$``."""
    return text.replace("$", "$$")


def _filling(build: Build) -> Manifest | None:
    """The container that has the context ready before kaniko's starts."""
    match build.delivery:
        case StreamedContext(image=image):
            chosen = image or _debug_image(build.execution.image) or CONTEXT_IMAGE
            script = WAIT
        case RegistryContext():
            chosen = build.context_image
            script = COPY
        case RemoteContext():
            if not _takes_over(build):
                return None
            chosen = _debug_image(build.execution.image) or CONTEXT_IMAGE
            script = "true"
    script = TAKE_OVER + script if _takes_over(build) else script
    command = ["sh", "-c", script, "context", str(build.patience * 5)]
    return {
        "name": INIT,
        "image": chosen,
        "command": [_literal(word) for word in command],
        **_common(build),
        "volumeMounts": [*_shared(build, WORK, read_only=False), *_take_over_mounts(build)],
    }


def _debug_image(image: str) -> str:
    """*image* where it is one of kaniko's that brings a shell."""
    name = image.partition("@")[0]
    tag = name.rpartition("/")[2].rpartition(":")[2]
    return image if tag == "debug" or tag.endswith("-debug") or "-debug" in tag else ""


def _shared(build: Build, path: str, *, read_only: bool) -> tuple[Manifest, ...]:
    if isinstance(build.delivery, RemoteContext):
        return ()
    mount: Manifest = {"name": "context", "mountPath": path}
    return ({**mount, "readOnly": True} if read_only else mount,)


def _take_over_mounts(build: Build) -> tuple[Manifest, ...]:
    if not _takes_over(build):
        return ()
    secret: Manifest = {"name": "private", "mountPath": HELD, "readOnly": True}
    return secret, {"name": "own", "mountPath": OWN}


def _volumes(build: Build) -> list[Manifest]:
    keys = secret_keys(build.execution.files)
    items = [{"key": key, "path": name} for name, key in keys.items()]
    private: Manifest = {
        "name": "private",
        "secret": {"secretName": build.naming.name, "defaultMode": 0o400, "items": items},
    }
    volumes = [private]
    if _takes_over(build):
        volumes.append({"name": "own", "emptyDir": {"medium": "Memory"}})
    if not isinstance(build.delivery, RemoteContext):
        volumes.append({"name": "context", "emptyDir": {}})
    size = _shm_size(build)
    if size:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": size}})
    return [*volumes, *(dict(volume) for volume in build.pod.volumes)]


def _shm_size(build: Build) -> str:
    size = build.execution.request.shm_size
    return build.pod.shm_size if size is None else str(size)


def _shm_mount(build: Build) -> tuple[Manifest, ...]:
    return ({"name": "shm", "mountPath": "/dev/shm"},) if _shm_size(build) else ()  # noqa: S108


def _host_aliases(hosts: Mapping[str, str]) -> list[Manifest]:
    by_address: dict[str, list[str]] = {}
    for name, address in hosts.items():
        if address == "host-gateway":
            raise UnsupportedFeatureError(
                f"a pod has no host-gateway: add_hosts cannot give {name} that address",
                hint="give the address itself",
            )
        by_address.setdefault(address.strip("[]"), []).append(name)
    return [{"ip": ip, "hostnames": names} for ip, names in sorted(by_address.items())]


def memory_limit(build: Build) -> int | None:
    """How many bytes of memory kaniko's container may use, None where nothing says."""
    request = build.execution.request
    resources = combine(
        _limits(build.pod), _requests(build.pod), (request.limits, request.requests)
    )
    text = resources.get("limits", {}).get("memory")
    return int(quantity(text)) if text else None

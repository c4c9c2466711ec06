"""A pod's volumes, laid out in its root: what its containers will find there."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from .kinds import CONFIGMAPS, SECRETS
from .shells import PodRoot
from .store import Store


class NotMounted(Exception):
    """A volume cannot be set up: the kubelet's words about it."""


class NoConfig(Exception):
    """A variable cannot be set: the kubelet's words about it."""


def lay_out(store: Store, namespace: str, spec: Mapping[str, Any], root: PodRoot) -> None:
    """Make every volume; raises `NotMounted` where something is not there."""
    for volume in spec.get("volumes") or ():
        folder = root.volume(volume["name"])
        folder.mkdir(parents=True, exist_ok=True)
        if "secret" in volume:
            _files(store, namespace, volume["name"], volume["secret"], folder, secret=True)
        elif "configMap" in volume:
            _files(store, namespace, volume["name"], volume["configMap"], folder, secret=False)
        elif "emptyDir" in volume:
            folder.chmod(0o777)
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        for mount in sorted(container.get("volumeMounts") or (), key=lambda m: m["mountPath"]):
            root.mount(mount["name"], mount["mountPath"], mount.get("subPath", ""))


def _files(
    store: Store,
    namespace: str,
    name: str,
    source: Mapping[str, Any],
    folder: Any,
    *,
    secret: bool,
) -> None:
    wanted = source["secretName"] if secret else source["name"]
    kind = SECRETS if secret else CONFIGMAPS
    found = store.find(kind, namespace, wanted)
    if found is None:
        if source.get("optional"):
            return
        what = "secret" if secret else "configmap"
        raise NotMounted(
            f'MountVolume.SetUp failed for volume "{name}" : {what} "{wanted}" not found'
        )
    data: Mapping[str, str] = found.get("data") or {}
    items = source.get("items") or [{"key": key, "path": key} for key in data]
    for item in items:
        if item["key"] not in data:
            raise NotMounted(
                f'MountVolume.SetUp failed for volume "{name}" : references non-existent secret'
                f" key: {item['key']}"
            )
        text = data[item["key"]]
        path = folder / item["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(text) if secret else text.encode())
        path.chmod(item.get("mode") or source.get("defaultMode") or 0o644)


def variables(
    store: Store, pod: Mapping[str, Any], container: Mapping[str, Any]
) -> dict[str, str]:
    """The environment; raises `NoConfig` where something is not there."""
    found: dict[str, str] = {}
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        if "secretKeyRef" in source:
            wanted = source["secretKeyRef"]
            secret = store.find(SECRETS, pod["metadata"]["namespace"], wanted["name"])
            if secret is None or wanted["key"] not in (secret.get("data") or {}):
                if wanted.get("optional"):
                    continue
                raise NoConfig(f'secret "{wanted["name"]}" not found')
            text = base64.b64decode(secret["data"][wanted["key"]]).decode()
        elif "fieldRef" in source:
            at: Any = pod
            for step in source["fieldRef"]["fieldPath"].split("."):
                at = at.get(step, "")
            text = str(at)
        else:
            text = variable.get("value", "").replace("$$", "$")
        found[variable["name"]] = text
    return found

"""A Kubernetes API by plain requests, without buildpush: to ask two servers the same."""

from __future__ import annotations

import base64
import contextlib
import json
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx
import pytest
import yaml
from attrs import frozen
from kubernetes_stub import V4, V5
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

if TYPE_CHECKING:
    from kubernetes_target import Target

BUSYBOX: Final = "docker.io/library/busybox:1.37.0"


@frozen
class RawApi:
    """One namespace of an API server, by plain requests: ``jobs/NAME``, ``pods/NAME/log``."""

    base: str
    namespace: str
    client: httpx.Client
    tls: ssl.SSLContext
    verify: ssl.SSLContext

    def _url(self, path: str) -> str:
        group = "apis/batch/v1" if path.startswith("jobs") else "api/v1"
        return f"{self.base}/{group}/namespaces/{self.namespace}/{path}"

    def get(self, path: str, **params: str) -> httpx.Response:
        """GET."""
        return self.client.get(self._url(path), params=params)

    def post(self, path: str, body: Any, **params: str) -> httpx.Response:
        """POST."""
        return self.client.post(self._url(path), json=body, params=params)

    def patch(self, path: str, body: Any) -> httpx.Response:
        """A merge patch."""
        headers = {"Content-Type": "application/merge-patch+json"}
        return self.client.patch(self._url(path), content=json.dumps(body), headers=headers)

    def delete(self, path: str, **params: str) -> httpx.Response:
        """DELETE."""
        return self.client.delete(self._url(path), params=params)

    @contextlib.contextmanager
    def stream(self, path: str, **params: str) -> Iterator[httpx.Response]:
        """GET, to be read as it comes."""
        with self.client.stream("GET", self._url(path), params=params) as response:
            yield response

    @contextlib.contextmanager
    def execute(
        self,
        pod: str,
        container: str,
        argv: list[str],
        *,
        stdin: bool = False,
        protocols: tuple[str, ...] = (V5, V4),
    ) -> Iterator[ClientConnection]:
        """A command in a container, by WebSocket."""
        pairs = [("command", word) for word in argv]
        pairs += [("container", container), ("stdout", "true"), ("stderr", "true")]
        pairs += [("stdin", "true")] if stdin else []
        url = f"{self._url(f'pods/{pod}/exec')}?{httpx.QueryParams(pairs)}"
        headers = {k: v for k, v in self.client.headers.items() if k == "authorization"}
        with connect(
            url.replace("http", "ws", 1),
            ssl=self.tls if url.startswith("https") else None,
            subprotocols=[Subprotocol(name) for name in protocols],
            additional_headers=headers,
            max_size=None,
            proxy=None,
        ) as web:
            yield web


@contextlib.contextmanager
def open_raw(kubeconfig: Path, namespace: str) -> Iterator[RawApi]:
    """Requests as they are, without buildpush; skips where a program knows the credential."""
    config = yaml.safe_load(kubeconfig.read_text())
    current = _named(config["contexts"], config["current-context"])["context"]
    namespace = namespace or current.get("namespace") or "default"
    cluster = _named(config["clusters"], current["cluster"])["cluster"]
    user = _named(config["users"], current["user"])["user"]
    if not {"token", "client-certificate-data", "client-certificate"} & set(user):
        pytest.skip("needs a kubeconfig with a token or a client certificate in it")
    verify, shown = ssl.create_default_context(), ssl.create_default_context()
    with contextlib.ExitStack() as closing:
        folder = Path(closing.enter_context(tempfile.TemporaryDirectory()))
        for context in (verify, shown):
            if "certificate-authority-data" in cluster:
                data = base64.b64decode(cluster["certificate-authority-data"]).decode()
                context.load_verify_locations(cadata=data)
            elif "certificate-authority" in cluster:
                context.load_verify_locations(cluster["certificate-authority"])
        _show(shown, user, folder)
        headers = {"Authorization": f"Bearer {user['token']}"} if "token" in user else {}
        client = httpx.Client(verify=shown, headers=headers, timeout=90)
        closing.enter_context(client)
        yield RawApi(cluster["server"].rstrip("/"), namespace, client, shown, verify)


def _named(entries: list[dict[str, Any]], name: str) -> dict[str, Any]:
    return next(entry for entry in entries if entry["name"] == name)


def _show(context: ssl.SSLContext, user: Mapping[str, str], folder: Path) -> None:
    """Have *context* show the client certificate of a kubeconfig, where there is one."""
    paths: list[str] = []
    for part in ("client-certificate", "client-key"):
        if f"{part}-data" in user:
            path = folder / part
            path.write_bytes(base64.b64decode(user[f"{part}-data"]))
            paths.append(str(path))
        elif part in user:
            paths.append(user[part])
    if len(paths) == 2:
        context.load_cert_chain(*paths)


def shell_job(target: Target, command: str, *, init: str = "", **spec: Any) -> dict[str, Any]:
    """A Job of this test's that runs shell commands."""
    image = target.context_image or BUSYBOX
    policy = {"imagePullPolicy": "IfNotPresent"}
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 5,
        "hostNetwork": target.host_network,
        "containers": [
            {"name": "main", "image": image, "command": ["sh", "-c", command], **policy}
        ],
    }
    if init:
        pod["initContainers"] = [
            {"name": "first", "image": image, "command": ["sh", "-c", init], **policy}
        ]
    labels = {"app.kubernetes.io/managed-by": "buildpush"}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"{target.prefix}-job", "labels": labels},
        "spec": {
            "backoffLimit": 0,
            "template": {"metadata": {"labels": labels}, "spec": pod},
            **spec,
        },
    }


def pod_of(target: Target, api: RawApi, state: str, *, container: str = "main") -> str:
    """The Job's pod, once its *container* is ``running`` or whatever *state*."""

    def look() -> str:
        for pod in api.get("pods", labelSelector=f"job-name={target.prefix}-job").json()["items"]:
            status = pod["status"]
            key = "containerStatuses" if container == "main" else "initContainerStatuses"
            for entry in status.get(key, ()):
                if state in entry["state"]:
                    return str(pod["metadata"]["name"])
        return ""

    found: str = target.until(look)
    return found

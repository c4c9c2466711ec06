"""`StubCluster`: a Kubernetes API server on loopback, with Jobs and pods that live, for tests.

    with StubCluster(folder) as stub:
        stub.kubeconfig(path)                       # for whoever wants to use it
        ...
        assert stub.left("jobs", "pods", "secrets") == ()

It serves what a client needs that runs Jobs in a namespace. Its words, shapes and orders are those
of a real server: each module says what was seen, on 1.36.2 unless it says otherwise. Init
containers are really run (busybox, in a root of their own), so what is streamed into them really
arrives; kaniko's executor is played by `executor`, which builds what is simple and really pushes.
Every object that is created is also checked by kubernetes-validate, strictly: see `invalid`.

Not imitated: server-side apply beyond a merge, pod finalizers, resource usage, networks, other
controllers than those of Jobs, garbage and TTL, attach and port-forward, SPDY, an exec whose
command closes its stdin early (the real one withholds its status then), `/openapi`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import ssl
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .admission import ENFORCE
from .api import Api, Seen
from .cluster import Inside, Pace
from .consoles import Console
from .controllers import Controllers
from .fates import Fate, Fates
from .faults import Fault, Faults
from .kinds import EVENTS, KINDS, NAMESPACES, NODES, QUOTAS, SECRETS
from .rights import Rights, Rule
from .scheduling import Node
from .shells import missing
from .store import Object
from .streams import V4, V5
from .wire import Server

__all__ = [
    "V4",
    "V5",
    "Console",
    "Fate",
    "Fault",
    "Node",
    "Pace",
    "Rule",
    "Seen",
    "StubCluster",
    "missing",
]


class StubCluster:
    """A cluster on ``127.0.0.1``. Use it in a ``with`` block.

    *nodes* are its machines; *namespace* exists from the start; *pace* says how long things take;
    *protocols* are those that exec understands; *tls* is a server's context and its CA's file;
    *skew* how many seconds its clock is ahead.
    """

    def __init__(
        self,
        folder: Path | None = None,
        *,
        nodes: Iterable[Node] = (Node(),),
        namespace: str = "builds",
        pace: Pace | None = None,
        protocols: tuple[str, ...] = (V5, V4),
        tls: tuple[ssl.SSLContext, Path] | None = None,
        skew: float = 0.0,
    ) -> None:
        self._own = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="stub-cluster-"))
        self.namespace = namespace
        self.faults = Faults()
        self.rights = Rights()
        self._tls = tls
        self.inside = Inside(self.folder / "pods", list(nodes), pace or Pace(), skew)
        self.api = Api(self.inside, self.rights, self.faults, protocols)
        self._controllers = Controllers(self.inside)
        self._server = Server(self.api.handle, tls[0] if tls else None)
        self.admin = self.rights.admin()

    def __enter__(self) -> Self:
        self.inside.folder.mkdir(parents=True, exist_ok=True)
        self.add_namespace("default")
        if self.namespace != "default":
            self.add_namespace(self.namespace)
        for node in self.inside.nodes:
            self.inside.store.create(NODES, "", node.manifest())
        self._controllers.begin()
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.api.closing.set()
        self.inside.store.end_watches()
        self._server.stop()
        self.inside.end()
        self._controllers.end()
        shutil.rmtree(self.inside.folder, ignore_errors=True)
        if self._own:
            shutil.rmtree(self.folder, ignore_errors=True)

    # --- where it is, and for whom ---

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``, or https."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self._server.port}"

    def kubeconfig(self, path: Path, *, token: str = "", namespace: str = "") -> Path:
        """Write a kubeconfig for *token*'s user (an administrator if empty)."""
        cluster: Object = {"server": self.url}
        if self._tls:
            cluster["certificate-authority"] = str(self._tls[1])
        where = namespace or self.namespace
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "stub",
            "clusters": [{"name": "stub", "cluster": cluster}],
            "users": [{"name": "stub", "user": {"token": token or self.admin}}],
            "contexts": [
                {"name": "stub", "context": {"cluster": "stub", "user": "stub",
                                             "namespace": where}}
            ],
        }  # fmt: skip
        path.write_text(json.dumps(content))
        path.chmod(0o600)
        return path

    def account(self, name: str, rules: Iterable[Rule], namespace: str = "") -> str:
        """A ServiceAccount that may do what *rules* say in one namespace; its token."""
        return self.rights.account(namespace or self.namespace, name, rules)

    def add_namespace(
        self, name: str, *, restricted: bool = False, pods: int | None = None
    ) -> None:
        """Make a namespace: with PodSecurity ``restricted``, with a quota of *pods*."""
        labels = {"kubernetes.io/metadata.name": name}
        labels |= {ENFORCE: "restricted"} if restricted else {}
        self.inside.store.create(
            NAMESPACES,
            "",
            {"apiVersion": "v1", "kind": "Namespace",
             "metadata": {"name": name, "labels": labels}, "status": {"phase": "Active"}},
        )  # fmt: skip
        if pods is not None:
            quota = {"apiVersion": "v1", "kind": "ResourceQuota",
                     "metadata": {"name": "no-pods"}, "spec": {"hard": {"pods": str(pods)}}}  # fmt: skip
            self.inside.store.create(QUOTAS, name, quota)

    # --- what is to happen ---

    @property
    def fates(self) -> Fates:
        """What becomes of pods."""
        return self.inside.fates

    @property
    def absent_images(self) -> list[str]:
        """Patterns of images that cannot be pulled."""
        return self.inside.images.absent

    @contextlib.contextmanager
    def down(self) -> Iterator[None]:
        """Be out of reach, and break every connection; pods go on."""
        self._server.stop()
        try:
            yield
        finally:
            self._server.start()

    def outage(self, seconds: float) -> threading.Thread:
        """Be out of reach for so long, from now on."""

        def fall() -> None:
            with self.down():
                self.api.closing.wait(seconds)

        thread = threading.Thread(target=fall, daemon=True)
        thread.start()
        return thread

    def forget_history(self) -> None:
        """Make every watch that goes on from what it knows be told 410 Gone; end them all."""
        self.inside.store.compact()
        self.inside.store.end_watches()

    # --- what happened ---

    @property
    def seen(self) -> tuple[Seen, ...]:
        """Every request that was answered."""
        return tuple(self.api.seen)

    @property
    def invalid(self) -> tuple[str, ...]:
        """What kubernetes-validate, or the server itself, found wrong with what was created."""
        return tuple(self.api.invalid)

    def objects(self, plural: str, namespace: str = "") -> list[Object]:
        """What there is of a kind."""
        kind = next(k for k in KINDS if k.plural == plural)
        found = self.inside.store.all(kind)
        return [o for o in found if namespace in ("", o["metadata"].get("namespace"))]

    def left(self, *plurals: str) -> tuple[str, ...]:
        """What is left of these kinds, as ``jobs/name``."""
        wanted = plurals or ("jobs", "pods", "secrets", "configmaps")
        return tuple(
            f"{plural}/{found['metadata']['name']}"
            for plural in wanted
            for found in self.objects(plural)
        )

    def ever(self, *, secrets: bool) -> Iterator[str]:
        """All that the server has ever known, as text: objects in every version, requests, logs.

        With *secrets* only what is in Secrets (and requests that made them), else only the rest.
        """
        for change in self.inside.store.everything:
            if (change.kind is SECRETS) is secrets:
                yield json.dumps(change.new)
                if secrets:
                    values = (change.new.get("data") or {}).values()
                    yield from (base64.b64decode(v).decode(errors="replace") for v in values)
        for seen in self.seen:
            path = seen.target.partition("?")[0]
            if ("/secrets" in path) is secrets:
                yield f"{seen.method} {seen.target}\n{seen.body.decode(errors='replace')}"
        if not secrets:
            yield from list(self.inside.logs)
            for life in list(self.inside.lives.values()):
                for output in list(life.outputs.values()):
                    yield output.text

    def events(self) -> list[Mapping[str, Any]]:
        """Every event there is."""
        return list(self.inside.store.all(EVENTS))

"""What the Kubernetes contract suite runs against: the stub, or a real cluster."""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from attrs import define, field, frozen
from kubernetes_base import push_base
from kubernetes_raw import RawApi, open_raw
from kubernetes_running import Child
from kubernetes_stub import StubCluster

from buildpush.backends.kaniko import Flavor, KanikoBackend
from buildpush.backends.kaniko.kubernetes import KubernetesRunner, PodSettings, StreamedContext
from buildpush.backends.kaniko.kubernetes.api.client import Cluster
from buildpush.backends.kaniko.kubernetes.api.failures import NotThere
from buildpush.backends.kaniko.kubernetes.api.kinds import (
    CONFIG_MAPS,
    EVENTS,
    JOBS,
    NAMESPACES,
    PODS,
    SECRETS,
    Kind,
)
from buildpush.errors import BuildpushError, PermissionDeniedError
from buildpush.events import TaskLog
from buildpush.runtime import CancelToken, Environment
from buildpush.step import BuildAndPushStep
from buildpush.testing import LocalRegistry, PulledImage, RecordingSink, pull_image
from buildpush.testing.conformance.shell import Busybox

USER: Final = "pusher"
PASSWORD: Final = "registry-canary-4f1d9a"
STUB_IMAGE: Final = "example.invalid/kaniko:oss-1.28.3"
IMPOSSIBLE: Final = {"buildpush-tests/impossible": "yes"}
_CLIENT: Final = Path(__file__).with_name("kubernetes_client.py")
_MANAGED: Final = "app.kubernetes.io/managed-by=buildpush"
QUOTAS: Final = Kind("api/v1", "resourcequotas")
ACCOUNTS: Final = Kind("api/v1", "serviceaccounts")
ROLES: Final = Kind("apis/rbac.authorization.k8s.io/v1", "roles")
BINDINGS: Final = Kind("apis/rbac.authorization.k8s.io/v1", "rolebindings")


def flavor_of(image: str) -> Flavor:
    """Whose executor *image* holds, by a word in its name."""
    words = {
        "google": Flavor.GOOGLE,
        "kaniko-project": Flavor.GOOGLE,
        "chainguard": Flavor.CHAINGUARD,
    }
    return next((f for word, f in words.items() if word in image), Flavor.OSSCONTAINERTOOLS)


@frozen
class Given:
    """The variables that name a real cluster, as they were before any test."""

    variables: Mapping[str, str]

    @classmethod
    def read(cls) -> Given:
        """Those of this process."""
        names = ("KUBECONFIG", "BUILDPUSH_TEST_")
        return cls({n: v for n, v in os.environ.items() if n.startswith(names)})

    def __getattr__(self, name: str) -> str:
        return self.variables.get(f"BUILDPUSH_TEST_{name.upper()}", "")

    @property
    def kubeconfig(self) -> str:
        """The real cluster's, empty where there is none."""
        return self.variables.get("KUBECONFIG", "")


@define(eq=False, kw_only=True)
class Target:
    """A cluster, a registry, and what it takes to build with the one for the other.

    *token* is a word that is in the name of everything this test makes.
    """

    name: str
    kubeconfig: Path
    namespace: str
    image: str
    version: str
    context_image: str
    registry_host: str
    host_network: bool
    folder: Path
    stub: StubCluster | None = None
    registry: LocalRegistry | None = None
    token: str = field(factory=lambda: f"t{secrets.token_hex(4)}")
    _observer: Cluster | None = None
    _base: str = ""

    # --- what is there ---

    @property
    def is_real(self) -> bool:
        """Whether it is a real cluster."""
        return self.stub is None

    @property
    def the_stub(self) -> StubCluster:
        """The stub; a test that asks has said that it wants nothing else."""
        assert self.stub is not None
        return self.stub

    @property
    def observer(self) -> Cluster:
        """A client of the cluster's administrator, to look with."""
        if self._observer is None:
            self._observer = self.open(self.kubeconfig)
        return self._observer

    def open(self, kubeconfig: Path, namespace: str = "") -> Cluster:
        """A client for who *kubeconfig* names."""
        return Cluster.open(
            Environment.current(),
            kubeconfig=kubeconfig,
            namespace=namespace or self.namespace,
            cancel=CancelToken(),
        )

    def needs_builds(self) -> None:
        """Skip where nothing can be built and pushed."""
        if not self.image:
            pytest.skip("needs BUILDPUSH_TEST_KANIKO_IMAGE, an image the cluster can pull")
        if not self.registry_host:
            pytest.skip(
                "needs BUILDPUSH_TEST_REGISTRY (host:port that pods and this machine reach), or"
                " BUILDPUSH_TEST_HOST_NETWORK=1 with a cluster on this machine"
            )

    def needs_local_registry(self) -> LocalRegistry:
        """The registry in this process; skips where another one is used."""
        self.needs_builds()
        if self.registry is None:
            pytest.skip("needs a registry of its own: leave BUILDPUSH_TEST_REGISTRY unset")
        return self.registry

    def soon(self, seconds: float) -> float:
        """*seconds*, less where nothing takes its time."""
        return seconds if self.is_real else min(seconds, 3.0)

    # --- building ---

    def runner(
        self,
        *,
        schedule_timeout: float = 60.0,
        keep: bool = False,
        kubeconfig: Path | None = None,
        namespace: str = "",
        context_image: str = "",
        **pod: Any,
    ) -> KubernetesRunner:
        """A runner for this cluster; *pod* are settings of the pod."""
        return KubernetesRunner(
            kubeconfig=kubeconfig or self.kubeconfig,
            namespace=namespace or self.namespace,
            pod=PodSettings(host_network=self.host_network, **pod),
            delivery=StreamedContext(image=context_image or self.context_image),
            schedule_timeout=schedule_timeout,
            keep_on_failure=keep,
        )

    def backend(self, runner: KubernetesRunner | None = None, *, image: str = "") -> KanikoBackend:
        """A backend with the executor that was named."""
        chosen = image or self.image or STUB_IMAGE
        return KanikoBackend(
            image=chosen,
            runner=runner or self.runner(),
            flavor=flavor_of(chosen),
            version=self.version,
        )

    def base(self) -> str:
        """A base image with a shell, in the registry."""
        if not self._base:
            program = Path(shutil.which("busybox") or "/bin/busybox")
            if self.registry is not None:
                self._base = Busybox(program).put(self.registry, "base/busybox", "1")
            else:
                self._base = push_base(Busybox(program), self.registry_host)
        return self._base

    def context(self, dockerfile: str, files: Mapping[str, bytes | str] | None = None) -> Path:
        """A folder with *dockerfile*, in which ``$BASE`` is the base image, and *files*."""
        folder = self.folder / "context"
        folder.mkdir(exist_ok=True)
        text = dockerfile.replace("$BASE", self.base()) if "$BASE" in dockerfile else dockerfile
        for name, content in {"Dockerfile": text, **(files or {})}.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder

    def settings(
        self,
        dockerfile: str,
        files: Mapping[str, bytes | str] | None = None,
        /,
        **settings: Any,
    ) -> dict[str, Any]:
        """What a step is made from, without its backend."""
        host = self.registry_host or "registry.invalid"
        loopback = host.startswith(("127.0.0.1:", "localhost:"))
        return {
            "repo": f"{host}/{self.token}",
            "tags": ["1"],
            "context": str(self.context(dockerfile, files)),
            "delivery": "direct",
            "timeout": 240 if self.is_real else 60,
            **({} if loopback else {"insecure": [host]}),
            **settings,
        }

    def step(
        self,
        dockerfile: str,
        files: Mapping[str, bytes | str] | None = None,
        /,
        *,
        backend: KanikoBackend | None = None,
        **settings: Any,
    ) -> BuildAndPushStep:
        """A step that builds in this cluster and pushes to its registry."""
        made = self.settings(dockerfile, files, **settings)
        return self.step_of(made, backend or self.backend())

    def step_of(self, settings: Mapping[str, Any], backend: KanikoBackend) -> BuildAndPushStep:
        """A step from what `settings` made."""
        return BuildAndPushStep.parse({**settings, "backend": backend})

    def reference(self, tag: str = "1") -> str:
        """What a step pushes."""
        return f"{self.registry_host}/{self.token}:{tag}"

    def pulled(self, tag: str = "1", *, platform: str = "") -> PulledImage:
        """What the registry has."""
        return pull_image(self.reference(tag), platform=platform)

    # --- looking ---

    def objects(self, kind: Kind) -> tuple[dict[str, Any], ...]:
        """Everything of *kind* that this test has made and that is still there."""
        found: Any = self.observer.list(kind, labels=_MANAGED).items
        return tuple(o for o in found if o["metadata"]["name"].startswith(self.prefix))

    @property
    def prefix(self) -> str:
        """How everything this test makes is called at first."""
        return f"buildpush-{self.token}"

    def left(self) -> tuple[str, ...]:
        """What this test has left behind."""
        return tuple(
            f"{kind.plural}/{found['metadata']['name']}"
            for kind in (JOBS, PODS, SECRETS, CONFIG_MAPS)
            for found in self.objects(kind)
        )

    def left_after(self, seconds: float) -> tuple[str, ...]:
        """What is left when there has been time to go."""
        deadline = time.monotonic() + seconds
        while (left := self.left()) and time.monotonic() < deadline:
            time.sleep(0.2)
        return left

    def until(self, test: Callable[[], object], *, seconds: float = 60.0) -> Any:
        """What *test* says once that is true."""
        deadline = time.monotonic() + seconds
        while not (found := test()):
            assert time.monotonic() < deadline, f"did not come true within {seconds:g} s"
            time.sleep(0.1)
        return found

    def dump(self) -> Iterator[str]:
        """All there is to read in the namespace but Secrets, with the logs of this test's pods."""
        for kind in (JOBS, PODS, CONFIG_MAPS, EVENTS):
            for found in self.observer.list(kind).items:
                yield json.dumps(found)
        for pod in self.objects(PODS):
            for container in ("context", "kaniko"):
                with (
                    contextlib.suppress(BuildpushError),
                    self.observer.log(pod["metadata"]["name"], container, follow=False) as log,
                ):
                    yield b"\n".join(log).decode(errors="replace")

    @contextlib.contextmanager
    def scratch_namespace(
        self, labels: Mapping[str, str] | None = None, *, pods: int | None = None
    ) -> Iterator[str]:
        """A namespace of its own; skips where none may be made."""
        name = f"buildpush-{self.token}"
        if self.stub is not None:
            self.stub.add_namespace(name, restricted=bool(labels), pods=pods)
            yield name
            return
        made = {"metadata": {"name": name, "labels": dict(labels or {})}}
        try:
            self.observer.create(NAMESPACES, made)
        except PermissionDeniedError as error:
            pytest.skip(f"needs the right to make a namespace: {error.message}")
        try:
            with self.open(self.kubeconfig, name) as inside:
                self.until(lambda: _is_there(inside, ACCOUNTS, "default"))
                if pods is not None:
                    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": str(pods)}}}
                    inside.create(QUOTAS, quota)
                    self.until(lambda: _quota_is_known(inside))
            yield name
        finally:
            self.observer.delete(NAMESPACES, name)

    def close(self) -> None:
        """Hang up, and remove what a failed test may have left."""
        with contextlib.suppress(BuildpushError):
            for kind in (JOBS, SECRETS, PODS):
                for found in self.objects(kind):
                    self.observer.delete(kind, found["metadata"]["name"], grace=0)
        if self._observer is not None:
            self._observer.close()

    def raw(self) -> contextlib.AbstractContextManager[RawApi]:
        """Requests as they are, without buildpush."""
        return open_raw(self.kubeconfig, self.namespace)

    # --- a client of its own ---

    @contextlib.contextmanager
    def client(self, **told: Any) -> Iterator[Child]:
        """A process that builds; killed at the end if it still runs."""
        task = {
            "kubeconfig": str(self.kubeconfig),
            "namespace": self.namespace,
            "image": self.image or STUB_IMAGE,
            "flavor": flavor_of(self.image or STUB_IMAGE).value,
            "version": self.version,
            "context_image": self.context_image,
            "pod": {"host_network": self.host_network},
            **told,
        }
        process = subprocess.Popen(
            [sys.executable, str(_CLIENT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        child = Child(process)
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(task))
            process.stdin.close()
            yield child
        finally:
            process.kill()
            process.wait()
            child.reader.join(5)
            assert process.stdout is not None
            process.stdout.close()


def lines(sink: RecordingSink, pattern: str) -> list[str]:
    """The lines of output that match *pattern*."""
    return [e.line for e in sink.of(TaskLog) if re.fullmatch(pattern, e.line)]


def _is_there(cluster: Cluster, kind: Kind, name: str) -> bool:
    try:
        cluster.get(kind, name)
    except NotThere:
        return False
    return True


def _quota_is_known(cluster: Cluster) -> bool:
    found: Any = cluster.get(QUOTAS, "none")
    return bool(found.get("status", {}).get("hard"))

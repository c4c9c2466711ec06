"""The two targets of the contract suite: the stub always, a cluster where KUBECONFIG names one."""

from __future__ import annotations

import base64
import json
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from kubernetes_raw import BUSYBOX, RawApi, open_raw
from kubernetes_stub import Node, StubCluster, missing
from kubernetes_target import PASSWORD, STUB_IMAGE, USER, Given, Target, flavor_of

from buildpush.backends.kaniko.kubernetes.api.client import Cluster
from buildpush.runtime import Environment
from buildpush.testing import LocalRegistry

_GIVEN = Given.read()  # before the first test has a clean environment
_NODES = (Node(name="node-amd64"), Node(name="node-arm64", architecture="arm64"))


@pytest.fixture(autouse=True)
def _no_network() -> None:
    """Let tests in here speak to a cluster that is not on this machine."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what asks for a *target* against the stub, and against the cluster if there is one."""
    if "target" in metafunc.fixturenames:
        names = ["stub", *(["cluster"] if _GIVEN.kubeconfig else [])]
        metafunc.parametrize("target", names, indirect=True)


@pytest.fixture
def stub(
    tmp_path_factory: pytest.TempPathFactory, missing_here: Callable[[], None]
) -> Iterator[StubCluster]:
    """A stub with a node of each of two architectures."""
    with StubCluster(tmp_path_factory.mktemp("stub"), nodes=_NODES) as found:
        yield found


@pytest.fixture
def missing_here(missing: Callable[[str], None]) -> Callable[[], None]:
    """Skip where the stub cannot run containers."""
    if said := _what_is_missing():
        missing(said)
    return lambda: None


def _what_is_missing() -> str:
    return missing()


@pytest.fixture
def target(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Target]:
    """The cluster under test."""
    make = _stub_target if request.param == "stub" else _real_target
    yield from make(request, tmp_path, monkeypatch)


@pytest.fixture
def stub_target(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Target]:
    """The stub, for what no real cluster can be asked to do."""
    yield from _stub_target(request, tmp_path, monkeypatch)


def _stub_target(
    request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Target]:
    found: StubCluster = request.getfixturevalue("stub")
    with LocalRegistry(auth="basic", users={USER: PASSWORD}, anonymous_pull=True) as registry:
        _log_in(registry.host, folder, monkeypatch)
        target = Target(
            name="stub",
            kubeconfig=found.kubeconfig(folder / "kubeconfig"),
            namespace=found.namespace,
            image=STUB_IMAGE,
            version="1.28.3",
            context_image="",
            registry_host=registry.host,
            host_network=False,
            folder=folder,
            stub=found,
            registry=registry,
        )
        yield target
        target.close()
    if request.node.get_closest_marker("invalid_objects") is None:
        assert found.invalid == (), "kubernetes-validate, strictly, or the server itself"


def _real_target(
    request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Target]:
    monkeypatch.setenv("KUBECONFIG", _GIVEN.kubeconfig)
    kubeconfig = Path(_GIVEN.kubeconfig.split(":")[0])
    with Cluster.open(Environment.current(), kubeconfig=kubeconfig) as cluster:
        namespace = _GIVEN.namespace or cluster.namespace
        here = urlsplit(cluster.server).hostname in ("127.0.0.1", "localhost", "::1")
    own = not _GIVEN.registry and here and _GIVEN.host_network == "1"
    with LocalRegistry(auth="basic", users={USER: PASSWORD}, anonymous_pull=True) as registry:
        if own:
            _log_in(registry.host, folder, monkeypatch)
        target = Target(
            name="cluster",
            kubeconfig=kubeconfig,
            namespace=namespace,
            image=_GIVEN.kaniko_image,
            version=_GIVEN.kaniko_version or _version(request),
            context_image=_GIVEN.context_image,
            registry_host=registry.host if own else _GIVEN.registry,
            host_network=_GIVEN.host_network == "1",
            folder=folder,
            registry=registry if own else None,
        )
        yield target
        target.close()


def _version(request: pytest.FixtureRequest) -> str:
    """What the executor calls itself, asked once by a Job; a guess where none is named."""
    if not _GIVEN.kaniko_image:
        return "1.28.3"
    found: str = request.getfixturevalue("kaniko_version")
    return found


@pytest.fixture
def shells(request: pytest.FixtureRequest, target: Target) -> None:
    """Skip where the nodes cannot pull an image with a shell; found out once."""
    if target.is_real and (said := request.getfixturevalue("no_shells")):
        pytest.skip(said)


@pytest.fixture(scope="session")
def no_shells() -> str:
    """Why no shell can be run in the real cluster, empty where one can."""
    kubeconfig = Path(_GIVEN.kubeconfig.split(":")[0])
    name = f"buildpush-tests-{secrets.token_hex(4)}"
    image = _GIVEN.context_image or BUSYBOX
    container = {"name": "main", "image": image, "command": ["true"],
                 "imagePullPolicy": "IfNotPresent"}  # fmt: skip
    spec = {"restartPolicy": "Never", "containers": [container]}
    with open_raw(kubeconfig, _GIVEN.namespace) as api:
        api.post("pods", {"metadata": {"name": name}, "spec": spec}).raise_for_status()
        try:
            return _whether_it_ran(api, name, image)
        finally:
            api.delete(f"pods/{name}", gracePeriodSeconds="0")


def _whether_it_ran(api: RawApi, name: str, image: str) -> str:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        status = api.get(f"pods/{name}").json()["status"]
        if status["phase"] in ("Succeeded", "Failed"):
            return ""
        for entry in status.get("containerStatuses", ()):
            waiting = entry["state"].get("waiting") or {}
            if "Image" in waiting.get("reason", ""):
                said = waiting.get("message", waiting["reason"])
                return f"needs BUILDPUSH_TEST_CONTEXT_IMAGE: {image} cannot be pulled: {said}"
        time.sleep(0.3)
    return f"needs a cluster that runs a pod within 90 s ({image})"


@pytest.fixture(scope="session")
def kaniko_version() -> str:
    """The version of BUILDPUSH_TEST_KANIKO_IMAGE, as its executor says it."""
    from buildpush.backends.kaniko import KanikoBackend
    from buildpush.backends.kaniko.kubernetes import KubernetesRunner

    runner = KubernetesRunner(
        kubeconfig=Path(_GIVEN.kubeconfig.split(":")[0]), namespace=_GIVEN.namespace
    )
    image = _GIVEN.kaniko_image
    backend = KanikoBackend(image=image, runner=runner, flavor=flavor_of(image))
    return backend.probe().version.split()[0]


def _log_in(host: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = folder / "docker"
    config.mkdir()
    auth = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    (config / "config.json").write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    monkeypatch.setenv("DOCKER_CONFIG", str(config))

"""Pipelines as people write them for Harness: planned on every backend, and run on two."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from buildpush import Context
from buildpush.auth.connectors import DockerConnector
from buildpush.errors import PlanError
from buildpush.strategy import Status, harness_steps, run_harness
from buildpush.testing import LocalRegistry

PIPELINES = Path(__file__).parent / "pipelines"
BACKENDS = ("native", "docker", "buildx", "buildah")
CLOUDS = ("ecr", "gar", "acr", "layer-caching")
RUNS = {
    "multi-arch": {"multi": {"7", "latest"}},
    "scan-before-push": {"scanned": {"0123456", "scanned"}},
    "buildah-nonroot": {"nonroot": {"1.10", "latest"}},
    "kaniko-plugin": {"expanded": {"1", "1.4", "1.4.2"}},
    "matrix": {"cart": {"1.10", "1.11"}, "stock": {"1.11"}},
    "optimize": {"optimized": {"1.10"}},
}
_NO_CACHE = "buildah cannot keep a cache outside a registry (its caches are repositories)"
_CONTAINER = "resources, runAsUser"
# What each backend leaves out of a pipeline, or why it refuses it; nothing where it is not here.
LOST: dict[str, dict[str, set[str]]] = {
    "ecr": {"native": {"remoteCacheImage"}},
    "gar": {"native": {"remoteCacheImage"}},
    "kaniko-plugin": {"docker": {"insecure"}, "buildx": {"insecure"}},
    "layer-caching": {
        "native": {"cacheFrom, cacheTo"},
        "buildah": {
            f"2 reasons why not: cache_from: {_NO_CACHE}; cache_to: {_NO_CACHE}",
        },
    },
    "optimize": {
        "native": {"optimize", _CONTAINER},
        "docker": {"optimize", _CONTAINER},
        "buildx": {"optimize", _CONTAINER},
        "buildah": {"optimize", _CONTAINER},
    },
}


class Registry(Protocol):
    host: str
    url: str


class Engine(Protocol):
    def activate(self, monkeypatch: pytest.MonkeyPatch) -> None: ...


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout: a Dockerfile with a RUN comes with the base image; here is one of data."""
    (tmp_path / "hello.txt").write_text("hello\n")
    text = "FROM scratch\nARG VERSION=none\nLABEL version=$VERSION\nCOPY hello.txt /\n"
    (tmp_path / "Dockerfile.data").write_text(text)
    (tmp_path / "Dockerfile").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def context(host: str) -> Context:
    """What Harness would know in a run."""
    return Context.of(
        {
            "pipeline.sequenceId": 7,
            "env.registry": host,
            "codebase": {"branch": "main", "tag": "v1.4.2", "shortCommitSha": "0123456"},
        },
        inputs={"stage.variables.registry": host, "value": host},
    )


def tags(registry: Registry, repository: str) -> set[str]:
    with urllib.request.urlopen(f"{registry.url}/v2/{repository}/tags/list", timeout=10) as got:
        return set(json.load(got)["tags"])


def labels(registry: Registry, repository: str, tag: str) -> Mapping[str, str]:
    """The labels of an image, as the registry has it."""
    manifest = fetched(registry, f"{repository}/manifests/{tag}")
    config = fetched(registry, f"{repository}/blobs/{manifest['config']['digest']}")
    found: Mapping[str, str] = config["config"].get("Labels") or {}
    return found


def fetched(registry: Registry, path: str) -> Any:
    types = "application/vnd.oci.image.manifest.v1+json, "
    types += "application/vnd.docker.distribution.manifest.v2+json"
    request = urllib.request.Request(f"{registry.url}/v2/{path}", headers={"Accept": types})
    with urllib.request.urlopen(request, timeout=10) as got:
        return json.load(got)


def test_every_pipeline_is_here_and_has_a_step() -> None:
    found = {path.stem for path in PIPELINES.glob("*.yaml")}

    assert len(found) >= 10
    assert found == {*RUNS, *CLOUDS, "base-image-connectors"}


@pytest.mark.needs_buildah
@pytest.mark.needs_buildx
@pytest.mark.parametrize("name", sorted(path.stem for path in PIPELINES.glob("*.yaml")))
def test_a_pipeline_is_planned_on_every_backend_with_its_losses(
    name: str,
    folder: Path,
    dockerd: Engine,
    buildah_root: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dockerd.activate(monkeypatch)
    buildah_root.activate(monkeypatch)
    folder.joinpath("Dockerfile").write_text("FROM scratch AS final\nCOPY hello.txt /\n")
    told: dict[str, set[str]] = {}
    for backend in BACKENDS:
        steps = harness_steps(
            PIPELINES / f"{name}.yaml",
            expressions=context("registry.test"),
            backend=backend,
            step="build" if name == "scan-before-push" else "",
        )
        assert steps
        for step in steps.values():
            try:
                plan = step.plan()
            except PlanError as error:
                told[backend] = {error.message}
                continue
            lost = {each.setting for each in plan.decisions if each.fit.value != "exact"}
            left = {each.partition(":")[0] for each in plan.warnings if ": left out:" in each}
            if lost | left:
                told[backend] = lost | left

    assert told == LOST.get(name, {})


@pytest.mark.parametrize("name", RUNS)
def test_a_pipeline_runs_on_native(name: str, docker_registry: Registry) -> None:
    _runs(name, docker_registry, "native")


@pytest.mark.needs_buildx
@pytest.mark.parametrize("name", RUNS)
def test_a_pipeline_runs_on_buildx(
    name: str, docker_registry: Registry, dockerd: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    dockerd.activate(monkeypatch)

    _runs(name, docker_registry, "buildx")


def _runs(name: str, registry: Registry, backend: str) -> None:
    table = run_harness(
        PIPELINES / f"{name}.yaml",
        expressions=context(registry.host),
        backend=backend,
        insecure=[registry.host],
    )

    table.raise_for_failure()
    assert {row.status for row in table} == {Status.SUCCESS}
    assert {repository: tags(registry, repository) for repository in RUNS[name]} == RUNS[name]


def test_labels_and_build_args_of_a_matrix_are_each_one_s_own(docker_registry: Registry) -> None:
    _runs("matrix", docker_registry, "native")

    assert labels(docker_registry, "cart", "1.11") == {"service": "CART", "version": "1.11"}
    assert labels(docker_registry, "stock", "1.11") == {"service": "STOCK", "version": "1.11"}


def test_what_was_scanned_is_what_was_pushed(docker_registry: Registry) -> None:
    _runs("scan-before-push", docker_registry, "native")

    assert labels(docker_registry, "scanned", "scanned") == {"version": "none"}


def test_the_artifact_of_a_plugin_is_written(docker_registry: Registry, folder: Path) -> None:
    _runs("kaniko-plugin", docker_registry, "native")

    artifact = json.loads((folder / "artifact.json").read_text())
    assert [each["image"] for each in artifact["data"]["images"]] == [
        f"{docker_registry.host}/expanded:1.4.2"
    ]


@pytest.fixture
def guarded() -> Iterator[LocalRegistry]:
    """A registry with one user who pushes, and one for base images."""
    with LocalRegistry(auth="basic", users={"pusher": "push-pass", "reader": "read-pass"}) as it:
        yield it


def test_base_images_come_by_their_own_connectors(guarded: LocalRegistry, folder: Path) -> None:
    """The registry of the base image and that of the push are one, with two users."""
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY hello.txt /\n")
    pusher = DockerConnector(url=guarded.url, username="pusher", password="push-pass")
    reader = DockerConnector(url=guarded.url, username="reader", password="read-pass")
    connectors = {
        "registry": pusher,
        "registry_readonly": reader,
        "mirror": DockerConnector(url="https://mirror.test"),
    }
    text = (PIPELINES / "base-image-connectors.yaml").read_text()
    base = run_harness(
        text.replace("repo: based", "repo: base"), connectors=connectors, backend="native"
    )
    base.raise_for_failure()
    (folder / "Dockerfile").write_text(
        f"FROM {guarded.host}/base:1.10\nARG VERSION\nLABEL version=$VERSION\n"
    )

    run_harness(text, connectors=connectors, backend="native").raise_for_failure()

    assert set(guarded.tags("based")) == {"1.10"}


@pytest.mark.needs_buildx
@pytest.mark.parametrize("backend", ["native", "buildx"])
def test_a_matrix_of_bake_files_is_built(
    backend: str,
    docker_registry: Registry,
    folder: Path,
    dockerd: Engine,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Plugin steps with bake files: each run builds the targets that its service has."""
    dockerd.activate(monkeypatch)
    for service in ("basket", "depot"):
        (folder / f"{service}.hcl").write_text(
            'variable "HOST" {}\nvariable "SUFFIX" { default = "none" }\n'
            'group "default" { targets = ["app", "debug"] }\n'
            f'target "app" {{ tags = ["${{HOST}}/{service}:1.10"] }}\n'
            f'target "debug" {{ tags = ["${{HOST}}/{service}:${{SUFFIX}}"] }}\n'
        )
    text = """\
step:
  identifier: bake
  name: bake
  type: Plugin
  strategy: {matrix: {service: [basket, depot]}}
  spec:
    connectorRef: account.hub
    image: plugins/buildx:1.3.12
    settings:
      repo: unused
      bake_file: <+matrix.service>.hcl
      bake_options: "app; debug; --set app.args.VERSION=1.10"
    envVariables:
      HOST: <+env.registry>
      SUFFIX: debug
"""
    table = run_harness(
        text,
        expressions=context(docker_registry.host),
        backend=backend,
        insecure=[docker_registry.host],
    )

    table.raise_for_failure()
    for service in ("basket", "depot"):
        assert tags(docker_registry, service) == {"1.10", "debug"}
        assert labels(docker_registry, service, "1.10") == {"version": "1.10"}
        assert labels(docker_registry, service, "debug") == {"version": "none"}

"""What real engines export, adopted: every form of it, and base layers that stay where they are."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from buildpush import BuildAndPushStep
from buildpush.auth import Chain
from buildpush.backends import Backend
from buildpush.backends.buildah import BuildahBackend
from buildpush.backends.buildx import BuildxBackend
from buildpush.backends.engine.exported import adopt
from buildpush.dockerfile import parse
from buildpush.oci import Digest, ImageReference, Platform
from buildpush.oci.layout import Layout, verify
from buildpush.oci.wire import Manifest, MediaType
from buildpush.plan import BuildRequest, LayoutArtifact
from buildpush.runtime import CancelToken, Run
from buildpush.testing import LocalRegistry, RecordingSink

DOCKERFILE = "FROM {base}\nCOPY file /\nRUN cp /file /copy\n"


@pytest.fixture
def registry() -> Iterator[LocalRegistry]:
    with LocalRegistry() as registry:
        yield registry


@pytest.fixture
def base(busybox_base: Any, registry: LocalRegistry) -> str:
    reference: str = busybox_base.push(registry.host, "library/base")
    return reference


@pytest.fixture
def context(tmp_path: Path, base: str) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "file").write_text("text")
    (folder / "Dockerfile").write_text(DOCKERFILE.format(base=base))
    return folder


@pytest.fixture
def adopted(tmp_path: Path, context: Path) -> Callable[[Path], tuple[Layout, Digest]]:
    """Adopt an export of the context without being told the base; the image, verified."""

    def adopted(source: Path) -> tuple[Layout, Digest]:
        folder = tmp_path / "run"
        folder.mkdir()
        run = Run(workdir=folder, cancel=CancelToken(), sink=RecordingSink())
        request = BuildRequest(
            context=context,
            dockerfile=parse("FROM scratch\nCOPY . /\n"),
            dockerfile_path=context / "Dockerfile",
        )
        artifact = adopt(source, request, Chain(()), run)
        layout = Layout.open(artifact.path)
        (image,) = verify(layout, artifact.digest)
        found = [MediaType.compression_of(layer.media_type) for layer in image.layers]
        assert found == ["gzip"] * 3
        return layout, artifact.digest

    return adopted


def shell(command: str, **variables: str) -> str:
    environment = {**os.environ, **variables}
    done = subprocess.run(command, shell=True, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def build_and_push(
    backend: str, context: Path, registry: LocalRegistry, delivery: Any = "layout"
) -> dict[str, Any]:
    """Build with exporting; the manifest in the registry."""
    step = BuildAndPushStep(
        context=context,
        backend=backend,
        network="host",
        delivery=delivery,
        repo=registry.reference("acme/app"),
    )
    registry.clear_log()
    result = step.run()
    manifest: dict[str, Any] = json.loads(registry.manifest("acme/app", result.digest) or b"")
    return manifest


def only_layer_of(registry: LocalRegistry, repository: str) -> dict[str, Any]:
    (layer,) = json.loads(registry.manifest(repository, "latest") or b"")["layers"]
    found: dict[str, Any] = layer
    return found


def uploads(registry: LocalRegistry) -> int:
    """How many bytes the uploads of blobs had."""
    return sum(r.bytes_received for r in registry.requests if "/blobs/uploads/" in r.path)


# --- base layers ---


def check_base_is_not_exported(
    backend: Backend, context: Path, registry: LocalRegistry, folder: Path
) -> None:
    text = (context / "Dockerfile").read_text()
    request = BuildRequest(
        context=context,
        dockerfile=parse(text),
        dockerfile_path=context / "Dockerfile",
        references=(ImageReference.parse(registry.reference("acme/app:1")),),
        platforms=(Platform.host(),),
        network="host",
    )
    folder.mkdir()
    run = Run(workdir=folder, cancel=CancelToken(), sink=RecordingSink())
    backend.probe()

    artifact = backend.build(request, Chain(()), run)

    assert isinstance(artifact, LayoutArtifact)
    layout = Layout.open(artifact.path)
    layer, *new = (Digest(x["digest"]) for x in json.loads(layout.read(artifact.digest))["layers"])
    assert not layout.has(layer)
    assert artifact.origins[layer].path == "library/base"
    assert all(layout.has(digest) for digest in new)


def check_base_is_left_alone(backend: str, context: Path, registry: LocalRegistry) -> None:
    manifest = build_and_push(backend, context, registry)

    layer = only_layer_of(registry, "library/base")
    assert manifest["layers"][0]["digest"] == layer["digest"]
    assert manifest["layers"][0]["size"] == layer["size"]
    assert any(f"mount={layer['digest'][:6]}" in r.query for r in registry.requests)
    assert 0 < uploads(registry) < layer["size"] / 4


@pytest.mark.needs_buildx
def test_buildkit_does_not_export_base_layers(
    tmp_path: Path,
    dockerd: Any,
    context: Path,
    registry: LocalRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Their blobs are marked in the layout; the push mounts them."""
    dockerd.activate(monkeypatch)

    check_base_is_not_exported(BuildxBackend(), context, registry, tmp_path / "run")
    check_base_is_left_alone("buildx", context, registry)


@pytest.mark.needs_buildah
def test_buildah_does_not_export_base_layers(
    tmp_path: Path,
    buildah_root: Any,
    context: Path,
    registry: LocalRegistry,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its storage has forgotten their blobs; the base image's own come back."""
    buildah_root.activate(monkeypatch)

    check_base_is_not_exported(BuildahBackend(), context, registry, tmp_path / "run")
    check_base_is_left_alone("buildah", context, registry)


@pytest.mark.needs_buildah
def test_buildah_does_not_look_into_what_is_there(
    tmp_path: Path, buildah_root: Any, context: Path, registry: LocalRegistry
) -> None:
    """An empty file called by a layer's diff id keeps it from reading the layer at all."""
    base = json.loads(registry.manifest("library/base", "latest") or b"")
    config = json.loads(registry.blob("library/base", base["config"]["digest"]) or b"")
    mark = Path(tmp_path, "export/blobs", config["rootfs"]["diff_ids"][0].replace(":", "/"))
    mark.parent.mkdir(parents=True)
    mark.touch()

    shell(
        f"buildah bud --isolation chroot --tls-verify=false -t saved:1 --layers {context} && "
        f"buildah push saved:1 oci:{tmp_path}/export",
        **buildah_root.env,
    )

    layout = Layout.open(tmp_path / "export")
    manifest = layout.document(layout.index().manifests[0].digest)
    assert isinstance(manifest, Manifest)
    assert manifest.layers[0].digest.hex == mark.name
    assert manifest.layers[0].size == mark.stat().st_size == 0


@pytest.mark.needs_docker
def test_a_classic_dockers_plain_base_layers_become_the_bases_own(
    dockerd_classic: Any, context: Path, registry: LocalRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It saves every layer as a plain tar: none of the base's is compressed or sent."""
    dockerd_classic.activate(monkeypatch)

    check_base_is_left_alone("docker", context, registry)


# --- every form of an export ---


@pytest.mark.needs_buildx
@pytest.mark.parametrize("tar", ["true", "false"])
def test_what_buildkit_exports_uncompressed_is_adopted(
    tmp_path: Path, dockerd: Any, buildx_plugin: Path, context: Path, adopted: Any, tar: str
) -> None:
    """As a folder and as an archive; base layers keep the compression they had."""
    output = f"type=oci,tar={tar},dest={tmp_path}/export,compression=uncompressed"

    shell(
        f"{buildx_plugin} build --provenance=false --network host --allow network.host "
        f"--output {output} {context}",
        **dockerd.env,
    )

    adopted(tmp_path / "export")


@pytest.mark.needs_buildx
def test_what_a_current_docker_saves_is_adopted(
    tmp_path: Path, dockerd: Any, buildx_plugin: Path, context: Path, adopted: Any
) -> None:
    """The containerd image store saves the blobs as they are."""
    shell(
        f"{buildx_plugin} build --provenance=false --network host --allow network.host --load "
        f"-t saved:1 {context} && docker save -o {tmp_path}/saved.tar saved:1",
        **dockerd.env,
    )

    adopted(tmp_path / "saved.tar")


@pytest.mark.needs_docker
def test_what_an_old_docker_saves_is_adopted(
    tmp_path: Path, dockerd_classic: Any, context: Path, adopted: Any
) -> None:
    """Plain layers in folders of their own, and no index: compressed, and given a manifest."""
    shell(
        f"docker build --network host -t saved:1 {context} && "
        f"docker save -o {tmp_path}/saved.tar saved:1",
        **dockerd_classic.env,
    )

    adopted(tmp_path / "saved.tar")


@pytest.mark.needs_buildah
@pytest.mark.parametrize("form", ["oci:{0}", "oci-archive:{0}", "docker-archive:{0}:saved:1"])
def test_what_buildah_exports_is_adopted(
    tmp_path: Path, buildah_root: Any, context: Path, adopted: Any, form: str
) -> None:
    """Two forms are gzipped by it; docker's archive is plain."""
    target = form.format(tmp_path / "export")

    shell(
        f"buildah bud --isolation chroot --tls-verify=false -t saved:1 --layers {context} && "
        f"buildah push saved:1 {target}",
        **buildah_root.env,
    )

    adopted(tmp_path / "export")

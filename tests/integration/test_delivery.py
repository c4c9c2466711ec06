"""From artifact to result: outputs on disk, base layers nobody had read, backends that push."""

import json
import subprocess
import tarfile
from pathlib import Path
from typing import Protocol

import pytest
from attrs import frozen

from buildpush import BuildAndPushStep, Capabilities, Digest, Keychain, Platform
from buildpush.errors import (
    DigestMismatchError,
    RegistryUnavailableError,
    SpecError,
    UnsupportedFeatureError,
)
from buildpush.events import Phase
from buildpush.oci.archive import read_docker_archive
from buildpush.oci.layout import Layout, unpack_tar, verify
from buildpush.plan import Artifact, BuildRequest, Feature, PushedArtifact
from buildpush.registry import RegistryClient
from buildpush.registry.push import push
from buildpush.runtime import Run
from buildpush.testing import LocalRegistry, RecordingSink, random_image, random_index


class Pushable(Protocol):
    digest: str

    def push(self, host: str, repository: str, tag: str) -> str: ...


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "file").write_text("hello\n")
    return folder


def test_a_label_alone_fetches_no_base_layer(
    context: Path, local_registry: LocalRegistry, busybox_base: Pushable
) -> None:
    """On one registry the base layer is mounted: its bytes never pass through here."""
    base = busybox_base.push(local_registry.host, "base/busybox", "1")
    (context / "Dockerfile").write_text(f"FROM {base}\nLABEL a=1\n")
    local_registry.clear_log()

    result = BuildAndPushStep(
        repo=local_registry.reference("acme/app"), context=context, backend="native"
    ).run()

    layer = json.loads(local_registry.manifest("acme/app", "latest") or b"")["layers"][0]
    asked = [(r.method, r.path) for r in local_registry.requests]
    assert local_registry.digest("acme/app", "latest") == result.digest
    assert ("GET", f"/v2/base/busybox/blobs/{layer['digest']}") not in asked
    assert any(r.status == 201 and "mount=" in r.query for r in local_registry.requests)


def test_between_registries_a_base_layer_is_copied(
    context: Path, local_registry: LocalRegistry, busybox_base: Pushable
) -> None:
    """What cannot be mounted is streamed from one registry to the other."""
    with LocalRegistry() as elsewhere:
        base = busybox_base.push(elsewhere.host, "base/busybox", "1")
        (context / "Dockerfile").write_text(f"FROM {base}\nLABEL a=1\n")

        BuildAndPushStep(
            repo=local_registry.reference("acme/app"), context=context, backend="native"
        ).run()

    layer = json.loads(local_registry.manifest("acme/app", "latest") or b"")["layers"][0]
    assert local_registry.blob("acme/app", layer["digest"]) is not None


@pytest.mark.needs_skopeo
def test_outputs_are_whole_images(
    context: Path, tmp_path: Path, local_registry: LocalRegistry, busybox_base: Pushable
) -> None:
    """A layout, an OCI archive and a docker archive: each has every blob, and skopeo reads it."""
    base = busybox_base.push(local_registry.host, "base/busybox", "1")
    (context / "Dockerfile").write_text(f"FROM {base}\nLABEL a=1\n")
    outputs = {
        "oci": tmp_path / "layout",
        "oci-tar": tmp_path / "oci.tar",
        "docker": tmp_path / "d",
    }

    result = BuildAndPushStep(
        repo="a.example/app",
        tags=["1"],
        context=context,
        push=False,
        backend="native",
        outputs=[
            {"type": kind.partition("-")[0], "destination": str(path)}
            for kind, path in outputs.items()
        ],
    ).run()

    layout = Layout.open(outputs["oci"])
    unpacked = unpack_tar(outputs["oci-tar"], tmp_path / "unpacked")
    from_docker = Layout.create(tmp_path / "from-docker")
    ((descriptor, names),) = read_docker_archive(outputs["docker"], from_docker)
    assert result.references == ()
    assert result.outputs == tuple(outputs.values())
    for place in (layout, unpacked, from_docker):
        (image,) = verify(place, result.digest)
        assert image.manifest.digest == result.digest
    assert descriptor.digest == result.digest
    assert [str(name) for name in names] == ["a.example/app:1"]
    for source in (f"oci:{outputs['oci']}:1", f"docker-archive:{outputs['docker']}"):
        done = subprocess.run(
            ["skopeo", "inspect", "--config", source], capture_output=True, text=True, check=True
        )
        assert json.loads(done.stdout)["config"]["Labels"] == {"a": "1"}


def test_an_output_that_cannot_be_written_names_the_place(context: Path, tmp_path: Path) -> None:
    """A file where a folder must be is said as such."""
    (context / "Dockerfile").write_text("FROM scratch\nCOPY file /\n")
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(SpecError, match=r"image\.tar"):
        BuildAndPushStep(
            repo="a.example/app",
            context=context,
            push=False,
            backend="native",
            outputs=[{"type": "docker", "destination": str(tmp_path / "file" / "image.tar")}],
        ).run()


def test_plain_files_are_refused_when_planned(context: Path, tmp_path: Path) -> None:
    """Nothing is built for an output that nobody here can write."""
    (context / "Dockerfile").write_text("FROM scratch\nCOPY file /\n")
    step = BuildAndPushStep(
        repo="a.example/app",
        context=context,
        backend="native",
        outputs=[{"type": "local", "destination": str(tmp_path / "files")}],
    )

    with pytest.raises(UnsupportedFeatureError, match="export plain files"):
        step.plan()


@frozen
class PushingBackend:
    """Pushes an image by itself, as a pod without a shared disk does, and says *claimed*."""

    platforms: tuple[Platform, ...] = ()
    claimed: Digest | None = None

    def probe(self) -> Capabilities:
        return Capabilities(
            backend="pushing",
            version="1",
            features=frozenset({Feature.PUSH_DIRECTLY, Feature.MULTI_PLATFORM}),
        )

    def build(self, request: BuildRequest, keychain: Keychain, run: Run) -> Artifact:
        layout = Layout.create(run.workdir / "layout")
        digest = random_index(layout, self.platforms) if self.platforms else random_image(layout)
        with RegistryClient(keychain, run) as client:
            push(client, layout, digest, request.references, origins={}, run=run)
        return PushedArtifact(digest=self.claimed or digest)


@pytest.mark.parametrize(
    "platforms", [(), (Platform("linux", "amd64"), Platform("linux", "arm64"))]
)
def test_what_a_backend_pushed_is_read_back(
    platforms: tuple[Platform, ...], context: Path, local_registry: LocalRegistry
) -> None:
    """Both tags are looked at, and each platform's image is described."""
    (context / "Dockerfile").write_text("FROM scratch\n")
    sink = RecordingSink()

    result = BuildAndPushStep(
        repo=local_registry.reference("acme/app"),
        tags=["1", "2"],
        context=context,
        backend=PushingBackend(platforms),
    ).run(on_event=sink)

    assert result.digest == local_registry.digest("acme/app", "1")
    assert len(result.images) == max(1, len(platforms))
    assert all(image.size > 0 and image.layers == 1 for image in result.images.values())
    assert sink.state.phase is Phase.VERIFY


def test_a_backend_that_claims_too_much_is_found_out(
    context: Path, local_registry: LocalRegistry
) -> None:
    """The digest in the registry is the truth; a claim is not."""
    (context / "Dockerfile").write_text("FROM scratch\n")
    claimed = Digest.of(b"something else")
    step = BuildAndPushStep(
        repo=local_registry.reference("acme/app"),
        context=context,
        backend=PushingBackend(claimed=claimed),
    )

    with pytest.raises(DigestMismatchError, match=str(claimed)):
        step.run()


def test_what_cannot_be_read_back_is_said_to_be_pushed(
    context: Path, local_registry: LocalRegistry
) -> None:
    """Otherwise nobody would look for it in the registry."""

    class Pushing(PushingBackend):
        def build(self, request: BuildRequest, keychain: Keychain, run: Run) -> Artifact:
            artifact = super().build(request, keychain, run)
            local_registry.close()
            return artifact

    (context / "Dockerfile").write_text("FROM scratch\n")
    step = BuildAndPushStep(
        repo=local_registry.reference("acme/app"), context=context, backend=Pushing(), retries=0
    )

    with pytest.raises(RegistryUnavailableError, match="pushed cannot be read back: cannot reach"):
        step.run()


def test_two_images_share_a_layout(context: Path, tmp_path: Path) -> None:
    """Writing an image into a layout that is there keeps what it holds."""
    results = []
    for text in ("one", "two"):
        (context / "Dockerfile").write_text(f"FROM scratch\nCOPY file /{text}\n")
        results.append(
            BuildAndPushStep(
                repo="a.example/app",
                tags=[text],
                context=context,
                push=False,
                backend="native",
                outputs=[{"type": "oci", "destination": str(tmp_path / "layout")}],
            ).run()
        )

    layout = Layout.open(tmp_path / "layout")
    names = {
        d.annotations["org.opencontainers.image.ref.name"]: d.digest
        for d in layout.index().manifests
    }
    assert names == {"one": results[0].digest, "two": results[1].digest}


def test_an_oci_archive_is_a_plain_tar(context: Path, tmp_path: Path) -> None:
    """Anything that reads tars can read it."""
    (context / "Dockerfile").write_text("FROM scratch\nCOPY file /\n")

    BuildAndPushStep(
        repo="a.example/app",
        context=context,
        push=False,
        backend="native",
        outputs=[{"type": "oci", "destination": str(tmp_path / "image.tar")}],
    ).run()

    with tarfile.open(tmp_path / "image.tar") as archive:
        assert {"oci-layout", "index.json"} <= set(archive.getnames())

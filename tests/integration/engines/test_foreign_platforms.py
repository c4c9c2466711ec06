"""RUN for a CPU that this machine has not: executed where the kernel has an emulator, by all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildpush import BuildAndPushStep
from buildpush.backends.buildah import BuildahBackend
from buildpush.backends.buildx import BuildxBackend
from buildpush.backends.docker import DockerBackend
from buildpush.backends.native import NativeBackend
from buildpush.errors import UnsupportedFeatureError
from buildpush.oci import Platform
from buildpush.testing import LocalRegistry, pull_image

pytestmark = [
    pytest.mark.needs_root,
    pytest.mark.needs_docker,
    pytest.mark.needs_buildx,
    pytest.mark.needs_buildah,
]

BACKENDS = {
    "buildx": BuildxBackend,
    "docker": DockerBackend,
    "buildah": BuildahBackend,
    "native": NativeBackend,
}
MACHINES = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
ARM64 = Platform.parse("linux/arm64")
DOCKERFILE = """\
FROM --platform=$BUILDPLATFORM $BASE AS tools
ARG TARGETARCH
RUN echo "$(uname -m) for $TARGETARCH" > /built-on

FROM $BASE
RUN uname -m > /machine && chown 1:1 /machine && ps > /processes
COPY --from=tools /built-on /
"""
RUN_LINE = 6


@pytest.fixture(scope="module")
def registry() -> Iterator[LocalRegistry]:
    with LocalRegistry() as registry:
        yield registry


@pytest.fixture(scope="module")
def base(registry: LocalRegistry, two_platform_base: Any) -> str:
    reference: str = two_platform_base.push(registry.host, "base/busybox")
    return reference


@pytest.fixture(params=BACKENDS)
def backend(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    dockerd: Any,
    buildah_root: Any,
) -> Any:
    """Each in turn; the daemon has been running since long before an emulator was registered."""
    dockerd.activate(monkeypatch)
    buildah_root.activate(monkeypatch)
    return BACKENDS[request.param]()


@pytest.fixture
def context(tmp_path: Path, base: str) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text(DOCKERFILE.replace("$BASE", base))
    return folder


def step(backend: Any, context: Path, registry: LocalRegistry, repository: str) -> Any:
    daemon = isinstance(backend, BuildxBackend | DockerBackend)
    return BuildAndPushStep(
        context=context,
        repo=registry.reference(repository),
        platforms=list(MACHINES),
        backend=backend,
        network="host" if daemon else "default",
    )


@pytest.mark.usefixtures("binfmt_arm64")
def test_run_is_executed_for_each_platform(
    backend: Any, context: Path, registry: LocalRegistry, repository: str
) -> None:
    """The index has an image for each, made by programs for it, and by tools for this machine."""
    result = step(backend, context, registry, repository).run()

    reference = registry.reference(f"{repository}:latest")
    pulled = {name: pull_image(reference, platform=name) for name in MACHINES}
    listed = [
        f"{e['platform']['os']}/{e['platform']['architecture']}"
        for e in pulled["linux/arm64"].index["manifests"]
    ]
    assert {name: image.text("machine").strip() for name, image in pulled.items()} == MACHINES
    assert {name: image.text("built-on").strip() for name, image in pulled.items()} == {
        "linux/amd64": "x86_64 for amd64",
        "linux/arm64": "x86_64 for arm64",
    }
    assert {f"{i.config['os']}/{i.config['architecture']}" for i in pulled.values()} == set(
        MACHINES
    )
    assert listed == list(MACHINES)
    assert {image.digest for image in pulled.values()} == {str(result.digest)}


@pytest.mark.usefixtures("binfmt")
def test_without_an_emulator_run_is_refused(
    backend: Any, context: Path, registry: LocalRegistry, repository: str
) -> None:
    """Before anything is built, with the line that cannot be executed."""
    with pytest.raises(UnsupportedFeatureError) as caught:
        step(backend, context, registry, repository).run()

    assert f"Dockerfile, line {RUN_LINE}: " in caught.value.message
    assert "cannot execute RUN for linux/arm64" in caught.value.message
    assert "RUN uname -m" in caught.value.report()
    assert repository not in registry.repositories


def test_emulators_are_noticed_as_they_come_and_go(backend: Any, binfmt: Any) -> None:
    """What is kept of one look is not kept longer than it is true."""
    before = backend.probe().platforms
    with binfmt.arm64():
        during = backend.probe().platforms
    after = backend.probe().platforms

    assert ARM64 in during
    assert ARM64 not in before
    assert before == after == tuple(p for p in during if p != ARM64)


def test_dockers_own_client_knows_them_too(
    docker_way: Any, binfmt: Any, context: Path, registry: LocalRegistry, repository: str
) -> None:
    """Each way with BuildKit builds for arm64 where it can run, one platform at a time."""
    one = BuildAndPushStep(
        context=context,
        repo=registry.reference(repository),
        platforms=["linux/arm64"],
        backend=DockerBackend(),
        network="host",
    )

    with binfmt.arm64():
        if docker_way.is_classic:
            with pytest.raises(UnsupportedFeatureError, match="platform"):
                one.run()
            return
        one.run()
    docker_way.remove(registry.reference(f"{repository}:latest"))

    assert pull_image(registry.reference(f"{repository}:latest")).text("machine") == "aarch64\n"

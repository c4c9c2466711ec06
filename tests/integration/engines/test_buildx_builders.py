"""buildx's builders: the engine's own, remote ones, the user's, and those made for one run."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from buildkit_bridge import BuildkitBridge

from buildpush import BuildAndPushStep, CancelToken
from buildpush.backends.buildx import Builder, BuildxBackend
from buildpush.errors import BackendUnavailableError, StepCancelledError
from buildpush.plan import Delivery, Feature
from buildpush.testing import LocalRegistry, RecordingSink, snapshot_tree

pytestmark = pytest.mark.needs_buildx

IMAGE = os.environ.get("BUILDPUSH_TEST_BUILDKITD", "")
"""A tar of a root file system with buildkitd, buildctl and runc; there is no package of it."""


@pytest.fixture(autouse=True)
def engine(dockerd: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    dockerd.activate(monkeypatch)
    return dockerd


@pytest.fixture
def registry() -> Iterator[LocalRegistry]:
    with LocalRegistry() as registry:
        yield registry


@pytest.fixture
def context(tmp_path: Path, busybox_base: Any, registry: LocalRegistry) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    base = busybox_base.push(registry.host, "library/base")
    (folder / "Dockerfile").write_text(f"FROM {base}\nCOPY file /\n")
    (folder / "file").write_text("text")
    return folder


def push_with(backend: BuildxBackend, context: Path, registry: LocalRegistry, **more: Any) -> Any:
    sink = RecordingSink()
    step = BuildAndPushStep(
        repo=registry.reference("acme/app"), context=context, backend=backend, **more
    )
    result = step.run(on_event=sink)
    assert registry.digest("acme/app", "latest") == result.digest
    return result, sink


def socket_of(engine: Any) -> Path:
    return Path(engine.host.removeprefix("unix://"))


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose name leaves room for a socket's."""
    with tempfile.TemporaryDirectory(prefix="bp-", dir="/tmp") as folder:
        yield Path(folder)


# --- probing ---


def test_the_engines_own_buildkit_is_described(engine: Any) -> None:
    """With the containerd image store it can all that a layout needs; quickly, too."""
    backend = BuildxBackend()
    backend.probe()

    started = time.monotonic()
    found = backend.probe()
    seconds = time.monotonic() - started

    assert found.version.startswith("0.")
    assert {
        Feature.EXPORT_LAYOUT,
        Feature.MULTI_PLATFORM,
        Feature.REGISTRY_CACHE,
    } <= found.features
    assert any("containerd's image store" in remark for remark in found.remarks)
    assert found.platforms[0].os == "linux"
    assert seconds < 1


def test_the_classic_store_is_told_apart(
    dockerd_classic: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """buildx on it can build one image, which no layout can be made of."""
    monkeypatch.setenv("DOCKER_HOST", dockerd_classic.host)

    found = BuildxBackend().probe()

    assert not {Feature.EXPORT_LAYOUT, Feature.MULTI_PLATFORM} & found.features
    assert any("classic image store" in remark for remark in found.remarks)


def test_no_engine_is_an_error_with_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what to do."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")

    with pytest.raises(BackendUnavailableError, match=r"unix:///nowhere/docker\.sock"):
        BuildxBackend().probe()


def test_an_unknown_builder_is_named_with_the_known() -> None:
    """A typing mistake is found before anything is started."""
    with pytest.raises(BackendUnavailableError, match="no builder called 'nobodys'") as caught:
        BuildxBackend(builder="nobodys").probe()

    assert "default" in caught.value.hint


# --- remote ---


def test_a_remote_buildkit_on_a_unix_socket(
    engine: Any, context: Path, registry: LocalRegistry, short: Path, monkeypatch: Any
) -> None:
    """No docker engine is needed then."""
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with BuildkitBridge(socket_of(engine), path=short / "buildkit.sock") as bridge:
        backend = BuildxBackend(create=Builder(driver="remote", endpoint=bridge.address))

        result, _ = push_with(backend, context, registry)

        assert bridge.accepted > 0
    assert any("driver remote" in remark for remark in result.backend.remarks)


class Authority:
    """Certificates for a BuildKit called buildkit.test and for its client."""

    def __init__(self, folder: Path) -> None:
        authority = trustme.CA()
        server, client = authority.issue_cert("buildkit.test"), authority.issue_cert("me@a.test")
        self.tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.tls.verify_mode = ssl.CERT_REQUIRED
        server.configure_cert(self.tls)
        authority.configure_trust(self.tls)
        files = {name: folder / f"{name}.pem" for name in ("cacert", "cert", "key")}
        authority.cert_pem.write_to_path(files["cacert"])
        client.cert_chain_pems[0].write_to_path(files["cert"])
        client.private_key_pem.write_to_path(files["key"])
        self.options: dict[str, str | Path] = {**files, "servername": "buildkit.test"}


def test_a_remote_buildkit_by_tls(
    engine: Any, context: Path, registry: LocalRegistry, tmp_path: Path
) -> None:
    """It shows its certificate, and asks for the client's."""
    authority = Authority(tmp_path)
    with BuildkitBridge(socket_of(engine), tls=authority.tls) as bridge:
        builder = Builder(driver="remote", endpoint=bridge.address, options=authority.options)

        push_with(BuildxBackend(create=builder), context, registry, delivery="direct")

        assert bridge.accepted > 0


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"servername": "other.test"}, "Hostname mismatch"),
        ({"cert": "", "key": ""}, "refused this client's certificate, or its absence"),
    ],
)
def test_why_tls_fails_is_said(
    changed: dict[str, str], expected: str, engine: Any, tmp_path: Path
) -> None:
    """buildx itself would only say that nobody answers."""
    authority = Authority(tmp_path)
    options = {k: v for k, v in {**authority.options, **changed}.items() if v}
    with BuildkitBridge(socket_of(engine), tls=authority.tls) as bridge:
        builder = Builder(driver="remote", endpoint=bridge.address, options=options)

        with pytest.raises(BackendUnavailableError, match=expected):
            BuildxBackend(create=builder).probe()


def test_nobody_listens(engine: Any) -> None:
    """The reason is the system's."""
    with BuildkitBridge(socket_of(engine)) as bridge:
        address = bridge.address

    with pytest.raises(BackendUnavailableError, match="Connection refused"):
        BuildxBackend(create=Builder(driver="remote", endpoint=address)).probe()


# --- the user's ---


@pytest.fixture
def users_builder(engine: Any, tmp_path: Path, monkeypatch: Any) -> Iterator[Path]:
    """A remote builder called ``mine`` in ``~/.docker``; the folder."""
    home = Path.home() / ".docker"
    (home / "cli-plugins").mkdir(parents=True)
    plugin = Path(os.environ["DOCKER_CONFIG"], "cli-plugins", "docker-buildx").resolve()
    (home / "cli-plugins" / "docker-buildx").symlink_to(plugin)
    (home / "config.json").write_text('{"auths": {"example.test": {}}}')
    monkeypatch.delenv("DOCKER_CONFIG")
    with BuildkitBridge(socket_of(engine)) as bridge:
        create = [plugin, "create", "--name=mine", "--driver=remote", bridge.address]
        subprocess.run(create, check=True, capture_output=True)
        yield home


@pytest.mark.parametrize("way", ["argument", "variable", "use"])
def test_a_builder_of_the_users_is_found_and_left_alone(
    way: str, users_builder: Path, context: Path, registry: LocalRegistry, monkeypatch: Any
) -> None:
    """By name, by BUILDX_BUILDER, or as the current one; ``~/.docker`` stays as it was."""
    backend = BuildxBackend(builder="mine" if way == "argument" else "")
    if way == "variable":
        monkeypatch.setenv("BUILDX_BUILDER", "mine")
    if way == "use":
        plugin = users_builder / "cli-plugins" / "docker-buildx"
        subprocess.run([plugin, "use", "mine"], check=True, capture_output=True)
    before = snapshot_tree(users_builder)

    result, _ = push_with(backend, context, registry)

    assert "builder mine (driver remote)" in result.backend.remarks
    assert snapshot_tree(users_builder) == before


def test_a_context_is_a_builder_by_itself(
    engine: Any, users_builder: Path, context: Path, registry: LocalRegistry, monkeypatch: Any
) -> None:
    """The name of a docker context, as ``--builder`` takes it."""
    create = ["docker", "context", "create", "far", f"--docker=host={engine.host}"]
    subprocess.run(create, check=True, capture_output=True)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    before = snapshot_tree(users_builder)

    result, _ = push_with(BuildxBackend(builder="far"), context, registry)

    assert "builder far (driver docker)" in result.backend.remarks
    assert snapshot_tree(users_builder) == before


# --- made for one run ---


def leftovers(engine: Any) -> list[str]:
    """Containers and volumes of builders that are still there."""
    containers = json.loads(engine.api("GET", "/containers/json?all=true"))
    volumes = json.loads(engine.api("GET", "/volumes"))["Volumes"] or []
    names = [name for c in containers for name in c["Names"]] + [v["Name"] for v in volumes]
    return [name for name in names if "buildx_buildkit" in name]


def test_an_image_of_buildkit_that_cannot_be_had(
    engine: Any, context: Path, registry: LocalRegistry
) -> None:
    """The error says which, and how to name another; nothing is left."""
    builder = Builder(options={"image": "127.0.0.1:9/no/buildkit:1"})

    with pytest.raises(BackendUnavailableError, match=r"127\.0\.0\.1:9/no/buildkit:1") as caught:
        push_with(BuildxBackend(create=builder), context, registry)

    assert "cannot be pulled" in caught.value.message
    assert "options={'image'" in caught.value.hint
    assert leftovers(engine) == []


def test_an_option_that_the_driver_does_not_know(context: Path, registry: LocalRegistry) -> None:
    """buildx knows its options; its words come with the error."""
    builder = Builder(options={"colour": "blue"})

    with pytest.raises(BackendUnavailableError, match="invalid driver option"):
        push_with(BuildxBackend(create=builder), context, registry)


@pytest.fixture
def image(engine: Any) -> str:
    """An image of BuildKit, loaded into the engine."""
    if not IMAGE:
        pytest.skip("BUILDPUSH_TEST_BUILDKITD names no tar of a BuildKit's root file system")
    entry = "changes=ENTRYPOINT%20%5B%22buildkitd%22%5D"
    path = f"/images/create?fromSrc=-&repo=test/buildkitd&tag=1&{entry}"
    said = engine.api("POST", path, Path(IMAGE).read_bytes())
    assert b"sha256:" in said, said
    return "test/buildkitd:1"


@pytest.mark.parametrize("delivery", list(Delivery))
def test_a_builder_of_ones_own_lives_as_long_as_the_run(
    delivery: Delivery, image: str, engine: Any, context: Path, registry: LocalRegistry
) -> None:
    """Created, booted, used and removed, with its container and volume."""
    options = {"image": image, "network": "host", "env.LANG": "C, and a comma"}

    _, sink = push_with(
        BuildxBackend(create=Builder(options=options)),
        context,
        registry,
        delivery=delivery.name.lower(),
        platforms=["linux/amd64"],
    )

    assert any("booting buildkit" in line for line in sink.lines)
    assert leftovers(engine) == []
    assert sink.warnings == ()


def test_a_cancelled_run_leaves_no_builder(
    image: str, engine: Any, context: Path, registry: LocalRegistry
) -> None:
    """Cancelled while the build runs: gone within ten seconds."""
    with (context / "Dockerfile").open("a") as file:
        file.write("RUN echo running && sleep 60\n")
    token = CancelToken()
    at: list[float] = []

    def on_event(event: object) -> None:
        if "running" in str(getattr(event, "line", "")):
            at.append(time.monotonic())
            threading.Thread(target=token.cancel).start()

    builder = Builder(options={"image": image, "network": "host"})
    step = BuildAndPushStep(
        repo=registry.reference("acme/app"), context=context, backend=BuildxBackend(create=builder)
    )

    with pytest.raises(StepCancelledError):
        step.run(on_event=on_event, cancel=token)

    assert time.monotonic() - at[0] < 10
    assert leftovers(engine) == []

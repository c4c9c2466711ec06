"""Buildah as it is installed: formats, deliveries, isolations, and what a kill leaves behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import pytest

from buildpush import BuildAndPushStep
from buildpush.backends.buildah import BuildahBackend
from buildpush.errors import BuildError, StepCancelledError
from buildpush.events import Event, TaskLog
from buildpush.runtime import CancelToken
from buildpush.testing import LocalRegistry

pytestmark = pytest.mark.needs_buildah

SLEEP = "RUN echo started && sleep 86399"


class Storage(Protocol):
    root: Path
    env: Mapping[str, str]

    def activate(self, monkeypatch: pytest.MonkeyPatch) -> None: ...


@pytest.fixture
def storage(buildah_root: Storage, monkeypatch: pytest.MonkeyPatch) -> Storage:
    buildah_root.activate(monkeypatch)
    return buildah_root


@pytest.fixture
def registry() -> Iterator[LocalRegistry]:
    with LocalRegistry() as running:
        yield running


@pytest.fixture
def base(registry: LocalRegistry, busybox_base: Any) -> str:
    text: str = busybox_base.push(registry.host, "base/busybox")
    return text


@pytest.fixture
def build(
    storage: Storage, registry: LocalRegistry, tmp_path: Path
) -> Callable[..., BuildAndPushStep]:
    """Make a step of a Dockerfile's text."""

    def make(dockerfile: str, **settings: Any) -> BuildAndPushStep:
        folder = tmp_path / "context"
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text(dockerfile)
        settings.setdefault("backend", BuildahBackend())
        return BuildAndPushStep(repo=registry.reference("acme/app"), context=folder, **settings)

    return make


Build = Callable[..., BuildAndPushStep]


def read(found: bytes | None) -> bytes:
    assert found is not None
    return found


def config_of(registry: LocalRegistry, digest: object) -> tuple[dict[str, Any], dict[str, Any]]:
    """The pushed manifest and its config."""
    manifest = json.loads(read(registry.manifest("acme/app", str(digest))))
    return manifest, json.loads(read(registry.blob("acme/app", manifest["config"]["digest"])))


def asked(*words: str) -> str:
    done = subprocess.run(["buildah", *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("delivery", ["direct", "layout"])
def test_nothing_that_a_dockerfile_says_is_forgotten(
    build: Build, registry: LocalRegistry, base: str, delivery: str
) -> None:
    """Buildah's OCI format would lose three of these."""
    step = build(
        f'FROM {base}\nSHELL ["/bin/sh", "-ec"]\nHEALTHCHECK --retries=2 CMD true\n'
        "ONBUILD RUN true\nSTOPSIGNAL SIGUSR1\nUSER app\nEXPOSE 80\nRUN true\n",
        delivery=delivery,
    )

    _, config = config_of(registry, step.run().digest)

    said = config["config"]
    assert said["Shell"] == ["/bin/sh", "-ec"]
    assert said["Healthcheck"] == {"Test": ["CMD-SHELL", "true"], "Retries": 2}
    assert said["OnBuild"] == ["RUN true"]
    assert (said["StopSignal"], said["User"]) == ("SIGUSR1", "app")


def test_a_bases_health_check_survives(build: Build, registry: LocalRegistry, base: str) -> None:
    """The Dockerfile says nothing of it, and the OCI format would drop it."""
    build(f"FROM {base}\nHEALTHCHECK CMD true\n", tags=["base"], delivery="layout").run()
    step = build(f"FROM {registry.reference('acme/app:base')}\nCOPY Dockerfile /\n")

    _, config = config_of(registry, step.run().digest)

    assert config["config"]["Healthcheck"]["Test"] == ["CMD-SHELL", "true"]


def test_an_exported_base_stays_where_it_is(
    build: Build, registry: LocalRegistry, base: str
) -> None:
    """Its layer has the base's own digest, and is mounted, not sent."""
    step = build(f"FROM {base}\nRUN echo new > /new\n", delivery="layout")

    manifest, _ = config_of(registry, step.run().digest)

    original = json.loads(read(registry.manifest("base/busybox", "latest")))["layers"][0]
    assert manifest["layers"][0]["digest"] == original["digest"]
    assert len(manifest["layers"]) == 2


def test_a_reproducible_image_is_the_same_twice(
    build: Build, registry: LocalRegistry, base: str
) -> None:
    """Without any cache, in docker's format as in OCI's."""
    for extra in ("", "HEALTHCHECK CMD true\n"):
        step = build(f"FROM {base}\nRUN echo a > /a\n{extra}", reproducible=True, no_cache=True)

        assert step.run().digest == step.run().digest


def test_several_platforms_are_an_index(build: Build, registry: LocalRegistry) -> None:
    """Built one after the other, put together here."""
    step = build(
        "FROM scratch\nCOPY Dockerfile /\n",
        platforms=["linux/amd64", "linux/arm64"],
        annotations={"index:a": "1", "b": "2"},
    )

    index = json.loads(read(registry.manifest("acme/app", str(step.run().digest))))

    found = [entry["platform"]["architecture"] for entry in index["manifests"]]
    assert found == ["amd64", "arm64"]
    assert index["annotations"] == {"a": "1"}


def test_layers_can_stay_uncompressed(build: Build, registry: LocalRegistry) -> None:
    """Which buildah itself does for no registry."""
    step = build("FROM scratch\nCOPY Dockerfile /\n", compression="none")

    manifest, config = config_of(registry, step.run().digest)

    assert [layer["digest"] for layer in manifest["layers"]] == config["rootfs"]["diff_ids"]


def test_run_cannot_write_into_the_users_folder(build: Build, base: str, tmp_path: Path) -> None:
    """Buildah would mount the folder itself."""
    build(f"FROM {base}\nRUN --mount=type=bind,rw,target=/m touch /m/made && ls /m/made\n").run()

    assert [path.name for path in (tmp_path / "context").iterdir()] == ["Dockerfile"]


@pytest.mark.parametrize("isolation", ["oci", "chroot"])
def test_a_failing_run_is_told_with_its_line_and_code(
    build: Build, base: str, isolation: str
) -> None:
    """However RUN is isolated."""
    step = build(
        f"FROM {base}\nRUN sh -c 'echo MARK >&2; exit 7'\n",
        backend=BuildahBackend(isolation=isolation),
    )

    with pytest.raises(BuildError, match="exit code 7") as caught:
        step.run()

    assert "Dockerfile:2" in caught.value.report()
    assert "MARK" in caught.value.report()
    assert asked("containers", "--quiet") == ""


@pytest.mark.parametrize("isolation", ["oci", "chroot"])
def test_a_cancelled_build_leaves_nothing(build: Build, base: str, isolation: str) -> None:
    """No process, no working container, no mount."""
    token, events = CancelToken(), list[Event]()

    def watch(event: Event) -> None:
        events.append(event)
        if isinstance(event, TaskLog) and event.line == "started":
            token.cancel()

    step = build(f"FROM {base}\n{SLEEP}\n", backend=BuildahBackend(isolation=isolation))
    with pytest.raises(StepCancelledError):
        step.run(on_event=watch, cancel=token)

    assert_nothing_is_left()


@pytest.mark.parametrize("isolation", ["oci", "chroot"])
def test_a_killed_buildah_is_told_and_cleared_up(build: Build, base: str, isolation: str) -> None:
    """It had no time to remove anything itself."""

    def watch(event: Event) -> None:
        if isinstance(event, TaskLog) and event.line == "started":
            for pid in processes("buildah-scratch", "buildah\0--", "build\0--file"):
                os.kill(pid, signal.SIGKILL)

    step = build(f"FROM {base}\n{SLEEP}\n", backend=BuildahBackend(isolation=isolation))
    with pytest.raises(BuildError):
        step.run(on_event=watch)

    assert_nothing_is_left()


def processes(*needles: str) -> list[int]:
    """The processes with one of *needles* in their command line; not this one."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().decode(errors="replace")
        except OSError:
            continue
        if any(needle in line for needle in needles) and int(entry.parent.name) != os.getpid():
            found.append(int(entry.parent.name))
    return found


def assert_nothing_is_left() -> None:
    root = asked("info", "--format", "{{.store.GraphRoot}}")
    mounts = Path("/proc/mounts").read_text().splitlines()
    assert processes("86399") == []
    assert asked("containers", "--quiet") == ""
    assert [line for line in mounts if f"{root}/overlay/" in line] == []

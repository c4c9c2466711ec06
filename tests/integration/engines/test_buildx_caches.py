"""Caches that buildx writes and reads: in a registry, in the image, in a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildpush import BuildAndPushStep, BuildpushError
from buildpush.backends.buildx import BuildxBackend
from buildpush.errors import NotFoundError
from buildpush.events import TaskFinished, TaskStarted
from buildpush.oci import Digest
from buildpush.testing import LocalRegistry, RecordingSink

pytestmark = pytest.mark.needs_buildx

DOCKERFILE = "FROM {base}\nCOPY file /\nRUN cat /proc/sys/kernel/random/uuid > /made\n"


@pytest.fixture
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
    (folder / "Dockerfile").write_text(DOCKERFILE.format(base=base))
    (folder / "file").write_text(str(tmp_path))
    return folder


def forget(engine: Any) -> None:
    """Have the engine forget all it has built, as a new one would have nothing."""
    engine.api("POST", "/build/prune?all=true")


def build(context: Path, registry: LocalRegistry, **settings: Any) -> RecordingSink:
    sink = RecordingSink()
    step = BuildAndPushStep(
        repo=registry.reference("acme/app"),
        context=context,
        network="host",
        backend=BuildxBackend(),
        **settings,
    )
    step.run(on_event=sink)
    return sink


def was_cached(sink: RecordingSink, words: str) -> bool:
    """How the step called *words* ended."""
    names = {event.task for event in sink.of(TaskStarted) if words in event.title}
    outcomes = {event.outcome for event in sink.of(TaskFinished) if event.task in names}
    assert outcomes, [event.title for event in sink.of(TaskStarted)]
    return outcomes == {"cached"}


@pytest.mark.parametrize("delivery", ["layout", "direct"])
def test_a_registry_keeps_the_cache(
    delivery: Any, engine: Any, context: Path, registry: LocalRegistry
) -> None:
    """It is one image manifest, and saves an engine that never saw the image from building it."""
    cache = registry.reference("acme/cache:main")
    build(context, registry, cache_to=[f"type=registry,ref={cache},mode=max"], delivery=delivery)
    first = registry.digest("acme/app", "latest")
    forget(engine)

    again = build(context, registry, cache_from=[f"type=registry,ref={cache}"], delivery=delivery)

    digest = registry.digest("acme/cache", "main")
    assert digest is not None
    stored = json.loads(registry.manifest("acme/cache", digest) or b"{}")
    assert stored["mediaType"] == "application/vnd.oci.image.manifest.v1+json"
    assert stored["config"]["mediaType"] == "application/vnd.buildkit.cacheconfig.v0"
    assert was_cached(again, "RUN cat")
    assert made(registry, first) == made(registry, registry.digest("acme/app", "latest"))


def made(registry: LocalRegistry, digest: Digest | None) -> str:
    """The last layer's tar: the one that differs whenever RUN is executed."""
    assert digest is not None
    manifest = json.loads(registry.manifest("acme/app", digest) or b"{}")
    config = json.loads(registry.blob("acme/app", manifest["config"]["digest"]) or b"{}")
    last: str = config["rootfs"]["diff_ids"][-1]
    return last


def test_without_its_cache_an_engine_builds_again(
    engine: Any, context: Path, registry: LocalRegistry
) -> None:
    """So the other tests here mean something."""
    build(context, registry)
    forget(engine)

    assert not was_cached(build(context, registry), "RUN cat")


def test_the_image_itself_may_be_the_cache(
    engine: Any, context: Path, registry: LocalRegistry
) -> None:
    """Inline: what the pushed image says of its own layers."""
    build(context, registry, cache_to=["type=inline"], delivery="direct")
    forget(engine)

    again = build(
        context, registry, cache_from=[f"type=registry,ref={registry.reference('acme/app')}"]
    )

    assert was_cached(again, "RUN cat")


def test_a_folder_may_be_the_cache(
    engine: Any, context: Path, registry: LocalRegistry, tmp_path: Path
) -> None:
    """An OCI layout, that a later build on another engine reads."""
    folder = tmp_path / "cache"
    build(context, registry, cache_to=[f"type=local,dest={folder},mode=max"])
    forget(engine)

    again = build(context, registry, cache_from=[f"type=local,src={folder}"])

    assert was_cached(again, "RUN cat")


def test_a_cache_that_is_not_there_is_a_warning(
    engine: Any, context: Path, registry: LocalRegistry
) -> None:
    """The first build of a branch has none."""
    cache = registry.reference("acme/none:main")

    sink = build(context, registry, cache_from=[f"type=registry,ref={cache}"])

    assert any("acme/none:main" in warning for warning in sink.warnings)
    assert registry.digest("acme/app", "latest") is not None


def test_a_required_cache_has_to_be_there(
    engine: Any, context: Path, registry: LocalRegistry
) -> None:
    """Whoever says so would rather have no image than wait for a full build."""
    cache = registry.reference("acme/none:main")

    with pytest.raises(NotFoundError, match="acme/none:main"):
        build(context, registry, cache_from=[f"type=registry,ref={cache},required=true"])

    assert registry.digest("acme/app", "latest") is None


def test_a_cache_that_cannot_be_written_is_a_warning(
    engine: Any, context: Path, registry: LocalRegistry
) -> None:
    """Nothing listens there; the image is none the worse."""
    sink = build(context, registry, cache_to=["type=registry,ref=127.0.0.1:9/cache:main"])

    assert any("127.0.0.1:9" in warning or "cache" in warning for warning in sink.warnings)
    assert registry.digest("acme/app", "latest") is not None


def test_a_required_cache_has_to_be_written(
    engine: Any, context: Path, registry: LocalRegistry
) -> None:
    """Then it is an error, and nothing is pushed."""
    with pytest.raises(BuildpushError, match="cache"):
        build(
            context, registry, cache_to=["type=registry,ref=127.0.0.1:9/cache:main,required=true"]
        )

    assert registry.digest("acme/app", "latest") is None

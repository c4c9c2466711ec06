"""What is promised of an image whose push failed: it is kept, and pushed later without a build."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildpush import BuildAndPushStep
from buildpush.auth import Chain
from buildpush.errors import (
    PartialPushError,
    RegistryError,
    RegistryUnavailableError,
    SpecError,
    StepCancelledError,
    StepTimeoutError,
)
from buildpush.oci import Digest, ImageReference, Repository
from buildpush.oci.layout import Layout, verify
from buildpush.oci.wire import Descriptor
from buildpush.plan import Destination, LayoutArtifact, PushPolicy
from buildpush.publishing.destinations.keeping import keep, kept, kept_on_failure
from buildpush.publishing.destinations.publishing import publish
from buildpush.registry import RegistryClient
from buildpush.runtime import Run
from buildpush.testing import FakeBackend, Fault, LocalRegistry, Status

Send = Callable[..., tuple[Destination, ...]]
REFERENCE = ImageReference.parse("r.example/app:1")


def artifact_of(images: Any, *layers: bytes, **more: Any) -> LayoutArtifact:
    digest = images.image(*layers).digest
    return LayoutArtifact(path=images.layout.path, digest=digest, **more)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "the-cache"
    monkeypatch.setenv("BUILDPUSH_CACHE", str(folder))
    return folder


def test_a_push_that_failed_is_repeated_without_a_build(
    context: Path, cache: Path, local_registry: LocalRegistry, run: Run
) -> None:
    """The error says where the image is, and how to push it."""
    fault = local_registry.inject(
        Fault(method="PUT", path="/manifests/", action=Status(503), times=None)
    )
    backend = FakeBackend()
    name = local_registry.reference("app:1")
    step = BuildAndPushStep(
        repo=local_registry.reference("app"),
        tags=["1"],
        context=context,
        backend=backend,
        retries=0,
    )
    with pytest.raises(RegistryUnavailableError) as caught:
        step.run()
    assert fault.fired
    local_registry.faults.clear()

    path = caught.value.artifact
    assert path is not None
    with RegistryClient(Chain(()), run) as client:
        (sent,) = publish(client, kept(path), [ImageReference.parse(name)], PushPolicy(), run)

    assert len(backend.requests) == 1
    assert local_registry.digest("app", "1") == sent.reference.digest
    assert path.parent == cache / "kept"
    assert shlex.join(["python", "-m", "buildpush", "push", str(path), name]) in caught.value.hint
    verify(Layout.open(path), kept(path).digest)


def test_the_advice_names_only_the_destinations_that_failed(
    context: Path, cache: Path, local_registry: LocalRegistry
) -> None:
    """Those that have the image need no second push."""
    local_registry.inject(
        Fault(method="PUT", path="/manifests/b$", action=Status(503), times=None)
    )
    step = BuildAndPushStep(
        repo=local_registry.reference("app"),
        tags=["a", "b"],
        context=context,
        backend=FakeBackend(),
        retries=0,
    )

    with pytest.raises(PartialPushError) as caught:
        step.run()

    command = caught.value.hint.rpartition("python -m buildpush push ")[2]
    assert command.split()[1:] == [local_registry.reference("app:b")]
    assert caught.value.artifact is not None


def test_a_push_that_succeeded_keeps_nothing(
    context: Path, cache: Path, local_registry: LocalRegistry
) -> None:
    """The registry has it."""
    BuildAndPushStep(
        repo=local_registry.reference("app"), context=context, backend=FakeBackend()
    ).run()

    assert not (cache / "kept").exists()


def test_where_blobs_came_from_is_kept_with_the_image(images: Any, tmp_path: Path) -> None:
    """A base layer that was never fetched can still be mounted or copied."""
    base = Digest.of(b"base")
    origins = {base: Repository("r.example", "library/base")}
    artifact = artifact_of(images, b"base", b"mine", origins=origins)
    images.layout.blob_path(base).unlink()

    found = kept(keep(artifact, tmp_path / "cache"))

    assert (found.digest, found.origins) == (artifact.digest, origins)
    assert not Layout.open(found.path).has(base)
    assert Layout.open(found.path).has(Digest.of(b"mine"))


def test_only_this_user_can_look_at_what_is_kept(images: Any, tmp_path: Path) -> None:
    """Images may hold what others should not see."""
    path = keep(artifact_of(images, b"x"), tmp_path / "cache")

    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_files_are_linked_and_not_copied(images: Any, tmp_path: Path) -> None:
    """Keeping gigabytes takes no time; what was a symbolic link becomes the file itself."""
    artifact = artifact_of(images, b"linked", b"elsewhere")
    store = tmp_path / "store"
    moved = images.layout.blob_path(Digest.of(b"elsewhere"))
    moved.rename(store)
    moved.symlink_to(store)

    layout = Layout.open(keep(artifact, tmp_path / "cache"))

    linked = Digest.of(b"linked")
    assert layout.blob_path(linked).samefile(images.layout.blob_path(linked))
    found = layout.blob_path(Digest.of(b"elsewhere"))
    assert found.samefile(store)
    assert not found.is_symlink()


def test_between_file_systems_files_are_copied(
    images: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slower, and kept all the same."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)

    path = keep(artifact_of(images, b"x"), tmp_path / "cache")

    assert Layout.open(path).blob_path(Digest.of(b"x")).read_bytes() == b"x"


def test_the_newest_five_are_kept(images: Any, tmp_path: Path) -> None:
    """Failures do not fill the disk; one that is used again counts as new."""
    paths: list[Path] = []
    for number in range(6):
        path = keep(artifact_of(images, bytes([number])), tmp_path / "cache")
        os.utime(path, (number, number))
        paths.append(path)
        if number == 4:
            kept(paths[0])

    assert [path.exists() for path in paths] == [True, False, True, True, True, True]


def test_keeping_the_same_image_twice_is_one_folder(images: Any, tmp_path: Path) -> None:
    """Also when the first was what is pushed again."""
    first = keep(artifact_of(images, b"x"), tmp_path / "cache")

    second = keep(kept(first), tmp_path / "cache")

    assert first == second
    assert [p.name for p in first.parent.iterdir()] == [first.name]
    verify_blobs = Layout.open(second)
    assert verify_blobs.has(Digest.of(b"x"))


def test_a_kept_layout_lists_its_image_and_nothing_else(images: Any, tmp_path: Path) -> None:
    """Other images of the layout are not copied along."""
    other: Descriptor = images.image(b"other")
    path = keep(artifact_of(images, b"x"), tmp_path / "cache")

    index = json.loads((path / "index.json").read_text())

    assert len(index["manifests"]) == 1
    assert not Layout.open(path).has(other.digest)


def test_any_other_layout_of_one_image_is_taken_too(images: Any) -> None:
    """It has no origins; one of several images is refused."""
    one, two = images.image(b"1"), images.image(b"2")
    images.layout.set_index([one])
    found = kept(images.layout.path)
    images.layout.set_index([one, two])

    with pytest.raises(SpecError, match="holds 2 images"):
        kept(images.layout.path)

    assert (found.digest, found.origins) == (one.digest, {})


@pytest.mark.parametrize("content", ["no json", '{"origins": {"sha256:0": "r.example/a"}}'])
def test_damaged_origins_are_refused(images: Any, tmp_path: Path, content: str) -> None:
    """Rather than pushing an image without its base."""
    path = keep(artifact_of(images, b"x"), tmp_path / "cache")
    (path / "buildpush-origins.json").write_text(content)

    with pytest.raises(SpecError, match="is damaged"):
        kept(path)


def test_a_cache_that_cannot_be_written_hides_no_error(
    images: Any, run: Run, recording_sink: Any
) -> None:
    """The push's own error is raised, and a warning says that nothing was kept."""
    run.environment.cache.write_text("a file, no folder")
    artifact = artifact_of(images, b"x")

    with (
        pytest.raises(RegistryError, match="refused") as caught,
        kept_on_failure(artifact, [REFERENCE], run),
    ):
        raise RegistryError("refused", hint="ask")

    assert (caught.value.artifact, caught.value.hint) == (None, "ask")
    assert any("could not be kept" in warning for warning in recording_sink.warnings)


def test_a_push_that_ran_out_of_time_is_kept_and_a_cancelled_one_is_not(
    images: Any, run: Run
) -> None:
    """Whoever cancels wants nothing left behind."""
    artifact = artifact_of(images, b"x")

    with pytest.raises(StepCancelledError), kept_on_failure(artifact, [REFERENCE], run):
        raise StepCancelledError("enough")
    before = (run.environment.cache / "kept").exists()
    with pytest.raises(StepTimeoutError) as late, kept_on_failure(artifact, [REFERENCE], run):
        raise StepTimeoutError("too slow")

    assert not before
    assert late.value.artifact is not None


def test_an_image_that_is_kept_again_is_whole_at_every_moment(
    images: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may be pushing it."""
    artifact = artifact_of(images, b"x")
    path = keep(artifact, tmp_path / "cache")
    removed: list[Path] = []

    def remove(folder: Path, *, ignore_errors: bool = False) -> None:
        removed.append(folder)
        assert Layout.open(path).has(artifact.digest)

    monkeypatch.setattr(shutil, "rmtree", remove)
    keep(artifact, tmp_path / "cache")

    assert removed
    assert path not in removed

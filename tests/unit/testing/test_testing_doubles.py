"""FakeBackend, RecordingSink, random images, tree snapshots, and the pytest plugin."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import pytest

import buildpush.testing
from buildpush.auth import Credential, StaticKeychain
from buildpush.backends import Backend
from buildpush.dockerfile.instructions import Dockerfile
from buildpush.errors import (
    BackendUnavailableError,
    BuildError,
    BuildpushError,
    StepCancelledError,
)
from buildpush.events import Phase, PhaseStarted, TaskFinished, TaskLog, TaskStarted, Warned
from buildpush.oci import Digest, Platform
from buildpush.oci.layer import open_layer
from buildpush.oci.layout import Layout, verify
from buildpush.oci.tar import read
from buildpush.oci.wire import Index, Manifest, parse_config
from buildpush.plan import BuildRequest, LayoutArtifact
from buildpush.runtime import CancelToken, Run
from buildpush.runtime.process import run_command
from buildpush.testing import (
    FakeBackend,
    RecordingSink,
    random_image,
    random_index,
    snapshot_tree,
)

AMD64 = Platform("linux", "amd64")
ARM64 = Platform("linux", "arm64")
KEYCHAIN = StaticKeychain(prefix="r.example", credential=Credential())


@pytest.fixture
def run(tmp_path: Path, recording_sink: RecordingSink) -> Run:
    """A run that reports to the recording sink."""
    workdir = tmp_path / "work"
    workdir.mkdir()
    return Run(workdir=workdir, cancel=CancelToken(), sink=recording_sink)


def request(tmp_path: Path, *platforms: Platform) -> BuildRequest:
    return BuildRequest(
        context=tmp_path,
        dockerfile=Dockerfile(filename="Dockerfile", text=""),
        dockerfile_path=tmp_path / "Dockerfile",
        platforms=platforms,
    )


def built(backend: FakeBackend, asked: BuildRequest, run: Run) -> tuple[Layout, Digest]:
    artifact = backend.build(asked, KEYCHAIN, run)
    assert isinstance(artifact, LayoutArtifact)
    return Layout.open(artifact.path), artifact.digest


# --- the fake backend ---


def test_the_fake_backend_is_a_backend() -> None:
    """To the type checker and at run time."""
    assert isinstance(FakeBackend(), Backend)


def test_the_fake_backend_hands_out_a_valid_image(tmp_path: Path, run: Run) -> None:
    """And remembers what it was asked, and with which keychain."""
    backend = FakeBackend()
    asked = request(tmp_path, ARM64)

    layout, digest = built(backend, asked, run)

    (image,) = verify(layout, digest)
    assert image.platform == ARM64
    assert (backend.requests, backend.keychains) == ([asked], [KEYCHAIN])


def test_the_fake_backend_makes_an_index_for_several_platforms(tmp_path: Path, run: Run) -> None:
    """One image each."""
    layout, digest = built(FakeBackend(), request(tmp_path, AMD64, ARM64), run)

    document = layout.document(digest)

    assert isinstance(document, Index)
    assert [child.platform for child in document.manifests] == [AMD64, ARM64]


def test_the_fake_backend_can_build_twice_in_a_run(tmp_path: Path, run: Run) -> None:
    """Into a folder each time, with the same digest."""
    backend = FakeBackend()

    first, second = (built(backend, request(tmp_path), run) for _ in range(2))

    assert first[0] != second[0]
    assert first[1] == second[1]


def test_the_fake_backend_can_hand_out_a_given_image(tmp_path: Path, run: Run) -> None:
    """Instead of making one."""
    layout = Layout.create(tmp_path / "given")
    digest = random_image(layout, seed=7)

    found = built(FakeBackend(image=(layout.path, digest)), request(tmp_path), run)

    assert found == (layout, digest)


def test_the_fake_backend_logs_lines(
    tmp_path: Path, run: Run, recording_sink: RecordingSink
) -> None:
    """In a task of its own."""
    FakeBackend(lines=("one", "two")).build(request(tmp_path), KEYCHAIN, run)

    assert recording_sink.lines == ("one", "two")
    assert recording_sink.state.tasks["fake"].outcome == "done"


def test_the_fake_backend_can_fail(
    tmp_path: Path, run: Run, recording_sink: RecordingSink
) -> None:
    """With any error, after its lines."""
    error = BuildError("it broke")

    with pytest.raises(BuildError) as caught:
        FakeBackend(error=error, lines=("one",)).build(request(tmp_path), KEYCHAIN, run)

    assert caught.value is error
    assert recording_sink.lines == ("one",)
    assert recording_sink.of(TaskFinished)[0].outcome == "failed"


def test_the_fake_backend_can_hang_until_cancelled(tmp_path: Path, run: Run) -> None:
    """Then it raises the reason."""
    backend = FakeBackend(hangs=True)
    caught: list[BuildpushError] = []

    def build() -> None:
        try:
            backend.build(request(tmp_path), KEYCHAIN, run)
        except BuildpushError as error:
            caught.append(error)

    builder = threading.Thread(target=build)
    builder.start()
    assert backend.started.wait(10)

    run.cancel.cancel()
    builder.join(10)

    assert [type(error) for error in caught] == [StepCancelledError]


def test_the_fake_backend_can_be_unavailable() -> None:
    """With a reason; each probe is counted."""
    backend = FakeBackend(unavailable="no daemon")

    with pytest.raises(BackendUnavailableError, match="no daemon"):
        backend.probe()

    assert backend.probes == 1
    assert FakeBackend().probe().backend == "fake"


# --- the sink ---


def test_the_recording_sink_keeps_events_in_order(recording_sink: RecordingSink) -> None:
    """And sorts them out."""
    events = (
        PhaseStarted(at=0.0, phase=Phase.BUILD),
        TaskStarted(at=0.1, task="a", title="A"),
        TaskLog(at=0.2, task="a", stream="stdout", line="hello"),
        Warned(at=0.3, message="careful"),
    )
    for event in events:
        recording_sink(event)

    assert recording_sink.events == events
    assert recording_sink.of(TaskStarted) == (events[1],)
    assert recording_sink.lines == ("hello",)
    assert recording_sink.warnings == ("careful",)
    assert recording_sink.state.phase is Phase.BUILD


# --- random images ---


def test_random_images_are_the_same_everywhere(tmp_path: Path) -> None:
    """Uncompressed ones, to the byte: this digest was written down when they were made."""
    layout = Layout.create(tmp_path / "a")

    digest = random_image(layout, layers=2, size=100, seed=3, compression="none")

    assert str(digest) == "sha256:92389334575caf5388a2a5a8c08c1080717759c51e4acc61af5eea76cad2cbe2"


def test_random_images_hold_what_was_asked_for(tmp_path: Path) -> None:
    """Layers of one file of the given size, for the given platform."""
    layout = Layout.create(tmp_path / "a")

    digest = random_image(layout, layers=3, size=1000, platform=ARM64, compression="zstd")

    manifest = layout.document(digest)
    assert isinstance(manifest, Manifest)
    assert parse_config(layout.read(manifest.config.digest)).platform == ARM64
    assert [layer.media_type.rpartition("+")[2] for layer in manifest.layers] == ["zstd"] * 3
    first = manifest.layers[0]
    with open_layer(layout.blob_path(first.digest), first.media_type) as stream:
        assert [(entry.name, entry.size) for entry, _ in read(stream)] == [("random-0.bin", 1000)]


def test_random_images_differ_by_seed(tmp_path: Path) -> None:
    """And the layout lists each once."""
    layout = Layout.create(tmp_path / "a")

    digests = [random_image(layout, seed=seed) for seed in (1, 2, 1)]

    assert digests[0] == digests[2] != digests[1]
    assert [listed.digest for listed in layout.index().manifests] == digests[:2]


def test_a_random_index_is_whole(tmp_path: Path) -> None:
    """Every platform's image verifies."""
    layout = Layout.create(tmp_path / "a")

    digest = random_index(layout, [AMD64, ARM64], layers=2)

    assert [image.platform for image in verify(layout, digest)] == [AMD64, ARM64]


# --- snapshots ---


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with a file, a folder and a link."""
    root = tmp_path / "tree"
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "file").write_text("text")
    (root / "link").symlink_to("folder/file")
    os.mkfifo(root / "pipe")
    return root


def test_a_snapshot_of_an_untouched_tree_is_equal(tree: Path) -> None:
    """Reading does not count as touching."""
    before = snapshot_tree(tree)
    (tree / "folder" / "file").read_text()

    assert snapshot_tree(tree) == before
    assert list(before) == [".", "folder", "folder/file", "link", "pipe"]
    assert before["link"].content == "folder/file"


@pytest.mark.parametrize("what", ["content", "mode", "time", "name", "link"])
def test_a_snapshot_sees_every_touch(tree: Path, what: str) -> None:
    """Content even when the time is put back."""
    before = snapshot_tree(tree)
    file = tree / "folder" / "file"
    status = file.stat()
    match what:
        case "content":
            file.write_text("TEXT")
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
        case "mode":
            file.chmod(0o600)
        case "time":
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
        case "name":
            file.rename(tree / "folder" / "other")
        case _:
            (tree / "link").unlink()
            (tree / "link").symlink_to("elsewhere")

    assert snapshot_tree(tree) != before


# --- the package and the plugin ---


def test_the_plugin_costs_nothing_until_it_is_used(run: Run) -> None:
    """pytest imports it in every project that has buildpush installed."""
    heavy = ("attrs", "pydantic", "httpx", "buildpush.oci", "buildpush.testing.registry")
    code = (
        "import sys, buildpush.testing.plugin;"
        f"sys.exit(', '.join(name for name in {heavy!r} if name in sys.modules) or 0)"
    )

    done = run_command([sys.executable, "-c", code], run=run, env={})

    assert (done.exit_code, done.evidence.tail) == (0, ())


def test_every_public_name_can_be_imported() -> None:
    """They are looked up when first used; anything else is an AttributeError."""
    assert all(hasattr(buildpush.testing, name) for name in buildpush.testing.__all__)
    assert set(buildpush.testing.__all__) <= set(dir(buildpush.testing))
    assert not hasattr(buildpush.testing, "nonsense")

"""The conformance suite passes whom it should, and catches whom it should.

A backend of our own, with RUN taken away so that no root is needed, passes all of it; the same
backend spoilt in one way after the other fails just where the fault is.
"""

from __future__ import annotations

import subprocess
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from buildpush.auth import Keychain
from buildpush.backends import Backend
from buildpush.backends.native import NativeBackend
from buildpush.errors import (
    BuildError,
    BuildpushError,
    StepCancelledError,
    UnsupportedFeatureError,
)
from buildpush.events import TaskFinished, TaskStarted
from buildpush.oci import ImageReference
from buildpush.plan import Artifact, BuildRequest, Capabilities, Feature
from buildpush.runtime import Run
from buildpush.testing import BackendConformance, LocalRegistry
from buildpush.testing.conformance.failing import FailingTests
from buildpush.testing.conformance.honouring import PROOFS, HonouringTests
from buildpush.testing.conformance.probing import ProbingTests
from buildpush.testing.conformance.secrecy import SecrecyTests, Watcher
from buildpush.testing.conformance.shell import Busybox, is_static
from buildpush.testing.conformance.stopping import StoppingTests, processes_with
from buildpush.testing.conformance.truth import TruthTests
from buildpush.testing.conformance.workbench import Counted, Workbench

_OF_RUN = frozenset(proof.feature for proof in PROOFS if Feature.RUN in proof.needs) | {
    Feature.RUN,
    Feature.ADD_GIT,
}


class CopyOnly:
    """The native backend as it is where nothing can be executed."""

    def probe(self) -> Capabilities:
        found = NativeBackend().probe()
        taken = dict.fromkeys(_OF_RUN, "taken away for a test")
        return evolve(
            found,
            backend="copy-only",
            features=found.features - _OF_RUN,
            notes={**{f: "not built in" for f in Feature if f not in found.features}, **taken},
            platforms=(),
        )

    def build(self, request: BuildRequest, keychain: Keychain, run: Run) -> Artifact:
        return NativeBackend().build(request, keychain, run)


class TestCopyOnly(BackendConformance):
    """An honest backend, which can little, passes everything."""

    @pytest.fixture
    def backend(self) -> CopyOnly:
        return CopyOnly()

    @pytest.fixture
    def busybox(self, tmp_path: Path) -> Path:
        """Nothing will execute it."""
        program = tmp_path / "busybox"
        program.write_bytes(b"\x7fELF: of a kind")
        return program


# --- spoilt ones ---


class Spoilt(CopyOnly):
    """Changes what is asked, or what comes of it."""

    def __init__(
        self,
        *,
        asked: Callable[[BuildRequest], BuildRequest] = lambda request: request,
        before: Callable[[BuildRequest, Keychain, Run], object] = lambda *_: None,
        failed: Callable[[BuildpushError], BuildpushError] = lambda error: error,
        said: Callable[[Capabilities], Capabilities] = lambda found: found,
    ) -> None:
        self.asked, self.before, self.failed, self.said = asked, before, failed, said

    def probe(self) -> Capabilities:
        return self.said(super().probe())

    def build(self, request: BuildRequest, keychain: Keychain, run: Run) -> Artifact:
        try:
            self.before(request, keychain, run)
            return super().build(self.asked(request), keychain, run)
        except BuildpushError as error:
            raise self.failed(error) from error


Bencher = Callable[[Backend], Workbench]


@pytest.fixture
def make_bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bencher]:
    """A workbench for a backend."""
    (tmp_path / "context").mkdir()
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setattr("tempfile.tempdir", None)
    program = tmp_path / "busybox"
    program.write_bytes(b"\x7fELF: of a kind")

    def base(registry: LocalRegistry) -> str:
        return Busybox(program).put(registry, "base/busybox", "1")

    with LocalRegistry(folder=tmp_path / "registry") as registry, ExitStack() as closing:
        yield lambda backend: Workbench(
            backend=Counted(backend),
            registry=registry,
            folder=tmp_path,
            temporary=tmp_path / "tmp",
            repository="acme/app",
            make_base=lambda: base(registry),
            make_base_in=base,
            settings={},
            forget_cache=lambda: None,
            closing=closing,
        )


def claim(feature: Feature) -> Callable[[Capabilities], Capabilities]:
    def said(found: Capabilities) -> Capabilities:
        notes = {absent: why for absent, why in found.notes.items() if absent is not feature}
        return evolve(found, features=found.features | {feature}, notes=notes)

    return said


def prove(bench: Workbench, feature: Feature) -> None:
    (proof,) = (proof for proof in PROOFS if proof.feature is feature)
    HonouringTests().test_a_feature_is_honoured_or_refused(bench, proof)


IGNORED = {
    Feature.TARGET: {"target": None},
    Feature.ANNOTATIONS: {"annotations": {}},
    Feature.COMPRESSION: {"compression": "gzip"},
    Feature.SOURCE_DATE_EPOCH: {"source_date_epoch": None},
    Feature.FOREIGN_PLATFORM: {"platforms": ()},
    Feature.REPRODUCIBLE: {"reproducible": False},
    Feature.STRICTLY_REPRODUCIBLE: {"reproducible": False},
}


@pytest.mark.parametrize("feature", IGNORED, ids=lambda feature: feature.name)
def test_a_claimed_feature_that_is_ignored_is_caught(
    make_bench: Bencher, feature: Feature
) -> None:
    """The image shows it."""
    bench = make_bench(Spoilt(asked=lambda request: evolve(request, **IGNORED[feature])))

    with pytest.raises((AssertionError, KeyError)):
        prove(bench, feature)


@pytest.mark.parametrize("feature", [Feature.SQUASH, Feature.PROVENANCE, Feature.CACHE_BACKENDS])
def test_a_feature_that_is_only_claimed_is_caught(make_bench: Bencher, feature: Feature) -> None:
    """Nothing of it is in the image, or on the disk."""
    bench = make_bench(Spoilt(said=claim(feature)))

    with pytest.raises((AssertionError, KeyError)):
        prove(bench, feature)


def test_a_claim_that_means_nothing_alone_is_caught(make_bench: Bencher) -> None:
    """A size of /dev/shm without RUN."""
    with pytest.raises(AssertionError, match="claimed without"):
        prove(make_bench(Spoilt(said=claim(Feature.SHM_SIZE))), Feature.SHM_SIZE)


def test_refusing_what_is_claimed_is_caught(make_bench: Bencher) -> None:
    """At build time it is too late."""

    def refuse(*_: object) -> None:
        raise UnsupportedFeatureError("cannot after all")

    with pytest.raises(UnsupportedFeatureError):
        prove(make_bench(Spoilt(before=refuse)), Feature.TARGET)


def test_refusing_without_a_reason_is_caught(make_bench: Bencher) -> None:
    """Every absent feature has a note."""
    bench = make_bench(Spoilt(said=lambda found: evolve(found, notes={})))

    with pytest.raises(AssertionError):
        ProbingTests().test_what_is_absent_has_a_reason(bench)


def _misdescribed(found: Capabilities) -> Capabilities:
    return evolve(found, notes={**found.notes, Feature.TARGET: "can it or not?"})


def _unnamed(found: Capabilities) -> Capabilities:
    return evolve(found, backend="two words")


@pytest.mark.parametrize("said", [_misdescribed, _unnamed])
def test_malformed_capabilities_are_caught(
    make_bench: Bencher, said: Callable[[Capabilities], Capabilities]
) -> None:
    """A note on what is there; a name that no command line could hold."""
    with pytest.raises(AssertionError):
        ProbingTests().test_capabilities_are_well_formed(make_bench(Spoilt(said=said)))


def test_a_backend_that_no_image_leaves_is_caught(make_bench: Bencher) -> None:
    """Neither a layout nor a push."""
    bench = make_bench(Spoilt(said=lambda found: evolve(found, features=frozenset())))

    with pytest.raises(AssertionError):
        ProbingTests().test_an_image_can_leave_it(bench)


def test_a_probe_that_changes_its_mind_is_caught(make_bench: Bencher) -> None:
    """Two probes in a row say the same."""
    versions = iter("123456789")
    bench = make_bench(Spoilt(said=lambda found: evolve(found, version=next(versions))))

    with pytest.raises(AssertionError):
        ProbingTests().test_probing_again_says_the_same(bench)


def test_lost_labels_are_caught(make_bench: Bencher) -> None:
    """The step's own."""
    bench = make_bench(Spoilt(asked=lambda request: evolve(request, labels={})))

    with pytest.raises(AssertionError, match="step"):
        TruthTests().test_labels_and_arguments_of_the_step(bench)


def test_a_written_context_is_caught(make_bench: Bencher) -> None:
    """Even a file that is only added."""

    def write(request: BuildRequest, *_: object) -> None:
        (request.context / "left").write_text("")

    with pytest.raises(AssertionError, match="left"):
        TruthTests().test_the_context_is_only_read(make_bench(Spoilt(before=write)))


@pytest.mark.parametrize("event", [TaskStarted, TaskFinished])
def test_half_a_task_is_caught(make_bench: Bencher, event: Any) -> None:
    """It began and never ended, or ended and never began."""
    more = {"title": "t"} if event is TaskStarted else {"outcome": "done"}

    def tell(_: object, __: object, run: Run) -> None:
        run.emit(event(at=0.0, task="half", **more))

    with pytest.raises(AssertionError, match="half"):
        TruthTests().test_events_tell_a_whole_story(make_bench(Spoilt(before=tell)))


def test_mixed_up_builds_are_caught(make_bench: Bencher) -> None:
    """A backend object that remembers its latest request."""
    barrier = threading.Barrier(3)
    latest: list[BuildRequest] = []

    def remember(request: BuildRequest) -> BuildRequest:
        latest.append(request)
        barrier.wait(10)
        return evolve(latest[-1], references=request.references)

    with pytest.raises((AssertionError, KeyError)):
        TruthTests().test_builds_at_once_do_not_mix(make_bench(Spoilt(asked=remember)))


def test_a_failure_without_its_line_is_caught(make_bench: Bencher) -> None:
    """An error is more than a sentence."""
    bench = make_bench(Spoilt(failed=lambda error: BuildError(error.message)))

    with pytest.raises(AssertionError, match="which lines"):
        FailingTests().test_a_missing_source_names_itself_and_its_line(bench)


def test_the_wrong_kind_of_error_is_caught(make_bench: Bencher) -> None:
    """Its class tells the reader what to do."""
    spoilt = Spoilt(failed=lambda error: BuildError("failed", evidence=error.evidence))

    with pytest.raises(AssertionError, match="failed"):
        FailingTests().test_a_missing_base_image_is_not_found(make_bench(spoilt))
    with pytest.raises(AssertionError, match="failed"):
        FailingTests().test_a_private_base_image_without_credentials_is_a_matter_of_credentials(
            make_bench(spoilt)
        )


def test_files_left_behind_are_caught(make_bench: Bencher) -> None:
    """In the folder for temporary files."""

    def leave(*_: object) -> None:
        tempfile.mkdtemp(prefix="left-")

    with pytest.raises(AssertionError, match="left-"):
        StoppingTests().test_a_finished_build_leaves_no_files_of_its_own(
            make_bench(Spoilt(before=leave))
        )


def _password(request: BuildRequest, keychain: Keychain) -> str:
    base = ImageReference.parse(request.dockerfile.stages[0].base.image)
    credential = keychain.resolve(base.repository, "pull")
    assert credential is not None
    return credential.password


def _tell(request: BuildRequest, keychain: Keychain, run: Run) -> None:
    secret = _password(request, keychain)
    run.sink(TaskStarted(at=0.0, task="t", title=secret))
    run.sink(TaskFinished(at=0.0, task="t", outcome="done"))


def _keep(request: BuildRequest, keychain: Keychain, run: Run) -> None:
    run.environment.cache.mkdir(parents=True, exist_ok=True)
    (run.environment.cache / "kept").write_text(_password(request, keychain))


def _sign_in(request: BuildRequest, keychain: Keychain, run: Run) -> None:
    folder = run.environment.home / ".docker"
    folder.mkdir()
    (folder / "config.json").write_text("{}")


@pytest.mark.parametrize("before", [_tell, _keep, _sign_in])
def test_credentials_that_get_out_are_caught(
    make_bench: Bencher, before: Callable[[BuildRequest, Keychain, Run], object]
) -> None:
    """Into events, files that stay, or the docker configuration that is everybody's."""
    with pytest.raises(AssertionError):
        SecrecyTests().test_credentials_are_used_and_nowhere_else(
            make_bench(Spoilt(before=before))
        )


def test_the_watcher_sees_arguments_and_open_files(tmp_path: Path) -> None:
    """And not what only its owner can read."""
    canary = f"canary-{uuid.uuid4().hex}"
    for name, folder_mode, mode in (("open", 0o755, 0o644), ("shut", 0o700, 0o644)):
        (tmp_path / name).mkdir(mode=folder_mode)
        (tmp_path / name / "file").write_text(canary)
        (tmp_path / name / "file").chmod(mode)
    (tmp_path / "open" / "own").write_text(canary)
    (tmp_path / "open" / "own").chmod(0o600)
    watcher = Watcher((canary,), tmp_path)

    with subprocess.Popen(
        ["sh", "-c", "echo; read x; :", canary], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()  # started, arguments and all: Popen comes back a moment sooner
        watcher.look()
        found = processes_with(canary)
        child.communicate(b"\n")

    assert watcher.leaks == {f"argv of {child.pid}", str(tmp_path / "open" / "file")}
    assert found == [f"sh -c echo; read x; : {canary} "]
    assert processes_with(canary) == []


class Stuck(CopyOnly):
    """Claims RUN, and hangs in it until it is cancelled, or until it is *released*."""

    def __init__(self, released: threading.Event | None = None) -> None:
        self.released = released

    def probe(self) -> Capabilities:
        return claim(Feature.RUN)(super().probe())

    def build(self, request: BuildRequest, keychain: Keychain, run: Run) -> Artifact:
        with run.task("run", "RUN") as task:
            task.log("stdout", "started")
            if self.released is None:
                run.cancel.sleep(60)
            else:
                self.released.wait(60)
        return super().build(request, keychain, run)


def test_a_cancel_that_is_heard_passes(make_bench: Bencher) -> None:
    """The error says so, and nothing is left."""
    StoppingTests().test_a_cancelled_run_is_over(make_bench(Stuck()))


def test_a_cancel_that_is_not_heard_is_caught(make_bench: Bencher) -> None:
    """The test does not wait for ever."""
    released = threading.Event()
    bench = make_bench(Stuck(released))

    with pytest.raises(AssertionError, match="still running"):
        bench.stop(bench.step("FROM scratch\nLABEL a=b\n"), when="started", within=0.1)
    released.set()


def test_a_success_that_should_be_a_failure_is_caught(make_bench: Bencher) -> None:
    """A failing RUN that is not even executed."""
    with pytest.raises(AssertionError, match="should have failed"):
        make_bench(CopyOnly()).fail("FROM scratch\nLABEL a=b\n")


def test_stopping_tells_what_ended_the_step(make_bench: Bencher) -> None:
    """The error is handed back, for the test to look at."""
    bench = make_bench(Stuck())

    stopped = bench.stop(bench.step("FROM scratch\nLABEL a=b\n"), when="started", within=30)

    assert isinstance(stopped.error, StepCancelledError)
    assert stopped.sink.lines == ("started",)


def test_programs_that_need_a_loader_are_told_apart(tmp_path: Path) -> None:
    """By the name of the loader in their headers."""
    (tmp_path / "dynamic").write_bytes(b"\x7fELF" + bytes(100) + b"/lib64/ld-linux-x86-64.so.2\0")
    (tmp_path / "static").write_bytes(b"\x7fELF" + bytes(8000) + b"/lib64/ld-linux")

    assert not is_static(tmp_path / "dynamic")
    assert is_static(tmp_path / "static")

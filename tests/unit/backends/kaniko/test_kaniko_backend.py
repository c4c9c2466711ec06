"""The backend: which executor it is, what it can in a runner's hands, one image or several."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from attrs import define, evolve, field

from buildpush import BuildAndPushStep
from buildpush.auth import Chain, Credential, StaticKeychain
from buildpush.backends.engine.command import Translator
from buildpush.backends.kaniko import Flavor, KanikoBackend
from buildpush.backends.kaniko.executor.flavors import saying
from buildpush.backends.kaniko.runner import Ending, Execution, Found, Places
from buildpush.errors import (
    BackendUnavailableError,
    BuildError,
    CredentialConflictError,
    PodLostError,
    RegistryError,
    SpecError,
    UnsupportedFeatureError,
)
from buildpush.events import Stream, ignore
from buildpush.oci import ImageReference, Platform
from buildpush.oci.layout import Layout
from buildpush.oci.wire import Index, parse_manifest
from buildpush.plan import Feature
from buildpush.registry import RegistryClient
from buildpush.registry.push import push
from buildpush.runtime import CancelToken, Run
from buildpush.testing import LocalRegistry, random_image

OSS = "ghcr.io/osscontainertools/kaniko:v1.28.3"
BOTH = frozenset({Feature.EXPORT_LAYOUT, Feature.PUSH_DIRECTLY})
GOLDEN = Path(__file__).parents[3] / "golden" / "kaniko"
PLACES = Places(
    context="dir:///c", private=PurePosixPath("/p"), digest=PurePosixPath("/d"), layout=None
)


@define
class FakeRunner:
    """Runs nothing: makes a random image for each execution, as *found* and *errors* have it.

    Real executors are the subject of the tests of the runners.
    """

    found: Found = field(factory=lambda: Found(features=BOTH))
    errors: list[Exception] = field(factory=list[Exception])
    lines: tuple[str, ...] = ()
    code: int = 0
    asked: list[bool] = field(factory=list[bool])
    executions: list[Execution] = field(factory=list[Execution])
    platform: Callable[[Platform | None], Platform | None] = lambda platform: platform
    _lock: Any = field(factory=threading.Lock)

    def probe(self, image: str, *, ask_version: bool) -> Found:
        self.asked.append(ask_version)
        return self.found if ask_version else evolve(self.found, version="")

    def execute(self, execution: Execution, translator: Translator, run: Run) -> Ending:
        with self._lock:
            number = len(self.executions)
            self.executions.append(execution)
            error = self.errors.pop(0) if self.errors else None
        if error is not None:
            raise error
        stream: Stream = "stderr"
        for line in self.lines:
            for event in translator.line(stream, line, run.now):
                run.emit(event)
        if self.code:
            return Ending(exit_code=self.code, argv=("executor",))
        folder = execution.layout or run.workdir / f"fake-{number}"
        layout = Layout.create(folder)
        digest = random_image(layout, platform=self.platform(execution.platform), seed=number)
        if execution.layout is None:
            with RegistryClient(Chain(()), run) as client:
                push(client, layout, digest, execution.request.references, origins={}, run=run)
        return Ending(exit_code=0, argv=("executor",), digest=f"{digest}\n")

    def preview(self, execution: Execution) -> str:
        words = execution.command(PLACES).words
        return f"{execution.image} {execution.platform} {sorted(execution.files)} {len(words)}"

    def gc(self, *, older_than: timedelta) -> tuple[str, ...]:
        return (str(older_than),)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY a /a\n")
    (folder / "a").write_text("a")
    return folder


@pytest.fixture
def step(context: Path, local_registry: LocalRegistry) -> Callable[..., BuildAndPushStep]:
    def make(runner: FakeRunner, **settings: Any) -> BuildAndPushStep:
        backend = KanikoBackend(image=OSS, runner=runner)
        repo = local_registry.reference("acme/app")
        return BuildAndPushStep(repo=repo, context=context, backend=backend, **settings)

    return make


def test_a_step_pushes_what_the_runner_exports(step: Callable[..., BuildAndPushStep]) -> None:
    """And every execution gets the Dockerfile, an empty ignore file and a configuration."""
    runner = FakeRunner()

    result = step(runner).run()

    (execution,) = runner.executions
    assert execution.layout is not None
    assert execution.files["Dockerfile"] == b"FROM scratch\nCOPY a /a\n"
    assert execution.files["Dockerfile.dockerignore"] == b""
    assert execution.files["config.json"] == b'{"auths": {}}'
    assert result.backend.version == "1.28.3 (osscontainertools)"
    assert result.references[0].digest == result.digest


def test_a_runner_that_cannot_export_pushes(step: Callable[..., BuildAndPushStep]) -> None:
    """With the digest that the executor wrote, read back like any other."""
    runner = FakeRunner(Found(features=frozenset({Feature.PUSH_DIRECTLY})))

    result = step(runner, tags=["1", "2"]).run()

    (execution,) = runner.executions
    assert execution.layout is None
    assert [str(reference.tag) for reference in result.references] == ["1", "2"]


@pytest.mark.parametrize("features", [BOTH, frozenset({Feature.PUSH_DIRECTLY})])
def test_several_platforms_are_an_execution_each_and_one_index(
    features: frozenset[Feature],
    step: Callable[..., BuildAndPushStep],
    local_registry: LocalRegistry,
) -> None:
    """Pushed directly, each platform's image has a tag of its own; the index has the step's."""
    runner = FakeRunner(Found(features=features, at_once=4))
    platforms = ["linux/amd64", "linux/arm/v7"]

    result = step(runner, platforms=platforms, tags=["1.4", "1"]).run()

    assert sorted(str(execution.platform) for execution in runner.executions) == platforms
    assert sorted(map(str, result.images)) == platforms
    for tag in ("1.4", "1"):
        assert local_registry.digest("acme/app", tag) == result.digest
    pushed = {str(e.request.references[0].tag) for e in runner.executions if e.layout is None}
    expected = (
        set() if Feature.EXPORT_LAYOUT in features else {"1.4-linux-amd64", "1.4-linux-arm-v7"}
    )
    assert pushed == expected


def test_annotations_of_the_index_are_in_the_index(
    step: Callable[..., BuildAndPushStep], local_registry: LocalRegistry, tmp_path: Path
) -> None:
    """The executor knows nothing of an index."""
    runner = FakeRunner(Found(features=frozenset({Feature.PUSH_DIRECTLY})))
    platforms = ["linux/amd64", "linux/arm64"]

    step(runner, platforms=platforms, annotations={"index:a": "1"}).run()

    run = Run(workdir=tmp_path, cancel=CancelToken(), sink=ignore)
    with RegistryClient(Chain(()), run) as client:
        reference = ImageReference.parse(local_registry.reference("acme/app:latest"))
        index = parse_manifest(client.get_manifest(reference).data)
    assert isinstance(index, Index)
    assert index.annotations == {"a": "1"}


@pytest.mark.parametrize(
    ("platforms", "titles"),
    [
        (["linux/amd64"], {"start pod"}),
        (["linux/amd64", "linux/arm64"], {"linux/amd64 start pod", "linux/arm64 start pod"}),
    ],
)
def test_the_titles_of_several_platforms_are_set_apart(
    platforms: list[str], titles: set[str], step: Callable[..., BuildAndPushStep]
) -> None:
    """Else nobody sees which of them is still at it."""
    runner = FakeRunner()

    step(runner, platforms=platforms).run()

    assert {execution.title("start pod") for execution in runner.executions} == titles


def test_an_image_of_the_wrong_platform_is_not_put_into_an_index(
    step: Callable[..., BuildAndPushStep],
) -> None:
    """A node of another platform would have made it."""
    runner = FakeRunner(platform=lambda platform: Platform("linux", "amd64"))

    with pytest.raises(BuildError, match="the image for linux/arm64 is one for linux/amd64"):
        step(runner, platforms=["linux/amd64", "linux/arm64"]).run()


def test_the_first_platform_that_fails_ends_the_others(
    step: Callable[..., BuildAndPushStep],
) -> None:
    """And its own error is raised, not that of those that were stopped."""
    other = threading.Event()

    class Patient(FakeRunner):
        def execute(self, execution: Execution, translator: Translator, run: Run) -> Ending:
            if execution.platform == Platform("linux", "amd64"):
                assert other.wait(30)
                raise BackendUnavailableError("the first one")
            undo = run.cancel.on_cancel(lambda: None)
            other.set()
            undo()
            run.cancel.sleep(60)
            raise AssertionError("nobody stopped it")

    runner = Patient(Found(features=BOTH, at_once=2))

    with pytest.raises(BackendUnavailableError, match="the first one"):
        step(runner, platforms=["linux/amd64", "linux/arm64"]).run()


def test_a_pod_that_was_taken_away_is_replaced(step: Callable[..., BuildAndPushStep]) -> None:
    """With a warning that says why."""
    runner = FakeRunner(errors=[PodLostError("the pod was evicted"), PodLostError("again")])

    result = step(runner).run()

    assert len(runner.executions) == 3
    assert result.warnings == ("the pod was evicted: once more", "again: once more")


def test_a_build_that_ran_into_its_deadline_is_not_begun_again(
    step: Callable[..., BuildAndPushStep],
) -> None:
    """It would do so again, hours later."""
    ended = PodLostError("the Job was ended after 14400 s, its active deadline")
    ended.reason = "DeadlineExceeded"
    runner = FakeRunner(errors=[ended])

    with pytest.raises(PodLostError, match="active deadline"):
        step(runner).run()

    assert len(runner.executions) == 1


@pytest.mark.parametrize(("retries", "runs"), [(4, 3), (0, 1)])
def test_pods_are_not_replaced_for_ever(
    retries: int, runs: int, step: Callable[..., BuildAndPushStep]
) -> None:
    """A node that evicts every pod would be fed for ever; without retries, none is replaced."""
    runner = FakeRunner(errors=[PodLostError("evicted") for _ in range(9)])

    with pytest.raises(PodLostError):
        step(runner, retries=retries).run()

    assert len(runner.executions) == runs


def test_a_failed_run_shows_its_line(step: Callable[..., BuildAndPushStep], context: Path) -> None:
    """Recorded from osscontainertools' 1.28.3; translator and ending together make the error."""
    (context / "Dockerfile").write_bytes((GOLDEN / "oss-1.28.3-run-fails.Dockerfile").read_bytes())
    recorded = (GOLDEN / "oss-1.28.3-run-fails.raw").read_text().splitlines()
    runner = FakeRunner(lines=tuple(line[2:] for line in recorded), code=7)

    with pytest.raises(BuildError, match="exit code 7") as caught:
        step(runner).run()

    assert ">    3 | RUN echo before; echo MARK >&2; exit 7" in caught.value.report()


def test_a_push_without_a_digest_is_no_success(step: Callable[..., BuildAndPushStep]) -> None:
    """What cannot be proven is not claimed."""

    class Silent(FakeRunner):
        def execute(self, execution: Execution, translator: Translator, run: Run) -> Ending:
            return Ending(exit_code=0, argv=("executor",))

    runner = Silent(Found(features=frozenset({Feature.PUSH_DIRECTLY})))

    with pytest.raises(RegistryError, match="not with which digest"):
        step(runner).run()


def test_a_conflict_of_accounts_is_an_error_where_nothing_can_be_exported(
    step: Callable[..., BuildAndPushStep], local_registry: LocalRegistry
) -> None:
    """Elsewhere buildpush pushes instead; a pod cannot."""
    runner = FakeRunner(Found(features=frozenset({Feature.PUSH_DIRECTLY})))
    host = local_registry.host
    auth = [
        StaticKeychain(prefix=f"{host}/acme/{name}", credential=Credential(username=name))
        for name in ("app", "cache")
    ]

    with pytest.raises(CredentialConflictError, match="the image's and the cache's"):
        step(runner, auth=auth, remote_cache_repo=f"{host}/acme/cache").run()

    assert runner.executions == []


@pytest.mark.parametrize(
    ("backend", "said", "expected"),
    [
        ({"image": OSS}, "", "1.28.3 (osscontainertools)"),
        ({"image": f"{OSS}@sha256:{'a' * 64}"}, "", "1.28.3 (osscontainertools)"),
        ({"image": "gcr.io/kaniko-project/executor:latest"}, "", "1.24.0 (google)"),
        ({"image": "my/kaniko:v1.25.16", "flavor": Flavor.CHAINGUARD}, "", "1.25.16 (chainguard)"),
        (
            {"image": "my/kaniko", "flavor": Flavor.OSSCONTAINERTOOLS, "version": "1.27"},
            "",
            "1.27.0 (osscontainertools)",
        ),
        (
            {"image": "my/kaniko", "flavor": Flavor.OSSCONTAINERTOOLS},
            "Kaniko version :  v1.28.1",
            "1.28.1 (osscontainertools)",
        ),
        (
            {"image": "cgr.dev/acme/kaniko@sha256:1"},
            "Kaniko version :  v1.25.16",
            "1.25.16 (chainguard)",
        ),
        (
            {"image": "my/kaniko"},
            "v1.28.3 --materialize --annotation",
            "1.28.3 (osscontainertools)",
        ),
        ({"image": "my/kaniko"}, "v1.25.0 --snapshot-mode", "1.25.0 (google)"),
        (
            {"image": "my/kaniko"},
            "v1.25.16 --annotation",
            "1.25.16 (chainguard)",
        ),
    ],
)
def test_what_is_in_an_image(backend: Mapping[str, Any], said: str, expected: str) -> None:
    """By what the caller says, else by its name, else by what the executor says of itself."""
    runner = FakeRunner(Found(features=BOTH, version=said))

    assert KanikoBackend(runner=runner, **backend).probe().version == expected
    assert runner.asked == [bool(said)]


def test_the_telling_flags_are_found_in_the_usage() -> None:
    """As real executors print it."""
    usage = "Flags:\n      --annotation k=v   Set\n      --materialize      Guarantee\n"
    google = "Flags:\n      --snapshot-mode string   Change\n"

    assert saying("Kaniko version :  v1.28.3", usage) == "v1.28.3 --materialize --annotation"
    assert saying("Kaniko version :  v1.24.0", google) == "v1.24.0 --snapshot-mode"


def test_an_image_that_does_not_say_what_it_is_is_refused() -> None:
    """What a flavor ignores silently cannot be refused without knowing the flavor."""
    runner = FakeRunner(Found(features=BOTH, version="something"))

    with pytest.raises(BackendUnavailableError, match="does not say which kaniko") as caught:
        KanikoBackend(image="my/builder", runner=runner).probe()

    assert "Flavor" in caught.value.hint
    assert "BUILDPUSH_KANIKO_FLAVOR" in caught.value.hint


def test_the_environment_may_say_whose_executor_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the command line nothing else can."""
    monkeypatch.setenv("BUILDPUSH_KANIKO_FLAVOR", "osscontainertools")
    runner = FakeRunner(Found(features=BOTH, version="v1.28.3"))

    found = KanikoBackend(image="my/builder", runner=runner).probe()

    assert found.version == "1.28.3 (osscontainertools)"


def test_a_version_that_is_none_is_a_fault_of_the_caller() -> None:
    """Before anything is asked."""
    backend = KanikoBackend(image=OSS, runner=FakeRunner(), version="newest")

    with pytest.raises(SpecError, match="newest"):
        backend.probe()


def test_an_archived_image_is_remarked() -> None:
    """It works, and nobody mends it."""
    backend = KanikoBackend(image="gcr.io/kaniko-project/executor:v1.24.0", runner=FakeRunner())

    assert "its image is archived: no one mends it" in backend.probe().remarks


def test_a_plan_shows_what_the_runner_would_start(step: Callable[..., BuildAndPushStep]) -> None:
    """For each platform; of secrets only the names."""
    runner = FakeRunner()

    plan = step(runner, platforms=["linux/amd64", "linux/arm64"], secrets={"npm": "canary"}).plan()

    first, second = plan.preview.splitlines()
    assert first.startswith(
        f"{OSS} linux/amd64 ['Dockerfile', 'Dockerfile.dockerignore', 'config.json'"
    )
    assert "secrets/npm" in first and "linux/arm64" in second
    assert "canary" not in plan.preview
    assert runner.executions == []


def test_what_would_be_ignored_is_refused_when_planned(
    step: Callable[..., BuildAndPushStep], context: Path
) -> None:
    """With its line, before anything is started."""
    (context / "Dockerfile").write_text("FROM scratch\nRUN --network=none make\n")

    with pytest.raises(UnsupportedFeatureError, match="line 2") as caught:
        step(FakeRunner()).plan()

    assert ">    2 | RUN --network=none make" in caught.value.report()


def test_leftovers_are_the_runners() -> None:
    """The backend only passes on how old they are."""
    backend = KanikoBackend(image=OSS, runner=FakeRunner())

    assert backend.gc(older_than=timedelta(hours=2)) == ("2:00:00",)

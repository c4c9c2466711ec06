"""From a name to a backend, and from "auto" to the first that can."""

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from buildpush import BuildAndPushStep, Capabilities, Plan
from buildpush.backends import Backend, BackendCatalog, choose
from buildpush.errors import BackendUnavailableError, PlanError, UnsupportedFeatureError
from buildpush.plan import Feature
from buildpush.testing import FakeBackend

GROUP = "buildpush.backends"


class MissingEngine:
    """A backend whose engine is not there."""

    def probe(self) -> Capabilities:
        raise BackendUnavailableError("the engine is not running", hint="start the engine")

    build = FakeBackend.build


def catalog(**targets: str) -> BackendCatalog:
    return BackendCatalog(
        {name: (EntryPoint(name, value, GROUP),) for name, value in targets.items()}
    )


@pytest.fixture
def step(tmp_path: Path) -> BuildAndPushStep:
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    return BuildAndPushStep(repo="a.example/b", context=tmp_path)


def planner(step: BuildAndPushStep, refused: str = "") -> object:
    def plan(backend: Backend) -> Plan:
        if backend.probe().backend == refused:
            raise UnsupportedFeatureError(f"{refused} cannot", hint="take another")
        return step.plan(backend=FakeBackend())

    return plan


def test_our_own_backends_use_the_same_door() -> None:
    """The plug-in path is the only path, so it cannot rot."""
    backend = BackendCatalog.discover().load("native")

    assert isinstance(backend, Backend)


def test_an_unknown_name_lists_those_installed() -> None:
    """A typing error is found out at once."""
    with pytest.raises(PlanError, match="no backend is called 'nativ'") as caught:
        BackendCatalog.discover().load("nativ")

    assert "native" in caught.value.hint


def test_a_backend_of_ours_that_is_not_here() -> None:
    """Its name is right: it is only not installed."""
    with pytest.raises(BackendUnavailableError, match="'docker' is not part of this") as caught:
        BackendCatalog({}).load("docker")

    assert caught.value.hint == "installed: none"


def test_two_claims_on_a_name_are_refused() -> None:
    """Nobody is silently replaced."""
    point = EntryPoint("x", "a:B", GROUP)

    with pytest.raises(PlanError, match="claimed by"):
        BackendCatalog({"x": (point, point)}).load("x")


def test_a_backend_that_cannot_be_imported_says_why() -> None:
    """A missing extra is the host's trouble, not a crash."""
    with pytest.raises(BackendUnavailableError, match="no_such_module"):
        catalog(x="no_such_module:B").load("x")


def test_auto_takes_the_first_that_can(step: BuildAndPushStep) -> None:
    """The plan keeps the reasons why others were passed over; absent ones are not worth one."""
    only_native = BackendCatalog({"native": BackendCatalog.discover().entries["native"]})

    _, plan = choose(("buildx", "native"), only_native, planner(step))  # type: ignore[arg-type]

    assert plan.passed_over == ()


def test_auto_without_any_lists_every_refusal(step: BuildAndPushStep) -> None:
    """One error, all the reasons, in order."""
    entries = BackendCatalog.discover().entries
    both = BackendCatalog(
        {**entries, "docker": catalog(docker="no_such_module:B").entries["docker"]}
    )

    with pytest.raises(PlanError) as caught:
        choose(("native", "docker"), both, planner(step, "native"))  # type: ignore[arg-type]

    assert caught.value.message == (
        "no backend can do this here: native: native cannot;"
        " docker: backend 'docker' cannot be imported: No module named 'no_such_module'"
    )
    assert caught.value.hint == "take another"


def test_auto_with_one_backend_raises_its_error(step: BuildAndPushStep) -> None:
    """Where only one could be asked, its own class and words are worth more."""
    only_native = BackendCatalog({"native": BackendCatalog.discover().entries["native"]})

    with pytest.raises(UnsupportedFeatureError, match="native cannot"):
        choose(("native", "docker"), only_native, planner(step, "native"))  # type: ignore[arg-type]


def test_one_name_raises_its_own_error(step: BuildAndPushStep) -> None:
    """Who asks for one backend hears that backend's reason."""
    with pytest.raises(UnsupportedFeatureError, match="native cannot"):
        choose(("native",), BackendCatalog.discover(), planner(step, "native"))  # type: ignore[arg-type]


def test_an_instance_is_used_as_it_is(step: BuildAndPushStep) -> None:
    """No registration, no name: the object is the backend."""
    plan = step.plan(backend=FakeBackend())

    assert plan.backend.backend == FakeBackend().probe().backend


def test_an_engine_that_is_missing_is_unavailable(step: BuildAndPushStep) -> None:
    """Its own words reach the caller."""
    with pytest.raises(BackendUnavailableError, match="not running"):
        step.plan(backend=MissingEngine())


def test_a_plan_names_the_features_it_misses(step: BuildAndPushStep, tmp_path: Path) -> None:
    """A RUN for a backend that has none is refused with its line."""
    (tmp_path / "Dockerfile").write_text('FROM scratch\nRUN ["x"]\n')

    with pytest.raises(UnsupportedFeatureError) as caught:
        step.plan(backend=OnlyCopies())

    assert Feature.RUN.value in caught.value.message
    assert ">    2 | RUN" in caught.value.report()


def test_lines_are_shown_once_however_many_reasons(step: BuildAndPushStep, tmp_path: Path) -> None:
    """Two things that the same RUN asks for."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nRUN --mount=type=cache,target=/c x\n")

    with pytest.raises(UnsupportedFeatureError, match="2 reasons") as caught:
        step.plan(backend=OnlyCopies())

    assert caught.value.report().count(">    2 | RUN") == 1


class OnlyCopies:
    """A backend that can do nothing special."""

    def probe(self) -> Capabilities:
        return Capabilities(
            backend="copies", version="1", features=frozenset({Feature.EXPORT_LAYOUT})
        )

    build = FakeBackend.build

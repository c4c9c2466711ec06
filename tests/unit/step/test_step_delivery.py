"""Who pushes: the step, the backend, and what happens when the backend cannot after all."""

from __future__ import annotations

from pathlib import Path

import pytest
from attrs import define, evolve, field

from buildpush import BuildAndPushStep, Credential
from buildpush.auth import Keychain, StaticKeychain
from buildpush.errors import CredentialConflictError, UnsupportedFeatureError
from buildpush.oci import Repository
from buildpush.plan import Artifact, BuildRequest, Capabilities, Delivery, Feature
from buildpush.runtime import Run
from buildpush.testing import FakeBackend, LocalRegistry, RecordingSink


@define(eq=False)
class Conflicted:
    """A fake that would rather push itself, and finds that it cannot."""

    fake: FakeBackend = field(factory=FakeBackend)

    def probe(self) -> Capabilities:
        found = self.fake.probe()
        return evolve(found, features=frozenset(Feature), slow_export="with a base")

    def build(self, request: BuildRequest, keychain: Keychain, run: Run) -> Artifact:
        if request.delivery is Delivery.DIRECT:
            raise CredentialConflictError("two credentials are needed for one host")
        return self.fake.build(request, keychain, run)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    folder = tmp_path / "context"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM base.example/base\nCOPY Dockerfile /\n")
    return folder


def test_a_conflict_of_credentials_makes_buildpush_push(context: Path) -> None:
    """The same build again, as a layout, with a keychain that cannot push; and a warning."""
    backend, sink = Conflicted(), RecordingSink()
    keychain = StaticKeychain(prefix="127.0.0.1", credential=Credential(username="u"))
    with LocalRegistry() as registry:
        step = BuildAndPushStep(
            repo=f"{registry.host}/app", context=context, backend=backend, auth=[keychain]
        )
        planned = step.plan().request.delivery
        result = step.run(on_event=sink)

    assert planned is Delivery.DIRECT
    (request,) = backend.fake.requests
    assert request.delivery is Delivery.LAYOUT
    (given,) = backend.fake.keychains
    assert given.resolve(Repository("127.0.0.1", "app"), "push") is None
    assert result.warnings == (
        "two credentials are needed for one host: buildpush pushes instead of the backend",
    )


def test_a_direct_delivery_that_was_asked_for_is_not_changed(context: Path) -> None:
    """The conflict is the caller's to solve."""
    step = BuildAndPushStep(
        repo="r.example/app",
        context=context,
        backend=Conflicted(),
        delivery="direct",
        skip_preflight=True,
    )

    with pytest.raises(CredentialConflictError):
        step.run()


@pytest.mark.parametrize(
    ("slow", "dockerfile", "settings", "expected"),
    [
        ("never", "FROM a\n", {}, Delivery.LAYOUT),
        ("with a base", "FROM a\n", {}, Delivery.DIRECT),
        ("with a base", "FROM scratch\nCOPY . /\n", {}, Delivery.LAYOUT),
        ("always", "FROM scratch\nCOPY . /\n", {}, Delivery.DIRECT),
        ("always", "FROM a\n", {"push": False}, Delivery.LAYOUT),
        ("always", "FROM a\n", {"outputs": ["type=oci,dest=x"]}, Delivery.LAYOUT),
        ("always", "FROM a\n", {"outputs": ["type=local,dest=x"]}, Delivery.DIRECT),
        ("always", "FROM a\n", {"delivery": "layout"}, Delivery.LAYOUT),
        (
            "always",
            "FROM a\n",
            {"cache_from": ["type=registry,ref=a.example/c,required=true"]},
            Delivery.LAYOUT,
        ),
    ],
)
def test_the_planner_prefers_layouts_unless_they_are_slow(
    context: Path, slow: str, dockerfile: str, settings: dict[str, object], expected: Delivery
) -> None:
    """Exporting is the rule; where the backend calls it slow, it pushes what it can by itself."""
    (context / "Dockerfile").write_text(dockerfile)
    everything = Capabilities(
        backend="fake",
        version="1",
        features=frozenset(Feature),
        slow_export=slow,  # type: ignore[arg-type]
    )
    backend = FakeBackend(capabilities=everything)

    plan = BuildAndPushStep(
        repo="r.example/app",
        context=context,
        backend=backend,
        **settings,  # type: ignore[arg-type]
    ).plan()

    assert plan.request.delivery is expected


def test_plain_files_are_the_backends_to_write(
    context: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told the absolute folders; the result lists them."""
    monkeypatch.chdir(tmp_path)
    backend = FakeBackend(
        capabilities=Capabilities(backend="f", version="", features=frozenset(Feature))
    )
    step = BuildAndPushStep(
        repo="r.example/app",
        context=context,
        backend=backend,
        push=False,
        outputs=["type=local,dest=files"],
    )

    result = step.run()

    assert backend.requests[0].local_outputs == (tmp_path / "files",)
    assert result.outputs == (tmp_path / "files",)


def test_a_backend_without_plain_files_is_refused(context: Path) -> None:
    """Before anything is built."""
    lacking = Capabilities(
        backend="f", version="", features=frozenset(Feature) - {Feature.EXPORT_FILES}
    )
    step = BuildAndPushStep(
        repo="r.example/app",
        context=context,
        backend=FakeBackend(capabilities=lacking),
        outputs=["type=local,dest=files"],
    )

    with pytest.raises(UnsupportedFeatureError, match="export plain files"):
        step.plan()

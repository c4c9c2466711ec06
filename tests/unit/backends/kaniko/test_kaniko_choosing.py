"""Which image and which runner a bare ``kaniko`` means."""

from __future__ import annotations

from pathlib import Path

import pytest

from buildpush.backends.kaniko import choosing
from buildpush.backends.kaniko.choosing import choose_flavor, choose_image, choose_runner
from buildpush.backends.kaniko.executor.flavors import Flavor
from buildpush.errors import BackendUnavailableError, SpecError
from buildpush.runtime import Environment


@pytest.fixture(autouse=True)
def _nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither kaniko's container nor a pod."""
    monkeypatch.setattr(choosing, "_EXECUTOR", tmp_path / "executor")
    monkeypatch.setattr(choosing, "_TOKEN", tmp_path / "token")


def having(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Environment:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return Environment.current()


def test_the_environment_names_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    """As CI sets it once for all steps."""
    environment = having(monkeypatch, BUILDPUSH_KANIKO_IMAGE="ghcr.io/x/kaniko:v1.28.3")

    assert choose_image(environment) == "ghcr.io/x/kaniko:v1.28.3"


def test_the_environment_names_the_flavor(monkeypatch: pytest.MonkeyPatch) -> None:
    """For the command line, and an image of one's own name."""
    assert choose_flavor(having(monkeypatch)) is None
    named = having(monkeypatch, BUILDPUSH_KANIKO_FLAVOR="chainguard")
    assert choose_flavor(named) is Flavor.CHAINGUARD

    with pytest.raises(SpecError, match="ours is none of google, osscontainertools, chainguard"):
        choose_flavor(having(monkeypatch, BUILDPUSH_KANIKO_FLAVOR="ours"))


def test_there_is_no_image_to_fall_back_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to choose one, and which one is archived."""
    with pytest.raises(BackendUnavailableError) as caught:
        choose_image(having(monkeypatch))

    assert "BUILDPUSH_KANIKO_IMAGE" in caught.value.hint
    assert "archived" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("local", "LocalRunner"),
        ("container", "ContainerRunner"),
        ("podman", "ContainerRunner"),
        ("kubernetes", "KubernetesRunner"),
        ("", "ContainerRunner"),
    ],
)
def test_the_environment_names_the_runner(
    name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a name, and neither in kaniko's container nor in a pod, it is an engine."""
    environment = having(monkeypatch, BUILDPUSH_KANIKO_RUNNER=name)

    assert type(choose_runner(environment)).__name__ == kind


def test_a_runner_that_there_is_not_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It lists those that there are."""
    with pytest.raises(SpecError, match="k8s is none of local, container, docker"):
        choose_runner(having(monkeypatch, BUILDPUSH_KANIKO_RUNNER="k8s"))


def test_in_kanikos_own_container_it_is_that_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also in a pod: there the executor is at hand already."""
    (tmp_path / "executor").touch()
    (tmp_path / "token").touch()
    environment = having(monkeypatch, KUBERNETES_SERVICE_HOST="10.0.0.1")

    assert type(choose_runner(environment)).__name__ == "LocalRunner"


def test_in_a_pod_with_a_service_account_it_is_the_cluster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the namespace and the account that the environment names."""
    (tmp_path / "token").touch()
    environment = having(
        monkeypatch,
        KUBERNETES_SERVICE_HOST="10.0.0.1",
        BUILDPUSH_KANIKO_NAMESPACE="builds",
        BUILDPUSH_KANIKO_SERVICE_ACCOUNT="builder",
    )

    runner = choose_runner(environment)

    assert type(runner).__name__ == "KubernetesRunner"
    assert runner.namespace == "builds"  # type: ignore[attr-defined]
    assert runner.pod.service_account == "builder"  # type: ignore[attr-defined]

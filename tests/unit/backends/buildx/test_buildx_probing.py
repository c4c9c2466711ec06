"""What is found of an installation, whatever it looks like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from buildpush.backends.buildx import Builder
from buildpush.backends.buildx.capabilities import capabilities
from buildpush.backends.buildx.probing import examine
from buildpush.backends.buildx.situation import Choice
from buildpush.errors import BackendUnavailableError
from buildpush.plan import Feature

TABLE = """Name: {name}
Driver: {driver}

Nodes:
Name: {name}0
Endpoint: x
Status: running
BuildKit version: v0.25.1
Platforms: linux/amd64, linux/arm64
Labels:
 org.mobyproject.buildkit.worker.snapshotter: overlayfs
"""


def test_the_engines_own_buildkit(plugin: Any, engine: Any, surroundings: Any) -> None:
    """The engine's API tells of the engine, the plugin of BuildKit; the second time from memory."""
    plugin.say("inspect", out=TABLE.format(name="default", driver="docker"))
    environment = surroundings(DOCKER_HOST=engine.host)

    first, second = (examine(Choice(), environment) for _ in range(2))

    assert first == second
    assert (first.driver, first.builder, first.store) == ("docker", "default", True)
    assert (first.version, first.numbers) == ("0.29.1", (0, 29, 1))
    assert [str(p) for p in first.platforms] == ["linux/amd64", "linux/arm64"]
    assert sorted(plugin.calls) == ["inspect default", "version"]


def test_capabilities_in_words(plugin: Any, engine: Any, surroundings: Any) -> None:
    """Who builds, where, and with what."""
    plugin.say("inspect", out=TABLE.format(name="default", driver="docker"))
    engine.answers["/info"]["SecurityOptions"] = ["name=rootless"]

    found = capabilities(examine(Choice(), surroundings(DOCKER_HOST=engine.host)))

    assert found.remarks[:4] == (
        "builder default (driver docker)",
        "docker 28.5.2 with containerd's image store",
        "BuildKit 0.25.1",
        "the engine runs without root",
    )
    assert Feature.EXPORT_LAYOUT in found.features and found.needs_daemon


def test_an_engine_whose_buildkit_does_not_answer(
    plugin: Any, engine: Any, surroundings: Any
) -> None:
    """Its own platform is known; what failed is not remembered."""
    plugin.say("inspect", out="Name: default\nDriver:\nError: no\n")
    environment = surroundings(DOCKER_HOST=engine.host)

    found = examine(Choice(), environment)
    examine(Choice(), environment)

    assert [str(p) for p in found.platforms] == ["linux/amd64"]
    assert plugin.calls.count("inspect default") == 2


def test_podman_is_no_docker(plugin: Any, engine: Any, surroundings: Any) -> None:
    """It answers like one, and has no BuildKit."""
    engine.answers["/version"]["Components"] = [{"Name": "Podman Engine"}]

    with pytest.raises(BackendUnavailableError, match="and has no BuildKit") as caught:
        examine(Choice(), surroundings(DOCKER_HOST=engine.host))

    assert "buildah" in caught.value.hint


def test_windows_containers(plugin: Any, engine: Any, surroundings: Any) -> None:
    """There is no BuildKit for them."""
    engine.answers["/info"]["OSType"] = "windows"

    with pytest.raises(BackendUnavailableError, match="Windows containers"):
        examine(Choice(), surroundings(DOCKER_HOST=engine.host))


def test_no_buildx(surroundings: Any) -> None:
    """What to install is said."""
    with pytest.raises(BackendUnavailableError, match="buildx is not installed") as caught:
        examine(Choice(), surroundings(PATH="/nowhere"))

    assert "docker-buildx" in caught.value.hint


def test_a_plugin_that_is_none(plugin: Any, engine: Any, surroundings: Any) -> None:
    """A file of another machine, or half a download."""
    plugin.path.write_text("#!/bin/sh\nexit 3\n")

    with pytest.raises(BackendUnavailableError, match="does not say which buildx"):
        examine(Choice(), surroundings(DOCKER_HOST=engine.host))


def test_another_plugin_is_asked_anew(plugin: Any, engine: Any, surroundings: Any) -> None:
    """An upgrade is noticed."""
    environment = surroundings(DOCKER_HOST=engine.host)
    examine(Choice(), environment)
    plugin.path.write_text("#!/bin/sh\necho github.com/docker/buildx v0.40.0\n")

    assert examine(Choice(), environment).numbers == (0, 40, 0)


def test_a_cache_that_cannot_be_written(
    plugin: Any, engine: Any, surroundings: Any, tmp_path: Path
) -> None:
    """Then buildx is asked every time."""
    (tmp_path / "cache").write_text("a file")

    assert examine(Choice(), surroundings(DOCKER_HOST=engine.host)).numbers == (0, 29, 1)


@pytest.mark.parametrize(
    ("choice", "variables"),
    [
        (Choice(builder="ci"), {}),
        (Choice(), {"BUILDX_BUILDER": "ci"}),
        (Choice(builder="ci"), {"BUILDX_BUILDER": "other"}),
    ],
)
def test_a_builder_of_the_users(
    choice: Choice, variables: dict[str, str], plugin: Any, surroundings: Any
) -> None:
    """The argument wins over the variable."""
    surroundings.builder("ci", Driver="docker-container", Nodes=[{"Name": "ci0"}])
    plugin.say("inspect", out=TABLE.format(name="ci", driver="docker-container"))

    found = examine(choice, surroundings(DOCKER_HOST="unix:///nowhere.sock", **variables))

    assert (found.builder, found.driver, found.buildkit) == ("ci", "docker-container", "v0.25.1")


def test_the_current_builder_without_any_engine(plugin: Any, surroundings: Any) -> None:
    """Somebody may have buildx and a remote BuildKit, and nothing else."""
    surroundings.builder("ci", Driver="remote", Nodes=[{"Name": "ci0", "Endpoint": "ssh://b"}])
    surroundings.current(Name="ci", Global=True)
    plugin.say("inspect", out=TABLE.format(name="ci", driver="remote"))

    found = examine(Choice(), surroundings(DOCKER_CONTEXT=""))

    assert (found.builder, found.driver) == ("ci", "remote")


def test_a_remote_builder_that_does_not_answer(plugin: Any, surroundings: Any) -> None:
    """Where it should be, and why not."""
    node = {"Name": "ci0", "Endpoint": "unix:///nowhere/b.sock"}
    surroundings.builder("ci", Driver="remote", Nodes=[node])
    plugin.say("inspect", out="Name: ci\nDriver: remote\n\nNodes:\nName: ci0\nStatus: inactive\n")

    with pytest.raises(BackendUnavailableError, match="No such file or directory"):
        examine(Choice(builder="ci"), surroundings(DOCKER_HOST="unix:///nowhere.sock"))


@pytest.mark.parametrize(("out", "code"), [("Name: ci\nError: broken\n", 0), ("", 1)])
def test_a_builder_that_cannot_be_used(
    out: str, code: int, plugin: Any, surroundings: Any
) -> None:
    """buildx's reason is passed on."""
    surroundings.builder("ci", Driver="docker-container", Nodes=[])
    plugin.say("inspect", out=out, err="ERROR: broken\n", code=code)

    with pytest.raises(BackendUnavailableError) as caught:
        examine(Choice(builder="ci"), surroundings(DOCKER_HOST="unix:///nowhere.sock"))

    assert "broken" in caught.value.report()


def test_a_stopped_builder_is_fine(plugin: Any, surroundings: Any) -> None:
    """The build will start it."""
    surroundings.builder("ci", Driver="docker-container", Nodes=[])
    plugin.say(
        "inspect", out="Name: ci\nDriver: docker-container\n\nNodes:\nName: a\nStatus: stopped\n"
    )

    found = examine(Choice(builder="ci"), surroundings(DOCKER_HOST="unix:///nowhere.sock"))

    assert found.platforms == ()


def test_nobody_is_called_that(plugin: Any, surroundings: Any, engine: Any) -> None:
    """The names that there are come with the error."""
    surroundings.builder("ci", Driver="remote")

    with pytest.raises(BackendUnavailableError, match="no builder called 'cj'") as caught:
        examine(Choice(builder="cj"), surroundings(DOCKER_HOST=engine.host))

    assert "ci, default" in caught.value.hint


def test_a_builder_to_be_made_in_a_container(plugin: Any, engine: Any, surroundings: Any) -> None:
    """The engine has to be there; the rest will be new."""
    builder = Builder(
        endpoint=engine.host, buildkitd_flags=("--allow-insecure-entitlement=security.insecure",)
    )

    found = examine(Choice(create=builder), surroundings())

    assert (found.builder, found.engine) == ("", "28.5.2")
    assert found.entitlements == {"security.insecure"}
    assert "a builder made for each run (driver docker-container)" in capabilities(found).remarks


def test_a_builder_to_be_made_of_a_remote_buildkit(plugin: Any, surroundings: Any) -> None:
    """It is asked, through a folder that is thrown away."""
    plugin.say("inspect", out=TABLE.format(name="x", driver="remote"))
    builder = Builder(driver="remote", endpoint="ssh://far")

    found = examine(Choice(create=builder), surroundings(DOCKER_HOST="unix:///nowhere.sock"))

    assert [str(p) for p in found.platforms] == ["linux/amd64", "linux/arm64"]
    assert any(call.startswith("create ") for call in plugin.calls)
    assert not list(surroundings.folder.glob("buildpush-probe-*"))


def test_a_remote_builder_that_buildx_refuses(plugin: Any, surroundings: Any) -> None:
    """In buildx's words."""
    plugin.say("create", err="ERROR: unknown thing\n", code=1)

    with pytest.raises(BackendUnavailableError, match="unknown thing"):
        examine(
            Choice(create=Builder(driver="remote", endpoint="ssh://far")),
            surroundings(DOCKER_HOST="unix:///nowhere.sock"),
        )


def test_a_pod_is_assumed(plugin: Any, surroundings: Any) -> None:
    """Asking Kubernetes would take longer than a probe may."""
    found = examine(Choice(create=Builder(driver="kubernetes")), surroundings())

    assert (found.driver, found.platforms, found.endpoint) == ("kubernetes", (), None)


def test_an_engine_behind_ssh(plugin: Any, surroundings: Any) -> None:
    """Only the plugin can speak to it; the labels tell which image store it has."""
    plugin.say("inspect", out=TABLE.format(name="default", driver="docker"))

    found = examine(Choice(), surroundings(DOCKER_HOST="ssh://me@far"))

    assert (found.driver, found.store) == ("docker", True)


def test_the_engine_of_another_builder(plugin: Any, engine: Any, surroundings: Any) -> None:
    """The driver docker needs no creating: its endpoint says which engine."""
    builder = Builder(driver="docker", endpoint=engine.host)

    assert examine(Choice(create=builder), surroundings()).driver == "docker"

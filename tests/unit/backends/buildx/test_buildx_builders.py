"""Builders to be made: what they may be, what buildx is told, and what becomes of trouble."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from buildpush.backends.buildx import Builder
from buildpush.backends.buildx.builders import Toolbox, created
from buildpush.backends.buildx.diagnosis import explain_boot
from buildpush.backends.buildx.reaching import why_silent
from buildpush.backends.engine.endpoints import Endpoint
from buildpush.errors import BackendUnavailableError, CommandEvidence, SpecError
from buildpush.oci import Platform
from buildpush.runtime import CancelToken, Run
from buildpush.testing import RecordingSink

RUNNING = "Name: x\nDriver: docker-container\n\nNodes:\nName: x0\nStatus: running\n"


def test_the_arguments_of_a_container() -> None:
    """Each option is a record of CSV by itself; logs are not clipped."""
    builder = Builder(
        endpoint="far",
        options={
            "image": "r.io/bk:1",
            "env.NO_PROXY": 'a,b"c',
            "memory": 512,
            "default-load": True,
        },
        platforms=(Platform("linux", "amd64"), Platform("linux", "arm64")),
        buildkitd_config=Path("/etc/buildkitd.toml"),
        buildkitd_flags=("--debug", "--oci-worker-gc"),
    )

    assert builder.argv("buildpush-x", (0, 29, 1)) == (
        "create",
        "--name=buildpush-x",
        "--driver=docker-container",
        "--driver-opt=env.BUILDKIT_STEP_LOG_MAX_SIZE=-1",
        "--driver-opt=env.BUILDKIT_STEP_LOG_MAX_SPEED=-1",
        "--driver-opt=image=r.io/bk:1",
        '--driver-opt="env.NO_PROXY=a,b""c"',
        "--driver-opt=memory=512",
        "--driver-opt=default-load=true",
        "--platform=linux/amd64,linux/arm64",
        "--buildkitd-config=/etc/buildkitd.toml",
        "--buildkitd-flags=--debug --oci-worker-gc",
        "far",
    )


def test_the_arguments_of_a_pod() -> None:
    """Older buildx calls the configuration by another name."""
    builder = Builder(
        driver="kubernetes",
        options={"namespace": "ci", "replicas": 2, "nodeselector": "a=b,c=d"},
        buildkitd_config=Path("/b.toml"),
    )

    assert builder.argv("n", (0, 12)) == (
        "create",
        "--name=n",
        "--driver=kubernetes",
        "--driver-opt=namespace=ci",
        "--driver-opt=replicas=2",
        '--driver-opt="nodeselector=a=b,c=d"',
        "--config=/b.toml",
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"driver": "docker", "options": {"image": "x"}}, "has no options"),
        ({"driver": "remote"}, "needs the address"),
        ({"driver": "remote", "endpoint": "http://b"}, "needs the address"),
        (
            {"driver": "remote", "endpoint": "tcp://b:1", "buildkitd_flags": ("x",)},
            "running already",
        ),
        ({"driver": "remote", "endpoint": "tcp://b:1", "options": {"cert": "c.pem"}}, "absolute"),
        (
            {"driver": "remote", "endpoint": "tcp://b:1", "options": {"key": "/no/k"}},
            "no such file",
        ),
        ({"options": {"a=b": "c"}}, "can be called"),
        ({"options": {"a": "b\0"}}, "null byte"),
    ],
)
def test_what_does_not_fit_is_refused_at_once(fields: Any, expected: str) -> None:
    """Long before anything is started."""
    with pytest.raises(SpecError, match=expected):
        Builder(**fields)


def test_a_certificate_needs_its_key(tmp_path: Path) -> None:
    """buildx wants both."""
    (tmp_path / "c").touch()

    with pytest.raises(SpecError, match="its key is missing"):
        Builder(driver="remote", endpoint="tcp://b:1", options={"cert": tmp_path / "c"})


def test_options_are_not_shown() -> None:
    """They may hold proxies' passwords."""
    assert "canary" not in repr(Builder(options={"env.HTTPS_PROXY": "http://u:canary@p"}))


@pytest.mark.parametrize(
    ("driver", "said", "expected"),
    [
        ("docker-container", "ERROR: pull access denied for x", "the image of BuildKit, img"),
        (
            "docker-container",
            "ERROR: Cannot connect to the Docker daemon at unix",
            "start the dock",
        ),
        (
            "docker-container",
            "ERROR: invalid driver option c for x driver",
            "leave the option out",
        ),
        ("docker-container", "ERROR: no space left on device", "docker logs"),
        ("kubernetes", "ERROR: pods is forbidden", "kubectl's current context"),
        ("remote", "Error: x509: certificate signed by unknown authority", "cacert"),
        ("remote", "ERROR: dial tcp: connection refused", "is BuildKit listening"),
        ("remote", "", "exit code 1"),
    ],
)
def test_trouble_in_words(driver: str, said: str, expected: str) -> None:
    """What is wrong, and what to do."""
    evidence = CommandEvidence(argv=("docker-buildx",), exit_code=1, tail=("#1 x", said))

    error = explain_boot(
        driver, {"image": "img"}, evidence if said else CommandEvidence(argv=("x",), exit_code=1)
    )

    assert expected in f"{error.message} {error.hint}"
    assert error.evidence


@pytest.fixture
def run(surroundings: Any, tmp_path: Path) -> Run:
    return Run(
        workdir=tmp_path, cancel=CancelToken(), sink=RecordingSink(), environment=surroundings()
    )


def toolbox(plugin: Any, run: Run, endpoint: Endpoint | None = None) -> Toolbox:
    return Toolbox(
        plugin=plugin.path,
        version=(0, 29, 1),
        variables=run.environment.variables,
        endpoint=endpoint,
    )


def test_a_builder_is_made_booted_and_removed(plugin: Any, run: Run) -> None:
    """In that order, under one name; its progress is a task's log, its options are nobody's."""
    plugin.say(
        "inspect", out=f'{RUNNING}Driver Options: a="canary"\n', err="#1 booting buildkit\n"
    )

    with created(Builder(), toolbox(plugin, run), run) as name:
        inside = list(plugin.calls)

    assert [call.split()[0] for call in inside] == ["create", "inspect"]
    assert plugin.calls[-1] == f"rm --force {name}"
    assert name.startswith("buildpush-")
    sink: Any = run.sink
    assert sink.lines == ("#1 booting buildkit",)


def test_what_cannot_be_created_is_removed_all_the_same(plugin: Any, run: Run) -> None:
    """It may have come half way."""
    plugin.say("create", err="ERROR: invalid driver option a\n", code=1)

    with (
        pytest.raises(BackendUnavailableError, match="invalid driver option a"),
        created(Builder(), toolbox(plugin, run), run),
    ):
        pass

    assert plugin.calls[-1].startswith("rm --force")


def test_the_secrets_of_options_are_in_no_error(plugin: Any, run: Run) -> None:
    """buildx takes them as arguments, and quotes them in what it complains of."""
    plugin.say("create", err="ERROR: cannot use http://me:s3cret%21@proxy:3128", code=1)
    builder = Builder(
        options={
            "env.HTTP_PROXY": "http://me:s3cret%21@proxy:3128",
            "env.AWS_SECRET_ACCESS_KEY": "canary",
        }
    )

    with (
        pytest.raises(BackendUnavailableError) as caught,
        created(builder, toolbox(plugin, run), run),
    ):
        pass

    assert "env.HTTP_PROXY=http://me:***@proxy:3128" in repr(caught.value.evidence)
    for secret in ("s3cret", "canary"):
        assert secret not in caught.value.report()
        assert secret not in repr(caught.value.evidence)


def test_a_node_that_does_not_start_is_an_error(plugin: Any, run: Run) -> None:
    """buildx itself ends well then."""
    plugin.say("inspect", out="Name: x\nDriver: remote\n\nNodes:\nName: x0\nError: refused\n")

    with (
        pytest.raises(BackendUnavailableError, match="refused"),
        created(Builder(), toolbox(plugin, run), run),
    ):
        pass


def test_the_engine_removes_what_buildx_cannot(plugin: Any, run: Run, engine: Any) -> None:
    """The container and its volume, by their names."""
    plugin.say("inspect", out=RUNNING)
    plugin.say("rm", err="ERROR: hung\n", code=1)

    with created(
        Builder(), toolbox(plugin, run, Endpoint(name="x", host=engine.host)), run
    ) as name:
        pass

    container = f"buildx_buildkit_{name}0"
    assert engine.deleted == [f"/containers/{container}", f"/volumes/{container}_state"]
    sink: Any = run.sink
    assert sink.warnings == ()


def test_what_stays_behind_is_a_warning(plugin: Any, run: Run) -> None:
    """Somebody has to know of it."""
    plugin.say("inspect", out=RUNNING)
    plugin.say("rm", err="ERROR: hung\n", code=1)
    gone = Endpoint(name="x", host="unix:///nowhere.sock")

    with created(Builder(), toolbox(plugin, run, gone), run):
        pass

    sink: Any = run.sink
    assert "could not be removed" in sink.warnings[0]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("unix:///nowhere/b.sock", "No such file or directory"),
        ("ssh://far", ""),
        ("tcp://127.0.0.1:1", "Connection refused"),
        ("tcp://127.0.0.1:no", "Port could not be cast"),
    ],
)
def test_why_nobody_answers(address: str, expected: str) -> None:
    """As far as connecting tells."""
    assert expected in why_silent(address, {})


def test_files_that_are_no_certificates(tmp_path: Path, engine: Any) -> None:
    """They are found out before anything is sent."""
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        (tmp_path / "ca").write_text("no certificate")

        said = why_silent(address, {"cacert": str(tmp_path / "ca")})

    assert "the TLS files cannot be used" in said


def test_somebody_who_hangs_up() -> None:
    """A server that wants TLS says nothing to those who speak none."""
    import socket
    import threading

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=lambda: listener.accept()[0].close())
        thread.start()

        said = why_silent(f"tcp://127.0.0.1:{listener.getsockname()[1]}", {})
        thread.join()

    assert "does it expect TLS" in said

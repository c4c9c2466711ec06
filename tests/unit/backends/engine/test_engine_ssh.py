"""Engines behind ssh: what is run, and that it is a connection like any other."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from buildpush.backends.engine import Endpoint
from buildpush.backends.engine.api import EngineApi
from buildpush.backends.engine.ssh import ssh_argv
from buildpush.errors import BackendUnavailableError, StepCancelledError
from buildpush.runtime import CancelToken, Environment

SSH = """#!{python} -IS
import os, socket, sys, threading
open({log!r}, "a").write(repr(sys.argv[1:]) + "\\n")
engine = socket.socket(socket.AF_UNIX)
engine.connect({path!r})
def answer():
    while data := engine.recv(65536):
        os.write(1, data)
    os._exit(0)
threading.Thread(target=answer).start()
while data := os.read(0, 65536):
    engine.sendall(data)
os._exit(0)
"""


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint(name="far", host="ssh://me@far.example:2222", context="far")


@pytest.fixture
def install(tmp_path: Path, environment: Environment) -> Callable[[str], Environment]:
    """Puts a program called ssh into the PATH."""

    def installed(text: str) -> Environment:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "ssh").write_text(text)
        (tmp_path / "bin" / "ssh").chmod(0o755)
        variables = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
        return evolve(environment, variables=variables)

    return installed


@pytest.mark.parametrize(
    ("host", "end"),
    [
        ("ssh://far", ("-T", "--", "far", "docker", "system", "dial-stdio")),
        (
            "ssh://me@far:2222",
            ("-l", "me", "-p", "2222", "--", "far", "docker", "system", "dial-stdio"),
        ),
        (
            "ssh://far/run/my%20docker.sock",
            ("--host", "'unix:///run/my docker.sock'", "system", "dial-stdio"),
        ),
        ("ssh://-oProxyCommand=x/", ("--", "-oproxycommand=x", "docker", "system", "dial-stdio")),
    ],
)
def test_the_command(host: str, end: tuple[str, ...]) -> None:
    """The docker CLI's, and never one that asks for a password."""
    argv = ssh_argv(Endpoint(name="x", host=host), 10)

    assert argv[-len(end) :] == end
    assert argv[:5] == ("ssh", "-o", "ConnectTimeout=10", "-o", "BatchMode=yes")


@pytest.mark.parametrize("host", ["ssh://", "ssh://me@", "ssh://far:no"])
def test_an_address_without_a_host(host: str) -> None:
    """Is refused before anything is run."""
    with pytest.raises(BackendUnavailableError, match="names no host"):
        ssh_argv(Endpoint(name="x", host=host), 10)


def test_an_engine_behind_ssh(
    engine: Any, endpoint: Endpoint, install: Callable[[str], Environment], tmp_path: Path
) -> None:
    """Several requests share a connection; nothing is left behind."""
    log, path = str(tmp_path / "log"), str(tmp_path / "engine.sock")
    environment = install(SSH.format(python=sys.executable, log=log, path=path))
    engine.say(b'{"Version": "28"}')

    with EngineApi(endpoint, cancel=CancelToken(), environment=environment) as api:
        versions = [api.version().version for _ in range(3)]

    assert versions == ["28"] * 3
    assert Path(log).read_text().count("far.example") == 1
    assert list(tmp_path.glob("bp-*")) == []


def test_a_cancel_ends_ssh_too(
    engine: Any, endpoint: Endpoint, install: Callable[[str], Environment], tmp_path: Path
) -> None:
    """And the call that waits for it."""
    log, path = str(tmp_path / "log"), str(tmp_path / "engine.sock")
    environment = install(SSH.format(python=sys.executable, log=log, path=path))
    cancel = CancelToken()
    engine.hang(b"HTTP/1.1 200 OK\r\n\r\n{}")

    with EngineApi(endpoint, cancel=cancel, environment=environment) as api:
        messages = api.messages("GET", "/events")
        first = next(messages)
        cancel.cancel()
        with pytest.raises(StepCancelledError):
            next(messages)

    assert first == {}


def test_what_ssh_says_is_the_reason(
    endpoint: Endpoint, install: Callable[[str], Environment]
) -> None:
    """A refused key, an unknown host."""
    environment = install("#!/bin/sh\necho 'Permission denied (publickey).' >&2\nexit 255\n")

    with (
        EngineApi(endpoint, cancel=CancelToken(), environment=environment) as api,
        pytest.raises(BackendUnavailableError) as caught,
    ):
        api.version()

    assert "ssh://me@far.example:2222 (far)" in caught.value.message
    assert "Permission denied (publickey)" in caught.value.message


def test_without_ssh(endpoint: Endpoint, environment: Environment) -> None:
    """It is what has to be installed."""
    bare = evolve(environment, variables={"PATH": "/nowhere"})

    with (
        EngineApi(endpoint, cancel=CancelToken(), environment=bare) as api,
        pytest.raises(BackendUnavailableError, match="ssh is not installed"),
    ):
        api.version()


def test_a_temporary_folder_with_too_long_a_name(
    endpoint: Endpoint, environment: Environment, tmp_path: Path
) -> None:
    """A socket's path has at most 107 bytes."""
    deep = tmp_path / ("x" * 100)
    deep.mkdir()

    with pytest.raises(BackendUnavailableError, match="cannot be a socket"):
        EngineApi(endpoint, cancel=CancelToken(), environment=evolve(environment, temporary=deep))

    assert list(deep.iterdir()) == []

"""Reaching real engines: where the docker CLI finds them, by socket, TLS and ssh, until cancelled."""

from __future__ import annotations

import io
import json
import os
import socket
import ssl
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from attrs import define, field

from buildpush.backends.engine import Endpoint, client_folder, current, question
from buildpush.backends.engine.api import EngineApi
from buildpush.errors import BackendUnavailableError, BuildError, NotFoundError, StepTimeoutError
from buildpush.runtime import CancelToken, Environment, Run

pytestmark = pytest.mark.needs_docker


def docker(*argv: str) -> str:
    done = subprocess.run(
        ("docker", *argv), env=dict(os.environ), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(params=["newer", "classic"])
def engine(request: pytest.FixtureRequest) -> Any:
    """Each of the two dockers."""
    name = {"newer": "dockerd", "classic": "dockerd_classic"}[request.param]
    return request.getfixturevalue(name)


@pytest.fixture
def api(engine: Any) -> Iterator[EngineApi]:
    with EngineApi(Endpoint(name="test", host=engine.host), cancel=CancelToken()) as api:
        yield api


# --- where ---


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory, dockerd: Any) -> Path:
    """A docker folder with the contexts one, which is in use, and two, and an authority."""
    folder = tmp_path_factory.mktemp("docker")
    env = {"PATH": dockerd.env["PATH"], "DOCKER_CONFIG": str(folder), "HOME": str(folder)}
    for name in ("one", "two"):
        create = ("docker", "context", "create", name, "--docker", f"host=tcp://{name}:1")
        subprocess.run(create, env=env, check=True, capture_output=True)
    (folder / "config.json").write_text('{"currentContext": "one"}')
    trustme.CA().cert_pem.write_to_path(str(folder / "ca.pem"))
    return folder


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"DOCKER_HOST": "tcp://10.0.0.1"},
        {"DOCKER_HOST": "10.0.0.1:99"},
        {"DOCKER_HOST": "unix://"},
        {"DOCKER_HOST": "ssh://me@host"},
        {"DOCKER_HOST": "tcp://h:1", "DOCKER_CONTEXT": "two"},
        {"DOCKER_CONTEXT": "two"},
        {"DOCKER_CONTEXT": "default", "DOCKER_HOST": "unix:///x"},
        {"DOCKER_CONTEXT": "default", "DOCKER_TLS_VERIFY": "0"},
    ],
    ids=str,
)
def test_the_same_place_as_the_docker_cli(
    engine: Any, contexts: Path, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    """Whatever variables and contexts say, for the CLIs of both engines."""
    monkeypatch.setenv("PATH", engine.env["PATH"])
    monkeypatch.setenv("DOCKER_CONFIG", str(contexts))
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    found = current(Environment.current()).host

    theirs = json.loads(docker("context", "inspect"))[0]["Endpoints"]["docker"]["Host"]
    assert found == theirs


# --- what they answer ---


def test_who_answers(api: EngineApi, engine: Any) -> None:
    """As they describe themselves."""
    said = json.loads(engine.api("GET", "/version"))

    found = api.version()

    assert (found.version, found.api, found.arch) == (
        said["Version"],
        said["ApiVersion"],
        said["Arch"],
    )
    assert not found.podman


def test_the_image_store(dockerd: Any, dockerd_classic: Any) -> None:
    """containerd's, and the classic one."""
    found: list[tuple[bool, bool]] = []
    for engine in (dockerd, dockerd_classic):
        with EngineApi(Endpoint(name="x", host=engine.host), cancel=CancelToken()) as api:
            info = api.info()
        found.append((info.containerd_store, info.rootless))
        assert "127.0.0.0/8" in info.insecure

    assert found == [(True, False), (False, False)]


def root_file_system() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as tar:
        member = tarfile.TarInfo("file")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"abc"))
    return data.getvalue()


def test_an_image_in_and_out(api: EngineApi) -> None:
    """A streamed body, a stream of messages, a download, a refusal."""
    tar = root_file_system()
    params = {"fromSrc": "-", "repo": "reaching", "tag": "1"}

    messages = list(
        api.messages("POST", "/images/create", params=params, body=iter((tar[:99], tar[99:])))
    )
    with api.download("/images/get", params={"names": "reaching:1"}) as chunks:
        saved = b"".join(chunks)
    api.call("DELETE", "/images/reaching:1")
    with pytest.raises(NotFoundError, match="No such image: reaching:1"):
        api.call("GET", "/images/reaching:1/json")

    assert str(messages[-1]["status"]).startswith("sha256:")
    with tarfile.open(fileobj=io.BytesIO(saved)) as archive:
        assert "manifest.json" in archive.getnames()


def test_a_failed_pull_is_in_the_stream_or_refused(api: EngineApi) -> None:
    """Whichever the engine prefers, it is not lost."""
    params = {"fromImage": "127.0.0.1:1/nothing", "tag": "1"}
    said = ""
    try:
        messages = list(api.messages("POST", "/images/create", params=params))
        said = json.dumps(messages[-1]["errorDetail"])
    except BuildError as error:
        said = error.message

    assert "127.0.0.1:1" in said


def test_a_wait_for_events_is_cancelled(engine: Any) -> None:
    """Nothing else would end it."""
    cancel = CancelToken()
    reason = StepTimeoutError("too long")
    timer = threading.Timer(0.1, cancel.cancel, [reason])
    with EngineApi(Endpoint(name="x", host=engine.host), cancel=cancel) as api:
        timer.start()
        with pytest.raises(StepTimeoutError) as caught:
            list(api.messages("GET", "/events", params={"filters": '{"type":["plugin"]}'}))
    timer.join()

    assert caught.value is reason


def test_a_killed_daemon(private_dockerd: Any) -> None:
    """Breaks off what is under way; afterwards its socket is known to be left over."""
    timer = threading.Timer(0.1, private_dockerd.kill)
    endpoint = Endpoint(name="doomed", host=private_dockerd.host)
    with EngineApi(endpoint, cancel=CancelToken()) as api:
        api.version()
        timer.start()
        with pytest.raises(BackendUnavailableError, match=r"\(doomed\) broke off"):
            list(api.messages("GET", "/events"))
        timer.join()
        with pytest.raises(BackendUnavailableError) as caught:
            api.version()

    assert "left over" in caught.value.hint


# --- TLS and ssh ---


@define(eq=False)
class TlsRelay:
    """Gives an engine's socket a TLS port that wants a client's certificate."""

    target: str
    context: ssl.SSLContext
    listener: socket.socket = field(factory=lambda: socket.create_server(("127.0.0.1", 0)))
    _threads: list[threading.Thread] = field(factory=list)

    def start(self) -> None:
        self._spawn(self._serve)

    def stop(self) -> None:
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self._threads:
            thread.join()

    def _spawn(self, call: Callable[..., None], *args: object) -> None:
        self._threads.append(threading.Thread(target=call, args=args))
        self._threads[-1].start()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                self._spawn(self._relay, self.listener.accept()[0])

    def _relay(self, plain: socket.socket) -> None:
        with suppress(OSError), self.context.wrap_socket(plain, server_side=True) as near:
            far = socket.socket(socket.AF_UNIX)
            with far:
                far.connect(self.target)
                # Half duplex: enough for requests whose answer comes after their end.
                near.settimeout(0.02)
                far.settimeout(0.02)
                while _passed(near, far) and _passed(far, near):
                    pass


def _passed(source: socket.socket, target: socket.socket) -> bool:
    try:
        data = source.recv(1 << 16)
    except TimeoutError:
        return True
    target.sendall(data)
    return bool(data)


@pytest.fixture
def relay(dockerd: Any, tmp_path: Path) -> Iterator[TlsRelay]:
    """Its files are ca.pem, cert.pem and key.pem in *tmp_path*."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    client = authority.issue_cert("client@example.com")
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    client.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    client.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    made = TlsRelay(dockerd.host.removeprefix("unix://"), context)
    made.start()
    yield made
    made.stop()


def server_version(run: Run, endpoint: Endpoint | None) -> str:
    """What the docker CLI says with a private configuration."""
    with client_folder(run, config="{}", endpoint=endpoint) as client:
        argv = ("docker", "version", "--format", "{{.Server.Version}}")
        done = question(argv, environment=run.environment, env=client.variables)
    assert done.exit_code == 0, done.evidence
    return done.stdout.decode().strip()


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("way", ["context", "variables"])
def test_an_engine_with_tls(
    relay: TlsRelay,
    dockerd: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    way: str,
    named: bool,
) -> None:
    """By its API, and by the docker CLI that has a configuration of its own."""
    monkeypatch.setenv("PATH", dockerd.env["PATH"])
    host = f"tcp://127.0.0.1:{relay.listener.getsockname()[1]}"
    if way == "context":
        files = ",".join(f"{name}={tmp_path}/{name}.pem" for name in ("ca", "cert", "key"))
        docker("context", "create", "tls", "--docker", f"host={host},{files}")
        monkeypatch.setenv("DOCKER_CONTEXT", "tls")
    else:
        monkeypatch.setenv("DOCKER_HOST", host)
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        monkeypatch.setenv("DOCKER_CERT_PATH", str(tmp_path))
    run = Run(workdir=tmp_path, cancel=CancelToken(), sink=lambda _: None)
    endpoint = current(run.environment)

    with EngineApi(endpoint, cancel=CancelToken()) as api:
        version = api.version().version

    assert version.startswith("28.")
    assert server_version(run, endpoint if named else None) == version


def test_an_engine_behind_ssh(
    engine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The far side's command is the docker CLI's own; only the network is left out."""
    (tmp_path / "ssh").write_text(
        f'#!/bin/sh\nwhile [ "$1" != -- ]; do shift; done\nshift 2\n'
        f"PATH='{engine.env['PATH']}' DOCKER_HOST='{engine.host}' exec \"$@\"\n"
    )
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    params = {"fromSrc": "-", "repo": "far", "tag": "1"}

    with EngineApi(Endpoint(name="far", host="ssh://me@far"), cancel=CancelToken()) as api:
        found = api.version().version
        messages = list(
            api.messages("POST", "/images/create", params=params, body=root_file_system())
        )
        api.call("DELETE", "/images/far:1")

    assert found == json.loads(engine.api("GET", "/version"))["Version"]
    assert str(messages[-1]["status"]).startswith("sha256:")

"""Where a docker engine listens, as the docker CLI would find it."""

import hashlib
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from buildpush.backends.engine import Endpoint, TlsFiles, current, discover, endpoints
from buildpush.errors import BackendUnavailableError
from buildpush.runtime import Environment

Make = Callable[..., Environment]


@pytest.fixture(autouse=True)
def _no_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own engines are not the subject."""
    monkeypatch.setattr(endpoints, "DEFAULT_SOCKET", tmp_path / "var" / "docker.sock")
    monkeypatch.setattr(endpoints, "ROOT_PODMAN", tmp_path / "var" / "podman.sock")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def made(**variables: str) -> Environment:
        return Environment(
            variables={"XDG_RUNTIME_DIR": str(tmp_path / "run"), **variables},
            uid=1000,
            gid=1000,
            home=tmp_path / "home",
            cwd=tmp_path / "cwd",
            cache=tmp_path / "cache",
            temporary=tmp_path,
        )

    return made


@pytest.fixture
def listen() -> Iterator[Callable[[Path], Path]]:
    listeners: list[socket.socket] = []

    def listening(path: Path) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        listeners.append(socket.socket(socket.AF_UNIX))
        listeners[-1].bind(str(path))
        return path

    yield listening
    for one in listeners:
        one.close()


def write_context(
    docker: Path, name: str, endpoint: Mapping[str, Any] | None, tls: tuple[str, ...] = ()
) -> Path:
    """A context as ``docker context create`` stores it; its folder of TLS files."""
    key = hashlib.sha256(name.encode()).hexdigest()
    meta = docker / "contexts" / "meta" / key
    meta.mkdir(parents=True)
    named = {} if endpoint is None else {"docker": endpoint}
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Metadata": {}, "Endpoints": named}))
    files = docker / "contexts" / "tls" / key / "docker"
    for file in tls:
        files.mkdir(parents=True, exist_ok=True)
        (files / f"{file}.pem").write_text("x")
    return files


def use(docker: Path, name: str) -> None:
    docker.mkdir(parents=True, exist_ok=True)
    (docker / "config.json").write_text(json.dumps({"currentContext": name, "auths": {"h": {}}}))


def test_the_argument_comes_first(make: Make) -> None:
    """Neither variables nor files are asked."""
    environment = make(DOCKER_HOST="tcp://other:1", DOCKER_CONTEXT="missing")

    assert current(environment, host="unix:///x.sock") == Endpoint(
        name="argument", host="unix:///x.sock"
    )


def test_a_context_argument_beats_docker_host(make: Make, tmp_path: Path) -> None:
    """As ``docker --context`` does."""
    write_context(tmp_path / "home/.docker", "ci", {"Host": "tcp://ci:2375"})

    found = current(make(DOCKER_HOST="tcp://other:1"), context="ci")

    assert found == Endpoint(name="ci", host="tcp://ci:2375", context="ci")


def test_two_arguments_are_refused(make: Make) -> None:
    """As the CLI refuses ``--host`` with ``--context``."""
    with pytest.raises(BackendUnavailableError, match="both chosen"):
        current(make(), context="a", host="b")


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("unix:///run/x.sock", "unix:///run/x.sock"),
        (" unix:///run/x.sock ", "unix:///run/x.sock"),
        ("/run/x.sock", "unix:///run/x.sock"),
        ("tcp://10.0.0.1:2375", "tcp://10.0.0.1:2375"),
        ("10.0.0.1", "tcp://10.0.0.1:2375"),
        ("10.0.0.1:99", "tcp://10.0.0.1:99"),
        ("tcp://", "tcp://localhost:2375"),
        ("tcp://:99", "tcp://localhost:99"),
        ("tcp://[::1]:99", "tcp://[::1]:99"),
        ("tcp://[::1]", "tcp://[::1]:2375"),
        ("tcp://host:1/prefix", "tcp://host:1/prefix"),
        ("ssh://me@host:22/run/docker.sock", "ssh://me@host:22/run/docker.sock"),
    ],
)
def test_addresses_are_read_as_the_cli_reads_them(make: Make, text: str, host: str) -> None:
    """A path is a socket, anything without a scheme tcp, and ports have a default."""
    assert current(make(DOCKER_HOST=text)) == Endpoint(name="DOCKER_HOST", host=host)


def test_unix_without_a_path_is_the_default_socket(make: Make, tmp_path: Path) -> None:
    """``unix://`` is an address."""
    found = current(make(DOCKER_HOST="unix://"))

    assert found.host == f"unix://{tmp_path}/var/docker.sock"


@pytest.mark.parametrize("text", ["npipe:////./pipe/docker", "http://x:1", "fd://", "tcp://h:no"])
def test_other_addresses_are_refused(make: Make, text: str) -> None:
    """The message has the address and where it came from."""
    with pytest.raises(BackendUnavailableError) as caught:
        current(make(DOCKER_HOST=text))

    assert "DOCKER_HOST" in caught.value.message and text in caught.value.message


def test_tls_is_asked_for_by_any_value(make: Make, tmp_path: Path) -> None:
    """DOCKER_TLS_VERIFY=0 means TLS for the CLI, so it does here."""
    certs = tmp_path / "certs"
    certs.mkdir()
    (certs / "cert.pem").write_text("x")

    found = current(make(DOCKER_HOST="h:1", DOCKER_TLS_VERIFY="0", DOCKER_CERT_PATH=str(certs)))

    assert found.tls == TlsFiles(ca=certs / "ca.pem", cert=certs / "cert.pem")


def test_tls_without_verification(make: Make, tmp_path: Path) -> None:
    """DOCKER_TLS trusts whoever answers; a relative folder is one of the current folder."""
    certs = tmp_path / "cwd" / "certs"
    certs.mkdir(parents=True)
    for name in ("cert", "key"):
        (certs / f"{name}.pem").write_text("x")

    found = current(make(DOCKER_HOST="h:1", DOCKER_TLS="1", DOCKER_CERT_PATH="certs"))

    assert found.tls == TlsFiles(cert=certs / "cert.pem", key=certs / "key.pem", skip_verify=True)


def test_certificates_are_the_docker_folders_by_default(make: Make, tmp_path: Path) -> None:
    """As ``~/.docker/ca.pem`` is for the CLI."""
    found = current(make(DOCKER_HOST="h:1", DOCKER_TLS_VERIFY="1"))

    assert found.tls == TlsFiles(ca=tmp_path / "home/.docker/ca.pem")


def test_a_certificate_folder_alone_is_no_tls(make: Make) -> None:
    """DOCKER_CERT_PATH says where, not whether."""
    assert current(make(DOCKER_HOST="h:1", DOCKER_CERT_PATH="/certs")).tls is None


def test_sockets_need_no_tls(make: Make) -> None:
    """The variables are for tcp."""
    assert current(make(DOCKER_HOST="unix:///x", DOCKER_TLS_VERIFY="1")).tls is None


def test_tls_without_a_host_is_this_machines_tls_port(make: Make) -> None:
    """The CLI's default then is no socket."""
    found = current(make(DOCKER_TLS_VERIFY="1"))

    assert (found.name, found.host) == ("default", "tcp://localhost:2376")


def test_docker_context_beats_the_current_context(make: Make, tmp_path: Path) -> None:
    """A variable is nearer than a file."""
    docker = tmp_path / "elsewhere"
    write_context(docker, "a", {"Host": "unix:///a"})
    write_context(docker, "b", {"Host": "unix:///b"})
    use(docker, "b")

    environment = make(DOCKER_CONFIG=str(docker), DOCKER_CONTEXT="a")

    assert current(environment) == Endpoint(name="a", host="unix:///a", context="a")


def test_the_current_context_of_the_config(make: Make, tmp_path: Path) -> None:
    """``docker context use`` counts, with the context's own TLS files."""
    docker = tmp_path / "home/.docker"
    files = write_context(docker, "prod", {"Host": "tcp://p:2376"}, tls=("ca", "cert", "key"))
    use(docker, "prod")

    assert current(make()) == Endpoint(
        name="prod",
        host="tcp://p:2376",
        context="prod",
        tls=TlsFiles(ca=files / "ca.pem", cert=files / "cert.pem", key=files / "key.pem"),
    )


def test_a_context_may_skip_verification(make: Make, tmp_path: Path) -> None:
    """Which is TLS too, without any file."""
    write_context(tmp_path / "home/.docker", "x", {"Host": "tcp://p:1", "SkipTLSVerify": True})

    assert current(make(), context="x").tls == TlsFiles(skip_verify=True)


def test_a_missing_context_names_those_that_exist(make: Make, tmp_path: Path) -> None:
    """And where the name came from."""
    docker = tmp_path / "home/.docker"
    write_context(docker, "ci", {"Host": "unix:///a"})
    use(docker, "old")

    with pytest.raises(BackendUnavailableError, match="no docker context 'old'") as caught:
        current(make())

    assert "currentContext of" in caught.value.message
    assert "contexts here: ci" in caught.value.hint


def test_a_context_for_something_else(make: Make, tmp_path: Path) -> None:
    """A context may have a kubernetes endpoint only."""
    write_context(tmp_path / "home/.docker", "k8s", None)

    with pytest.raises(BackendUnavailableError, match="has no docker endpoint"):
        current(make(), context="k8s")


@pytest.mark.parametrize("text", ["{", '{"currentContext": 3}', "[]"])
def test_a_broken_config_is_named(make: Make, tmp_path: Path, text: str) -> None:
    """Which engine is meant cannot be guessed."""
    docker = tmp_path / "home/.docker"
    docker.mkdir(parents=True)
    (docker / "config.json").write_text(text)

    with pytest.raises(BackendUnavailableError, match=r"config\.json is "):
        current(make())


def test_a_config_that_is_closed_to_this_user(make: Make, tmp_path: Path) -> None:
    """What cannot be read is not taken for absent."""
    (tmp_path / "home/.docker/config.json").mkdir(parents=True)

    with pytest.raises(BackendUnavailableError, match="cannot be read"):
        current(make())


def test_the_context_called_default_is_the_variables(make: Make) -> None:
    """``--context default`` still means DOCKER_HOST."""
    environment = make(DOCKER_HOST="tcp://h:1")

    assert current(environment, context="default") == Endpoint(
        name="DOCKER_HOST", host="tcp://h:1"
    )


def test_the_default_socket(make: Make, tmp_path: Path, listen: Callable[[Path], Path]) -> None:
    """It wins over every other tool's."""
    path = listen(tmp_path / "var" / "docker.sock")
    listen(tmp_path / "run" / "docker.sock")

    assert current(make(DOCKER_CONTEXT="default")) == Endpoint(
        name="default", host=f"unix://{path}"
    )


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("run/docker.sock", "rootless"),
        ("home/.docker/desktop/docker.sock", "Docker Desktop"),
        ("home/.docker/run/docker.sock", "Docker Desktop"),
        ("home/.colima/default/docker.sock", "colima"),
        ("home/.colima/work/docker.sock", "colima"),
        ("home/.rd/docker.sock", "Rancher Desktop"),
        ("home/.orbstack/run/docker.sock", "OrbStack"),
        ("run/podman/podman.sock", "podman"),
        ("var/podman.sock", "podman"),
    ],
)
def test_without_the_default_socket_others_are_looked_for(
    make: Make, tmp_path: Path, listen: Callable[[Path], Path], place: str, name: str
) -> None:
    """Every tool that brings an engine has a place of its own."""
    path = listen(tmp_path / place)

    assert current(make()) == Endpoint(name=name, host=f"unix://{path}")


def test_when_there_is_nothing_every_place_is_named(make: Make, tmp_path: Path) -> None:
    """Also one where something else than a socket is, as a careless mount leaves it."""
    (tmp_path / "var" / "docker.sock").mkdir(parents=True)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "docker.sock").write_text("")

    with pytest.raises(BackendUnavailableError) as caught:
        current(make())

    message = caught.value.message
    assert f"{tmp_path}/var/docker.sock (default, a folder, not a socket)" in message
    assert f"{tmp_path}/run/docker.sock (rootless, a file, not a socket)" in message
    places = [e.host.removeprefix("unix://") for e in discover(make())]
    assert [place for place in places if place not in message] == []


def test_a_place_that_cannot_be_looked_at_says_why(make: Make, tmp_path: Path) -> None:
    """A loop of links stands for whatever the system refuses."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "docker.sock").symlink_to("docker.sock")

    with pytest.raises(BackendUnavailableError, match=r"\(rootless, Too many levels"):
        current(make())


def test_without_a_runtime_folder_the_usual_one_is_looked_into(make: Make) -> None:
    """Also for a service or cron job of the user, whose variables are few."""
    assert "unix:///run/user/1000/docker.sock" in {
        e.host for e in discover(make(XDG_RUNTIME_DIR=""))
    }

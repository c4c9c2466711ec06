"""Speaking to an engine: answers, refusals, streams, and a cancel that is felt at once."""

import json
import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from buildpush.backends.engine import Endpoint, TlsFiles
from buildpush.backends.engine import api as module
from buildpush.backends.engine.api import EngineApi, EngineInfo, EngineVersion
from buildpush.errors import (
    BackendUnavailableError,
    BuildError,
    HttpEvidence,
    NotFoundError,
    StepCancelledError,
    StepTimeoutError,
)
from buildpush.runtime import CancelToken

PATIENCE = 10.0


@pytest.fixture
def endpoint(tmp_path: Path) -> Endpoint:
    return Endpoint(name="default", host=f"unix://{tmp_path}/engine.sock")


@pytest.fixture
def cancel() -> CancelToken:
    return CancelToken()


@pytest.fixture
def api(endpoint: Endpoint, cancel: CancelToken) -> Iterator[EngineApi]:
    with EngineApi(endpoint, cancel=cancel) as api:
        yield api


def chunked(*pieces: bytes, last: bytes = b"0\r\n\r\n") -> bytes:
    framed = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + framed + last


# --- who answers ---


def test_the_version(engine: Any, api: EngineApi) -> None:
    """What ``GET /version`` says, and that no proxy or variable is involved."""
    engine.say(
        b'{"Version": "28.5.2", "ApiVersion": "1.51", "Os": "linux", "Arch": "amd64",'
        b' "Components": [{"Name": "Engine"}]}'
    )

    assert api.version() == EngineVersion(
        version="28.5.2", api="1.51", os="linux", arch="amd64", podman=False
    )
    assert engine.requests[0].startswith(b"GET /version HTTP/1.1\r\n")


def test_podman_that_poses_as_docker_is_known(engine: Any, api: EngineApi) -> None:
    """By the name of its component."""
    engine.say(b'{"Version": "5.0", "Components": [{"Name": "Podman Engine"}]}')

    assert api.version().podman


def test_the_info_of_a_classic_engine(engine: Any, api: EngineApi) -> None:
    """Go's null is an empty list."""
    engine.say(
        b'{"Driver": "overlay2", "DriverStatus": null, "RegistryConfig": null,'
        b' "SecurityOptions": null, "OSType": "linux", "Architecture": "x86_64"}'
    )

    assert api.info() == EngineInfo(
        driver="overlay2", containerd_store=False, rootless=False, arch="x86_64"
    )


def test_the_info_of_a_rootless_engine_with_the_containerd_store(
    engine: Any, api: EngineApi
) -> None:
    """Where registries are trusted, by name and by network, and what is asked before Hub."""
    info = {
        "Driver": "overlayfs",
        "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
        "SecurityOptions": ["name=seccomp,profile=builtin", "name=rootless"],
        "ExperimentalBuild": True,
        "RegistryConfig": {
            "Mirrors": ["https://mirror/"],
            "InsecureRegistryCIDRs": ["127.0.0.0/8"],
            "IndexConfigs": {"docker.io": {"Secure": True}, "plain:5000": {"Secure": False}},
        },
    }
    engine.say(json.dumps(info).encode())

    found = api.info()

    assert (found.containerd_store, found.rootless, found.experimental) == (True, True, True)
    assert found.insecure == ("plain:5000", "127.0.0.0/8")
    assert found.mirrors == ("https://mirror/",)


@pytest.mark.parametrize("body", [b"<html>", b'{"Version": 7}', b"[" * 100_000])
def test_something_else_than_an_engine(engine: Any, api: EngineApi, body: bytes) -> None:
    """Its answer is not quoted."""
    engine.say(body)

    with pytest.raises(BackendUnavailableError, match="GET /version is "):
        api.version()


def test_a_web_server_is_no_engine(engine: Any, api: EngineApi) -> None:
    """Nor is a proxy that refuses: the endpoint is wrong, and nothing is missing in a registry."""
    engine.say(b"no such page", "404 Not Found")

    with pytest.raises(
        BackendUnavailableError, match=r"is no docker engine.*no such page"
    ) as caught:
        api.version()

    assert "DOCKER_HOST" in caught.value.hint
    assert caught.value.evidence


# --- calls ---


def test_a_call_has_parameters_headers_and_a_body(engine: Any, api: EngineApi) -> None:
    """They arrive as they were given."""
    engine.say(b"done")

    answer = api.call(
        "POST", "/images/a/tag", params={"repo": "r/x", "force": True},
        headers={"X-Registry-Auth": "e30="}, body=b"body",
    )  # fmt: skip

    head, _, body = engine.requests[0].partition(b"\r\n\r\n")
    assert (answer, body) == (b"done", b"body")
    assert head.startswith(b"POST /images/a/tag?repo=r%2Fx&force=true HTTP/1.1\r\n")
    assert b"X-Registry-Auth: e30=" in head


def test_a_body_can_be_a_stream(engine: Any, api: EngineApi) -> None:
    """Its length need not be known."""
    engine.say(b"ok")

    api.call("POST", "/build", body=iter([b"one", b"", b"two"]))

    assert engine.requests[0].endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


def test_a_refusal_carries_the_engines_words(engine: Any, api: EngineApi) -> None:
    """As the error's message and as evidence."""
    engine.say(b'{"message": "conflict: in use"}', "409 Conflict")

    with pytest.raises(BuildError, match="conflict: in use") as caught:
        api.call("DELETE", "/images/x")

    assert caught.value.evidence == (
        HttpEvidence(method="DELETE", url="/images/x", status=409, detail="conflict: in use"),
    )


def test_what_is_not_there(engine: Any, api: EngineApi) -> None:
    """404 is its own kind of error."""
    engine.say(b'{"message": "No such image: x"}', "404 Not Found")

    with pytest.raises(NotFoundError, match="No such image: x"):
        api.call("GET", "/images/x/json")


@pytest.mark.parametrize(
    ("body", "said"), [(b"oh\nno\xff", "oh\nno\N{REPLACEMENT CHARACTER}"), (b"", "status 500")]
)
def test_a_refusal_need_not_be_json(engine: Any, api: EngineApi, body: bytes, said: str) -> None:
    """A proxy in between may say anything, or nothing."""
    engine.say(body, "500 Internal Server Error")

    with pytest.raises(BuildError) as caught:
        api.call("GET", "/x")

    assert caught.value.message.endswith(said)


def test_an_answer_that_is_too_large(
    engine: Any, api: EngineApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Is not cut off in silence."""
    monkeypatch.setattr(module, "_LIMIT", 3)
    engine.say(b"1234")

    with pytest.raises(BuildError, match="GET /x exceeds"):
        api.call("GET", "/x")


# --- streams ---


def test_messages_come_one_by_one(engine: Any, api: EngineApi) -> None:
    """The first is there although the last is not yet written."""
    go_on = threading.Event()

    def answer(_: bytes, connection: socket.socket) -> None:
        connection.sendall(chunked(b'{"stream":"a"}\r\n', last=b""))
        go_on.wait(PATIENCE)
        connection.sendall(b'e\r\n{"stream":"b"}\r\n0\r\n\r\n')

    engine.answer = answer

    messages = api.messages("POST", "/build", body=b"tar")
    first = next(messages)
    go_on.set()

    assert [first, *messages] == [{"stream": "a"}, {"stream": "b"}]


def test_an_error_in_the_stream_is_the_callers(engine: Any, api: EngineApi) -> None:
    """It is a message like the others."""
    engine.answer = lambda _, c: c.sendall(chunked(b'{"errorDetail":{"message":"denied"}}'))

    assert list(api.messages("POST", "/images/x/push")) == [{"errorDetail": {"message": "denied"}}]


def test_a_refused_stream(engine: Any, api: EngineApi) -> None:
    """Nothing is yielded."""
    engine.say(b'{"message": "bad reference"}', "400 Bad Request")

    with pytest.raises(BuildError, match="bad reference"):
        next(api.messages("POST", "/images/create"))


def test_a_download(engine: Any, api: EngineApi) -> None:
    """The bytes as they come."""
    engine.answer = lambda _, c: c.sendall(chunked(b"one", b"two"))

    with api.download("/images/get", params={"names": "x"}) as chunks:
        data = b"".join(chunks)

    assert data == b"onetwo"
    assert engine.requests[0].startswith(b"GET /images/get?names=x ")


def test_a_stream_that_breaks_off_is_no_end(engine: Any, api: EngineApi) -> None:
    """A killed daemon must not look like a finished build."""

    def answer(_: bytes, connection: socket.socket) -> None:
        connection.sendall(chunked(b'{"stream":"a"}', last=b""))
        connection.shutdown(socket.SHUT_RDWR)

    engine.answer = answer

    with pytest.raises(BackendUnavailableError, match="broke off"):
        list(api.messages("POST", "/build"))


# --- cancelling ---


@pytest.mark.parametrize(
    ("begin", "ask"),
    [
        (b"", lambda api: api.call("GET", "/x", patience=None)),
        (b"HTTP/1.1 200 OK\r\nContent-Len", lambda api: api.version()),
        (chunked(b'{"a":1}', last=b""), lambda api: list(api.messages("POST", "/build"))),
        (b"HTTP/1.1 200 OK\r\n\r\nuntil the end", lambda api: list(api.messages("GET", "/x"))),
        (b"HTTP/1.1 500 x\r\nContent-Length: 9\r\n\r\nno", lambda api: api.call("GET", "/x")),
    ],
    ids=["no answer", "half a head", "half a stream", "unframed", "half a refusal"],
)
def test_a_cancel_ends_what_is_being_read(
    engine: Any,
    api: EngineApi,
    cancel: CancelToken,
    begin: bytes,
    ask: Callable[[EngineApi], object],
) -> None:
    """Wherever the engine has stopped talking, and with the reason of the cancel."""
    engine.hang(begin)
    reason = StepTimeoutError("too long")

    def flip() -> None:
        engine.waiting.wait(PATIENCE)
        cancel.cancel(reason)

    thread = threading.Thread(target=flip)
    thread.start()
    with pytest.raises(StepTimeoutError) as caught:
        ask(api)
    thread.join()

    assert caught.value is reason


def test_a_cancel_ends_what_is_being_written(
    engine: Any, api: EngineApi, cancel: CancelToken
) -> None:
    """An engine that does not read holds nobody up."""
    sent = threading.Semaphore(0)

    def endless() -> Iterator[bytes]:
        while True:
            sent.release()
            yield bytes(1 << 20)

    engine.answer = lambda *_: None
    engine.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)

    def flip() -> None:
        sent.acquire(timeout=PATIENCE)
        cancel.cancel()

    thread = threading.Thread(target=flip)
    thread.start()
    with pytest.raises(StepCancelledError):
        api.call("POST", "/build", body=endless())
    thread.join()


def test_nothing_is_asked_once_cancelled(engine: Any, api: EngineApi, cancel: CancelToken) -> None:
    """Not even connected to."""
    cancel.cancel()

    with pytest.raises(StepCancelledError):
        api.version()

    assert engine.requests == []


def test_two_threads_share_one_client(engine: Any, api: EngineApi) -> None:
    """Each gets its own answer."""
    engine.answer = lambda request, c: c.sendall(
        chunked(json.dumps({"path": request.split()[1].decode()}).encode())
    )
    found: dict[int, object] = {}

    def ask(number: int) -> None:
        for _ in range(10):
            (found[number],) = api.messages("GET", f"/{number}")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert found == {number: {"path": f"/{number}"} for number in range(4)}


# --- nobody there ---


def test_no_socket(api: EngineApi) -> None:
    """The message has the path and the context."""
    with pytest.raises(BackendUnavailableError) as caught:
        api.version()

    assert "engine.sock (default) cannot be reached: No such file" in caught.value.message
    assert "start the engine" in caught.value.hint


def test_a_socket_that_is_left_over(api: EngineApi, tmp_path: Path) -> None:
    """A killed engine leaves its file."""
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "engine.sock"))

    with pytest.raises(BackendUnavailableError) as caught:
        api.version()

    assert "left over" in caught.value.hint


@pytest.fixture
def unprivileged() -> Iterator[None]:
    """Root may open everything, so it is somebody else meanwhile."""
    user = os.geteuid()
    os.seteuid(65534 if user == 0 else user)
    yield
    os.seteuid(user)


def test_a_socket_that_is_closed_to_this_user(
    engine: Any, api: EngineApi, tmp_path: Path, unprivileged: None
) -> None:
    """The hint says which group to join."""
    if os.getuid():
        (tmp_path / "engine.sock").chmod(0)

    with pytest.raises(BackendUnavailableError, match="Permission denied") as caught:
        api.version()

    assert "usermod -aG" in caught.value.hint


def test_an_engine_that_is_silent(engine: Any, endpoint: Endpoint) -> None:
    """A question about itself has a limit."""
    engine.hang(b"")

    with (
        EngineApi(endpoint, cancel=CancelToken(), timeout=0.05) as api,
        pytest.raises(BackendUnavailableError, match="did not answer in time"),
    ):
        api.info()


# --- tcp and TLS ---


@pytest.fixture
def port(listening: Callable[[Any], Any], engine: Any) -> Any:
    """Another engine, on tcp; its endpoint's host."""
    listener = socket.create_server(("127.0.0.1", 0))
    return listening(type(engine)(listener))


def at(engine: Any, tls: TlsFiles | None = None, host: str = "127.0.0.1") -> EngineApi:
    number = engine.listener.getsockname()[1]
    endpoint = Endpoint(name="remote", host=f"tcp://{host}:{number}", tls=tls)
    return EngineApi(endpoint, cancel=CancelToken())


@pytest.fixture
def certificates(port: Any, tmp_path: Path) -> TlsFiles:
    """Makes *port* speak TLS and ask for a client's certificate."""
    authority = trustme.CA()
    port.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(port.tls)
    authority.configure_trust(port.tls)
    port.tls.verify_mode = ssl.CERT_REQUIRED
    client = authority.issue_cert("client@example.com")
    files = TlsFiles(ca=tmp_path / "ca.pem", cert=tmp_path / "cert.pem", key=tmp_path / "key.pem")
    authority.cert_pem.write_to_path(str(files.ca))
    client.cert_chain_pems[0].write_to_path(str(files.cert))
    client.private_key_pem.write_to_path(str(files.key))
    return files


def test_tcp(port: Any) -> None:
    """Plain, as ``tcp://…:2375`` is."""
    port.say(b'{"Version": "1"}')

    with at(port) as api:
        assert api.version().version == "1"


def test_tls_with_a_clients_certificate(port: Any, certificates: TlsFiles) -> None:
    """Both sides prove who they are."""
    port.say(b'{"Version": "1"}')

    with at(port, certificates) as api:
        assert api.version().version == "1"


def test_tls_without_verification(port: Any, certificates: TlsFiles) -> None:
    """Whoever answers is trusted."""
    port.say(b'{"Version": "1"}')
    port.tls.verify_mode = ssl.CERT_NONE

    with at(port, TlsFiles(skip_verify=True)) as api:
        assert api.version().version == "1"


def test_an_authority_that_is_not_trusted(port: Any, certificates: TlsFiles) -> None:
    """The hint names the files to look at."""
    with at(port, TlsFiles()) as api, pytest.raises(BackendUnavailableError) as caught:
        api.version()

    assert "CERTIFICATE_VERIFY_FAILED" in caught.value.message
    assert "ca.pem" in caught.value.hint


def test_tls_to_a_plain_port() -> None:
    """Says which variable to unset."""

    def answer(listener: socket.socket) -> None:
        for _ in range(2):  # it is knocked at first
            connection, _ = listener.accept()
            with connection:
                if connection.recv(1 << 12):
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=answer, args=(listener,))
    thread.start()
    endpoint = Endpoint(
        name="DOCKER_HOST",
        host=f"tcp://127.0.0.1:{listener.getsockname()[1]}",
        tls=TlsFiles(skip_verify=True),
    )
    with (
        listener,
        EngineApi(endpoint, cancel=CancelToken()) as api,
        pytest.raises(BackendUnavailableError) as caught,
    ):
        api.version()
    thread.join()

    assert "unset DOCKER_TLS_VERIFY" in caught.value.hint


def test_plain_to_a_tls_port(port: Any) -> None:
    """As Go's server answers; says what to set."""
    port.say(b"Client sent an HTTP request to an HTTPS server.\n", "400 Bad Request")

    with at(port) as api, pytest.raises(BackendUnavailableError) as caught:
        api.version()

    assert "wants TLS" in caught.value.message
    assert "DOCKER_TLS_VERIFY=1" in caught.value.hint


def test_nobody_on_the_port() -> None:
    """The address is in the message."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        number = gone.getsockname()[1]
    endpoint = Endpoint(name="argument", host=f"tcp://127.0.0.1:{number}")

    with (
        EngineApi(endpoint, cancel=CancelToken()) as api,
        pytest.raises(BackendUnavailableError, match=rf"127\.0\.0\.1:{number} \(argument\)"),
    ):
        api.version()


def test_tls_files_that_are_missing(tmp_path: Path) -> None:
    """Said before anything is connected to."""
    files = TlsFiles(ca=tmp_path / "ca.pem")

    with pytest.raises(BackendUnavailableError, match="TLS files of tcp://h:1") as caught:
        EngineApi(Endpoint(name="x", host="tcp://h:1", tls=files), cancel=CancelToken())

    assert str(tmp_path / "ca.pem") in caught.value.hint

"""The server under LocalRegistry: connections, odd requests, and how promptly it ends."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from pathlib import Path

import httpx
import pytest
import trustme

from buildpush.oci import Digest
from buildpush.testing import Fault, Hang, LocalRegistry, Slow


@pytest.fixture
def connection(local_registry: LocalRegistry) -> socket.socket:
    """A bare connection; the test closes it."""
    host, _, port = local_registry.host.partition(":")
    return socket.create_connection((host, int(port)), timeout=10)


def everything(connection: socket.socket) -> bytes:
    """Read to the end of the stream."""
    pieces = []
    while piece := connection.recv(1 << 16):
        pieces.append(piece)
    return b"".join(pieces)


def test_one_connection_serves_many_requests(connection: socket.socket) -> None:
    """HTTP/1.1 keep-alive, also for requests sent ahead of the answers."""
    with connection:
        request = b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"
        last = b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        connection.sendall(request + request + last)

        answers = everything(connection)

    assert answers.count(b"HTTP/1.1 200 OK") == 3


def test_an_unread_body_does_not_confuse_the_next_request(connection: socket.socket) -> None:
    """A short one is swallowed."""
    with connection:
        connection.sendall(
            b"PUT /nowhere HTTP/1.1\r\nContent-Length: 5\r\n\r\nGET /"
            b"GET /v2/ HTTP/1.1\r\nConnection: close\r\n\r\n"
        )

        answers = everything(connection)

    assert re.findall(rb"HTTP/1.1 (\d+)", answers) == [b"404", b"200"]


def test_a_client_that_waits_is_told_to_go_on(
    connection: socket.socket, local_registry: LocalRegistry
) -> None:
    """Expect: 100-continue, answered when the body is wanted."""
    digest = Digest.of(b"content")
    with connection:
        connection.sendall(
            f"POST /v2/app/blobs/uploads/?digest={digest} HTTP/1.1\r\nContent-Length: 7\r\n"
            "Expect: 100-continue\r\nConnection: close\r\n\r\n".encode()
        )
        invitation = connection.recv(1 << 16)
        connection.sendall(b"content")

        answer = everything(connection)

    assert invitation == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.startswith(b"HTTP/1.1 201 Created")
    assert local_registry.blob("app", digest) == b"content"


def test_a_client_that_waits_is_not_asked_for_a_body_nobody_wants(
    connection: socket.socket,
) -> None:
    """The refusal comes instead, and the connection ends."""
    with connection:
        connection.sendall(
            b"PUT /nowhere HTTP/1.1\r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n"
        )
        answer = connection.recv(1 << 16)
        connection.shutdown(socket.SHUT_WR)
        rest = everything(connection)

    assert answer.startswith(b"HTTP/1.1 404 Not Found")
    assert b"100 Continue" not in answer + rest


def test_a_chunked_body_may_have_trailers(
    connection: socket.socket, local_registry: LocalRegistry
) -> None:
    """They are skipped; the next request is found."""
    digest = Digest.of(b"content")
    with connection:
        connection.sendall(
            f"POST /v2/app/blobs/uploads/?digest={digest} HTTP/1.1\r\n"
            "Transfer-Encoding: chunked\r\n\r\n"
            "3;name=value\r\ncon\r\n4\r\ntent\r\n0\r\nTrailer: x\r\n\r\n"
            "GET /v2/ HTTP/1.1\r\nConnection: close\r\n\r\n".encode()
        )
        answers = everything(connection)

    assert answers.count(b"HTTP/1.1 20") == 2
    assert local_registry.blob("app", digest) == b"content"


@pytest.mark.parametrize(
    "ending",
    [
        b"Content-Length: 10\r\n\r\nshort",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"Transfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_a_body_that_ends_early_stores_nothing(
    connection: socket.socket, local_registry: LocalRegistry, ending: bytes
) -> None:
    """And ends the connection without an answer."""
    path = f"/v2/app/blobs/uploads/?digest={Digest.of(b'short')}"
    with connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\n".encode() + ending)
        connection.shutdown(socket.SHUT_WR)

        answer = everything(connection)

    assert answer == b""
    assert local_registry.requests[-1].status == 0
    assert local_registry.blob("app", Digest.of(b"short")) is None


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n", b"HTTP/1.1 400 Bad Request"),  # a TLS hello
        (b"nonsense\r\n\r\n", b"HTTP/1.1 400 Bad Request"),
        (b"GET /v2/ HTTP/1.1\r\nContent-Length: many\r\n\r\n", b""),
        (b"", b""),
    ],
)
def test_what_is_no_request_ends_the_connection(
    connection: socket.socket, local_registry: LocalRegistry, sent: bytes, answer: bytes
) -> None:
    """With an answer in plain HTTP to what looks like TLS; and no log entry."""
    with connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)

        received = everything(connection)

    assert received.partition(b"\r\n")[0] == answer
    assert local_registry.requests == ()


def test_the_end_waits_for_nobody() -> None:
    """Hung, slow and idle connections are broken, and every thread is gone."""
    before = set(threading.enumerate())
    with LocalRegistry() as registry:
        host, _, port = registry.host.partition(":")
        hang = registry.inject(Fault(Hang()))
        slow = registry.inject(Fault(Slow(seconds=600.0)))
        connections = [socket.create_connection((host, int(port))) for _ in range(3)]
        for fault, connection in zip((hang, slow), connections, strict=False):
            connection.sendall(b"GET /v2/ HTTP/1.1\r\n\r\n")
            assert fault.wait()

    assert set(threading.enumerate()) == before
    for connection in connections:
        connection.close()


def test_the_temporary_folder_goes_with_the_registry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uploads that were never finished included."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with LocalRegistry() as registry:
        registry.add_blob("app", b"content")
        during = len(list(tmp_path.iterdir()))

    assert (during, list(tmp_path.iterdir())) == (1, [])


def test_a_registry_that_is_not_running_says_so() -> None:
    """Outside its block it has no address."""
    registry = LocalRegistry()
    registry.close()

    with pytest.raises(RuntimeError, match="with block"):
        _ = registry.host


def test_references_name_the_registry(local_registry: LocalRegistry) -> None:
    """Text to paste into a Dockerfile."""
    assert local_registry.reference("app:1") == f"{local_registry.host}/app:1"
    assert local_registry.url == f"http://{local_registry.host}"


# --- TLS ---


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority nobody else trusts."""
    return trustme.CA()


@pytest.fixture
def server_tls(authority: trustme.CA) -> ssl.SSLContext:
    """A server's context for 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def test_a_registry_may_speak_tls(authority: trustme.CA, server_tls: ssl.SSLContext) -> None:
    """To who trusts its authority; locations and the realm are https then."""
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    data = b"content" * 100_000
    digest = Digest.of(data)
    with (
        LocalRegistry(tls=server_tls) as registry,
        httpx.Client(base_url=registry.url, verify=trusting, trust_env=False) as http,
    ):
        place = http.post("/v2/app/blobs/uploads/").headers["location"]
        done = http.put(f"{place}&digest={digest}", content=data)
        content = http.get(f"/v2/app/blobs/{digest}").content

    assert place.startswith("https://127.0.0.1:")
    assert (done.status_code, content) == (201, data)


def test_who_does_not_trust_a_registry_gets_no_answer(server_tls: ssl.SSLContext) -> None:
    """Nor who does not speak TLS; neither disturbs it."""
    with (
        LocalRegistry(tls=server_tls) as registry,
        httpx.Client(verify=ssl.create_default_context(), trust_env=False) as http,
    ):
        for url in (registry.url, f"http://{registry.host}"):
            with pytest.raises(httpx.TransportError):
                http.get(f"{url}/v2/")

        assert registry.requests == ()


def test_the_end_waits_for_no_tls_client(
    authority: trustme.CA, server_tls: ssl.SSLContext
) -> None:
    """Idle after the handshake, or before it."""
    before = set(threading.enumerate())
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with LocalRegistry(tls=server_tls) as registry:
        host, _, port = registry.host.partition(":")
        silent = socket.create_connection((host, int(port)))
        plain = socket.create_connection((host, int(port)))
        idle = trusting.wrap_socket(plain, server_hostname=host)

    assert set(threading.enumerate()) == before
    silent.close()
    idle.close()

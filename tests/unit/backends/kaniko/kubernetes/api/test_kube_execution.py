"""Commands in containers: fed and read at once, by either protocol, and how they ended."""

from __future__ import annotations

import hashlib
import http
import itertools
import json
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import trustme
from attrs import Factory, define
from kube_answers import Api, Tunnel
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection, serve

from buildpush.backends.kaniko.kubernetes.api import failures
from buildpush.backends.kaniko.kubernetes.api.client import Cluster
from buildpush.backends.kaniko.kubernetes.api.dialling import Wire
from buildpush.backends.kaniko.kubernetes.api.websocket import Session
from buildpush.errors import (
    BackendUnavailableError,
    BuildpushError,
    PermissionDeniedError,
    StepCancelledError,
)
from buildpush.runtime import CancelToken, Environment

SUCCESS = {"kind": "Status", "status": "Success"}
V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"


def ended(code: int | str) -> dict[str, object]:
    cause = {"reason": "ExitCode", "message": str(code)}
    return {
        "kind": "Status",
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "details": {"causes": [cause]},
    }


@define(eq=False)
class Commands:
    """A server that runs *behaviour* as the command, unless *refuse* says how to refuse."""

    behaviour: Callable[[ServerConnection], None] = lambda _: None
    protocols: list[str] = Factory(lambda: [V5, V4])
    refuse: Callable[[Request], tuple[int, object] | None] = lambda _: None
    requests: list[Request] = Factory(list)
    url: str = ""


def say(connection: ServerConnection, channel: int, data: bytes | dict[str, object]) -> None:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    connection.send(bytes([channel]) + raw)


def drain(connection: ServerConnection) -> bytes:
    """All of stdin, until its end is told."""
    found = bytearray()
    for message in connection:
        assert isinstance(message, bytes)
        if message == b"\xff\x00":
            break
        assert message[0] == 0
        found += message[1:]
    return bytes(found)


@pytest.fixture
def commands(authority: trustme.CA) -> Iterator[Commands]:
    found = Commands()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def run(connection: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            found.behaviour(connection)

    def check(connection: ServerConnection, request: Request) -> Response | None:
        found.requests.append(request)
        refusal = found.refuse(request)
        if refusal is None:
            return None
        code, said = refusal
        return connection.respond(http.HTTPStatus(code), json.dumps(said))

    def choose(connection: ServerConnection, offered: Any) -> Any:
        return next((one for one in found.protocols if one in offered), None)

    with serve(
        run,
        "127.0.0.1",
        0,
        ssl=context,
        compression=None,
        close_timeout=0.5,
        process_request=check,
        select_subprotocol=choose,
        logger=logging.Logger("quiet", logging.CRITICAL),  # noqa: LOG001
    ) as server:
        found.url = f"https://127.0.0.1:{server.socket.getsockname()[1]}"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield found
        server.shutdown()
        thread.join()


@pytest.fixture
def opened(
    commands: Commands,
    authority: trustme.CA,
    surroundings: Callable[..., Environment],
    kubeconfig: Callable[..., Path],
    tmp_path: Path,
) -> Iterator[Callable[..., Cluster]]:
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    clients: list[Cluster] = []

    def make(**options: Any) -> Cluster:
        api = Api(lambda _: None, url=commands.url, ca=str(ca))  # type: ignore[arg-type, return-value]
        user = options.pop("user", {"token": "s3cret-token"})
        path = kubeconfig(api.config(user, **options.pop("about", {})))
        bundle = options.pop("SSL_CERT_FILE", "")
        environment = surroundings(SSL_CERT_FILE=bundle) if bundle else surroundings()
        clients.append(Cluster.open(environment, kubeconfig=path, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def given(*pieces: bytes) -> Callable[[bool], Iterable[bytes]]:
    return lambda _: pieces


def test_a_command_is_asked_for_word_by_word(
    commands: Commands, opened: Callable[..., Cluster]
) -> None:
    """With the token as a header, never in the URL."""
    commands.behaviour = lambda connection: say(connection, 3, SUCCESS)

    assert opened().execute("p", "c", ["echo", "a b", "&"]) == 0

    request = commands.requests[0]
    parts = urlsplit(request.path)
    assert parts.path == "/api/v1/namespaces/builds/pods/p/exec"
    assert parse_qsl(parts.query) == [
        ("container", "c"),
        ("command", "echo"),
        ("command", "a b"),
        ("command", "&"),
        ("stdout", "true"),
        ("stderr", "true"),
    ]
    assert request.headers["Authorization"] == "Bearer s3cret-token"
    assert request.headers["Sec-WebSocket-Protocol"] == f"{V5}, {V4}"


def test_output_and_exit_status_come_back(
    commands: Commands, opened: Callable[..., Cluster]
) -> None:
    """Each stream by its name; empty messages, which servers begin with, are nothing."""

    def behave(connection: ServerConnection) -> None:
        for channel in (0, 1, 2, 3):
            say(connection, channel, b"")
        say(connection, 1, b"out")
        say(connection, 2, b"err")
        connection.send([b"\x01", b"in", b" parts"])
        say(connection, 9, b"?")
        say(connection, 3, ended(7))
        say(connection, 1, b"late")

    commands.behaviour = behave
    heard: list[tuple[str, bytes]] = []

    code = opened().execute("p", "c", ["x"], on_output=lambda *said: heard.append(said))

    assert code == 7
    assert tuple(
        b"".join(data for stream, data in heard if stream == name).decode()
        for name in ("stdout", "stderr")
    ) == ("out" + "in parts" + "late", "err")


def test_stdin_ends_with_v5(commands: Commands, opened: Callable[..., Cluster]) -> None:
    """And it is told so before it is drawn; no frame is larger than 128 KiB."""
    sizes: list[int] = []
    told: list[bool] = []
    data = b"x" * 300_000

    def behave(connection: ServerConnection) -> None:
        found = b""
        while (message := connection.recv()) != b"\xff\x00":
            assert isinstance(message, bytes)
            sizes.append(len(message))
            found += message[1:]
        say(connection, 3, SUCCESS if found == data else ended(1))

    def stdin(can_end: bool) -> Iterable[bytes]:
        told.append(can_end)
        return iter([data])

    commands.behaviour = behave

    assert opened().execute("p", "c", ["x"], stdin=stdin) == 0
    assert told == [True]
    assert max(sizes) == 128 << 10
    assert ("stdin", "true") in parse_qsl(urlsplit(commands.requests[0].path).query)


def test_stdin_has_no_end_with_v4(commands: Commands, opened: Callable[..., Cluster]) -> None:
    """Servers before 1.30: the command has to know how much it is to read."""
    commands.protocols = [V4]
    told: list[bool] = []

    def behave(connection: ServerConnection) -> None:
        say(connection, 1, b"<" + bytes(connection.recv())[1:] + b">")
        with pytest.raises(TimeoutError):
            connection.recv(timeout=0.2)
        say(connection, 3, SUCCESS)

    commands.behaviour = behave
    heard: list[bytes] = []

    code = opened().execute(
        "p",
        "c",
        ["x"],
        stdin=lambda can_end: (told.append(can_end), [b"abc"])[1],
        on_output=lambda _, data: heard.append(data),
    )

    assert (code, told, b"".join(heard)) == (0, [False], b"<abc>")


def test_a_command_that_writes_while_it_reads_does_not_stand_still(
    commands: Commands, opened: Callable[..., Cluster]
) -> None:
    """As cat does, with far more than any buffer holds."""
    piece = bytes(range(256)) * 4096
    count = 48

    def behave(connection: ServerConnection) -> None:
        for message in connection:
            if message == b"\xff\x00":
                break
            connection.send(b"\x01" + bytes(message)[1:])
        say(connection, 3, SUCCESS)

    commands.behaviour = behave
    found = hashlib.sha256()

    code = opened().execute(
        "p",
        "c",
        ["cat"],
        stdin=lambda _: itertools.repeat(piece, count),
        on_output=lambda _, data: found.update(data),
    )

    assert code == 0
    assert hashlib.sha256(piece * count).hexdigest() == found.hexdigest()


def test_no_more_is_drawn_than_is_read(commands: Commands, opened: Callable[..., Cluster]) -> None:
    """A context of gigabytes never lies in memory."""
    drawn: list[int] = []
    enough = threading.Event()

    def behave(connection: ServerConnection) -> None:
        enough.wait(10)
        say(connection, 3, ended(2))

    def stdin(_: bool) -> Iterator[bytes]:
        for number in range(10_000):
            drawn.append(number)
            yield bytes(1 << 20)

    commands.behaviour = behave
    timer = threading.Timer(1, enough.set)
    timer.start()

    assert opened().execute("p", "c", ["x"], stdin=stdin) == 2
    assert len(drawn) < 64


def test_stdin_is_closed_when_the_command_ends_early(
    commands: Commands, opened: Callable[..., Cluster]
) -> None:
    """What is left of it is for nobody."""
    closed: list[bool] = []

    def stdin(_: bool) -> Iterator[bytes]:
        try:
            while True:
                yield bytes(1000)
        finally:
            closed.append(True)

    def behave(connection: ServerConnection) -> None:
        connection.recv()
        say(connection, 3, ended(1))

    commands.behaviour = behave

    assert opened().execute("p", "c", ["x"], stdin=stdin) == 1
    assert closed == [True]


def test_what_making_stdin_raises_is_raised(
    commands: Commands, opened: Callable[..., Cluster]
) -> None:
    """And the command's connection ends."""
    gone = threading.Event()

    def behave(connection: ServerConnection) -> None:
        try:
            drain(connection)
        finally:
            gone.set()

    def stdin(_: bool) -> Iterator[bytes]:
        yield b"x"
        raise LookupError("no such file")

    commands.behaviour = behave

    with pytest.raises(LookupError):
        opened().execute("p", "c", ["x"], stdin=stdin)
    assert gone.wait(10)


@pytest.mark.parametrize("fed", [True, False])
def test_what_hearing_output_raises_is_raised(
    fed: bool, commands: Commands, opened: Callable[..., Cluster]
) -> None:
    """It is called from another thread, but not lost there."""

    def behave(connection: ServerConnection) -> None:
        say(connection, 1, b"x")
        drain(connection)

    def hear(stream: str, data: bytes) -> None:
        raise LookupError(stream)

    commands.behaviour = behave
    stdin = (lambda _: itertools.repeat(bytes(1 << 16))) if fed else None

    with pytest.raises(LookupError, match="stdout"):
        opened().execute("p", "c", ["x"], stdin=stdin, on_output=hear)


def refused(call: Callable[[], object]) -> BuildpushError:
    with pytest.raises(BuildpushError) as caught:
        call()
    return caught.value


def test_a_connection_that_is_lost_says_so(
    commands: Commands, opened: Callable[..., Cluster]
) -> None:
    """Nobody knows how the command ended: that is no success."""
    commands.behaviour = lambda connection: connection.socket.close()

    error = refused(lambda: opened().execute("p", "c", ["x"]))

    assert isinstance(error, failures.BrokenOff)
    assert error.retryable


def test_a_farewell_without_a_status_is_a_loss(
    commands: Commands, opened: Callable[..., Cluster]
) -> None:
    """An API server that shuts down closes its WebSockets properly."""
    commands.behaviour = lambda connection: connection.close()

    error = refused(lambda: opened().execute("p", "c", ["x"], stdin=given(b"a")))

    assert isinstance(error, failures.BrokenOff)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ('container not found ("c")', failures.NotStarted),
        ('exec: "/nope": no such file', BackendUnavailableError),
    ],
)
def test_a_command_that_does_not_start_is_an_error(
    message: str,
    kind: type[BuildpushError],
    commands: Commands,
    opened: Callable[..., Cluster],
) -> None:
    """With the server's word for it."""
    said = {"kind": "Status", "status": "Failure", "reason": "InternalError", "message": message}
    commands.behaviour = lambda connection: say(connection, 3, said)

    error = refused(lambda: opened().execute("p", "c", ["x"]))

    assert type(error) is kind
    assert message in error.message


def refusal(code: int, message: str = "") -> tuple[int, object]:
    return code, {"kind": "Status", "code": code, "message": message, "reason": "x"}


@pytest.mark.parametrize(
    ("answer", "kind", "expected"),
    [
        (refusal(403, 'pods "p" is forbidden: User "u" cannot get resource "pods/exec"'),
         PermissionDeniedError, "get and create on pods/exec"),
        (refusal(404, "no pod"), failures.NotThere, "no pod"),
        (refusal(500, 'container not found ("c")'), failures.NotStarted, "not found"),
        (refusal(400, "pod p does not have a host assigned"), failures.NotStarted, "host"),
        (refusal(503), failures.Unreachable, "503"),
    ],
)  # fmt: skip
def test_a_refused_upgrade_has_its_error(
    answer: tuple[int, object],
    kind: type[BuildpushError],
    expected: str,
    commands: Commands,
    opened: Callable[..., Cluster],
) -> None:
    """Before any stdin is drawn; once, since a command is not run twice."""
    commands.refuse = lambda _: answer

    error = refused(lambda: opened().execute("p", "c", ["x"], stdin=lambda _: pytest.fail("no")))

    assert type(error) is kind
    assert expected in error.message
    assert len(commands.requests) == 1
    assert "s3cret" not in error.report()


def test_a_token_that_was_replaced_is_read_anew(
    commands: Commands, opened: Callable[..., Cluster], tmp_path: Path
) -> None:
    """As with every other request."""
    (tmp_path / "token").write_text("old-token")

    def refuse(request: Request) -> tuple[int, object] | None:
        (tmp_path / "token").write_text("new-token")
        good = request.headers["Authorization"] == "Bearer new-token"
        return None if good else refusal(401)

    commands.refuse = refuse
    commands.behaviour = lambda connection: say(connection, 3, SUCCESS)

    assert opened(user={"tokenFile": "token"}).execute("p", "c", ["x"]) == 0
    assert len(commands.requests) == 2


@pytest.mark.parametrize("protocols", [[], ["v5.channel.k8s.io"]])
def test_a_server_of_neither_protocol_is_not_spoken_to(
    protocols: list[str], commands: Commands, opened: Callable[..., Cluster]
) -> None:
    """With v1 to v3 no exit status could be had."""
    commands.protocols = protocols
    commands.behaviour = lambda connection: say(connection, 3, SUCCESS)
    client = opened()

    if protocols:
        assert client.execute("p", "c", ["x"]) == 0
    else:
        error = refused(lambda: client.execute("p", "c", ["x"]))
        assert "does not speak the WebSocket protocol" in error.message


def test_nonsense_in_the_midst_of_a_command_is_an_error(
    commands: Commands, opened: Callable[..., Cluster]
) -> None:
    """Not a success, and no exit status either."""

    def behave(connection: ServerConnection) -> None:
        connection.socket.sendall(b"HTTP/1.1 502 Bad Gateway\r\n\r\n" + bytes(200))
        drain(connection)

    commands.behaviour = behave

    error = refused(lambda: opened().execute("p", "c", ["x"]))

    assert "no WebSocket message" in error.message


@pytest.mark.parametrize("fed", [True, False])
@pytest.mark.parametrize("by", ["client", "token"])
def test_a_command_can_be_left_from_another_thread(
    fed: bool, by: str, commands: Commands, opened: Callable[..., Cluster]
) -> None:
    """At once, whether it reads or not."""
    cancel = CancelToken()
    client = opened(cancel=cancel)
    end = {"client": client.close, "token": cancel.cancel}[by]
    over = threading.Event()

    def behave(connection: ServerConnection) -> None:
        threading.Timer(0.2, end).start()
        over.wait(20)

    commands.behaviour = behave
    stdin = (lambda _: itertools.repeat(bytes(1 << 16))) if fed else None
    begun = time.monotonic()

    error = refused(lambda: client.execute("p", "c", ["x"], stdin=stdin))
    over.set()

    assert type(error) is (StepCancelledError if by == "token" else failures.BrokenOff)
    assert time.monotonic() - begun < 10


@pytest.mark.parametrize("secure", [True, False])
def test_a_command_runs_through_a_proxy(
    secure: bool,
    commands: Commands,
    opened: Callable[..., Cluster],
    authority: trustme.CA,
    tmp_path: Path,
) -> None:
    """In both directions at once, be the proxy spoken to by TLS or not."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    tunnel = Tunnel(tls=context if secure else None)
    commands.behaviour = lambda connection: say(connection, 3, ended(len(drain(connection)) >> 20))

    client = opened(about={"proxy-url": tunnel.url}, SSL_CERT_FILE=str(tmp_path / "ca.pem"))
    code = client.execute("p", "c", ["x"], stdin=given(*[bytes(1 << 20)] * 9))
    tunnel.close()

    assert code == 9
    assert len(tunnel.heads) == 1


def session(near: socket.socket, **options: Any) -> Session:
    """A session as it is after a handshake, on a socket whose other end is ours."""
    from websockets.client import ClientProtocol
    from websockets.protocol import State
    from websockets.uri import parse_uri

    protocol = ClientProtocol(parse_uri("ws://h/"), state=State.OPEN)
    return Session(
        Wire(near), protocol, on_output=lambda *_: None, cancel=CancelToken(), **options
    )


def test_a_peer_that_is_dead_is_noticed() -> None:
    """It answers no ping: sending those is no sign of life."""
    near, far = socket.socketpair()
    with far, session(near, ping=0.05, silence=0.3) as one:
        with pytest.raises(failures.BrokenOff, match="silent"):
            one.result()
        pings = far.recv(1 << 16)

    assert pings.count(b"\x89\x81") > 1


def test_a_peer_that_answers_pings_is_alive() -> None:
    """A command may say nothing for an hour."""
    near, far = socket.socketpair()
    with far, session(near, ping=0.05, silence=0.3) as one:
        begun = time.monotonic()
        while time.monotonic() - begun < 0.8:
            far.recv(1 << 16)
            far.sendall(b"\x8a\x01?")
        status = json.dumps(SUCCESS).encode()
        far.sendall(bytes([0x82, len(status) + 1, 3]) + status + b"\x88\x02\x03\xe8")

        found = one.result()

    assert found is not None and found.status == "Success"


def test_no_log_shows_the_token(
    commands: Commands, opened: Callable[..., Cluster], caplog: pytest.LogCaptureFixture
) -> None:
    """The library would write every header of the handshake to it."""
    caplog.set_level(logging.DEBUG)
    commands.behaviour = lambda connection: say(connection, 3, SUCCESS)

    opened().execute("p", "c", ["x"])

    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("code", ["\u00b2", "9" * 5000, "-1", ""])
def test_an_exit_code_that_is_none_is_an_error(
    code: str, commands: Commands, opened: Callable[..., Cluster]
) -> None:
    """Digits are not all numbers, and not all numbers are exit codes."""
    commands.behaviour = lambda connection: say(connection, 3, ended(code))

    with pytest.raises(BackendUnavailableError, match="could not run the command"):
        opened().execute("p", "c", ["x"])

"""An engine that says what a test tells it to, on a socket."""

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from attrs import define, field

from buildpush.runtime import Environment

Answer = Callable[[bytes, socket.socket], None]


def reply(body: bytes, status: str = "200 OK") -> bytes:
    """A whole answer with its length."""
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


@define(eq=False)
class FakeEngine:
    """Answers each request as *answer* does; *requests* are what it was sent, heads and bodies.

    *waiting* is set when an answer has begun that will not end by itself.
    """

    listener: socket.socket
    answer: Answer = lambda _, connection: connection.sendall(reply(b"{}"))
    tls: ssl.SSLContext | None = None
    requests: list[bytes] = field(factory=list)
    waiting: threading.Event = field(factory=threading.Event)
    over: threading.Event = field(factory=threading.Event)
    _threads: list[threading.Thread] = field(factory=list)

    def say(self, body: bytes, status: str = "200 OK") -> None:
        """Answer everything with *body*."""
        self.answer = lambda _, connection: connection.sendall(reply(body, status))

    def start(self) -> None:
        self._threads.append(threading.Thread(target=self._serve))
        self._threads[0].start()

    def stop(self) -> None:
        self.over.set()
        with suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self._threads:
            thread.join()

    def hang(self, begin: bytes) -> None:
        """Answer with *begin* and then nothing more."""

        def answer(_: bytes, connection: socket.socket) -> None:
            connection.sendall(begin)
            self.waiting.set()
            self.over.wait()

        self.answer = answer

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self._threads.append(threading.Thread(target=self._connection, args=(connection,)))
                self._threads[-1].start()

    def _connection(self, connection: socket.socket) -> None:
        with suppress(OSError):
            if self.tls is not None:
                connection = self.tls.wrap_socket(connection, server_side=True)
            with connection:
                while request := _request(connection, self.over):
                    self.requests.append(request)
                    self.answer(request, connection)


def _request(connection: socket.socket, over: threading.Event) -> bytes:
    """One request; nothing when the client, or the test, is at its end."""
    connection.settimeout(0.05)
    found = b""
    while not _whole(found):
        try:
            piece = connection.recv(1 << 16)
        except TimeoutError:
            if over.is_set():
                return b""
            continue
        if not piece:
            return b""
        found += piece
    connection.settimeout(None)
    return found


def _whole(found: bytes) -> bool:
    head, mark, body = found.partition(b"\r\n\r\n")
    if b"chunked" in head.lower():
        return body.endswith(b"0\r\n\r\n")
    length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
    return bool(mark) and len(body) >= int(length or 0)


@pytest.fixture
def listening() -> Iterator[Callable[[FakeEngine], FakeEngine]]:
    engines: list[FakeEngine] = []

    def started(engine: FakeEngine) -> FakeEngine:
        engines.append(engine)
        engine.start()
        return engine

    yield started
    for engine in engines:
        engine.stop()


@pytest.fixture
def engine(tmp_path: Path, listening: Callable[[FakeEngine], FakeEngine]) -> FakeEngine:
    """One on the unix socket ``engine.sock`` in *tmp_path*."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "engine.sock"))
    listener.listen()
    return listening(FakeEngine(listener))


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """Folders of this test's own, and a PATH."""
    return Environment(
        variables={"PATH": "/usr/bin:/bin", "LANG": "C"},
        uid=1000,
        gid=1000,
        home=tmp_path / "home",
        cwd=tmp_path,
        cache=tmp_path / "cache",
        temporary=tmp_path,
    )

"""A small API server on loopback, real sockets and real TLS, that answers what a test tells it."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from attrs import Factory, define, frozen


@frozen(kw_only=True)
class Request:
    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    groups: tuple[str, ...] = ()
    peer: Mapping[str, Any] | None = None


@frozen(kw_only=True)
class Answer:
    """A *body* that is an iterable is sent in chunks, as it comes; *cut* leaves out its end."""

    status: int = 200
    body: object = Factory(dict)
    headers: tuple[tuple[str, str], ...] = ()
    cut: bool = False


def status(code: int, reason: str = "", message: str = "", **details: object) -> Answer:
    """What the API server says with a refusal."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": reason,
        "message": message,
        "code": code,
        "details": details,
    }
    return Answer(status=code, body=body)


@define(eq=False)
class Api:
    """The server: *answer* is asked for each request."""

    answer: Callable[[Request], Answer]
    requests: list[Request] = Factory(list)
    url: str = ""
    ca: str = ""

    def answers(self, *answers: Answer) -> None:
        """Give these, one after the other, and the last one from then on."""
        left = list(answers)

        def following(_: Request) -> Answer:
            return left.pop(0) if len(left) > 1 else left[0]

        self.answer = following

    def paths(self) -> list[str]:
        return [f"{one.method} {one.path}" for one in self.requests]

    def config(self, user: Mapping[str, object], **cluster: object) -> dict[str, object]:
        about = {"server": self.url, **cluster}
        if self.ca:
            about.setdefault("certificate-authority", self.ca)
        return {
            "current-context": "here",
            "clusters": [{"name": "one", "cluster": about}],
            "contexts": [
                {
                    "name": "here",
                    "context": {"cluster": "one", "user": "me", "namespace": "builds"},
                }
            ],
            "users": [{"name": "me", "user": dict(user)}],
        }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _any(self) -> None:
        api: Api = self.server.api  # type: ignore[attr-defined]
        length = int(self.headers.get("Content-Length") or 0)
        peer = self.connection.getpeercert() if hasattr(self.connection, "getpeercert") else None
        request = Request(
            method=self.command,
            path=self.path,
            headers=dict(self.headers.items()),
            body=self.rfile.read(length),
            groups=tuple(self.headers.get_all("Impersonate-Group") or ()),
            peer=peer,
        )
        api.requests.append(request)
        answer = api.answer(request)
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if isinstance(answer.body, Iterator):
            self._stream(answer.body, answer)
            return
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _stream(self, body: Iterable[bytes], answer: Answer) -> None:
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for chunk in body:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if not answer.cut:
            self.wfile.write(b"0\r\n\r\n")
        self.close_connection = True

    do_GET = do_POST = do_PATCH = do_DELETE = _any  # noqa: N815 - http.server's names

    def log_message(self, format: str, *args: object) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    api: Api

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves early is what many tests are about."""


class Tunnel:
    """A proxy: answers CONNECT with *reply* (*eager*: anything, at once), and passes bytes on."""

    def __init__(
        self,
        reply: bytes = b"HTTP/1.1 200 OK\r\n\r\n",
        *,
        tls: ssl.SSLContext | None = None,
        eager: bool = False,
    ) -> None:
        self.reply = reply
        self.tls = tls
        self.eager = eager
        self.heads: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"{'https' if tls else 'http'}://me:pr0xy-pass@127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                near, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(near,), daemon=True).start()

    def _one(self, near: socket.socket) -> None:
        with suppress(OSError), near:
            if self.tls is None:
                self._pass_on(near)
                return
            with self.tls.wrap_socket(near, server_side=True) as shaken:
                self._pass_on(shaken)

    def _pass_on(self, near: socket.socket) -> None:
        head = near.recv(1 << 16) + b"\r\n\r\n" if self.eager else b""
        while not head.endswith(b"\r\n\r\n"):
            head += near.recv(1)
        self.heads.append(head.decode("latin-1"))
        near.sendall(self.reply)
        if b" 200 " not in self.reply:
            return
        host, port = head.split()[1].decode().rsplit(":", 1)
        with socket.create_connection((host, int(port))) as far:
            back = threading.Thread(target=_copy, args=(far, near), daemon=True)
            back.start()
            _copy(near, far)
            back.join()

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass

"""An Internet on loopback: a proxy behind which made-up servers answer under real names, with TLS.

A client that honours HTTPS_PROXY and SSL_CERT_FILE reaches ``https://sts.googleapis.com`` as it
would outside: it asks for a tunnel, checks a certificate for that very name, and gets an answer
from the function that plays the server. Servers that are not played do not exist. A real server
on this machine, such as a `LocalRegistry`, is one of this Internet when its port is in `routes`.
"""

from __future__ import annotations

import base64
import json
import select
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
import trustme
from attrs import field, frozen

from buildpush.runtime import Environment


@frozen(kw_only=True)
class Asked:
    """One request: *host* is whom the client meant, *headers* have lower-case names."""

    host: str
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def form(self) -> dict[str, str]:
        """The body as a form, each field of which is there once."""
        pairs = parse_qsl(self.body.decode(), keep_blank_values=True, strict_parsing=True)
        assert len(dict(pairs)) == len(pairs), "a field is there twice"
        return dict(pairs)


@frozen
class Answer:
    """What a server answers: a status, JSON or bytes, and headers."""

    status: int = 200
    body: object = b""
    headers: Mapping[str, str] = field(factory=dict)

    @property
    def data(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


Server = Callable[[Asked], Answer]


class Internet:
    """The servers by host. What is asked without a tunnel, at `near`, goes to the server ``near``.

    With a *password*, tunnels are for ``ci`` with that password only.
    """

    def __init__(self, folder: Path, *, password: str = "") -> None:
        self.servers: dict[str, Server] = {}
        self.routes: dict[str, int] = {}
        self.password = password
        self.asked: list[Asked] = []
        self._authority = trustme.CA()
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._lock = threading.Lock()
        self.certificates = folder / "authority.pem"
        self._authority.cert_pem.write_to_path(str(self.certificates))
        internet = self

        class Handler(_Handler):
            net = internet

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self.near = f"127.0.0.1:{self._server.server_port}"

    @property
    def variables(self) -> dict[str, str]:
        """What makes a client take this Internet for the real one."""
        login = f"ci:{quote(self.password, safe='')}@" if self.password else ""
        proxy = f"http://{login}{self.near}"
        return {"HTTPS_PROXY": proxy, "SSL_CERT_FILE": str(self.certificates)}

    def environment(self, home: Path, /, **variables: str) -> Environment:
        """An environment of nothing but *variables* in which this is the Internet."""
        return Environment(
            variables={**self.variables, **variables},
            uid=1000,
            gid=1000,
            home=home,
            cwd=home,
            cache=home,
            temporary=home,
        )

    def context(self, host: str) -> ssl.SSLContext:
        """What proves that *host* is itself."""
        with self._lock:
            if host not in self._contexts:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                self._authority.issue_cert(host).configure_cert(context)
                self._contexts[host] = context
            return self._contexts[host]

    def answer(self, asked: Asked) -> Answer:
        """The answer of the server that was meant."""
        with self._lock:
            self.asked.append(asked)
        return self.servers[asked.host](asked)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    net: Internet
    protocol_version = "HTTP/1.1"
    timeout = 10
    host = "near"

    def do_CONNECT(self) -> None:
        host, _, port = self.path.rpartition(":")
        if not self._may_pass():
            self.send_error(407)
            return
        if port == "443" and host in self.net.routes:
            self._tunnel(self.net.routes[host])
            return
        if port != "443" or host not in self.net.servers:
            self.send_error(502, "no such server")
            return
        self.send_response(200)
        self.end_headers()
        self.connection = self.net.context(host).wrap_socket(self.connection, server_side=True)
        self.rfile.close()
        self.rfile = self.connection.makefile("rb")
        self.wfile = self.connection.makefile("wb")
        self.host = host
        self.close_connection = False  # some clients ask for tunnels by HTTP/1.0

    def _may_pass(self) -> bool:
        pair = base64.b64encode(f"ci:{self.net.password}".encode()).decode()
        return not self.net.password or self.headers["Proxy-Authorization"] == f"Basic {pair}"

    def _tunnel(self, port: int) -> None:
        """Carry bytes to and from a server of this machine until one side has had enough."""
        self.close_connection = True
        with socket.create_connection(("127.0.0.1", port)) as there:
            self.send_response(200)
            self.end_headers()
            other = {self.connection: there, there: self.connection}
            while ready := select.select(list(other), [], [], self.timeout)[0]:
                for side in ready:
                    piece = side.recv(1 << 16)
                    if not piece:
                        return
                    other[side].sendall(piece)

    def handle(self) -> None:
        with suppress(OSError):  # the client has gone: nobody is left to be told
            super().handle()

    def finish(self) -> None:
        with suppress(OSError):
            super().finish()
        self.rfile.close()
        self.connection.close()

    def _any(self) -> None:
        parts = urlsplit(self.path)
        length = int(self.headers.get("content-length") or 0)
        asked = Asked(
            host=self.host,
            method=self.command,
            path=parts.path,
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=self.rfile.read(length),
        )
        answer = self.net.answer(asked)
        self.send_response(answer.status)
        for name, value in {"Content-Length": str(len(answer.data)), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.data)
        self.wfile.flush()

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _any  # noqa: N815

    def log_message(self, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def internet(tmp_path: Path) -> Iterator[Internet]:
    """An Internet without servers."""
    folder = tmp_path / "internet"
    folder.mkdir()
    with Internet(folder) as net:
        yield net

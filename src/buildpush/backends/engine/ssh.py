"""An engine on another machine, reached as the docker CLI does: ``ssh … docker system dial-stdio``.

Each connection to a local socket becomes one ssh command, whose pipes are the connection.
"""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import threading
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp
from typing import IO, Final
from urllib.parse import unquote, urlsplit

from attrs import define, field

from ...errors import BackendUnavailableError, StepCancelledError
from ...runtime import CancelToken, Environment
from ...runtime.process import start
from .endpoints import Endpoint

__all__ = ["Bridge", "bridge", "ssh_argv"]

_CHUNK: Final = 1 << 16
_SECONDS: Final = 0.5


def ssh_argv(endpoint: Endpoint, timeout: float) -> tuple[str, ...]:
    """The command that connects its stdin and stdout to the engine behind ``ssh://…``."""
    parts = urlsplit(endpoint.host)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if not parts.hostname or port == -1:
        raise BackendUnavailableError(
            f"{endpoint.host} ({endpoint.name}) names no host and port",
            hint="write ssh://user@host or ssh://user@host:22",
        )
    remote = ["docker", "system", "dial-stdio"]
    if parts.path.strip("/"):
        remote[1:1] = ["--host", shlex.quote(f"unix://{unquote(parts.path)}")]
    return (
        "ssh",
        *("-o", f"ConnectTimeout={max(1, round(timeout))}", "-o", "BatchMode=yes", "-T"),
        *(("-l", unquote(parts.username)) if parts.username else ()),
        *(("-p", str(port)) if port else ()),
        *("--", parts.hostname, *remote),
    )


@define(eq=False, kw_only=True)
class Bridge:
    """A listening unix socket at *path*; *said* keeps the last lines that ssh wrote."""

    path: Path
    said: deque[str] = field(factory=lambda: deque[str](maxlen=5), init=False)


@contextmanager
def bridge(
    endpoint: Endpoint, *, environment: Environment, cancel: CancelToken, timeout: float
) -> Generator[Bridge]:
    """Listen for connections to *endpoint* while the block runs; ends every ssh with it."""
    argv = ssh_argv(endpoint, timeout)
    folder = Path(mkdtemp(prefix="bp-", dir=environment.temporary))
    made = Bridge(path=folder / "s")
    over = CancelToken()
    undo = cancel.on_cancel(over.cancel)
    threads: list[threading.Thread] = []
    listener = socket.socket(socket.AF_UNIX)

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                relay = threading.Thread(
                    target=_relay, args=(connection, argv, environment, over, made)
                )
                threads.append(relay)
                relay.start()

    try:
        try:
            listener.bind(str(made.path))
        except OSError as error:
            raise BackendUnavailableError(
                f"{made.path} cannot be a socket: {error}", hint="set TMPDIR to a shorter path"
            ) from error
        listener.listen()
        threads.append(threading.Thread(target=serve, daemon=True))
        threads[0].start()
        yield made
    finally:
        undo()
        over.cancel()
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in threads:
            thread.join()
        shutil.rmtree(folder, ignore_errors=True)


def _relay(
    connection: socket.socket,
    argv: tuple[str, ...],
    environment: Environment,
    over: CancelToken,
    made: Bridge,
) -> None:
    """Be one connection, until either side ends it."""
    with connection, suppress(OSError, StepCancelledError):
        try:
            with start(argv, cancel=over, env=environment.variables, grace=0.5) as child:
                # Daemons: a connection that ssh shares may hold the pipes open when ssh has ended.
                hearing = threading.Thread(target=_hear, args=(child.stderr, made), daemon=True)
                sending = threading.Thread(
                    target=_send, args=(connection, child.stdin), daemon=True
                )
                hearing.start()
                sending.start()
                with suppress(OSError):
                    while chunk := os.read(child.stdout.fileno(), _CHUNK):
                        connection.sendall(chunk)
                hearing.join(_SECONDS)  # why it ended is known before that it did
                connection.shutdown(socket.SHUT_RDWR)
                sending.join(_SECONDS)
        except FileNotFoundError:
            made.said.append("the command ssh is not installed")


def _send(connection: socket.socket, stdin: IO[bytes]) -> None:
    with suppress(OSError, ValueError):
        while chunk := connection.recv(_CHUNK):
            stdin.write(chunk)
            stdin.flush()
        stdin.close()


def _hear(stderr: IO[bytes], made: Bridge) -> None:
    with suppress(OSError, ValueError):
        for line in iter(stderr.readline, b""):
            made.said.append(line.decode("utf-8", "replace").strip())

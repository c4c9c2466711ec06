"""What the kubelet streams: logs, and commands in containers by WebSocket (v4 and v5).

As seen on 1.36.2: the client's first protocol that the server knows is taken, 403 with an empty
body where there is none; a container that does not run is a 500 before the upgrade; an empty
message comes first; the status is the last message, on channel 3; a v5 client closes stdin by
``ff 00``. A command that closes its stdin while data still comes never gets its status there: that
is not imitated.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import IO, TYPE_CHECKING, Any, Final

from .containers import KILLED, Shell
from .faults import Fault
from .kinds import PODS
from .refusals import Refusal
from .shells import CHUNK
from .store import Object
from .websocket import WebSocket, accept_value
from .wire import Request, Response, head

if TYPE_CHECKING:
    from .cluster import Inside

_STDIN, _STDOUT, _STDERR, _STATUS = 0, 1, 2, 3
_CLOSE: Final = 255
V4, V5 = "v4.channel.k8s.io", "v5.channel.k8s.io"


def _container(pod: Object, wanted: str) -> str:
    """The container that is meant."""
    spec = pod["spec"]
    mains = [c["name"] for c in spec["containers"]]
    known = [*mains, *(c["name"] for c in spec.get("initContainers") or ())]
    name = pod["metadata"]["name"]
    if wanted and wanted not in known:
        raise Refusal(400, f"container {wanted} is not valid for pod {name}")
    if not wanted and len(mains) > 1:
        said = f"a container name must be specified for pod {name}, choose one of: [{' '.join(mains)}]"
        raise Refusal(400, said)
    return wanted or mains[0]


def _state(pod: Object, name: str) -> Object:
    status = pod["status"]
    for entry in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        if entry["name"] == name:
            found: Object = entry["state"]
            return found
    return {"waiting": {"reason": "ContainerCreating"}}


# --- logs ---


def log(inside: Inside, request: Request, namespace: str, name: str) -> Response:
    """GET …/pods/NAME/log."""
    pod = inside.store.get(PODS, namespace, name)
    container = _container(pod, request.one("container"))
    if "nodeName" not in pod["spec"]:
        return Response(status=204)
    life = inside.lives.get(pod["metadata"]["uid"])
    output = life.outputs.get(container) if life else None
    if life is not None and life.lost:
        raise Refusal(
            500,
            f'Get "https://127.0.0.1:10250/containerLogs/{namespace}/{name}/{container}":'
            " dial tcp 127.0.0.1:10250: connect: connection refused",
        )
    if life is None or output is None:
        reason = _state(pod, container).get("waiting", {}).get("reason", "PodInitializing")
        shown = "image can't be pulled" if "ImagePull" in reason else reason
        raise Refusal(400, f'container "{container}" in pod "{name}" is waiting to start: {shown}')
    connection = request.connection
    tail, limit = request.one("tailLines"), request.one("limitBytes")
    pieces = output.read(
        follow=request.flag("follow"),
        tail=int(tail) if tail else None,
        since=_since(inside, request),
        gone=lambda: connection.is_gone() or life.lost,
    )
    stamped = request.flag("timestamps")
    body = _bytes(pieces, stamped=stamped, limit=int(limit) if limit else None)
    return Response(stream=body, headers={"Content-Type": "text/plain"})


def _since(inside: Inside, request: Request) -> datetime | None:
    if text := request.one("sinceTime"):
        return datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", text))
    if text := request.one("sinceSeconds"):
        return datetime.now(UTC) - timedelta(seconds=int(text))
    return None


def _bytes(pieces: Iterator[Any], *, stamped: bool, limit: int | None) -> Iterator[bytes]:
    left = limit
    for found in pieces:
        data = b"".join(
            (f"{p.at:%Y-%m-%dT%H:%M:%S.%f}000Z ".encode() if stamped else b"") + p.data
            for p in found
        )
        if left is not None:
            data, left = data[:left], left - len(data)
        if data:
            yield data
        if left is not None and left <= 0:
            return


# --- exec ---


def execute(
    inside: Inside,
    request: Request,
    namespace: str,
    name: str,
    *,
    protocols: tuple[str, ...],
    fault: Fault | None,
) -> None:
    """GET …/pods/NAME/exec, upgraded: everything until the connection is over."""
    pod = inside.store.get(PODS, namespace, name)
    container = _container(pod, request.one("container"))
    if request.headers.get("upgrade", "").lower() != "websocket":
        raise Refusal(400, "Upgrade request required")
    connection = request.connection
    offered = [p.strip() for p in request.headers.get("sec-websocket-protocol", "").split(",")]
    chosen = next((p for p in offered if p in protocols), "")
    if not chosen:
        connection.socket.sendall(head(403, {"Connection": "close", "Content-Length": "0"}))
        return
    life = inside.lives.get(pod["metadata"]["uid"])
    shell = life.shells.get(container) if life else None
    if shell is None or not shell.process.pid or "running" not in _state(pod, container):
        body = f'container not found ("{container}")'.encode()
        headers = {"Content-Type": "text/plain; charset=utf-8", "Content-Length": str(len(body))}
        connection.socket.sendall(head(500, headers) + body)
        return
    accept = accept_value(request.headers["sec-websocket-key"])
    connection.socket.sendall(
        head(
            101,
            {
                "Upgrade": "websocket",
                "Connection": "Upgrade",
                "Sec-WebSocket-Accept": accept,
                "Sec-WebSocket-Protocol": chosen,
            },
        )
    )
    web = WebSocket(connection.socket, connection.file)
    web.send(bytes([_STDOUT]))
    wants_stdin = request.flag("stdin")
    try:
        process = shell.execute(request.all("command"), stdin=wants_stdin)
    except (FileNotFoundError, IndexError) as error:
        web.send(_unstarted(str(error)))
        web.close()
        return
    _Talk(web, process, shell, half_close=chosen == V5, fault=fault).go()


def _unstarted(program: str) -> bytes:
    said = (
        "Internal error occurred: Internal error occurred: error executing command in container:"
        f' OCI runtime exec failed: exec failed: unable to start container process: exec: "{program}":'
        f" stat {program}: no such file or directory"
    )
    status = {"metadata": {}, "status": "Failure", "message": said, "reason": "InternalError",
              "details": {"causes": [{"message": said}]}, "code": 500}  # fmt: skip
    return bytes([_STATUS]) + json.dumps(status).encode()


class _Talk:
    """One command's streams, both ways at once."""

    def __init__(
        self, web: WebSocket, process: subprocess.Popen[bytes], shell: Shell, *,
        half_close: bool, fault: Fault | None,
    ) -> None:  # fmt: skip
        self.web = web
        self.process = process
        self.shell = shell
        self.half_close = half_close
        self.drop_after = fault.drop_after if fault else None

    def go(self) -> None:
        """Until the command has ended, or the client has gone."""
        pumps = [
            self._thread(lambda: self._pump(self.process.stdout, _STDOUT)),
            self._thread(lambda: self._pump(self.process.stderr, _STDERR)),
        ]
        ending = self._thread(lambda: self._finish(pumps))
        try:
            self._listen()
        except (ConnectionError, OSError):
            pass
        finally:
            # As a real container's: the command's stdin ends with the connection.
            with suppress(OSError):
                if self.process.stdin is not None:
                    self.process.stdin.close()
            ending.join(2)
            if ending.is_alive():
                with suppress(ProcessLookupError):
                    os.killpg(self.process.pid, 9)
                ending.join()

    @staticmethod
    def _thread(work: Callable[[], None]) -> threading.Thread:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        return thread

    def _listen(self) -> None:
        for message in self.web.messages():
            if self.drop_after is not None and self.web.received >= self.drop_after:
                self.web.socket.shutdown(2)
                raise ConnectionError("dropped on purpose")
            if not message:
                continue
            if message[0] == _CLOSE and self.half_close and message[1:2] == bytes([_STDIN]):
                if self.process.stdin is not None:
                    self.process.stdin.close()
            elif message[0] == _STDIN and self.process.stdin is not None:
                with suppress(BrokenPipeError, ValueError):  # the command has had enough
                    self._write(memoryview(message)[1:])

    def _write(self, data: memoryview) -> None:
        assert self.process.stdin is not None
        while data:
            data = data[self.process.stdin.write(data) :]

    def _pump(self, pipe: IO[bytes] | None, channel: int) -> None:
        assert pipe is not None
        with pipe:
            while data := os.read(pipe.fileno(), CHUNK):
                with suppress(OSError):
                    self.web.send(bytes([channel]) + data)

    def _finish(self, pumps: list[threading.Thread]) -> None:
        code = self.process.wait()
        for pump in pumps:
            pump.join()
        code = 128 - code if code < 0 else code
        if code and self.shell.is_over:
            code = KILLED  # whatever nsenter said about a process that had gone meanwhile
        with suppress(OSError):
            self.web.send(bytes([_STATUS]) + _status(code))
            self.web.close()


def _status(code: int) -> bytes:
    status: Object = {"metadata": {}, "status": "Success"}
    if code:
        status = {
            "metadata": {},
            "status": "Failure",
            "message": "command terminated with non-zero exit code: command terminated with exit"
            f" code {code}",
            "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
        }
    return json.dumps(status, separators=(",", ":")).encode()

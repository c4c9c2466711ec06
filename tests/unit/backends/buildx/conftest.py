"""An installation to look at: a plugin that says what a test wants, and an engine that answers."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from buildpush.runtime import Environment

_SCRIPT = """#!/bin/sh
echo "$*" >> {log}
case "$1" in
  version) echo 'github.com/docker/buildx v0.29.1 abc' ;;
  *) cat "{folder}/$1.out" 2>/dev/null; cat "{folder}/$1.err" >&2 2>/dev/null
     exit "$(cat "{folder}/$1.code" 2>/dev/null || echo 0)" ;;
esac
"""


@define(eq=False)
class Plugin:
    """A buildx that prints what it is told to; *calls* are the arguments it was given."""

    path: Path
    folder: Path

    def say(self, command: str, out: str = "", err: str = "", code: int = 0) -> None:
        (self.folder / f"{command}.out").write_text(out)
        (self.folder / f"{command}.err").write_text(err)
        (self.folder / f"{command}.code").write_text(str(code))

    @property
    def calls(self) -> list[str]:
        log = self.folder / "log"
        return log.read_text().splitlines() if log.is_file() else []


@pytest.fixture
def plugin(tmp_path: Path) -> Plugin:
    folder = tmp_path / "plugin"
    folder.mkdir()
    path = tmp_path / "home" / ".docker" / "cli-plugins" / "docker-buildx"
    path.parent.mkdir(parents=True)
    path.write_text(_SCRIPT.format(folder=folder, log=folder / "log"))
    path.chmod(0o755)
    return Plugin(path, folder)


@define(eq=False)
class Engine:
    """A docker engine's API on a unix socket: fixed answers by path."""

    host: str
    answers: dict[str, Any] = field(factory=dict)
    deleted: list[str] = field(factory=list)


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = Engine(f"unix://{tmp_path}/d.sock")
    engine.answers = {
        "/version": {"Version": "28.5.2", "ApiVersion": "1.51", "Os": "linux", "Arch": "amd64"},
        "/info": {
            "Driver": "overlayfs",
            "DriverStatus": [["driver-type", "io.containerd.snapshotter.v1"]],
            "OSType": "linux",
            "Architecture": "x86_64",
        },
    }

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(engine.answers.get(self.path, {})).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_DELETE(self) -> None:
            engine.deleted.append(self.path.partition("?")[0])
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None: ...

        def address_string(self) -> str:
            return ""

    with _Server(f"{tmp_path}/d.sock", Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield engine
        finally:
            server.shutdown()
            thread.join()


@define(eq=False)
class Surroundings:
    """Makes the environments of a test."""

    folder: Path

    def __call__(self, **variables: str) -> Environment:
        return Environment(
            variables={"PATH": "/usr/bin:/bin", **variables},
            uid=1000,
            gid=1000,
            home=self.folder / "home",
            cwd=self.folder,
            cache=self.folder / "cache",
            temporary=self.folder,
        )

    def builder(self, name: str, **fields: Any) -> None:
        """Leave what ``docker buildx create`` would have."""
        folder = self.folder / "home" / ".docker" / "buildx" / "instances"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps({"Name": name, **fields}))

    def current(self, **fields: Any) -> None:
        """Leave what ``docker buildx use`` would have."""
        folder = self.folder / "home" / ".docker" / "buildx"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "current").write_text(json.dumps(fields))


@pytest.fixture
def surroundings(tmp_path: Path) -> Surroundings:
    (tmp_path / "home").mkdir(exist_ok=True)
    return Surroundings(tmp_path)

"""Debian's docker-registry behind TLS, with a password: `secured`."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from attrs import frozen

# "secret" as bcrypt, the only hash docker-registry reads.
_HTPASSWD = "ci:$2y$05$aaaaaaaaaaaaaaaaaaaaaOjOHCcGZ1ZydhnG2lX11qSmiRJbsbsA.\n"


@frozen(kw_only=True)
class Secured:
    """A docker-registry with TLS and a password; *certificate* and *key* are a client's."""

    host: str
    authority: Path
    certificate: Path
    key: Path


@pytest.fixture
def secured(
    request: pytest.FixtureRequest, tmp_path: Path, missing: Callable[[str], None]
) -> Iterator[Secured]:
    """Its authority is known to nobody; its only user is ``ci`` with ``secret``.

    With the parameter ``clients`` it lets in only clients with a certificate of that authority.
    """
    if shutil.which("docker-registry") is None:
        missing("docker-registry (sh tests/provision.sh)")
    folder = tmp_path / "secured"
    folder.mkdir()
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert.pem"))
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    mine = authority.issue_cert("ci@example.org")
    mine.cert_chain_pems[0].write_to_path(str(folder / "client.pem"))
    mine.private_key_pem.write_to_path(str(folder / "client.key"))
    (folder / "htpasswd").write_text(_HTPASSWD)
    tls: dict[str, object] = {
        "certificate": str(folder / "cert.pem"),
        "key": str(folder / "key.pem"),
    }
    if getattr(request, "param", "") == "clients":
        tls["clientcas"] = [str(folder / "ca.pem")]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    config = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {
            "filesystem": {"rootdirectory": str(folder / "data")},
            "delete": {"enabled": True},
        },
        "http": {"addr": host, "tls": tls},
        "auth": {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}},
    }
    (folder / "config.yml").write_text(json.dumps(config))
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", folder / "config.yml"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": os.environ["PATH"], "OTEL_SDK_DISABLED": "true"},
        )
    try:
        _await(process, host)
        yield Secured(
            host=host,
            authority=folder / "ca.pem",
            certificate=folder / "client.pem",
            key=folder / "client.key",
        )
    finally:
        process.terminate()
        process.wait(10)


def _await(process: subprocess.Popen[bytes], host: str) -> None:
    name, _, port = host.partition(":")
    while process.poll() is None:
        try:
            socket.create_connection((name, int(port)), 5).close()
        except ConnectionError:
            try:
                process.wait(0.05)
            except subprocess.TimeoutExpired:
                continue
        else:
            return
    raise AssertionError("docker-registry ended before it answered")

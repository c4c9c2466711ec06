"""What the tests of the cluster's client share: a server, surroundings, kubeconfig files."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
import yaml
from kube_answers import Answer, Api, Handler, Server

from buildpush.runtime import Environment


@pytest.fixture
def api(authority: trustme.CA, tmp_path: Path) -> Iterator[Api]:
    """A server that speaks TLS and asks for a client certificate, but takes none as well."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    ca = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    with Server(("127.0.0.1", 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.api = Api(lambda _: Answer())
        server.api.url = f"https://127.0.0.1:{server.server_address[1]}"
        server.api.ca = str(ca)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server.api
        server.shutdown()
        thread.join()


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def surroundings(tmp_path: Path) -> Callable[..., Environment]:
    """Environments with nothing in them but what is asked for."""

    def make(**variables: str) -> Environment:
        temporary = tmp_path / "tmp"
        temporary.mkdir(exist_ok=True)
        return Environment(
            variables={"PATH": "/usr/bin:/bin", **variables},
            uid=0,
            gid=0,
            home=tmp_path,
            cwd=tmp_path,
            cache=tmp_path / "cache",
            temporary=temporary,
        )

    return make


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Callable[..., Path]:
    """Write a kubeconfig; its path."""

    def write(config: object, name: str = "config.yaml") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(config if isinstance(config, str) else yaml.safe_dump(config))
        return path

    return write

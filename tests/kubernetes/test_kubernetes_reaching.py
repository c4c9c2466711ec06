"""A cluster is reached by TLS, and whoever builds is known by certificate, program or file."""

from __future__ import annotations

import base64
import json
import ssl
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from attrs import evolve
from kubernetes_stub import StubCluster
from kubernetes_target import Target

from buildpush.errors import BackendUnavailableError
from buildpush.events import Event, TaskLog

SIMPLE = "FROM scratch\nCOPY Dockerfile /\n"
SLOW = "FROM $BASE\nRUN echo MARK; sleep 1; echo DONE\n"


@pytest.fixture
def authority() -> trustme.CA:
    """Who signs certificates here."""
    return trustme.CA()


@pytest.fixture
def secured(
    stub_target: Target, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Target, StubCluster]]:
    """A cluster that speaks TLS, and takes certificates of the authority's."""
    folder = tmp_path_factory.mktemp("secured")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    authority.configure_trust(context)
    ca = folder / "ca.pem"
    authority.cert_pem.write_to_path(str(ca))
    with StubCluster(folder / "stub", tls=(context, ca)) as stub:
        path = stub.kubeconfig(folder / "kubeconfig")
        yield evolve(stub_target, stub=stub, kubeconfig=path, observer=None), stub


def changed(path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """The kubeconfig *path* with another user."""
    config = json.loads(path.read_text())
    user: dict[str, Any] = {}
    change(user)
    config["users"][0]["user"] = user
    path.write_text(json.dumps(config))
    return path


def test_a_build_over_tls_with_a_client_certificate(
    secured: tuple[Target, StubCluster], authority: trustme.CA
) -> None:
    """Requests, watches, logs and exec alike show it."""
    target, stub = secured
    stub.rights.certificate("somebody")
    certificate = authority.issue_cert(common_name="somebody")

    def show(user: dict[str, Any]) -> None:
        chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
        user["client-certificate-data"] = base64.b64encode(chain).decode()
        key = certificate.private_key_pem.bytes()
        user["client-key-data"] = base64.b64encode(key).decode()

    changed(target.kubeconfig, show)

    target.step(SIMPLE).run()

    assert {seen.user for seen in stub.seen} == {"somebody"}
    assert stub.left() == ()


def test_a_server_that_nobody_vouches_for_is_not_trusted(
    secured: tuple[Target, StubCluster],
) -> None:
    """Nothing is sent to it."""
    target, stub = secured
    config = json.loads(target.kubeconfig.read_text())
    del config["clusters"][0]["cluster"]["certificate-authority"]
    target.kubeconfig.write_text(json.dumps(config))

    with pytest.raises(BackendUnavailableError, match="certificate"):
        target.step(SIMPLE).run()

    assert stub.seen == ()


def test_a_program_is_asked_again_when_its_token_has_expired(stub_target: Target) -> None:
    """An exec credential may be short-lived: in the middle of a build it is renewed."""
    stub = stub_target.the_stub
    held = stub_target.folder / "token"
    first, second = stub.rights.admin(), stub.rights.admin()
    held.write_text(first)
    program = stub_target.folder / "credential.py"
    program.write_text(
        "import json, pathlib\n"
        f"token = pathlib.Path({str(held)!r}).read_text()\n"
        "print(json.dumps({'apiVersion': 'client.authentication.k8s.io/v1',"
        " 'kind': 'ExecCredential', 'status': {'token': token}}))\n"
    )

    def ask(user: dict[str, Any]) -> None:
        user["exec"] = {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": sys.executable,
            "args": [str(program)],
            "interactiveMode": "Never",
        }

    def expire(event: Event) -> None:
        if isinstance(event, TaskLog) and event.line == "MARK":
            held.write_text(second)
            stub.rights.revoke(first)

    changed(stub_target.kubeconfig, ask)
    stub_target.step(SLOW).run(on_event=expire)

    assert stub.left() == ()

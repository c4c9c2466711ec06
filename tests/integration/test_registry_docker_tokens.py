"""The registry client against docker-registry with a token service, whose tokens it verifies.

Needs docker-registry. No root.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme
from attrs import define, field, frozen
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from buildpush.auth import Credential, StaticKeychain
from buildpush.errors import CredentialEvidence, PermissionDeniedError
from buildpush.oci import Digest, ImageReference, Repository
from buildpush.oci.wire import Descriptor, Manifest, MediaType, dump
from buildpush.registry import RegistryClient
from buildpush.runtime import CancelToken, Run
from buildpush.testing import RecordingSink

pytestmark = pytest.mark.needs_registry

DATA = b"layer" * 100_000
BLOB = Descriptor(media_type=MediaType.OCI_LAYER, digest=Digest.of(DATA), size=len(DATA))
_LIFETIME = 300
USERS = {"ci": ("s3cret", "pull,push"), "reader": ("r3ad-only", "pull")}


def part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@define(eq=False)
class Service:
    """Signs tokens as docker-registry wants them: ES256, with the certificate in the header."""

    certificate: Path
    key: Path
    asked: list[list[str]] = field(factory=list[list[str]])

    def token(self, user: str, scopes: list[str]) -> str:
        der = ssl.PEM_cert_to_DER_cert(self.certificate.read_text())
        header = {"typ": "JWT", "alg": "ES256", "x5c": [base64.b64encode(der).decode()]}
        allowed = set(USERS[user][1].split(",")) if user else set[str]()
        access = [
            {
                "type": "repository",
                "name": scope.split(":")[1],
                "actions": sorted(allowed & set(scope.split(":")[2].split(","))),
            }
            for scope in scopes
        ]
        now = int(time.time())
        claims = {
            "iss": "tests",
            "sub": user,
            "aud": "registry",
            "exp": now + _LIFETIME,
            "nbf": now - 10,
            "iat": now,
            "jti": secrets.token_hex(8),
            "access": access,
        }
        text = f"{part(json.dumps(header).encode())}.{part(json.dumps(claims).encode())}"
        key = serialization.load_pem_private_key(self.key.read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        r, s = decode_dss_signature(key.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return f"{text}.{part(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"


@frozen
class Guarded:
    host: str
    service: Service


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Guarded]:
    """docker-registry, and a token service on another port."""
    authority = trustme.CA()
    issued = authority.issue_cert("tokens.example.org", key_type=trustme.KeyType.ECDSA)
    service = Service(tmp_path / "token.pem", tmp_path / "token.key")
    issued.cert_chain_pems[0].write_to_path(str(service.certificate))
    issued.private_key_pem.write_to_path(str(service.key))
    authority.cert_pem.write_to_path(str(tmp_path / "roots.pem"))

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
            service.asked.append(scopes)
            proof = self.headers.get("Authorization", "").removeprefix("Basic ")
            user, _, password = base64.b64decode(proof).decode().partition(":")
            known = not user or USERS.get(user, ("", ""))[0] == password
            document = {"token": service.token(user, scopes)} if known else {"details": "no"}
            data = json.dumps({**document, "expires_in": _LIFETIME}).encode()
            self.send_response(200 if known else 401)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    with socket.create_server(("127.0.0.1", 0)) as probe:
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    config = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "data")}},
        "http": {"addr": host},
        "auth": {
            "token": {
                "realm": f"http://127.0.0.1:{server.server_address[1]}/token",
                "service": "registry",
                "issuer": "tests",
                "rootcertbundle": str(tmp_path / "roots.pem"),
            }
        },
    }
    (tmp_path / "config.yml").write_text(json.dumps(config))
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", tmp_path / "config.yml"],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={"PATH": os.environ["PATH"], "OTEL_SDK_DISABLED": "true"},
        )
    try:
        while process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", int(host.partition(":")[2])), 5).close()
                break
            except ConnectionError:
                threading.Event().wait(0.05)
        assert process.poll() is None, (tmp_path / "log").read_text()[-2000:]
        yield Guarded(host, service)
    finally:
        process.terminate()
        process.wait(10)
        server.shutdown()
        server.server_close()


@pytest.fixture
def client_for(tmp_path: Path, guarded: Guarded) -> Iterator[Callable[[str], RegistryClient]]:
    """Open clients by the user's name."""
    opened: list[RegistryClient] = []
    run = Run(workdir=tmp_path, cancel=CancelToken(), sink=RecordingSink())

    def make(user: str) -> RegistryClient:
        credential = Credential(username=user, password=USERS[user][0], source="the test")
        keychain = StaticKeychain(prefix=guarded.host, credential=credential)
        opened.append(RegistryClient(keychain, run))
        return opened[-1]

    yield make
    for client in opened:
        client.close()


def put(client: RegistryClient, repository: Repository, tag: str = "1") -> Digest:
    config = Descriptor(media_type=MediaType.OCI_CONFIG, digest=Digest.of(b"{}"), size=2)
    manifest = dump(Manifest(media_type=MediaType.OCI_MANIFEST, config=config, layers=(BLOB,)))
    client.put_blob(repository, config, lambda: iter((b"{}",)))
    client.put_blob(repository, BLOB, lambda: iter((DATA,)))
    reference = ImageReference(repository=repository, tag=tag)
    return client.put_manifest(reference, manifest, MediaType.OCI_MANIFEST)


def test_a_push_a_pull_and_a_mount_have_their_own_tokens(
    client_for: Callable[[str], RegistryClient], guarded: Guarded
) -> None:
    """Each scope is asked for once; the mount asks for two, as two parameters."""
    client = client_for("ci")
    app, other = Repository(guarded.host, "app"), Repository(guarded.host, "team/other")

    digest = put(client, app)
    how = client.put_blob(other, BLOB, lambda: iter((DATA,)), mount_from=app)
    found = client.get_manifest(ImageReference(repository=app, tag="1"))

    assert (how, found.descriptor.digest) == ("mounted", digest)
    assert guarded.service.asked == [
        ["repository:app:pull,push"],
        ["repository:team/other:pull,push"],
        ["repository:team/other:pull,push", "repository:app:pull"],
        ["repository:app:pull"],
    ]


def test_an_account_without_push_is_told_what_its_token_grants(
    client_for: Callable[[str], RegistryClient], guarded: Guarded
) -> None:
    """docker-registry answers 401 where others say 403; the token is readable."""
    app = Repository(guarded.host, "app")
    put(client_for("ci"), app)
    reader = client_for("reader")

    assert reader.get_manifest(ImageReference(repository=app, tag="1")).descriptor
    with pytest.raises(
        PermissionDeniedError, match=r"'reader', from the test.* may not push"
    ) as caught:
        put(reader, app, "2")

    (proof,) = (p for p in caught.value.evidence if isinstance(p, CredentialEvidence))
    assert (proof.scope, proof.granted) == ("repository:app:pull,push", "repository:app:pull")

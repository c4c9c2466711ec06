"""The wire: TLS and who is trusted, plain HTTP and where it is allowed, redirects, proxies."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import trustme
from attrs import evolve

from buildpush.auth import Credential, StaticKeychain
from buildpush.errors import RegistryError, RegistryUnavailableError
from buildpush.http.answers import FinalError
from buildpush.oci import Digest, ImageReference, Repository
from buildpush.oci.wire import Descriptor, Index, MediaType, dump
from buildpush.registry import RegistryClient
from buildpush.registry.exchange import Exchange
from buildpush.runtime import Environment, Run
from buildpush.runtime.retry import RetryPolicy
from buildpush.testing import Fault, LocalRegistry, Status

ClientFor = Callable[..., RegistryClient]
BlobOf = Callable[..., Descriptor]
MakeEnvironment = Callable[[Mapping[str, str]], Environment]
INDEX = dump(Index(media_type=MediaType.OCI_INDEX, manifests=()))
DATA = b"blob" * 1000
ONCE = RetryPolicy(attempts=1)


class Handler(BaseHTTPRequestHandler):
    """Serves one manifest and what the test puts into `redirects`; notes who asked."""

    protocol_version = "HTTP/1.1"
    redirects: ClassVar[dict[str, str]] = {}
    seen: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization", ""))
        target = self.redirects.get(self.path)
        body = b"" if target else INDEX
        self.send_response(307 if target else 200)
        if target:
            self.send_header("Location", target)
        self.send_header("Content-Type", MediaType.OCI_INDEX)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.send_response(202)
        self.send_header("Location", f"http://{self.headers['Host']}/v2/app/blobs/uploads/1?s=1")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        self.send_response(404)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_PUT(self) -> None:
        self.seen.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(201)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority nobody knows."""
    return trustme.CA()


class Quiet(ThreadingHTTPServer):
    """A server whose clients may hang up without a traceback."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Broken handshakes are what some tests are about."""


@pytest.fixture
def tls(authority: trustme.CA) -> Iterator[str]:
    """``localhost:PORT`` of a server that speaks TLS only."""
    Handler.redirects, Handler.seen = {}, []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    server = Quiet(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"localhost:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def trusting(
    run: Run, environment: MakeEnvironment, authority: trustme.CA, tmp_path: Path
) -> Iterator[RegistryClient]:
    """A client whose environment names the authority in SSL_CERT_FILE."""
    file = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    named = evolve(run, environment=environment({"SSL_CERT_FILE": str(file)}))
    credential = Credential(username="ci", password="s3cret-word")
    keychain = StaticKeychain(prefix="localhost", credential=credential)
    with RegistryClient(keychain, named, policy=ONCE) as client:
        yield client


def test_an_authority_named_in_the_environment_is_trusted(
    trusting: RegistryClient, tls: str
) -> None:
    """A loopback registry that wants TLS gets TLS."""
    assert trusting.get_manifest(ImageReference.parse(f"{tls}/app:1")).data == INDEX


def test_a_loopback_registrys_unknown_authority_is_named_at_once(
    client: RegistryClient, tls: str
) -> None:
    """Not that it broke off when it was spoken to over plain HTTP, which is how it was found."""
    with pytest.raises(FinalError, match="CERTIFICATE_VERIFY"):
        client.get_manifest(ImageReference.parse(f"{tls}/app:1"))


def test_a_port_that_does_not_exist_is_an_error(client: RegistryClient) -> None:
    """References allow any number."""
    with pytest.raises(RegistryUnavailableError, match="cannot reach localhost:99999"):
        client.get_manifest(ImageReference.parse("localhost:99999/app:1"))


def test_an_unknown_authority_is_final_and_says_what_to_do(
    client_for: ClientFor, tls: str, run: Run
) -> None:
    """Trying again would not help."""
    client = client_for()
    client._exchange.endpoints.settle(tls, "https")

    with pytest.raises(FinalError, match=f"cannot reach {tls}.*CERTIFICATE_VERIFY") as caught:
        client.get_manifest(ImageReference.parse(f"{tls}/app:1"))

    assert "SSL_CERT_FILE" in caught.value.hint
    assert not caught.value.retryable


def test_an_insecure_hosts_certificate_is_not_checked(client_for: ClientFor, tls: str) -> None:
    """That is what listing it means; other hosts stay checked."""
    client = client_for(insecure=frozenset({tls}))

    assert client.get_manifest(ImageReference.parse(f"{tls}/app:1")).data == INDEX


def test_a_plain_registry_asked_over_tls_is_explained(
    client_for: ClientFor, local_registry: LocalRegistry
) -> None:
    """The hint is to list it as insecure."""
    client = client_for()
    client._exchange.endpoints.settle(local_registry.host, "https")

    with pytest.raises(RegistryUnavailableError, match="does not speak TLS") as caught:
        client.get_manifest(ImageReference.parse(local_registry.reference("app:1")))

    assert "list it as insecure" in caught.value.hint


def test_a_missing_certificate_file_is_named(
    run: Run, environment: MakeEnvironment, tls: str
) -> None:
    """Rather than trusting something else instead."""
    named = evolve(run, environment=environment({"SSL_CERT_FILE": "/nowhere.pem"}))
    keychain = StaticKeychain(prefix="x", credential=Credential())
    with RegistryClient(keychain, named, policy=ONCE) as client:
        client._exchange.endpoints.settle(tls, "https")

        with pytest.raises(RegistryError, match="SSL_CERT_FILE"):
            client.get_manifest(ImageReference.parse(f"{tls}/app:1"))


def test_without_settings_the_systems_authorities_and_certifis_are_loaded() -> None:
    """Slim images have no authorities of their own."""
    from buildpush.http.pools import context as make_context

    context = make_context({}, trusting=False, authorities=True)

    assert context.cert_store_stats()["x509_ca"] > 50
    assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname


def test_a_redirect_from_tls_to_plain_http_is_not_followed(
    trusting: RegistryClient, tls: str
) -> None:
    """Not even for a blob whose digest is known: who asks for it is nobody's business."""
    Handler.redirects = {"/v2/app/manifests/1": "http://storage.example.com/x?sig=s3cret"}

    with pytest.raises(RegistryError, match="not encrypted") as caught:
        trusting.get_manifest(ImageReference.parse(f"{tls}/app:1"))

    assert "s3cret" not in caught.value.report()


def test_redirects_end_somewhere(trusting: RegistryClient, tls: str) -> None:
    """A registry cannot keep us running in circles."""
    Handler.redirects = {"/v2/app/manifests/1": "/v2/app/manifests/1"}

    with pytest.raises(RegistryError, match="redirected more than 5 times"):
        trusting.get_manifest(ImageReference.parse(f"{tls}/app:1"))


def test_a_plain_location_of_a_tls_registry_is_asked_over_tls(
    trusting: RegistryClient, tls: str, blob_of: BlobOf
) -> None:
    """A proxy that does not say X-Forwarded-Proto makes registries write http://."""
    how = trusting.put_blob(Repository(tls, "app"), blob_of(DATA), lambda: iter((DATA,)))

    assert how == "uploaded"
    assert Handler.seen[-1] == DATA.decode()


def test_a_redirected_blob_is_fetched_without_the_credential(
    client_for: ClientFor, blob_of: BlobOf
) -> None:
    """Storage elsewhere never sees the registry's password."""
    with (
        LocalRegistry(auth="basic", users={"ci": "s3cret"}) as registry,
        LocalRegistry() as storage,
    ):
        storage.add_blob("bucket", DATA)
        location = f"{storage.url}/v2/bucket/blobs/{Digest.of(DATA)}"
        registry.inject(
            Fault(method="GET", skip=1, action=Status(307, headers={"Location": location}))
        )
        credential = Credential(username="ci", password="s3cret")
        client = client_for(StaticKeychain(prefix=registry.host, credential=credential))

        with client.get_blob(Repository(registry.host, "app"), blob_of(DATA)) as pieces:
            assert b"".join(pieces) == DATA

        assert [r.principal for r in storage.requests] == [""]


def test_a_location_elsewhere_gets_no_credential(client_for: ClientFor, blob_of: BlobOf) -> None:
    """An upload into a bucket carries the bucket's own signature only."""
    with (
        LocalRegistry(auth="basic", users={"ci": "s3cret"}) as registry,
        LocalRegistry() as storage,
    ):
        location = f"{storage.url}/v2/bucket/blobs/uploads/1"
        registry.inject(
            Fault(method="POST", action=Status(202, headers={"Location": location}, body=b""))
        )
        storage.inject(Fault(method="PUT", action=Status(201, body=b"")))
        credential = Credential(username="ci", password="s3cret")
        client = client_for(StaticKeychain(prefix=registry.host, credential=credential))

        client.put_blob(Repository(registry.host, "app"), blob_of(DATA), lambda: iter((DATA,)))

        assert [(r.method, r.principal) for r in storage.requests] == [("PUT", "")]


def test_a_blob_that_head_redirects_exists(
    client: RegistryClient, local_registry: LocalRegistry
) -> None:
    """Storage signs its URLs for GET: asking it with HEAD would only fail."""
    elsewhere = {"Location": "https://storage.example.com/x"}
    local_registry.inject(Fault(method="HEAD", action=Status(307, headers=elsewhere)))

    assert client.has_blob(Repository(local_registry.host, "app"), Digest.of(DATA))


def test_an_upload_can_be_redirected(
    client: RegistryClient, local_registry: LocalRegistry, blob_of: BlobOf
) -> None:
    """307 keeps the method; the body is opened again for the new place."""
    with LocalRegistry() as other:
        other.inject(Fault(method="PUT", action=Status(201, body=b"")))
        local_registry.inject(
            Fault(
                method="PUT",
                action=Status(307, headers={"Location": f"{other.url}/v2/x"}, body=b""),
            )
        )

        client.put_blob(
            Repository(local_registry.host, "app"), blob_of(DATA), lambda: iter((DATA,))
        )

        assert other.requests[0].bytes_received == len(DATA)


def test_nobody_listening_is_unavailable_with_host_and_port(client: RegistryClient) -> None:
    """Connection refused names both."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

    with pytest.raises(
        RegistryUnavailableError, match=rf"cannot reach 127\.0\.0\.1:{port}: .*refused"
    ):
        client.get_manifest(ImageReference.parse(f"127.0.0.1:{port}/app:1"))


def test_an_unknown_name_is_unavailable_and_hints_at_spelling(
    client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS failed: the host is in the hint."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    with pytest.raises(RegistryUnavailableError, match=r"nowhere\.example:443") as caught:
        client.get_manifest(ImageReference.parse("nowhere.example/app:1"))

    assert "nowhere.example is not known to DNS" in caught.value.hint


@pytest.mark.parametrize(("code", "again"), [(socket.EAI_NONAME, False), (socket.EAI_AGAIN, True)])
def test_only_a_name_server_that_is_silent_is_asked_again(
    client: RegistryClient, monkeypatch: pytest.MonkeyPatch, code: int, again: bool
) -> None:
    """That there is no such name is final; that nobody could say is not."""
    asked: list[object] = []

    def unknown(*place: object, **__: object) -> None:
        asked.append(place)
        raise socket.gaierror(code, "no")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    with pytest.raises(RegistryUnavailableError):
        client.get_manifest(ImageReference.parse("nowhere.example/app:1"))

    assert (len(asked) > 1) is again


def test_docker_hub_is_asked_at_its_registry(
    client: RegistryClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """docker.io is a name, registry-1.docker.io the server."""
    asked: list[Any] = []

    def unknown(host: Any, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    with pytest.raises(RegistryUnavailableError):
        client.get_manifest(ImageReference.parse("alpine"))

    assert {str(host).strip("b'") for host in asked} == {"registry-1.docker.io"}


@pytest.mark.parametrize("kind", ["read", "write", "proxy", "connect"])
def test_every_way_a_wire_breaks_has_words(kind: str) -> None:
    """Timeouts and proxies say what they are; a query's secrets are not shown."""
    import httpcore

    from buildpush.http.breaking import unavailable

    error, words, hint = {
        "read": (httpcore.ReadTimeout(""), "did not answer in time", "overloaded or stuck"),
        "write": (httpcore.WriteTimeout(""), "took no data in time", "overloaded or stuck"),
        "proxy": (httpcore.ProxyError("403 Forbidden"), "403 Forbidden", "HTTPS_PROXY"),
        "connect": (httpcore.ConnectTimeout("timed out"), "timed out", "is the registry up"),
    }[kind]

    found = unavailable("GET", "https://r.example.com/v2/?token=s3cret", error)

    assert "r.example.com:443" in found.message and words in found.message
    assert hint in found.hint
    assert "s3cret" not in found.report()


def test_a_proxy_is_used_and_loopback_is_not_sent_there(
    run: Run, environment: MakeEnvironment, local_registry: LocalRegistry
) -> None:
    """The environment's proxy serves other hosts; its password is taught to the redactor."""
    proxy = f"http://user:pr0xy-word@{local_registry.host}"
    named = evolve(run, environment=environment({"HTTP_PROXY": proxy}))
    local_registry.inject(Fault(path="/v2/far/", action=Status(200, body=INDEX)))
    insecure = frozenset({"registry.example.com"})
    keychain = StaticKeychain(prefix="x", credential=Credential())

    with RegistryClient(keychain, named, insecure=insecure, policy=ONCE) as client:
        far = client.get_manifest(ImageReference.parse("registry.example.com/far/app:1"))
        near = client.head_manifest(ImageReference.parse(local_registry.reference("near:1")))

    assert (far.data, near) == (INDEX, None)
    hosts = [r.headers["host"] for r in local_registry.requests]
    assert hosts == ["registry.example.com", local_registry.host]
    assert run.redact("pr0xy-word") == "***"


@pytest.mark.parametrize("proxy", ["socks5://u:s3cret@p:1", "ftp://p:1", "http://[::1"])
def test_a_proxy_that_cannot_be_used_is_named(
    run: Run, environment: MakeEnvironment, proxy: str
) -> None:
    """Without its password."""
    named = evolve(run, environment=environment({"ALL_PROXY": proxy}))
    keychain = StaticKeychain(prefix="x", credential=Credential())

    client = RegistryClient(keychain, named, policy=ONCE)
    with client, pytest.raises(RegistryError, match="cannot be used") as caught:
        client.get_manifest(ImageReference.parse("registry.example.com/app:1"))

    assert "s3cret" not in caught.value.report()


def test_importing_the_client_does_not_import_httpx() -> None:
    """Only making one does."""
    import subprocess
    import sys

    code = "import sys, buildpush.registry.push; print('httpx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)

    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("location", ["http://127.0.0.1:1:abc/x", "http://[::1/x", "ftp://a/b"])
def test_a_location_that_is_no_url_is_the_registrys_error(
    client: RegistryClient, local_registry: LocalRegistry, blob_of: BlobOf, location: str
) -> None:
    """Garbage in a header never becomes a Python traceback."""
    bad = {"Location": location}
    local_registry.inject(Fault(method="POST", action=Status(202, headers=bad, body=b"")))

    with pytest.raises(RegistryError):
        client.put_blob(
            Repository(local_registry.host, "app"), blob_of(DATA), lambda: iter((DATA,))
        )


def test_an_exchange_can_be_opened_for_other_uses(run: Run) -> None:
    """Its pieces share one transport."""
    from buildpush.http.trust import Trust

    keychain = StaticKeychain(prefix="x", credential=Credential())

    exchange = Exchange.open(keychain, run, Trust(), ONCE)

    assert exchange.authorizer.transport is exchange.transport
    exchange.transport.close()


@pytest.mark.parametrize("times", [1, 2])
def test_a_first_answer_of_400_may_mean_tls_or_just_400(
    client: RegistryClient, local_registry: LocalRegistry, times: int
) -> None:
    """HEAD has no words to tell them apart: TLS is tried, and if that is not it, HTTP again."""
    bad = local_registry.inject(Fault(method="HEAD", action=Status(400), times=times))
    repository = Repository(local_registry.host, "app")

    if times == 1:
        assert not client.has_blob(repository, Digest.of(DATA))
    else:
        with pytest.raises(RegistryError, match="HTTP 400"):
            client.has_blob(repository, Digest.of(DATA))

    assert bad.fired == times

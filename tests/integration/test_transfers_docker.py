"""Uploads and downloads that break off on the way to Debian's docker-registry (Distribution)."""

from __future__ import annotations

import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from attrs import define, field

from buildpush.auth import Chain
from buildpush.errors import NotFoundError
from buildpush.oci import Digest, ImageReference, Repository
from buildpush.oci.wire import Descriptor, Manifest, MediaType, dump
from buildpush.registry import RegistryClient
from buildpush.runtime import CancelToken, Run
from buildpush.runtime.retry import RetryPolicy
from buildpush.testing import RecordingSink

pytestmark = pytest.mark.needs_registry

QUICK = RetryPolicy(first_wait=0.01, longest_wait=0.02)
DATA = random.Random(2).randbytes(12 << 20)


@define(eq=False)
class Wire:
    """A relay to *host* that cuts a connection once *cut* bytes of it went one way, *cuts* times.

    With *limit* it answers 413 to larger bodies, as a proxy does. *seen* has the request lines.
    """

    host: str
    cut: int = 0
    cuts: int = 0
    downwards: bool = False
    limit: int = 0
    seen: list[str] = field(factory=list[str])
    _listener: socket.socket = field(init=False)
    _threads: list[threading.Thread] = field(factory=list[threading.Thread], init=False)

    def __attrs_post_init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        self._listener.close()

    def _start(self, action: Callable[..., None], *arguments: object) -> threading.Thread:
        thread = threading.Thread(target=action, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                here, _ = self._listener.accept()
                self._start(self._connect, here)

    def _connect(self, here: socket.socket) -> None:
        name, _, port = self.host.partition(":")
        with here, socket.create_connection((name, int(port))) as there:
            upwards = self._start(self._relay, here, there, False)
            self._relay(there, here, True)
            upwards.join()

    def _relay(self, source: socket.socket, target: socket.socket, downwards: bool) -> None:
        passed = 0
        with suppress(OSError):
            while piece := source.recv(1 << 16):
                passed += len(piece)
                if not downwards and self._refuses(piece):
                    source.sendall(
                        b"HTTP/1.1 413 Request Entity Too Large\r\n"
                        b"Content-Length: 0\r\nConnection: close\r\n\r\n"
                    )
                    source.shutdown(socket.SHUT_WR)
                    while source.recv(1 << 16):
                        pass
                    break
                if self.cuts and downwards == self.downwards and passed > self.cut:
                    self.cuts -= 1
                    break
                target.sendall(piece)
        for one in (source, target):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _refuses(self, piece: bytes) -> bool:
        head, found, _ = piece.partition(b"\r\n\r\n")
        line = head.partition(b"\r\n")[0]
        if not found or not line.endswith(b" HTTP/1.1"):
            return False
        self.seen.append(line.partition(b" ")[0].decode())
        lengths = [h for h in head.lower().split(b"\r\n") if h.startswith(b"content-length:")]
        size = int(lengths[0].partition(b":")[2]) if lengths else 0
        return bool(self.limit) and size > self.limit


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(workdir=tmp_path, cancel=CancelToken(), sink=RecordingSink())


@pytest.fixture
def wire(docker_registry: Any) -> Iterator[Wire]:
    relay = Wire(docker_registry.host)
    yield relay
    relay.close()


@pytest.fixture
def client(run: Run, wire: Wire) -> Iterator[RegistryClient]:
    """A client that is closed before the wire is: its idle connections would keep that open."""
    with RegistryClient(Chain(()), run, policy=QUICK) as opened:
        yield opened


def blob(data: bytes) -> Descriptor:
    return Descriptor(media_type=MediaType.OCI_LAYER_GZIP, digest=Digest.of(data), size=len(data))


def put(client: RegistryClient, host: str, name: str) -> Repository:
    repository = Repository(host, name)
    client.put_blob(repository, blob(DATA), lambda: iter((DATA[: 5 << 20], DATA[5 << 20 :])))
    return repository


def get(client: RegistryClient, repository: Repository) -> bytes:
    with client.get_blob(repository, blob(DATA)) as pieces:
        return b"".join(pieces)


def test_an_upload_that_breaks_off_arrives(
    client: RegistryClient, wire: Wire, docker_registry: Any
) -> None:
    """Distribution 2.8 forgets what broke off: everything is sent in a new upload."""
    wire.cut, wire.cuts = 7 << 20, 1

    put(client, wire.address, "transfers/broken")

    assert get(client, Repository(docker_registry.host, "transfers/broken")) == DATA


def test_an_upload_past_a_proxys_limit_arrives_in_chunks(
    client: RegistryClient, wire: Wire, docker_registry: Any
) -> None:
    """413 once, and then four chunks and one request without a body."""
    wire.limit = 5 << 20

    put(client, wire.address, "transfers/chunks")

    assert get(client, Repository(docker_registry.host, "transfers/chunks")) == DATA
    assert wire.seen[-5:] == ["PATCH"] * 4 + ["PUT"]


def test_a_chunk_that_breaks_off_arrives(
    client: RegistryClient, wire: Wire, docker_registry: Any
) -> None:
    """Whatever the registry makes of the half of it."""
    wire.limit, wire.cut, wire.cuts = 5 << 20, 4 << 20, 1

    put(client, wire.address, "transfers/broken-chunk")

    assert get(client, Repository(docker_registry.host, "transfers/broken-chunk")) == DATA


def test_a_download_that_breaks_off_is_gone_on_with(
    client: RegistryClient, wire: Wire, docker_registry: Any
) -> None:
    """Twice, from where it stopped: no byte comes a third time."""
    put(client, docker_registry.host, "transfers/download")
    wire.cut, wire.cuts, wire.downwards = 5 << 20, 2, True

    assert get(client, Repository(wire.address, "transfers/download")) == DATA
    assert wire.seen.count("GET") == 3


def test_what_was_pushed_is_listed_and_deleted(
    client: RegistryClient, docker_registry: Any
) -> None:
    """Tags, the manifest, a blob; and asking whether one may push leaves nothing."""
    repository = put(client, docker_registry.host, "transfers/listed")
    config = b'{"os":"linux","architecture":"amd64"}'
    described = Descriptor(
        media_type=MediaType.OCI_CONFIG, digest=Digest.of(config), size=len(config)
    )
    client.put_blob(repository, described, lambda: iter((config,)))
    data = dump(Manifest(config=described, layers=(blob(DATA),)))
    for tag in ("1", "2"):
        reference = ImageReference(repository=repository, tag=tag)
        client.put_manifest(reference, data, MediaType.OCI_MANIFEST)

    client.check_push(repository)
    tags = client.list_tags(repository)
    client.delete_manifest(ImageReference(repository=repository, digest=Digest.of(data)))
    client.delete_blob(repository, Digest.of(DATA))

    assert sorted(tags) == ["1", "2"]
    assert client.head_manifest(ImageReference(repository=repository, tag="1")) is None
    assert not client.has_blob(repository, Digest.of(DATA))
    with pytest.raises(NotFoundError):
        client.delete_blob(repository, Digest.of(DATA))

"""A cancelled run lets go of a registry at once, whatever the registry does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from buildpush.errors import StepCancelledError, StepTimeoutError
from buildpush.oci import ImageReference, Repository
from buildpush.oci.wire import Descriptor
from buildpush.registry import RegistryClient
from buildpush.runtime import Run
from buildpush.testing import Fault, Hang, LocalRegistry, Slow, Status

ClientFor = Callable[..., RegistryClient]
BlobOf = Callable[..., Descriptor]
PATIENCE = 5.0
"""Seconds after which a test gives up; the timeouts of the wire are 60 and 300."""


@pytest.fixture
def silent() -> Iterator[tuple[str, threading.Event]]:
    """A server that accepts connections and says nothing; the event is set when one came."""
    came, ended = threading.Event(), threading.Event()
    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while not ended.is_set():
                try:
                    kept.append(listener.accept()[0])
                except OSError:
                    return
                kept[-1].recv(1)
                came.set()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}", came
        ended.set()
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    for one in kept:
        one.close()


def test_a_server_that_never_answers_is_let_go(
    client: RegistryClient, run: Run, silent: tuple[str, threading.Event]
) -> None:
    """The blocked read is broken off, and the run's own reason raised."""
    host, came = silent
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.get_manifest, ImageReference.parse(f"{host}/app:1"))
        assert came.wait(PATIENCE)

        run.cancel.cancel(StepTimeoutError("out of time"))

        assert isinstance(waiting.exception(PATIENCE), StepTimeoutError)


def test_a_tls_handshake_that_hangs_is_let_go(
    client_for: ClientFor, run: Run, silent: tuple[str, threading.Event]
) -> None:
    """The socket is out of reach while it is being wrapped; its twin is not."""
    host, came = silent
    client = client_for()
    exchange = client._exchange
    exchange.endpoints.settle(host, "https")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.get_manifest, ImageReference.parse(f"{host}/app:1"))
        assert came.wait(PATIENCE)

        run.cancel.cancel()

        assert isinstance(waiting.exception(PATIENCE), StepCancelledError)


def test_a_download_that_trickles_is_let_go(
    client: RegistryClient, run: Run, local_registry: LocalRegistry, blob_of: BlobOf
) -> None:
    """Between two pieces, or in the middle of one."""
    data = bytes(1 << 20)
    local_registry.add_blob("app", data)
    local_registry.inject(Fault(method="GET", action=Slow(bytes_per_second=200_000)))
    repository = Repository(local_registry.host, "app")

    with client.get_blob(repository, blob_of(data)) as pieces:
        next(pieces)
        run.cancel.cancel()

        with pytest.raises(StepCancelledError):
            next(pieces)


def test_an_upload_stops_at_the_next_piece(
    client: RegistryClient, run: Run, local_registry: LocalRegistry, blob_of: BlobOf
) -> None:
    """The body notices; nothing is committed and nothing tried again."""
    data = bytes(8 << 20)

    def body() -> Iterator[bytes]:
        run.cancel.cancel()
        yield data

    with pytest.raises(StepCancelledError):
        client.put_blob(Repository(local_registry.host, "app"), blob_of(data), body)

    assert [r.status for r in local_registry.requests if r.status == 201] == []


def test_a_commit_that_hangs_is_let_go(
    client: RegistryClient, run: Run, local_registry: LocalRegistry, blob_of: BlobOf
) -> None:
    """Committing may take minutes; cancelling it does not."""
    hang = local_registry.inject(Fault(method="PUT", action=Hang()))
    repository = Repository(local_registry.host, "app")
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(
            client.put_blob, repository, blob_of(b"data"), lambda: iter((b"data",))
        )
        assert hang.wait(PATIENCE)

        run.cancel.cancel()

        assert isinstance(waiting.exception(PATIENCE), StepCancelledError)


def test_a_pause_the_registry_asked_for_is_cut_short(
    client: RegistryClient, run: Run, local_registry: LocalRegistry
) -> None:
    """The wait is on the token, not on the clock."""
    limit = local_registry.inject(
        Fault(action=Status(429, headers={"Retry-After": "100"}), times=None)
    )
    reference = ImageReference.parse(local_registry.reference("app:1"))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.get_manifest, reference)
        assert limit.wait(PATIENCE)

        run.cancel.cancel()

        assert isinstance(waiting.exception(PATIENCE), StepCancelledError)


def test_a_cancelled_run_asks_nothing(
    client: RegistryClient, run: Run, local_registry: LocalRegistry
) -> None:
    """Not even the first request is sent."""
    run.cancel.cancel()

    with pytest.raises(StepCancelledError):
        client.get_manifest(ImageReference.parse(local_registry.reference("app:1")))

    assert local_registry.requests == ()

"""How many requests a registry gets at once, however many clients and pushes there are."""

from __future__ import annotations

import gc
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from buildpush.auth import Chain, Credential, Keychain, StaticKeychain
from buildpush.errors import RateLimitedError, StepCancelledError
from buildpush.http import ceiling
from buildpush.http.ceiling import Ceiling, Ceilings
from buildpush.oci import Digest, ImageReference, Repository
from buildpush.oci.layout import Layout
from buildpush.oci.wire import Descriptor
from buildpush.registry import RegistryClient
from buildpush.registry.pull import pull
from buildpush.registry.push import push
from buildpush.runtime import CancelToken, Deadline, Run
from buildpush.runtime.retry import RetryPolicy
from buildpush.testing import LocalRegistry, RecordingSink
from buildpush.testing.faults import Fault, Slow
from buildpush.testing.registry import Dialect

QUICK = RetryPolicy(attempts=3, first_wait=0.001, longest_wait=0.002)
PLATFORMS = ("linux/amd64", "linux/arm64", "linux/s390x", "linux/riscv64")
SOURCE = random.Random(64)


@pytest.fixture
def login() -> Callable[[LocalRegistry], Keychain]:
    """The credential of the user ``ci``."""

    def make(registry: LocalRegistry) -> Keychain:
        who = Credential(username="ci", password="s3cret", source="the test")
        return StaticKeychain(prefix=registry.host, credential=who)

    return make


@pytest.mark.parametrize("limit", [1, 4])
def test_three_pushes_of_four_platforms_and_six_layers_keep_to_one_ceiling(
    tmp_path: Path,
    run: Run,
    images: Any,
    login: Callable[[LocalRegistry], Keychain],
    limit: int,
) -> None:
    """Each has a client and threads of its own; the registry sees *limit*, tokens included."""
    indexes = [
        images.index(
            {p: images.image(*(SOURCE.randbytes(500) for _ in range(6))) for p in PLATFORMS}
        )
        for _ in range(3)
    ]
    with LocalRegistry(auth="token", users={"ci": "s3cret"}) as registry:
        registry.inject(Fault(path="/uploads/", action=Slow(seconds=0.002), times=None))

        def one(number: int) -> None:
            reference = ImageReference.parse(registry.reference(f"acme/app{number}:1"))
            with RegistryClient(login(registry), run, policy=QUICK, connections=limit) as client:
                digest = indexes[number].digest
                push(client, images.layout, digest, [reference], origins={}, run=run)

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(one, range(3)))

        assert registry.traffic.peak_requests == limit
        assert len(registry.repositories) == 3


def test_one_connection_is_enough_to_copy_within_a_registry(
    run: Run, images: Any, tmp_path: Path
) -> None:
    """Nothing can be mounted, so each blob goes by a file: one request at a time, no deadlock."""
    image = images.image(SOURCE.randbytes(3 << 20), SOURCE.randbytes(1 << 20))
    with LocalRegistry(dialect=Dialect(mount_answer=202)) as registry:
        there = ImageReference.parse(registry.reference("acme/base:1"))
        here = ImageReference.parse(registry.reference("acme/app:1"))
        with RegistryClient(Chain(()), run, policy=QUICK, connections=1) as client:
            push(client, images.layout, image.digest, [there], origins={}, run=run)
            slim = Layout.create(tmp_path / "slim")
            slim.add_bytes(images.layout.read(image.digest), image.media_type)
            blobs = images.layout.document(image.digest)
            origins = {b.digest: there.repository for b in (blobs.config, *blobs.layers)}

            push(client, slim, image.digest, [here], origins=origins, run=run)

        assert registry.digest("acme/app", "1") == image.digest
        assert registry.traffic.peak_requests == 1
        assert not list(run.workdir.glob("spool-*"))


def test_two_copies_in_opposite_directions_do_not_wait_for_each_other(
    run: Run, blob_of: Callable[..., Descriptor]
) -> None:
    """Each reads from one registry while it writes to the other, and both allow one request."""
    data = [SOURCE.randbytes(2 << 20) for _ in range(2)]
    with (
        LocalRegistry() as one,
        LocalRegistry() as two,
        RegistryClient(Chain(()), run, policy=QUICK, connections=1) as client,
        ThreadPoolExecutor(2) as pool,
    ):
        one.add_blob("acme/app", data[0])
        two.add_blob("acme/app", data[1])

        def copy(number: int, source: LocalRegistry, target: LocalRegistry) -> None:
            blob = blob_of(data[number])

            def read() -> Iterator[bytes]:
                with client.get_blob(Repository(source.host, "acme/app"), blob) as pieces:
                    yield from pieces

            client.put_blob(Repository(target.host, "acme/copy"), blob, read)

        waiting = [pool.submit(copy, 0, one, two), pool.submit(copy, 1, two, one)]
        for future in waiting:
            future.result(30)

        assert two.blob("acme/copy", Digest.of(data[0])) == data[0]
        assert one.blob("acme/copy", Digest.of(data[1])) == data[1]


def test_downloads_count_until_they_are_closed(
    run: Run, images: Any, tmp_path: Path, local_registry: LocalRegistry
) -> None:
    """A pull with four threads through one connection is strictly serial, and ends."""
    image = images.image(*(SOURCE.randbytes(200_000) for _ in range(6)))
    reference = ImageReference.parse(local_registry.reference("acme/app:1"))
    with RegistryClient(Chain(()), run, policy=QUICK, connections=1) as client:
        push(client, images.layout, image.digest, [reference], origins={}, run=run)

        pull(client, reference, Layout.create(tmp_path / "pulled"), run=run)

    assert local_registry.traffic.peak_requests == 1


def test_whoever_waits_for_room_is_let_go_when_the_run_is_cancelled(tmp_path: Path) -> None:
    """Nobody waits for a transfer that no longer matters."""
    run = Run(workdir=tmp_path, cancel=CancelToken(), sink=RecordingSink())
    full = Ceiling("registry.example", 1)
    full.enter(run, nested=False)

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(full.enter, run, nested=False)
        run.cancel.cancel()

        with pytest.raises(StepCancelledError):
            waiting.result(5)


class Deaf(CancelToken):
    """A run that learns that it is cancelled when it is woken, and not before."""

    def on_cancel(self, callback: Callable[[], None]) -> Callable[[], None]:
        return lambda: None


class Announced(threading.Condition):
    """Tells, while it is still held, that one more waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = threading.Semaphore(0)

    def wait(self, timeout: float | None = None) -> bool:
        self.waiting.release()
        return super().wait(timeout)


def test_a_place_that_was_offered_to_a_cancelled_run_goes_to_the_next(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Room wakes one that waits; if that is over, nobody else would be told."""
    full, free = Ceiling("registry.example", 1), Announced()
    monkeypatch.setattr(full, "_free", free)
    over = Run(workdir=tmp_path, cancel=Deaf(), sink=RecordingSink())
    full.enter(run, nested=False)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(full.enter, over, nested=False)
        assert free.waiting.acquire(timeout=5)
        second = pool.submit(full.enter, run, nested=False)
        assert free.waiting.acquire(timeout=5)
        over.cancel.cancel()
        full.leave()

        with pytest.raises(StepCancelledError):
            first.result(5)
        try:
            second.result(5)
        finally:
            run.cancel.cancel()


def test_a_pause_that_ends_after_the_deadline_is_an_error_now(tmp_path: Path) -> None:
    """Also for those who only hear of it."""
    token = CancelToken()
    run = Run(workdir=tmp_path, cancel=token, sink=RecordingSink())
    busy = Ceiling("registry.example", None)

    with Deadline(token, 10.0):
        busy.pause(run, 60.0)
        with pytest.raises(RateLimitedError, match="asked for a pause") as caught:
            busy.enter(run, nested=False)

    assert caught.value.retry_after is not None
    assert 59 < caught.value.retry_after <= 60


def test_clients_share_a_ceiling_only_while_they_live(run: Run) -> None:
    """The same host and number are one ceiling; nothing stays behind."""
    one, two, other = Ceilings(run, 4), Ceilings(run, 4), Ceilings(run, 5)

    assert one.of("registry.example") is two.of("registry.example")
    assert one.of("registry.example") is not other.of("registry.example")

    del one, two, other
    gc.collect()
    assert not [key for key in ceiling._SHARED if key[0] == "registry.example"]
    assert not ceiling._BUSY

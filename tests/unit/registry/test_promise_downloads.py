"""Downloads that arrive whatever happens on the way, verified as they pass, and never held whole."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable

import pytest

from buildpush.auth import Credential, StaticKeychain
from buildpush.errors import DigestMismatchError, RegistryError, RegistryUnavailableError
from buildpush.oci import Digest, ImageReference, Repository
from buildpush.oci.layout import Layout
from buildpush.oci.wire import Descriptor
from buildpush.registry import RegistryClient
from buildpush.registry.pull import pull
from buildpush.runtime import Run
from buildpush.runtime.retry import RetryPolicy
from buildpush.testing import LocalRegistry
from buildpush.testing.faults import (
    Close,
    Fault,
    FlipByte,
    RateLimit,
    ReplaceHeaders,
    Reset,
    Slow,
    Status,
    Truncate,
)
from buildpush.testing.registry import Dialect

QUICK = RetryPolicy(attempts=5, first_wait=0.001, longest_wait=0.002, answer=0.3)
DATA = random.Random(6).randbytes(9 << 20)

ClientFor = Callable[..., RegistryClient]
BlobOf = Callable[..., Descriptor]


def get(client: RegistryClient, registry: LocalRegistry, blob: Descriptor) -> bytes:
    """Read `DATA` from ``acme/app``."""
    with client.get_blob(Repository(registry.host, "acme/app"), blob) as pieces:
        return b"".join(pieces)


def served(registry: LocalRegistry) -> list[str]:
    """The Range header of every request for the blob."""
    return [r.headers.get("range", "") for r in registry.requests if "/blobs/" in r.path]


@pytest.mark.parametrize(
    "action",
    [Reset(after=5 << 20), Truncate(5 << 20), Reset(after=1000), Truncate(len(DATA) - 1)],
    ids=["reset in the middle", "end in the middle", "reset at the start", "end before the end"],
)
def test_a_download_that_breaks_off_is_gone_on_with(
    client_for: ClientFor, blob_of: BlobOf, local_registry: LocalRegistry, action: Reset
) -> None:
    """Only what is missing is asked for."""
    local_registry.add_blob("acme/app", DATA)
    local_registry.inject(Fault(method="GET", path="/blobs/", action=action))

    assert get(client_for(policy=QUICK), local_registry, blob_of(DATA)) == DATA

    first, second = served(local_registry)
    assert first == ""
    assert second.startswith("bytes=") or action == Reset(after=1000)


@pytest.mark.parametrize(
    "action",
    [Status(502), Reset(), Close(), Slow(seconds=0.6), RateLimit(0), Status(503)],
    ids=["502", "reset", "eof", "timeout", "429", "503"],
)
def test_a_download_survives_every_passing_fault(
    client_for: ClientFor, blob_of: BlobOf, local_registry: LocalRegistry, action: Status
) -> None:
    """Twice in a row, too."""
    local_registry.add_blob("acme/app", DATA)
    local_registry.inject(Fault(method="GET", path="/blobs/", action=action, times=2))

    assert get(client_for(policy=QUICK), local_registry, blob_of(DATA)) == DATA


def test_a_token_that_expires_in_the_middle_of_a_download_is_renewed(
    client_for: ClientFor, blob_of: BlobOf
) -> None:
    """The rest is asked for with a new one."""
    with LocalRegistry(auth="token", users={"ci": "s3cret"}) as registry:
        who = Credential(username="ci", password="s3cret", source="the test")
        client = client_for(StaticKeychain(prefix=registry.host, credential=who), policy=QUICK)
        registry.add_blob("acme/app", DATA)
        registry.inject(Fault(method="GET", path="/blobs/", action=Truncate(6 << 20), skip=1))

        with client.get_blob(Repository(registry.host, "acme/app"), blob_of(DATA)) as pieces:
            found = next(pieces)
            registry.expire_tokens()
            found += b"".join(pieces)

        assert found == DATA


def test_a_rest_that_begins_too_early_is_cut_to_fit(
    client_for: ClientFor, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """Content-Range counts, not what was asked for: here the server sends everything again."""
    local_registry.add_blob("acme/app", DATA)
    local_registry.inject(Fault(method="GET", path="/blobs/", action=Truncate(5 << 20)))
    whole = {"Content-Range": f"bytes 0-{len(DATA) - 1}/{len(DATA)}"}
    local_registry.inject(
        Fault(method="GET", path="/blobs/", action=Status(206, body=DATA, headers=whole))
    )

    assert get(client_for(policy=QUICK), local_registry, blob_of(DATA)) == DATA


def test_a_rest_that_begins_nobody_knows_where_is_refused(
    client_for: ClientFor, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """Bytes are not joined by guessing."""
    local_registry.add_blob("acme/app", DATA)
    local_registry.inject(Fault(method="GET", path="/blobs/", action=Truncate(5 << 20)))
    nowhere = ReplaceHeaders({"Content-Range": None})
    local_registry.inject(Fault(method="GET", path="/blobs/", action=nowhere, times=None))

    with pytest.raises(RegistryError, match="HTTP 206"):
        get(client_for(policy=QUICK), local_registry, blob_of(DATA))


def test_a_download_that_never_gets_on_is_given_up(
    client_for: ClientFor, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """After as many attempts as the policy has."""
    local_registry.add_blob("acme/app", DATA)
    fault = local_registry.inject(
        Fault(method="GET", path="/blobs/", action=Truncate(0), times=None)
    )

    with pytest.raises(RegistryUnavailableError, match="received 0 bytes"):
        get(client_for(policy=QUICK), local_registry, blob_of(DATA))

    assert fault.fired <= 2 * QUICK.attempts


def test_wrong_bytes_are_noticed_without_a_second_reading(
    client_for: ClientFor, images: object, tmp_path_factory: pytest.TempPathFactory, run: Run
) -> None:
    """One bit of a layer: the pull fails, and the layout has no such blob."""
    with LocalRegistry() as registry:
        from buildpush.registry.push import push

        image = images.image(DATA)  # type: ignore[attr-defined]
        reference = ImageReference.parse(registry.reference("acme/app:1"))
        client = client_for(policy=QUICK)
        push(client, images.layout, image.digest, [reference], origins={}, run=run)  # type: ignore[attr-defined]
        layer = Digest.of(DATA)
        registry.inject(
            Fault(method="GET", path=f"/blobs/{layer}", action=FlipByte(-1), times=None)
        )
        target = Layout.create(tmp_path_factory.mktemp("pulled"))

        with pytest.raises(DigestMismatchError):
            pull(client, reference, target, run=run)

        assert not target.has(layer)
        assert not list(target.path.glob("blobs/*/.part-*"))


def test_a_download_is_never_held_whole(
    client_for: ClientFor, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """Whatever its size, a few pieces are in memory."""
    data = bytes(64 << 20)
    local_registry.add_blob("acme/app", data)
    blob = blob_of(data)
    del data
    client = client_for(policy=QUICK)
    tracemalloc.start()
    try:
        with client.get_blob(Repository(local_registry.host, "acme/app"), blob) as pieces:
            size = sum(len(piece) for piece in pieces)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert size == 64 << 20
    assert peak < 8 << 20


@pytest.mark.parametrize("place", ["other-host", "other-port"])
def test_a_download_elsewhere_is_gone_on_with_from_the_registry(
    client_for: ClientFor, blob_of: BlobOf, place: str
) -> None:
    """Signed addresses expire: the registry is asked for a new one."""
    with LocalRegistry(dialect=Dialect(downloads=place)) as registry:  # type: ignore[arg-type]
        registry.add_blob("acme/app", DATA)
        registry.inject(Fault(path="/storage/", action=Truncate(5 << 20)))

        assert get(client_for(policy=QUICK), registry, blob_of(DATA)) == DATA

        assert len([r for r in registry.requests if "/v2/" in r.path and r.status == 307]) == 2

"""Uploads to registries that take chunks their own way, change bytes, or want a pause."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from attrs import evolve

from buildpush.auth import Chain
from buildpush.errors import (
    BlobTooLargeError,
    DigestMismatchError,
    RateLimitedError,
    RegistryError,
    RegistryUnavailableError,
)
from buildpush.oci import Digest, ImageReference, Repository
from buildpush.oci.wire import Descriptor, MediaType
from buildpush.registry import RegistryClient
from buildpush.registry.limits import Habits
from buildpush.runtime import CancelToken, Run
from buildpush.runtime.retry import RetryPolicy
from buildpush.testing import LocalRegistry, RecordingSink
from buildpush.testing.faults import CorruptUpload, DropUpload, Fault, RateLimit, Status
from buildpush.testing.registry import Dialect

QUICK = RetryPolicy(attempts=5, first_wait=0.001, longest_wait=0.002, limited_wait=0.001)
DATA = random.Random(19).randbytes(9 << 20)
PIECE = 1 << 18
CHUNK = len(DATA) // 4

ClientFor = Callable[..., RegistryClient]
BlobOf = Callable[..., Descriptor]


def put(client: RegistryClient, registry: LocalRegistry, data: bytes = DATA) -> None:
    """Send *data* to ``acme/app``, and check that it is there."""
    blob = Descriptor(media_type=MediaType.OCI_LAYER_GZIP, digest=Digest.of(data), size=len(data))

    def pieces() -> Iterator[bytes]:
        return (data[i : i + PIECE] for i in range(0, len(data), PIECE))

    client.put_blob(Repository(registry.host, "acme/app"), blob, pieces)
    assert registry.blob("acme/app", blob.digest) == data


def requests(registry: LocalRegistry, *methods: str) -> list[tuple[str, int, int]]:
    """Method, status and received bytes of the requests about uploads."""
    return [
        (r.method, r.status, r.bytes_received)
        for r in registry.requests
        if "/blobs/uploads/" in r.path and (not methods or r.method in methods)
    ]


# --- chunks ---


@pytest.mark.parametrize("ranges", ["strict", "ghcr", "ecr", "zot", "none"])
def test_what_is_too_large_for_one_request_arrives_in_chunks_in_every_dialect(
    client_for: ClientFor, ranges: str
) -> None:
    """One request is refused, and then every chunk is sent once."""
    dialect = Dialect(ranges=ranges, body_limit=5 << 20)  # type: ignore[arg-type]
    with LocalRegistry(dialect=dialect) as registry:
        put(client_for(policy=QUICK), registry)

        chunks = requests(registry, "PATCH")
        assert [status for _, status, _ in chunks] == [202] * 4
        assert sum(size for *_, size in chunks) == len(DATA)
        assert [r[:2] for r in requests(registry, "PUT")] == [("PUT", 413), ("PUT", 201)]


@pytest.mark.parametrize("ranges", ["strict", "ghcr", "ecr", "zot", "none"])
@pytest.mark.parametrize("keeps", [True, False], ids=["keeps what arrived", "forgets it"])
def test_a_chunk_that_breaks_off_arrives_in_every_dialect(
    client_for: ClientFor, ranges: str, keeps: bool
) -> None:
    """Whatever the registry then says of its progress, this ends, and the digest is right."""
    dialect = Dialect(ranges=ranges, body_limit=5 << 20, keeps_partial=keeps)  # type: ignore[arg-type]
    with LocalRegistry(dialect=dialect) as registry:
        registry.inject(Fault(method="PATCH", skip=2, action=DropUpload(CHUNK // 2)))

        put(client_for(policy=QUICK), registry)

        refused = [r for r in requests(registry, "PATCH", "PUT") if r[1] in (400, 416)]
        assert len(refused) <= 1


@pytest.mark.parametrize("ranges", ["strict", "ghcr", "ecr", "zot", "none"])
@pytest.mark.parametrize("keeps", [True, False], ids=["keeps what arrived", "forgets it"])
def test_a_request_that_breaks_off_arrives_in_every_dialect(
    client_for: ClientFor, ranges: str, keeps: bool
) -> None:
    """It is gone on with where that works, and begun anew at most once where it does not."""
    dialect = Dialect(ranges=ranges, keeps_partial=keeps)  # type: ignore[arg-type]
    with LocalRegistry(dialect=dialect) as registry:
        registry.inject(Fault(method="PUT", action=DropUpload(5 << 20)))

        put(client_for(policy=QUICK), registry)

        assert len(requests(registry, "PUT")) <= 3


def test_chunks_are_as_large_as_the_registry_says_they_must_be(client_for: ClientFor) -> None:
    """OCI-Chunk-Min-Length counts for more than our own idea; the range has no unit."""
    with LocalRegistry(dialect=Dialect(min_chunk=3 << 20, body_limit=5 << 20)) as registry:
        put(client_for(policy=QUICK), registry)

        ranges = [r.headers["content-range"] for r in registry.requests if r.method == "PATCH"]
        assert ranges == [
            f"{start}-{start + (3 << 20) - 1}" for start in range(0, len(DATA), 3 << 20)
        ]


def test_a_registry_that_refuses_the_chunk_it_asked_for_gets_smaller_ones(
    client_for: ClientFor,
) -> None:
    """A 416 wastes one chunk, and 4 MiB are what GHCR takes."""
    dialect = Dialect(ranges="ghcr", min_chunk=6 << 20, body_limit=8 << 20)
    with LocalRegistry(dialect=dialect) as registry:
        put(client_for(policy=QUICK), registry)

        assert [s for _, s, _ in requests(registry, "PATCH")] == [416, 202, 202, 202, 202]


def test_a_registry_that_refused_a_size_is_not_asked_again(client_for: ClientFor) -> None:
    """The next blob of that size goes in chunks at once."""
    with LocalRegistry(dialect=Dialect(body_limit=5 << 20)) as registry:
        client = client_for(policy=QUICK)
        put(client, registry)
        registry.clear_log()

        put(client, registry, DATA[::-1])

        assert {status for _, status, _ in requests(registry)} == {202, 201}


def test_chunks_that_are_too_large_as_well_are_a_typed_error(client_for: ClientFor) -> None:
    """Two requests were refused, and the reader learns how large the blob is."""
    with (
        LocalRegistry(dialect=Dialect(body_limit=1 << 20)) as registry,
        pytest.raises(BlobTooLargeError, match=r"2\.4 MB in one request are too much") as caught,
    ):
        put(client_for(policy=QUICK), registry)

    assert caught.value.size == len(DATA)


@pytest.mark.parametrize(
    ("host", "limit"),
    [
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", 52_000 << 20),
        ("public.ecr.aws", 10_000 << 20),
        ("ghcr.io", 10_000 << 20),
    ],
)
def test_a_blob_that_a_registry_is_known_to_refuse_is_not_begun(
    client_for: ClientFor, blob_of: BlobOf, host: str, limit: int
) -> None:
    """The limit is in the registry's documentation, not in its answers: nothing is asked."""
    blob = evolve(blob_of(b"x"), size=limit + 1)

    with pytest.raises(BlobTooLargeError, match=host) as caught:
        client_for(policy=QUICK).put_blob(Repository(host, "acme/app"), blob, lambda: iter(()))

    assert (caught.value.size, caught.value.limit) == (limit + 1, limit)


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("123456789012.dkr.ecr.eu-west-1.amazonaws.com", False),
        ("123456789012.dkr.ecr-fips.us-east-1.amazonaws.com", False),
        ("public.ecr.aws", False),
        ("registry.example", True),
    ],
)
def test_registries_known_to_count_wrongly_are_not_asked(host: str, asked: bool) -> None:
    """Amazon's name the end of the first chunk for ever."""
    assert Habits().resumes(host) is asked


def test_three_attempts_of_the_same_length_point_to_a_proxys_timeout(
    tmp_path: Path, recording_sink: RecordingSink, local_registry: LocalRegistry
) -> None:
    """900 seconds each time is no accident."""
    now = [0.0]
    run = Run(workdir=tmp_path, cancel=CancelToken(), sink=recording_sink, clock=lambda: now[0])
    local_registry.inject(Fault(method="PUT", action=Status(504), times=None))
    blob = Descriptor(media_type="", digest=Digest.of(DATA), size=len(DATA))

    def slowly() -> Iterator[bytes]:
        now[0] += 900.0
        yield DATA

    with (
        RegistryClient(Chain(()), run, policy=QUICK) as client,
        pytest.raises(RegistryUnavailableError) as caught,
    ):
        client.put_blob(Repository(local_registry.host, "acme/app"), blob, slowly)

    assert "three attempts ended after 900 s each" in caught.value.hint


# --- bytes that change ---


def test_bytes_that_a_proxy_changed_are_sent_again_in_a_new_upload(
    client_for: ClientFor, local_registry: LocalRegistry, recording_sink: RecordingSink
) -> None:
    """DIGEST_INVALID: from the first byte, once, and never to the same address."""
    local_registry.inject(Fault(method="PUT", path="/uploads/", action=CorruptUpload(77)))

    put(client_for(policy=QUICK), local_registry)

    assert [r[:2] for r in requests(local_registry)] == [
        ("POST", 202),
        ("PUT", 400),
        ("POST", 202),
        ("PUT", 201),
    ]
    places = [r.path for r in local_registry.requests if r.method == "PUT"]
    assert len(set(places)) == 2
    assert "DIGEST_INVALID; sending it again" in recording_sink.warnings[0]


def test_bytes_that_are_changed_each_time_are_an_error_after_the_second(
    client_for: ClientFor, local_registry: LocalRegistry
) -> None:
    """It is not our bytes: those were hashed as they were sent."""
    local_registry.inject(
        Fault(method="PUT", path="/uploads/", action=CorruptUpload(77), times=None)
    )

    with pytest.raises(RegistryError, match="says twice that other bytes arrived"):
        put(client_for(policy=QUICK), local_registry)

    assert len(requests(local_registry, "PUT")) == 2


@pytest.mark.parametrize("limit", [None, 5 << 20], ids=["in one request", "in chunks"])
@pytest.mark.parametrize("when", ["before", "while"])
def test_a_file_that_changed_is_named_and_never_taken_for_the_blob(
    client_for: ClientFor, tmp_path: Path, limit: int | None, when: str
) -> None:
    """One byte, since it was made or while it is sent: no registry has it in the end."""
    file = tmp_path / "layer.tar"
    file.write_bytes(DATA if when == "while" else DATA[:-1] + b"?")
    blob = Descriptor(media_type="", digest=Digest.of(DATA), size=len(DATA))

    def read() -> Iterator[bytes]:
        yield file.read_bytes()[: 1 << 20]
        with file.open("r+b") as changed:
            changed.seek(-1, 2)
            changed.write(b"?")
        yield file.read_bytes()[1 << 20 :]

    with LocalRegistry(dialect=Dialect(body_limit=limit)) as registry:
        with pytest.raises(DigestMismatchError, match=str(file)):
            client_for(policy=QUICK).put_blob(
                Repository(registry.host, "acme/app"), blob, read, source=file
            )

        assert not [r for r in registry.requests if r.method == "PUT" and r.status == 201]


def test_a_file_that_was_only_touched_while_it_is_sent_is_fine(
    client_for: ClientFor, tmp_path: Path, local_registry: LocalRegistry
) -> None:
    """Its bytes are the blob's, whatever its date."""
    file = tmp_path / "layer.tar"
    file.write_bytes(DATA)
    blob = Descriptor(media_type="", digest=Digest.of(DATA), size=len(DATA))

    def read() -> Iterator[bytes]:
        yield DATA[: 1 << 20]
        os.utime(file, (1, 1))
        yield DATA[1 << 20 :]

    client_for(policy=QUICK).put_blob(
        Repository(local_registry.host, "acme/app"), blob, read, source=file
    )

    assert local_registry.blob("acme/app", blob.digest) == DATA


# --- too many requests ---


def test_one_429_in_the_middle_of_a_blob_resends_no_byte_that_arrived(
    client_for: ClientFor, local_registry: LocalRegistry
) -> None:
    """The pause is kept, and the registry says where it stands."""
    local_registry.inject(
        Fault(
            method="PUT",
            action=Status(429, headers={"Retry-After": "0.05"}, after=4 << 20),
        )
    )

    put(client_for(policy=QUICK), local_registry)

    refused, asked = (
        next(r for r in local_registry.requests if r.status == 429),
        next(r for r in local_registry.requests if r.method == "GET"),
    )
    assert asked.at - refused.at >= 0.05
    assert sum(size for *_, size in requests(local_registry)) == len(DATA)


def test_one_429_pauses_every_worker_of_that_host(
    client_for: ClientFor, local_registry: LocalRegistry
) -> None:
    """Also those of another client: they have one account between them."""
    reference = ImageReference.parse(local_registry.reference("acme/app:1"))
    limit = local_registry.inject(Fault(method="HEAD", action=RateLimit(0.3)))
    clients = [client_for(policy=QUICK) for _ in range(2)]

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(clients[0].head_manifest, reference)
        assert limit.wait()
        while clients[1]._exchange.transport._ceilings.of(local_registry.host)._until < 0:
            threading.Event().wait(0.001)
        clients[1].head_manifest(reference)
        first.result()

    begun = [r.at for r in local_registry.requests]
    assert all(at - begun[0] >= 0.3 for at in begun[1:])
    assert len(begun) == 3


def test_a_pause_of_an_hour_is_an_error_now(
    client_for: ClientFor, local_registry: LocalRegistry
) -> None:
    """It says how long the registry wants to be left alone."""
    fault = local_registry.inject(Fault(method="POST", action=RateLimit(3600), times=None))

    with pytest.raises(RateLimitedError) as caught:
        put(client_for(policy=QUICK), local_registry)

    assert (caught.value.retry_after, fault.fired) == (3600.0, 1)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("3600", 3600.0), ("3600 seconds", 3600.0), ("60m", 3600.0), ("3600.0", 3600.0)],
)
def test_a_pause_is_understood_however_it_is_written(
    client_for: ClientFor, local_registry: LocalRegistry, text: str, seconds: float
) -> None:
    """Numbers, and what people write instead of them."""
    action = Status(429, headers={"Retry-After": text}, body=b"slow down")
    local_registry.inject(Fault(method="POST", action=action, times=None))

    with pytest.raises(RateLimitedError) as caught:
        put(client_for(policy=QUICK), local_registry)

    assert caught.value.retry_after == seconds


def test_a_pause_written_as_a_date_is_understood(
    client_for: ClientFor, local_registry: LocalRegistry
) -> None:
    """The same hour, as RFC 9110 also allows."""
    local_registry.inject(Fault(method="POST", action=RateLimit(3600, date=True), times=None))

    with pytest.raises(RateLimitedError) as caught:
        put(client_for(policy=QUICK), local_registry)

    assert caught.value.retry_after is not None
    assert 3590 < caught.value.retry_after <= 3601

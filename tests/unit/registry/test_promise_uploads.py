"""Uploads that arrive whatever happens on the way: against a real socket, in milliseconds."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from attrs import evolve

from buildpush.auth import Chain, Credential, StaticKeychain
from buildpush.errors import RateLimitedError, RegistryUnavailableError
from buildpush.oci import Digest, ImageReference, Repository
from buildpush.oci.wire import Descriptor, Manifest, MediaType, dump
from buildpush.registry import RegistryClient
from buildpush.runtime import CancelToken, Deadline, Run
from buildpush.runtime.retry import RetryPolicy
from buildpush.testing import LocalRegistry, RecordingSink
from buildpush.testing.faults import (
    Close,
    DropUpload,
    Fault,
    RateLimit,
    Reset,
    Slow,
    Status,
)
from buildpush.testing.registry import Dialect, Request

QUICK = RetryPolicy(
    attempts=5, first_wait=0.001, longest_wait=0.002, limited_wait=0.001, answer=0.3, commit=0.3
)
DATA = random.Random(5).randbytes(3 << 20)
PIECE = 1 << 18

ClientFor = Callable[..., RegistryClient]
BlobOf = Callable[..., Descriptor]


def pieces(data: bytes) -> Callable[[], Iterator[bytes]]:
    """What opens *data* from its start, as a file is read."""
    return lambda: (data[i : i + PIECE] for i in range(0, len(data), PIECE))


def put(client: RegistryClient, registry: LocalRegistry, blob_of: BlobOf) -> Repository:
    """Send `DATA` to ``acme/app``."""
    repository = Repository(registry.host, "acme/app")
    client.put_blob(repository, blob_of(DATA), pieces(DATA))
    return repository


def sent(registry: LocalRegistry) -> int:
    """Bytes of the blob that the registry has received."""
    return sum(r.bytes_received for r in registry.requests if "/blobs/uploads/" in r.path)


def calls(registry: LocalRegistry) -> list[tuple[str, int]]:
    """Methods and statuses of everything about uploads."""
    return [(r.method, r.status) for r in registry.requests if "/blobs/uploads/" in r.path]


def login(registry: LocalRegistry) -> StaticKeychain:
    """The credential of the user ``ci``."""
    who = Credential(username="ci", password="s3cret", source="the test")
    return StaticKeychain(prefix=registry.host, credential=who)


# --- tokens on the way ---


def test_a_token_that_expires_in_the_middle_of_a_blob_costs_nothing(
    client_for: ClientFor, blob_of: BlobOf
) -> None:
    """After the 401 there is a new token, and only what had not arrived is sent."""
    with LocalRegistry(auth="token", users={"ci": "s3cret"}) as registry:
        client = client_for(login(registry), policy=QUICK)
        registry.inject(Fault(method="PUT", path="/uploads/", action=Status(401, after=1 << 20)))

        repository = put(client, registry, blob_of)

        assert registry.blob(repository.path, Digest.of(DATA)) == DATA
        assert sent(registry) == len(DATA)
        assert len([r for r in registry.requests if r.path == "/token"]) == 2


def test_a_token_that_lives_shorter_than_an_upload_is_renewed_while_it_lasts(
    client_for: ClientFor, blob_of: BlobOf, run: Run
) -> None:
    """A registry that keeps nothing and checks at the end: chunks fit into a token's life."""
    dialect = Dialect(keeps_partial=False)
    with LocalRegistry(auth="token", users={"ci": "s3cret"}, dialect=dialect) as registry:
        client = client_for(login(registry), policy=QUICK)
        registry.inject(
            Fault(method="PUT", path="/uploads/", action=Status(401, after=2 << 20), times=2)
        )

        repository = put(client, registry, blob_of)

        assert registry.blob(repository.path, Digest.of(DATA)) == DATA
        assert "PATCH" in {r.method for r in registry.requests}


def test_a_token_that_expires_between_the_last_blob_and_the_manifest_is_renewed(
    client_for: ClientFor, blob_of: BlobOf
) -> None:
    """The manifest is put with a fresh token, nothing is sent twice."""
    with LocalRegistry(auth="token", users={"ci": "s3cret"}) as registry:
        client = client_for(login(registry), policy=QUICK)
        repository = put(client, registry, blob_of)
        registry.expire_tokens()
        data = dump(Manifest(config=blob_of(DATA, MediaType.OCI_CONFIG), layers=()))

        client.put_manifest(
            ImageReference(repository=repository, tag="1"), data, MediaType.OCI_MANIFEST
        )

        assert registry.tags("acme/app") == ("1",)
        assert sent(registry) == len(DATA)


# --- transient faults ---

FAULTS: dict[str, Sequence[Fault]] = {
    "502 twice": (Fault(Status(502), times=2),),
    "reset": (Fault(Reset()),),
    "eof": (Fault(Close()),),
    "timeout": (Fault(Slow(seconds=0.6)),),
}
STEPS = {
    "HEAD": ("HEAD", "/blobs/"),
    "POST": ("POST", "/blobs/uploads/"),
    "PATCH": ("PATCH", "/blobs/uploads/"),
    "PUT": ("PUT", "/blobs/uploads/"),
    "manifest": ("PUT", "/manifests/"),
    "token": ("GET", "/token"),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_request_of_a_push_survives_every_passing_fault(
    client_for: ClientFor, blob_of: BlobOf, step: str, fault: str
) -> None:
    """By the default policy, whose waits alone are shortened here."""
    limit = 1 << 20 if step == "PATCH" else None
    default = RetryPolicy()
    policy = evolve(QUICK, attempts=default.attempts)
    with LocalRegistry(
        auth="token", users={"ci": "s3cret"}, dialect=Dialect(body_limit=limit)
    ) as registry:
        client = client_for(login(registry), policy=policy)
        method, path = STEPS[step]
        injected = [
            registry.inject(Fault(one.action, method=method, path=path, times=one.times))
            for one in FAULTS[fault]
        ]

        repository = put(client, registry, blob_of)
        data = dump(Manifest(config=blob_of(DATA, MediaType.OCI_CONFIG), layers=()))
        reference = ImageReference(repository=repository, tag="1")
        client.put_manifest(reference, data, MediaType.OCI_MANIFEST)

        assert all(one.fired == one.times for one in injected)
        assert registry.blob("acme/app", Digest.of(DATA)) == DATA
        assert registry.digest("acme/app", "1") == Digest.of(data)


def test_a_blob_that_breaks_off_is_gone_on_with_where_the_registry_stands(
    client_for: ClientFor, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """No byte that arrived is sent twice, because the registry can say how many those are."""
    local_registry.inject(Fault(method="PUT", path="/uploads/", action=DropUpload(2 << 20)))

    put(client_for(policy=QUICK), local_registry, blob_of)

    assert calls(local_registry) == [("POST", 202), ("PUT", 0), ("GET", 204), ("PUT", 201)]
    assert sent(local_registry) == len(DATA)


def test_a_blob_whose_answer_was_lost_is_found_there_and_not_sent_again(
    client_for: ClientFor, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """The connection broke after the registry had everything."""
    local_registry.inject(Fault(method="PUT", path="/uploads/", action=Reset(handled=True)))

    put(client_for(policy=QUICK), local_registry, blob_of)

    assert sent(local_registry) == len(DATA)


def test_attempts_and_waits_can_be_seen(
    client_for: ClientFor,
    blob_of: BlobOf,
    local_registry: LocalRegistry,
    recording_sink: RecordingSink,
) -> None:
    """Each is a warning that says what went wrong and how long the pause is."""
    local_registry.inject(Fault(method="POST", action=Status(503), times=2))

    put(client_for(policy=QUICK), local_registry, blob_of)

    assert len(recording_sink.warnings) == 2
    assert all("HTTP 503" in w and "trying again in 0.0 s" in w for w in recording_sink.warnings)


def test_no_wait_begins_that_the_deadline_would_end(
    tmp_path: Path, recording_sink: RecordingSink, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """With ten seconds left, a pause of a minute is an error now and not in ten seconds."""
    token = CancelToken()
    run = Run(workdir=tmp_path, cancel=token, sink=recording_sink)
    local_registry.inject(Fault(method="POST", action=RateLimit(60), times=None))

    with (
        Deadline(token, 10.0),
        RegistryClient(Chain(()), run, policy=QUICK) as client,
        pytest.raises(RateLimitedError) as caught,
    ):
        put(client, local_registry, blob_of)

    assert "no time left" in caught.value.hint
    assert run.now < 5.0


def test_a_registry_without_space_is_said_to_be_full(
    client_for: ClientFor, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """Neither a network nor a permission is to blame: the reader learns where to look."""
    local_registry.inject(Fault(method="PUT", path="/uploads/", action=Status(507), times=None))
    repository = Repository(local_registry.host, "app")

    with pytest.raises(RegistryUnavailableError, match="HTTP 507") as caught:
        client_for(policy=QUICK).put_blob(repository, blob_of(b"x"), lambda: iter((b"x",)))

    assert "storage is full" in caught.value.hint


# --- too many requests ---


@pytest.mark.parametrize("body", ["json", "text", "html", ""])
@pytest.mark.parametrize("step", STEPS)
def test_a_pause_that_is_asked_for_is_kept(
    client_for: ClientFor, blob_of: BlobOf, step: str, body: str
) -> None:
    """Whatever kind of page comes with it, no request comes before its end."""
    dialect = Dialect(body_limit=1 << 20 if step == "PATCH" else None)
    with LocalRegistry(auth="token", users={"ci": "s3cret"}, dialect=dialect) as registry:
        client = client_for(login(registry), policy=QUICK)
        method, path = STEPS[step]
        action = RateLimit(0.05, body=body)  # type: ignore[arg-type]
        limit = registry.inject(Fault(action, method=method, path=path))

        repository = put(client, registry, blob_of)
        data = dump(Manifest(config=blob_of(DATA, MediaType.OCI_CONFIG), layers=()))
        reference = ImageReference(repository=repository, tag="1")
        client.put_manifest(reference, data, MediaType.OCI_MANIFEST)

        assert limit.fired
        assert pause_after_429(registry.requests) >= 0.05


@pytest.mark.parametrize("arrived", [0, 1 << 19], ids=["none of it", "half of it"])
def test_a_429_for_a_chunk_resends_no_byte_that_arrived(
    client_for: ClientFor, blob_of: BlobOf, arrived: int
) -> None:
    """Neither of the chunks before, nor of the one that was refused."""
    with LocalRegistry(dialect=Dialect(body_limit=1 << 20)) as registry:
        action = Status(429, headers={"Retry-After": "0.05"}, after=arrived)
        limit = registry.inject(Fault(action, method="PATCH", skip=1))

        put(client_for(policy=QUICK), registry, blob_of)

        assert limit.fired
        assert pause_after_429(registry.requests) >= 0.05
        assert kept(registry) == len(DATA)


def kept(registry: LocalRegistry) -> int:
    """Bytes of the chunks that the registry took, whole or in part."""
    return sum(r.bytes_received for r in registry.requests if r.method == "PATCH")


def pause_after_429(requests: Sequence[Request]) -> float:
    """Seconds between the request that was refused and the next one."""
    limited = next(i for i, r in enumerate(requests) if r.status == 429)
    return requests[limited + 1].at - requests[limited].at

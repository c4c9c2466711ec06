"""`RegistryClient` against a registry on a real socket."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator

import pytest

from buildpush.errors import (
    BlobTooLargeError,
    DigestMismatchError,
    NotFoundError,
    RateLimitedError,
    RegistryError,
    RegistryUnavailableError,
)
from buildpush.oci import Digest, ImageReference, Repository
from buildpush.oci.wire import Descriptor, Manifest, MediaType, dump
from buildpush.registry import RegistryClient
from buildpush.runtime import Run
from buildpush.testing import (
    Dialect,
    DropUpload,
    Fault,
    FlipByte,
    LocalRegistry,
    RecordingSink,
    ReplaceHeaders,
    Reset,
    Status,
    Truncate,
    WrongDigest,
)

BlobOf = Callable[..., Descriptor]
ClientFor = Callable[..., RegistryClient]
DATA = bytes(range(256)) * 1000


def again(data: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: iter((data,))


@pytest.fixture
def repository(local_registry: LocalRegistry) -> Repository:
    return Repository(local_registry.host, "acme/app")


@pytest.fixture
def manifest(local_registry: LocalRegistry, repository: Repository, blob_of: BlobOf) -> bytes:
    """A manifest whose blobs the registry has."""
    for data in (b"{}", DATA):
        local_registry.add_blob(repository.path, data)
    return dump(
        Manifest(
            media_type=MediaType.OCI_MANIFEST,
            config=blob_of(b"{}", MediaType.OCI_CONFIG),
            layers=(blob_of(DATA),),
        )
    )


@pytest.fixture
def tagged(
    local_registry: LocalRegistry, repository: Repository, manifest: bytes
) -> ImageReference:
    """A reference to `manifest` in the registry."""
    local_registry.add_manifest(repository.path, manifest, MediaType.OCI_MANIFEST, tag="1")
    return ImageReference(repository=repository, tag="1")


def test_a_manifest_is_read_by_tag(
    client: RegistryClient, tagged: ImageReference, manifest: bytes
) -> None:
    """The descriptor says what the bytes are; the bytes are the registry's own."""
    fetched = client.get_manifest(tagged)

    assert fetched.data == manifest
    assert fetched.descriptor == Descriptor(
        media_type=MediaType.OCI_MANIFEST, digest=Digest.of(manifest), size=len(manifest)
    )


def test_a_manifest_is_read_by_a_sha512_digest(
    client: RegistryClient, local_registry: LocalRegistry, repository: Repository, manifest: bytes
) -> None:
    """The digest that was asked for is the one that is checked, whatever its algorithm."""
    digest = Digest(f"sha512:{hashlib.sha512(manifest).hexdigest()}")
    path = f"/v2/{repository.path}/manifests/{digest}$"
    headers = {"Content-Type": MediaType.OCI_MANIFEST}
    local_registry.inject(
        Fault(method="GET", path=path, action=Status(200, headers=headers, body=manifest))
    )

    fetched = client.get_manifest(ImageReference(repository=repository, digest=digest))

    assert fetched.descriptor.digest == digest


def test_looking_up_a_tag_reads_nothing(
    client: RegistryClient, tagged: ImageReference, manifest: bytes, local_registry: LocalRegistry
) -> None:
    """One HEAD is enough."""
    found = client.head_manifest(tagged)

    assert found is not None and found.digest == Digest.of(manifest)
    assert [r.method for r in local_registry.requests] == ["HEAD"]


def test_looking_up_what_is_not_there_is_no_error(
    client: RegistryClient, repository: Repository
) -> None:
    """None says that the tag names nothing."""
    assert client.head_manifest(ImageReference(repository=repository, tag="none")) is None


@pytest.mark.parametrize(
    "action", [ReplaceHeaders({"Docker-Content-Digest": None}), Status(405)], ids=["mute", "405"]
)
def test_a_registry_that_answers_head_badly_is_asked_with_get(
    client: RegistryClient,
    tagged: ImageReference,
    manifest: bytes,
    local_registry: LocalRegistry,
    action: Status,
) -> None:
    """The digest of the bytes says what HEAD did not."""
    local_registry.inject(Fault(method="HEAD", action=action))

    found = client.head_manifest(tagged)

    assert found is not None and found.digest == Digest.of(manifest)


def test_a_missing_manifest_names_the_reference(
    client: RegistryClient, repository: Repository
) -> None:
    """The registry's code and the whole name are in the error."""
    reference = ImageReference(repository=repository, tag="none")

    with pytest.raises(NotFoundError, match="acme/app:none") as caught:
        client.get_manifest(reference)

    assert "404 (" in caught.value.report()


@pytest.mark.parametrize("action", [FlipByte(3), WrongDigest()], ids=["bytes", "header"])
def test_a_manifest_that_is_not_what_the_registry_says_is_refused(
    client: RegistryClient,
    tagged: ImageReference,
    local_registry: LocalRegistry,
    action: FlipByte | WrongDigest,
) -> None:
    """A corrupt manifest is never believed, nor asked for again."""
    fault = local_registry.inject(Fault(method="GET", action=action, times=None))

    with pytest.raises(DigestMismatchError):
        client.get_manifest(tagged)

    assert fault.fired == 1


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_digest_header_that_is_no_digest_is_the_registrys_error(
    client: RegistryClient, tagged: ImageReference, local_registry: LocalRegistry, method: str
) -> None:
    """It is not the caller's reference that is wrong."""
    local_registry.inject(Fault(method=method, action=WrongDigest("md5:abc")))
    ask = client.get_manifest if method == "GET" else client.head_manifest

    with pytest.raises(RegistryError, match="Docker-Content-Digest"):
        ask(tagged)


def test_a_manifest_that_breaks_off_is_read_again(
    client: RegistryClient, tagged: ImageReference, manifest: bytes, local_registry: LocalRegistry
) -> None:
    """Half a document is a broken connection, not a wrong document."""
    local_registry.inject(Fault(method="GET", action=Truncate(10)))

    assert client.get_manifest(tagged).data == manifest


def test_a_manifest_larger_than_four_mebibytes_is_refused(
    client: RegistryClient, tagged: ImageReference, local_registry: LocalRegistry
) -> None:
    """Reading stops at the limit: a registry cannot fill the memory."""
    huge = b" " * ((4 << 20) + 1)
    local_registry.inject(Fault(method="GET", action=Status(200, body=huge)))

    with pytest.raises(RegistryError, match="larger than 4 MiB"):
        client.get_manifest(tagged)


def test_a_manifest_is_written_with_its_own_media_type(
    client: RegistryClient, repository: Repository, local_registry: LocalRegistry, blob_of: BlobOf
) -> None:
    """What names the type is the document, not a habit of the client."""
    local_registry.add_blob(repository.path, b"{}")
    docker = dump(
        Manifest(
            media_type=MediaType.DOCKER_MANIFEST,
            config=blob_of(b"{}", MediaType.DOCKER_CONFIG),
            layers=(),
        )
    )
    reference = ImageReference(repository=repository, tag="docker")

    digest = client.put_manifest(reference, docker, MediaType.DOCKER_MANIFEST)

    assert digest == Digest.of(docker)
    assert local_registry.manifest(repository.path, "docker") == docker
    assert local_registry.requests[-1].headers["content-type"] == MediaType.DOCKER_MANIFEST


def test_a_manifest_is_not_written_under_another_digest(
    client: RegistryClient, repository: Repository, manifest: bytes, local_registry: LocalRegistry
) -> None:
    """The mistake is found before anything is sent."""
    reference = ImageReference(repository=repository, digest=Digest.of(b"else"))

    with pytest.raises(DigestMismatchError):
        client.put_manifest(reference, manifest, MediaType.OCI_MANIFEST)

    assert local_registry.requests == ()


def test_a_registry_that_stored_something_else_is_caught(
    client: RegistryClient, repository: Repository, manifest: bytes, local_registry: LocalRegistry
) -> None:
    """The answer to PUT names what was stored."""
    local_registry.inject(Fault(method="PUT", action=WrongDigest()))

    with pytest.raises(DigestMismatchError, match="stored"):
        client.put_manifest(
            ImageReference(repository=repository, tag="1"), manifest, MediaType.OCI_MANIFEST
        )


def test_a_blob_is_uploaded_once_and_then_found(
    client: RegistryClient, repository: Repository, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """HEAD, POST, PUT; then HEAD is enough."""
    first = client.put_blob(repository, blob_of(DATA), again(DATA))
    second = client.put_blob(repository, blob_of(DATA), again(DATA))

    assert (first, second) == ("uploaded", "exists")
    assert [r.method for r in local_registry.requests] == ["HEAD", "POST", "PUT", "HEAD"]
    assert local_registry.blob(repository.path, Digest.of(DATA)) == DATA
    assert client.has_blob(repository, Digest.of(DATA))
    assert not client.has_blob(repository, Digest.of(b"other"))


def test_a_large_blob_is_sent_in_pieces_with_its_length(
    client: RegistryClient, repository: Repository, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """One piece of five megabytes is cut up; the length is announced."""
    data = DATA * 20

    client.put_blob(repository, blob_of(data), again(data))

    put = local_registry.requests[-1]
    assert (put.method, put.bytes_received) == ("PUT", len(data))
    assert put.headers["content-length"] == str(len(data))


def test_an_empty_blob_can_be_uploaded(
    client: RegistryClient, repository: Repository, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """Nothing is a blob, too."""
    assert client.put_blob(repository, blob_of(b""), again(b"")) == "uploaded"
    assert local_registry.blob(repository.path, Digest.of(b"")) == b""


def test_relative_upload_locations_are_understood(client_for: ClientFor, blob_of: BlobOf) -> None:
    """A Location without scheme and host belongs to the registry that gave it."""
    with LocalRegistry(dialect=Dialect(locations="relative")) as registry:
        repository = Repository(registry.host, "app")

        assert client_for().put_blob(repository, blob_of(DATA), again(DATA)) == "uploaded"


def test_the_query_of_an_upload_location_survives_byte_for_byte(
    client: RegistryClient, repository: Repository, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """Registries keep signed state in it; the digest is appended, nothing is re-encoded."""
    state = "_state=a%3D%3D*/@:+x~%2F&b=c%20d"
    location = f"/v2/{repository.path}/blobs/uploads/odd%2Fid?{state}"
    local_registry.inject(
        Fault(method="POST", action=Status(202, headers={"Location": location}, body=b""))
    )
    local_registry.inject(Fault(method="PUT", action=Status(201, body=b"")))

    client.put_blob(repository, blob_of(DATA), again(DATA))

    assert local_registry.requests[-1].query == f"{state}&digest={Digest.of(DATA)}"


def test_an_upload_without_a_location_is_an_error(
    client: RegistryClient, repository: Repository, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """There is nowhere to send the bytes to."""
    local_registry.inject(Fault(method="POST", action=Status(202, body=b"")))

    with pytest.raises(RegistryError, match="says not where"):
        client.put_blob(repository, blob_of(DATA), again(DATA))


def test_bytes_are_never_sent_unencrypted_to_another_host(
    client: RegistryClient, repository: Repository, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """The host of a Location must be trusted as much as the registry's."""
    elsewhere = {"Location": "http://storage.example.com/upload?X-Signature=s3cret"}
    local_registry.inject(Fault(method="POST", action=Status(202, headers=elsewhere, body=b"")))

    with pytest.raises(RegistryError, match="not encrypted") as caught:
        client.put_blob(repository, blob_of(DATA), again(DATA))

    assert "s3cret" not in caught.value.report()


@pytest.mark.parametrize(
    ("method", "action"),
    [
        ("HEAD", Status(503)),
        ("HEAD", Reset()),
        ("POST", Status(502)),
        ("POST", Reset()),
        ("PUT", Status(500)),
        ("PUT", DropUpload(100_000)),
        ("PUT", Reset(handled=True)),
        ("PUT", Status(400, ("DIGEST_INVALID",))),
        ("PUT", Status(404, ("BLOB_UPLOAD_UNKNOWN",))),
    ],
)
def test_an_upload_survives_transient_faults(
    client: RegistryClient,
    repository: Repository,
    blob_of: BlobOf,
    local_registry: LocalRegistry,
    recording_sink: RecordingSink,
    method: str,
    action: Status,
) -> None:
    """The body is opened again and sent once more; each retry is announced."""
    fault = local_registry.inject(Fault(method=method, action=action))

    client.put_blob(repository, blob_of(DATA), again(DATA))

    assert fault.fired == 1
    assert local_registry.blob(repository.path, Digest.of(DATA)) == DATA
    assert len(recording_sink.warnings) == 1
    assert " again" in recording_sink.warnings[0]


def test_an_upload_too_large_for_a_proxy_says_so(
    client: RegistryClient, repository: Repository, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """413 comes from what stands in front of a registry; chunks are tried once, and no more."""
    refusal = Status(413, body=b"<html>too large</html>", early=True)
    fault = local_registry.inject(Fault(method="PUT|PATCH", action=refusal, times=None))

    with pytest.raises(BlobTooLargeError, match="or for a proxy in front of it") as caught:
        client.put_blob(repository, blob_of(DATA), again(DATA))

    assert "-> 413" in caught.value.report()
    assert (caught.value.size, fault.fired) == (len(DATA), 2)


def test_a_registry_that_stays_down_is_given_up(
    client: RegistryClient, repository: Repository, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """As many attempts as the policy says, then the registry's own words."""
    fault = local_registry.inject(Fault(method="HEAD", action=Status(503), times=None))

    with pytest.raises(RegistryUnavailableError, match="HTTP 503"):
        client.put_blob(repository, blob_of(DATA), again(DATA))

    assert fault.fired == 4


@pytest.mark.parametrize("body", [DATA[:-1], DATA + b"x", DATA[:-1] + b"x"])
def test_a_blob_that_changed_on_disk_is_not_sent_whole(
    client: RegistryClient,
    repository: Repository,
    blob_of: BlobOf,
    local_registry: LocalRegistry,
    body: bytes,
) -> None:
    """The last piece is held back, so the registry never gets a complete wrong blob."""
    with pytest.raises(DigestMismatchError) as caught:
        client.put_blob(repository, blob_of(DATA), again(body))

    assert "build again" in caught.value.hint
    assert local_registry.blob(repository.path, Digest.of(DATA)) is None


def test_a_blob_is_mounted_from_a_neighbour(
    client: RegistryClient, repository: Repository, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """No byte is sent."""
    local_registry.add_blob("base", DATA)
    origin = Repository(repository.host, "base")

    how = client.put_blob(repository, blob_of(DATA), again(DATA), mount_from=origin)

    assert how == "mounted"
    assert [r.method for r in local_registry.requests] == ["HEAD", "POST"]
    assert local_registry.blob(repository.path, Digest.of(DATA)) == DATA


@pytest.mark.parametrize("code", [400, 401, 403, 404, 405])
def test_a_refused_mount_becomes_an_upload(
    client: RegistryClient,
    repository: Repository,
    blob_of: BlobOf,
    local_registry: LocalRegistry,
    code: int,
) -> None:
    """Whatever a registry says to a mount, the blob arrives."""
    local_registry.add_blob("base", DATA)
    local_registry.inject(Fault(method="POST", query="mount=", action=Status(code)))
    origin = Repository(repository.host, "base")

    how = client.put_blob(repository, blob_of(DATA), again(DATA), mount_from=origin)

    assert how == "uploaded"
    assert local_registry.blob(repository.path, Digest.of(DATA)) == DATA


def test_a_mount_that_begins_an_upload_is_continued(
    client_for: ClientFor, blob_of: BlobOf
) -> None:
    """202 to a mount is an upload session: it is used, not thrown away."""
    with LocalRegistry(dialect=Dialect(mount_answer=202)) as registry:
        registry.add_blob("base", DATA)
        repository, origin = (Repository(registry.host, name) for name in ("app", "base"))

        how = client_for().put_blob(repository, blob_of(DATA), again(DATA), mount_from=origin)

        assert how == "uploaded"
        assert [r.method for r in registry.requests] == ["HEAD", "POST", "PUT"]


def test_nothing_is_mounted_across_registries(
    client: RegistryClient, repository: Repository, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """A neighbour is on the same host."""
    origin = Repository("registry.example.com", "base")

    client.put_blob(repository, blob_of(DATA), again(DATA), mount_from=origin)

    assert all("mount=" not in r.query for r in local_registry.requests)


def test_a_mount_meets_a_server_error_and_is_tried_again(
    client: RegistryClient, repository: Repository, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """Only a refusal means upload; a fault means again."""
    local_registry.add_blob("base", DATA)
    local_registry.inject(Fault(method="POST", query="mount=", action=Status(503)))
    origin = Repository(repository.host, "base")

    assert client.put_blob(repository, blob_of(DATA), again(DATA), mount_from=origin) == "mounted"


def test_a_blob_streams_verified(
    client: RegistryClient, repository: Repository, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """The pieces make up the blob."""
    local_registry.add_blob(repository.path, DATA)

    with client.get_blob(repository, blob_of(DATA)) as pieces:
        assert b"".join(pieces) == DATA


@pytest.mark.parametrize("action", [Truncate(100_000), Reset(after=100_000)])
def test_a_blob_that_breaks_off_is_picked_up_where_it_stopped(
    client: RegistryClient,
    repository: Repository,
    blob_of: BlobOf,
    local_registry: LocalRegistry,
    action: Truncate | Reset,
) -> None:
    """The rest is asked for with a Range; nothing arrives twice."""
    local_registry.add_blob(repository.path, DATA)
    local_registry.inject(Fault(method="GET", action=action))

    with client.get_blob(repository, blob_of(DATA)) as pieces:
        assert b"".join(pieces) == DATA

    assert local_registry.requests[-1].headers["range"].startswith("bytes=")


def test_a_server_without_ranges_is_read_from_the_start_again(
    client: RegistryClient, repository: Repository, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """What arrived already is skipped."""
    local_registry.add_blob(repository.path, DATA)
    local_registry.inject(Fault(method="GET", action=Truncate(100_000)))
    local_registry.inject(Fault(method="GET", action=Status(200, body=DATA)))

    with client.get_blob(repository, blob_of(DATA)) as pieces:
        assert b"".join(pieces) == DATA


def test_a_blob_that_always_breaks_off_is_given_up(
    client: RegistryClient, repository: Repository, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """Attempts without progress are counted."""
    local_registry.inject(
        Fault(method="GET", action=Status(200, body=DATA[:1000]), times=None),
    )

    with (
        pytest.raises(RegistryUnavailableError, match="only 1000 of 256000 bytes"),
        client.get_blob(repository, blob_of(DATA)) as pieces,
    ):
        list(pieces)


def test_a_corrupt_blob_is_refused_at_its_end(
    client: RegistryClient, repository: Repository, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """The bytes are hashed as they pass."""
    local_registry.add_blob(repository.path, DATA)
    local_registry.inject(Fault(method="GET", action=FlipByte(-1)))

    with (
        pytest.raises(DigestMismatchError, match="they hash to sha256:"),
        client.get_blob(repository, blob_of(DATA)) as pieces,
    ):
        list(pieces)


def test_a_blob_longer_than_promised_is_refused_before_the_excess(
    client: RegistryClient, repository: Repository, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """A registry cannot fill the disk with what its manifest does not announce."""
    local_registry.inject(Fault(method="GET", action=Status(200, body=DATA * 4)))

    with (
        pytest.raises(DigestMismatchError, match="more than the 256000 bytes"),
        client.get_blob(repository, blob_of(DATA)) as pieces,
    ):
        list(pieces)


def test_leaving_a_blob_early_leaves_the_client_usable(
    client: RegistryClient, repository: Repository, blob_of: BlobOf, local_registry: LocalRegistry
) -> None:
    """Nobody has to read to the end."""
    local_registry.add_blob(repository.path, DATA)

    with client.get_blob(repository, blob_of(DATA)) as pieces:
        next(pieces)

    assert client.has_blob(repository, Digest.of(DATA))


def test_a_missing_blob_is_known_before_the_first_piece(
    client: RegistryClient, repository: Repository, blob_of: BlobOf
) -> None:
    """Entering the block asks for it."""
    with pytest.raises(NotFoundError), client.get_blob(repository, blob_of(DATA)):
        pytest.fail("unreachable")


def test_the_registrys_pause_is_kept(
    client: RegistryClient,
    tagged: ImageReference,
    local_registry: LocalRegistry,
    recording_sink: RecordingSink,
) -> None:
    """Retry-After wins over the backoff."""
    local_registry.inject(Fault(action=Status(429, headers={"Retry-After": "0"})))

    client.get_manifest(tagged)

    assert "pause of 0 s" in recording_sink.warnings[0]
    assert recording_sink.warnings[0].endswith("trying again in 0.0 s")


def test_a_very_long_pause_is_reported_at_once(
    client: RegistryClient, tagged: ImageReference, local_registry: LocalRegistry
) -> None:
    """Nobody sits through an hour; the error says how long it would be."""
    fault = local_registry.inject(
        Fault(action=Status(429, headers={"Retry-After": "3600"}), times=None)
    )

    with pytest.raises(RateLimitedError, match="anonymous") as caught:
        client.get_manifest(tagged)

    assert caught.value.retry_after == 3600.0
    assert fault.fired == 1


def test_a_mirror_is_asked_first_and_the_registry_when_it_has_nothing(
    client_for: ClientFor, run: Run, local_registry: LocalRegistry, manifest: bytes
) -> None:
    """What the mirror lacks comes from the registry itself; pushes never go to a mirror."""
    with LocalRegistry() as origin:
        origin.add_manifest("app", manifest, MediaType.OCI_MANIFEST, tag="origin")
        local_registry.add_manifest("cache/app", manifest, MediaType.OCI_MANIFEST, tag="mirrored")
        client = client_for(mirrors={origin.host: (f"{local_registry.host}/cache",)})
        mirrored = ImageReference.parse(origin.reference("app:mirrored"))

        client.get_manifest(mirrored)
        client.get_manifest(ImageReference.parse(origin.reference("app:origin")))

        assert client.head_manifest(mirrored, access="push") is None
        assert [r.path for r in origin.requests] == [
            "/v2/app/manifests/origin",
            "/v2/app/manifests/mirrored",
        ]


def test_a_broken_mirror_is_a_warning(
    client_for: ClientFor,
    local_registry: LocalRegistry,
    manifest: bytes,
    recording_sink: RecordingSink,
) -> None:
    """A mirror is tried once; patience is for the registry."""
    with LocalRegistry() as origin:
        origin.add_manifest("app", manifest, MediaType.OCI_MANIFEST, tag="1")
        fault = local_registry.inject(Fault(action=Status(503), times=None))
        client = client_for(mirrors={origin.host: (local_registry.host,)})

        fetched = client.get_manifest(ImageReference.parse(origin.reference("app:1")))

    assert fetched.data == manifest
    assert fault.fired == 1
    assert any(
        w.startswith(f"mirror {local_registry.host}/app is") for w in recording_sink.warnings
    )


@pytest.mark.parametrize(
    "action", [Status(404), Status(401), Status(503), Truncate(100_000)], ids=str
)
def test_a_blob_a_mirror_cannot_give_comes_from_the_registry(
    client_for: ClientFor, local_registry: LocalRegistry, blob_of: BlobOf, action: Status
) -> None:
    """Even when the mirror breaks off in the middle: the rest is asked for elsewhere."""
    with LocalRegistry() as origin:
        origin.add_blob("app", DATA)
        local_registry.add_blob("app", DATA)
        local_registry.inject(Fault(method="GET", action=action))
        client = client_for(mirrors={origin.host: (local_registry.host,)})

        with client.get_blob(Repository(origin.host, "app"), blob_of(DATA)) as pieces:
            assert b"".join(pieces) == DATA

        assert len(origin.requests) == len(local_registry.requests) == 1


def test_the_client_names_itself_and_keeps_no_cookies(
    client: RegistryClient, tagged: ImageReference, local_registry: LocalRegistry
) -> None:
    """A session cookie would tie two accounts on one host together."""
    local_registry.inject(
        Fault(times=None, action=ReplaceHeaders({"Set-Cookie": "sid=1; Path=/"}))
    )

    client.get_manifest(tagged)
    client.get_manifest(tagged)

    agents = [r.headers["user-agent"].partition("/")[0] for r in local_registry.requests]
    assert agents == ["buildpush", "buildpush"]
    # LocalRegistry hides cookies from its log, so the jar is asked.
    assert len(client._exchange.transport._client.cookies.jar) == 0

"""The blob and upload endpoints of LocalRegistry, on a real socket."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from buildpush.oci import Digest
from buildpush.testing import Dialect, LocalRegistry

PutBlob = Callable[[str, bytes], Digest]
ABSENT = f"sha256:{'0' * 64}"


def codes(response: httpx.Response) -> list[str]:
    return [error["code"] for error in response.json()["errors"]]


def begin(http: httpx.Client, repository: str = "app") -> str:
    place: str = http.post(f"/v2/{repository}/blobs/uploads/").headers["location"]
    return place


def test_the_base_endpoint_says_that_this_is_a_registry(http: httpx.Client) -> None:
    """Clients ask /v2/ first."""
    response = http.get("/v2/")

    assert response.status_code == 200
    assert response.headers["docker-distribution-api-version"] == "registry/2.0"


def test_a_put_blob_can_be_fetched(http: httpx.Client, put_blob: PutBlob) -> None:
    """POST, then PUT with the whole body."""
    digest = put_blob("team/app", b"content")

    response = http.get(f"/v2/team/app/blobs/{digest}")

    assert response.content == b"content"
    assert response.headers["docker-content-digest"] == str(digest)
    assert response.headers["content-type"] == "application/octet-stream"


def test_head_of_a_blob_tells_its_size_without_a_body(
    http: httpx.Client, put_blob: PutBlob
) -> None:
    """Content-Length is what GET would send."""
    digest = put_blob("app", b"content")

    response = http.head(f"/v2/app/blobs/{digest}")

    assert response.status_code == 200
    assert response.headers["content-length"] == "7"
    assert response.content == b""


def test_an_absent_blob_is_unknown(http: httpx.Client) -> None:
    """The spec's code, in its error body."""
    response = http.get(f"/v2/app/blobs/{ABSENT}")

    assert response.status_code == 404
    assert codes(response) == ["BLOB_UNKNOWN"]
    assert response.headers["content-type"].startswith("application/json")


@pytest.mark.parametrize(
    ("asked", "status", "content", "said"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=8-99", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, None, "bytes */10"),
        ("lines=1-2", 200, b"0123456789", None),
        ("bytes=-", 200, b"0123456789", None),
    ],
)
def test_parts_of_a_blob_can_be_fetched(
    http: httpx.Client,
    put_blob: PutBlob,
    asked: str,
    status: int,
    content: bytes | None,
    said: str | None,
) -> None:
    """Range as RFC 9110 has it; what is not understood is ignored."""
    digest = put_blob("app", b"0123456789")

    response = http.get(f"/v2/app/blobs/{digest}", headers={"Range": asked})

    assert response.status_code == status
    assert response.headers.get("content-range") == said
    assert content is None or response.content == content


def test_a_blob_is_only_visible_where_it_was_put(http: httpx.Client, put_blob: PutBlob) -> None:
    """Cross-repository mounts have a meaning."""
    digest = put_blob("one", b"content")

    assert http.head(f"/v2/two/blobs/{digest}").status_code == 404


def test_a_mount_makes_a_blob_visible_elsewhere(
    http: httpx.Client, put_blob: PutBlob, local_registry: LocalRegistry
) -> None:
    """201, no bytes sent."""
    digest = put_blob("one", b"content")

    response = http.post(f"/v2/two/blobs/uploads/?mount={digest}&from=one")

    assert response.status_code == 201
    assert local_registry.blob("two", digest) == b"content"


def test_a_mount_of_what_is_not_there_opens_an_upload(http: httpx.Client) -> None:
    """The client goes on as if it had not asked."""
    response = http.post(f"/v2/two/blobs/uploads/?mount={ABSENT}&from=one")

    assert response.status_code == 202
    assert "/v2/two/blobs/uploads/" in response.headers["location"]


@pytest.mark.parametrize(
    ("dialect", "query", "status"),
    [
        (Dialect(), "mount={}", 202),
        (Dialect(discovers_mounts=True), "mount={}", 201),
        (Dialect(mount_answer=202), "mount={}&from=one", 202),
    ],
)
def test_how_mounts_work_is_the_registrys_choice(
    open_client: Callable[[LocalRegistry], httpx.Client],
    dialect: Dialect,
    query: str,
    status: int,
) -> None:
    """Automatic discovery, or no mounts at all."""
    with LocalRegistry(dialect=dialect) as registry:
        digest = registry.add_blob("one", b"content")

        response = open_client(registry).post(f"/v2/two/blobs/uploads/?{query.format(digest)}")

    assert response.status_code == status


def test_a_blob_can_be_put_in_one_request(
    http: httpx.Client, local_registry: LocalRegistry
) -> None:
    """POST with ?digest= and the body."""
    digest = Digest.of(b"content")

    response = http.post(f"/v2/app/blobs/uploads/?digest={digest}", content=b"content")

    assert response.status_code == 201
    assert local_registry.blob("app", digest) == b"content"


def test_a_registry_may_open_an_upload_instead(
    open_client: Callable[[LocalRegistry], httpx.Client],
) -> None:
    """As Distribution 2.8 does."""
    with LocalRegistry(dialect=Dialect(single_post=False)) as registry:
        digest = Digest.of(b"content")

        response = open_client(registry).post(
            f"/v2/app/blobs/uploads/?digest={digest}", content=b"content"
        )

        assert response.status_code == 202
        assert registry.blob("app", digest) is None


def test_an_upload_in_chunks(http: httpx.Client, local_registry: LocalRegistry) -> None:
    """PATCH, PATCH, PUT with nothing more."""
    place = begin(http)
    first = http.patch(place, content=b"con", headers={"Content-Range": "0-2"})
    second = http.patch(
        first.headers["location"], content=b"tent", headers={"Content-Range": "3-6"}
    )
    digest = Digest.of(b"content")

    done = http.put(f"{second.headers['location']}&digest={digest}")

    assert [first.headers["range"], second.headers["range"]] == ["0-2", "0-6"]
    assert done.status_code == 201
    assert local_registry.blob("app", digest) == b"content"
    assert local_registry.uploads_open == 0


def test_the_last_chunk_may_come_with_the_put(
    http: httpx.Client, local_registry: LocalRegistry
) -> None:
    """PATCH, then PUT with the rest."""
    place = begin(http)
    http.patch(place, content=b"con")
    digest = Digest.of(b"content")

    done = http.put(f"{place}&digest={digest}", content=b"tent")

    assert done.status_code == 201
    assert local_registry.blob("app", digest) == b"content"


def test_a_body_of_unknown_length_is_taken(
    http: httpx.Client, local_registry: LocalRegistry
) -> None:
    """Transfer-Encoding: chunked."""

    def pieces() -> Iterator[bytes]:
        yield b"con"
        yield b"tent"

    place = begin(http)
    digest = Digest.of(b"content")

    done = http.put(f"{place}&digest={digest}", content=pieces())

    assert done.status_code == 201
    assert local_registry.requests[-1].headers["transfer-encoding"] == "chunked"
    assert local_registry.blob("app", digest) == b"content"


@pytest.mark.parametrize("stated", ["1-3", "5-7", "2-0", "bytes 0-2/3"])
def test_a_chunk_out_of_order_is_refused(http: httpx.Client, stated: str) -> None:
    """416 with how far the registry has come."""
    place = begin(http)
    http.patch(place, content=b"ab")

    response = http.patch(place, content=b"cde", headers={"Content-Range": stated})

    assert response.status_code == 416
    assert codes(response) == ["RANGE_INVALID"]
    assert response.headers["range"] == "0-1"


def test_a_chunk_of_another_length_than_its_range_is_refused(http: httpx.Client) -> None:
    """SIZE_INVALID."""
    response = http.patch(begin(http), content=b"abc", headers={"Content-Range": "0-9"})

    assert response.status_code == 400
    assert codes(response) == ["SIZE_INVALID"]


def test_the_state_of_an_upload_can_be_asked(http: httpx.Client) -> None:
    """204 with Range and Location, to go on from."""
    place = begin(http)
    http.patch(place, content=b"abcd")

    response = http.get(place)

    assert response.status_code == 204
    assert response.headers["range"] == "0-3"
    assert response.headers["location"] == place


def test_an_upload_can_be_cancelled(http: httpx.Client, local_registry: LocalRegistry) -> None:
    """DELETE forgets it."""
    place = begin(http)
    open_before = local_registry.uploads_open

    response = http.delete(place)

    assert response.status_code == 204
    assert (open_before, local_registry.uploads_open) == (1, 0)
    assert codes(http.get(place)) == ["BLOB_UPLOAD_UNKNOWN"]


def test_an_upload_that_hashes_to_something_else_is_thrown_away(
    http: httpx.Client, local_registry: LocalRegistry
) -> None:
    """DIGEST_INVALID; the client must begin again."""
    response = http.put(f"{begin(http)}&digest={ABSENT}", content=b"content")

    assert response.status_code == 400
    assert codes(response) == ["DIGEST_INVALID"]
    assert local_registry.uploads_open == 0
    assert local_registry.blob("app", ABSENT) is None


def test_a_client_that_loses_the_locations_query_is_found_out(http: httpx.Client) -> None:
    """Real registries keep the upload's state in it."""
    place = begin(http).partition("?")[0]

    response = http.put(f"{place}?digest={Digest.of(b'x')}", content=b"x")

    assert response.status_code == 404
    assert codes(response) == ["BLOB_UPLOAD_INVALID"]


def test_locations_may_be_relative(
    open_client: Callable[[LocalRegistry], httpx.Client],
) -> None:
    """The specification allows both."""
    with LocalRegistry(dialect=Dialect(locations="relative", min_chunk=5)) as registry:
        response = open_client(registry).post("/v2/app/blobs/uploads/")

    assert response.headers["location"].startswith("/v2/app/blobs/uploads/")
    assert response.headers["oci-chunk-min-length"] == "5"


def test_sha512_names_content_too(http: httpx.Client, local_registry: LocalRegistry) -> None:
    """The specification's second algorithm."""
    digest = f"sha512:{hashlib.sha512(b'content').hexdigest()}"

    done = http.put(f"{begin(http)}&digest={digest}", content=b"content")

    assert done.status_code == 201
    assert local_registry.blob("app", digest) == b"content"


def test_a_deleted_blob_stays_where_else_it_is(
    http: httpx.Client, local_registry: LocalRegistry
) -> None:
    """Deleting hides it from one repository; the last one removes it."""
    digest = local_registry.add_blob("one", b"content")
    local_registry.add_blob("two", b"content")

    response = http.delete(f"/v2/one/blobs/{digest}")

    assert response.status_code == 202
    assert local_registry.blob("one", digest) is None
    assert local_registry.blob("two", digest) == b"content"
    assert http.delete(f"/v2/two/blobs/{digest}").status_code == 202
    assert http.delete(f"/v2/two/blobs/{digest}").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v2/App/blobs/uploads/", 400, "NAME_INVALID"),
        ("GET", "/v2/a..b/tags/list", 400, "NAME_INVALID"),
        ("GET", "/v2/app/blobs/uploads/", 405, "UNSUPPORTED"),
        ("GET", "/v2/app/blobs/sha256:short", 400, "DIGEST_INVALID"),
        ("POST", "/v2/app/tags/list", 405, "UNSUPPORTED"),
        ("PUT", f"/v2/app/referrers/{ABSENT}", 405, "UNSUPPORTED"),
        ("POST", "/v2/app/manifests/latest", 405, "UNSUPPORTED"),
    ],
)
def test_what_makes_no_sense_is_refused(
    http: httpx.Client, method: str, path: str, status: int, code: str
) -> None:
    """With the code a client can tell it by."""
    response = http.request(method, path)

    assert (response.status_code, codes(response)) == (status, [code])


@pytest.mark.parametrize("path", ["/v2/app/unheard/of", "/elsewhere", "/token"])
def test_a_path_without_a_meaning_is_not_answered_in_json(http: httpx.Client, path: str) -> None:
    """As in Distribution: a client must not take every 404 for JSON."""
    response = http.get(path)

    assert response.status_code == 404
    assert response.headers["content-type"].startswith("text/plain")


def test_methods_without_a_meaning_are_refused(
    http: httpx.Client, local_registry: LocalRegistry
) -> None:
    """405 for a blob and for an upload that exist."""
    digest = local_registry.add_blob("app", b"content")

    assert http.put(f"/v2/app/blobs/{digest}").status_code == 405
    assert http.post(begin(http)).status_code == 405


def test_blobs_lie_in_the_given_folder(tmp_path: Path) -> None:
    """And stay there; a temporary folder would be removed."""
    folder = tmp_path / "kept"
    with LocalRegistry(folder=folder) as registry:
        digest = registry.add_blob("app", b"content")

    assert [path.read_bytes() for path in folder.iterdir()] == [b"content"]
    assert digest.hex in next(folder.iterdir()).name


def test_large_blobs_go_both_ways(http: httpx.Client, put_blob: PutBlob) -> None:
    """Several chunks each way."""
    data = os.urandom(3 << 20) + b"end"

    digest = put_blob("app", data)

    assert http.get(f"/v2/app/blobs/{digest}").content == data

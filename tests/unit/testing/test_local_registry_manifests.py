"""The manifest, tag and referrers endpoints of LocalRegistry."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from buildpush.oci import Digest
from buildpush.testing import Dialect, LocalRegistry

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
ABSENT = f"sha256:{'0' * 64}"


def codes(response: httpx.Response) -> list[str]:
    return [error["code"] for error in response.json()["errors"]]


def manifest(registry: LocalRegistry, repository: str = "app", **fields: Any) -> bytes:
    config = registry.add_blob(repository, b"{}")
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, "digest": str(config), "size": 2},
        "layers": [],
        **fields,
    }
    return json.dumps(document).encode()


def put(http: httpx.Client, path: str, data: bytes, media_type: str = MANIFEST) -> httpx.Response:
    return http.put(path, content=data, headers={"Content-Type": media_type})


def test_a_manifest_keeps_its_bytes(http: httpx.Client, local_registry: LocalRegistry) -> None:
    """By tag and by digest, with its content type."""
    data = manifest(local_registry)

    done = put(http, "/v2/app/manifests/1.0", data)

    assert done.status_code == 201
    digest = str(Digest.of(data))
    assert done.headers["docker-content-digest"] == digest
    for target in ("1.0", digest):
        response = http.get(f"/v2/app/manifests/{target}", headers={"Accept": MANIFEST})
        assert response.content == data
        assert response.headers["content-type"] == MANIFEST
        assert response.headers["docker-content-digest"] == digest
    assert local_registry.digest("app", "1.0") == Digest.of(data)
    assert local_registry.manifest("app", "1.0") == data
    assert local_registry.tags("app") == ("1.0",)
    assert local_registry.repositories == ("app",)


def test_head_of_a_manifest_has_no_body(http: httpx.Client, local_registry: LocalRegistry) -> None:
    """But the length and the digest."""
    data = manifest(local_registry)
    local_registry.add_manifest("app", data, MANIFEST, tag="1")

    response = http.head("/v2/app/manifests/1")

    assert response.content == b""
    assert response.headers["content-length"] == str(len(data))
    assert response.headers["docker-content-digest"] == str(Digest.of(data))


def test_an_absent_manifest_is_unknown(http: httpx.Client, local_registry: LocalRegistry) -> None:
    """Whether the repository exists or not."""
    local_registry.add_blob("app", b"content")

    for path in ("/v2/app/manifests/1", f"/v2/nowhere/manifests/{ABSENT}"):
        response = http.get(path)
        assert (response.status_code, codes(response)) == (404, ["MANIFEST_UNKNOWN"])


def test_a_manifest_put_by_digest_gets_no_tag(
    http: httpx.Client, local_registry: LocalRegistry
) -> None:
    """Children of an index are put like this."""
    data = manifest(local_registry)

    done = put(http, f"/v2/app/manifests/{Digest.of(data)}", data)

    assert done.status_code == 201
    assert local_registry.tags("app") == ()
    assert local_registry.manifest("app", Digest.of(data)) == data


def test_a_manifest_may_be_named_by_sha512(
    http: httpx.Client, local_registry: LocalRegistry
) -> None:
    """The digest that was asked for is the one it is found under."""
    data = manifest(local_registry)
    digest = f"sha512:{hashlib.sha512(data).hexdigest()}"

    done = put(http, f"/v2/app/manifests/{digest}", data)

    assert done.headers["docker-content-digest"] == digest
    assert local_registry.manifest("app", digest) == data


def test_a_manifest_whose_blobs_are_missing_is_refused(
    http: httpx.Client, local_registry: LocalRegistry
) -> None:
    """Blobs first, then the manifest; another repository's do not count."""
    data = manifest(local_registry, repository="elsewhere")

    response = put(http, "/v2/app/manifests/1", data)

    assert response.status_code == 400
    assert codes(response) == ["MANIFEST_BLOB_UNKNOWN"]
    assert local_registry.manifest("app", "1") is None


def test_a_manifest_whose_layers_are_missing_is_refused(
    http: httpx.Client, local_registry: LocalRegistry
) -> None:
    """The config alone does not make an image; the answer names what is missing."""
    layer = {"mediaType": "x", "digest": ABSENT, "size": 1}

    response = put(http, "/v2/app/manifests/1", manifest(local_registry, layers=[layer]))

    assert codes(response) == ["MANIFEST_BLOB_UNKNOWN"]
    assert response.json()["errors"][0]["detail"] == {"digest": ABSENT}


def test_an_index_whose_manifests_are_missing_is_refused(
    http: httpx.Client, local_registry: LocalRegistry
) -> None:
    """Children first, then the index."""
    child = manifest(local_registry)
    described = {"mediaType": MANIFEST, "digest": str(Digest.of(child)), "size": len(child)}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [described]}
    data = json.dumps(index).encode()

    before = put(http, "/v2/app/manifests/1", data, INDEX)
    put(http, f"/v2/app/manifests/{Digest.of(child)}", child)
    after = put(http, "/v2/app/manifests/1", data, INDEX)

    assert codes(before) == ["MANIFEST_BLOB_UNKNOWN"]
    assert after.status_code == 201


def test_a_foreign_layer_need_not_be_there(
    http: httpx.Client, local_registry: LocalRegistry
) -> None:
    """It says itself where it can be had."""
    layer = {"mediaType": "x", "digest": ABSENT, "size": 1, "urls": ["https://r.example/x"]}

    response = put(http, "/v2/app/manifests/1", manifest(local_registry, layers=[layer]))

    assert response.status_code == 201


@pytest.mark.parametrize(
    ("data", "media_type", "target", "code"),
    [
        (b"{", MANIFEST, "1", "MANIFEST_INVALID"),
        (b"[]", MANIFEST, "1", "MANIFEST_INVALID"),
        (b"{}", "", "1", "MANIFEST_INVALID"),
        (b'{"mediaType": "other"}', MANIFEST, "1", "MANIFEST_INVALID"),
        (b"{}", MANIFEST, ABSENT, "DIGEST_INVALID"),
        (b"{}", MANIFEST, "-bad", "TAG_INVALID"),
        (b"{}", MANIFEST, "sha256:bad", "DIGEST_INVALID"),
        (b'{"config": "text"}', MANIFEST, "1", "MANIFEST_BLOB_UNKNOWN"),
    ],
)
def test_a_bad_manifest_is_refused(
    http: httpx.Client, data: bytes, media_type: str, target: str, code: str
) -> None:
    """400 and the code for it."""
    response = put(http, f"/v2/app/manifests/{target}", data, media_type)

    assert (response.status_code, codes(response)) == (400, [code])


def test_a_manifest_of_more_than_4_mib_is_refused(http: httpx.Client) -> None:
    """The limit the specification tells registries to have."""
    response = put(http, "/v2/app/manifests/1", b" " * ((4 << 20) + 1))

    assert response.status_code == 413


def test_a_kind_the_client_did_not_ask_for_is_not_found(
    http: httpx.Client, local_registry: LocalRegistry
) -> None:
    """As Distribution answers; */* takes anything."""
    local_registry.add_manifest("app", b"{}", INDEX, tag="1")

    narrow = http.get("/v2/app/manifests/1", headers={"Accept": f"{MANIFEST}, text/html;q=0.5"})
    wide = http.get("/v2/app/manifests/1", headers={"Accept": "*/*"})

    assert (narrow.status_code, wide.status_code) == (404, 200)


def test_a_tag_moves(http: httpx.Client, local_registry: LocalRegistry) -> None:
    """The old manifest stays reachable by digest."""
    old, new = manifest(local_registry), manifest(local_registry, annotations={"a": "b"})
    put(http, "/v2/app/manifests/latest", old)

    put(http, "/v2/app/manifests/latest", new)

    assert local_registry.manifest("app", "latest") == new
    assert local_registry.manifest("app", Digest.of(old)) == old


def test_deleting_a_tag_keeps_the_manifest(
    http: httpx.Client, local_registry: LocalRegistry
) -> None:
    """Deleting the manifest removes its tags."""
    data = manifest(local_registry)
    put(http, "/v2/app/manifests/one", data)
    put(http, "/v2/app/manifests/two", data)

    first = http.delete("/v2/app/manifests/one")

    assert first.status_code == 202
    assert local_registry.tags("app") == ("two",)
    assert http.delete(f"/v2/app/manifests/{Digest.of(data)}").status_code == 202
    assert local_registry.tags("app") == ()
    assert codes(http.delete("/v2/app/manifests/two")) == ["MANIFEST_UNKNOWN"]


def test_tags_are_listed_in_pages(http: httpx.Client, local_registry: LocalRegistry) -> None:
    """Link leads from page to page in lexical order."""
    for tag in ("b", "a", "c"):
        local_registry.add_manifest("app", b"{}", MANIFEST, tag=tag)

    first = http.get("/v2/app/tags/list?n=2")
    second = http.get(first.links["next"]["url"])

    assert first.json() == {"name": "app", "tags": ["a", "b"]}
    assert second.json() == {"name": "app", "tags": ["c"]}
    assert "next" not in second.links
    assert http.get("/v2/app/tags/list").json()["tags"] == ["a", "b", "c"]


def test_the_tags_of_an_unknown_repository_are_an_error(http: httpx.Client) -> None:
    """NAME_UNKNOWN, and a page size must be a number."""
    assert codes(http.get("/v2/app/tags/list")) == ["NAME_UNKNOWN"]


def test_a_page_size_is_a_number(http: httpx.Client, local_registry: LocalRegistry) -> None:
    """400 otherwise."""
    local_registry.add_blob("app", b"content")

    response = http.get("/v2/app/tags/list?n=many")

    assert codes(response) == ["PAGINATION_NUMBER_INVALID"]


def test_referrers_point_back_at_their_subject(
    http: httpx.Client, local_registry: LocalRegistry
) -> None:
    """An index of descriptors with artifact type and annotations."""
    subject = {"mediaType": MANIFEST, "digest": ABSENT, "size": 2}
    signature = manifest(
        local_registry, subject=subject, artifactType="x/sig", annotations={"a": "b"}
    )
    plain = manifest(local_registry, subject=subject)

    done = put(http, f"/v2/app/manifests/{Digest.of(signature)}", signature)
    put(http, "/v2/app/manifests/plain", plain)
    put(http, "/v2/app/manifests/other", manifest(local_registry))
    response = http.get(f"/v2/app/referrers/{ABSENT}")

    assert done.headers["oci-subject"] == ABSENT
    assert response.headers["content-type"] == INDEX
    assert "oci-filters-applied" not in response.headers
    assert response.json() == {
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [
            {
                "mediaType": MANIFEST,
                "digest": str(Digest.of(signature)),
                "size": len(signature),
                "artifactType": "x/sig",
                "annotations": {"a": "b"},
            },
            {
                "mediaType": MANIFEST,
                "digest": str(Digest.of(plain)),
                "size": len(plain),
                "artifactType": CONFIG,
            },
        ],
    }


def test_referrers_can_be_filtered(http: httpx.Client, local_registry: LocalRegistry) -> None:
    """The answer says that the filter was applied."""
    subject = {"mediaType": MANIFEST, "digest": ABSENT, "size": 2}
    for number in range(2):
        data = manifest(local_registry, subject=subject, artifactType=f"x/{number}")
        put(http, f"/v2/app/manifests/{number}", data)

    response = http.get(f"/v2/app/referrers/{ABSENT}?artifactType=x%2F1")

    assert response.headers["oci-filters-applied"] == "artifactType"
    assert [found["artifactType"] for found in response.json()["manifests"]] == ["x/1"]


def test_a_registry_may_have_no_referrers(
    open_client: Callable[[LocalRegistry], httpx.Client],
) -> None:
    """Then neither the endpoint nor OCI-Subject exist, as in Distribution 2.8."""
    with LocalRegistry(dialect=Dialect(referrers=False)) as registry:
        http = open_client(registry)
        subject = {"mediaType": MANIFEST, "digest": ABSENT, "size": 2}

        done = put(http, "/v2/app/manifests/1", manifest(registry, subject=subject))

        assert "oci-subject" not in done.headers
        assert http.get(f"/v2/app/referrers/{ABSENT}").status_code == 404

"""The ways of known registries that LocalRegistry can take on, as a client sees them."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx
import pytest

from buildpush.oci import Digest
from buildpush.testing import Dialect, LocalRegistry

Opener = Callable[[LocalRegistry], httpx.Client]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = b"{}"
DATA = b"0123456789"


def chunk(http: httpx.Client, place: str, data: bytes, first: int) -> httpx.Response:
    ranged = {"Content-Range": f"{first}-{first + len(data) - 1}"}
    return http.patch(place, content=data, headers=ranged)


def begin(http: httpx.Client, repository: str = "app") -> str:
    place: str = http.post(f"/v2/{repository}/blobs/uploads/").headers["location"]
    return place


def image(media_type: str = MANIFEST, layer: str = "", **more: object) -> bytes:
    """A manifest of CONFIG, which has to be there, and perhaps a layer of the same bytes."""
    content = {"mediaType": "application/x", "digest": str(Digest.of(CONFIG)), "size": 2}
    layers = [{**content, "mediaType": layer}] if layer else []
    document = {"schemaVersion": 2, "mediaType": media_type, "config": content, "layers": layers}
    return json.dumps({**document, **more}).encode()


def index(*children: str, media_type: str = MANIFEST) -> bytes:
    found = [{"mediaType": media_type, "digest": digest, "size": 2} for digest in children]
    return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": found}).encode()


def put(
    http: httpx.Client, data: bytes, media_type: str = MANIFEST, target: str = "1"
) -> httpx.Response:
    headers = {"Content-Type": media_type}
    return http.put(f"/v2/app/manifests/{target}", content=data, headers=headers)


def codes(response: httpx.Response) -> list[str]:
    return [error["code"] for error in response.json()["errors"]]


@pytest.mark.parametrize(
    ("ranges", "told"),
    [
        ("strict", ["0-3", "0-7", "0-9"]),
        ("ghcr", ["0-3", "0-7", "0-9"]),
        ("ecr", ["0-3", "0-3", "0-3"]),
        ("zot", ["0-3", "0-3", "0-1"]),
        ("none", [None, None, None]),
    ],
)
def test_every_dialect_takes_chunks_and_tells_its_own_progress(
    open_client: Opener, ranges: str, told: list[str | None]
) -> None:
    """What it tells may be wrong; what it stores is not."""
    with LocalRegistry(dialect=Dialect(ranges=ranges)) as registry:  # type: ignore[arg-type]
        http = open_client(registry)
        place = begin(http)

        answers = [chunk(http, place, DATA[n : n + 4], n) for n in (0, 4, 8)]
        status = http.get(place)
        done = http.put(f"{place}&digest={Digest.of(DATA)}")

        assert [answer.status_code for answer in answers] == [202, 202, 202]
        assert [answer.headers.get("range") for answer in answers] == told
        assert status.headers.get("range") == told[-1]
        assert done.status_code == 201


def test_a_chunk_over_the_limit_is_out_of_range(open_client: Opener) -> None:
    """As GHCR: only chunks that state their range, and the upload goes on."""
    with LocalRegistry(dialect=Dialect(ranges="ghcr", chunk_limit=4)) as registry:
        http = open_client(registry)
        place = begin(http)

        refused = chunk(http, place, DATA, 0)
        taken = http.patch(place, content=DATA)

        assert (refused.status_code, taken.status_code) == (416, 202)
        assert taken.headers["range"] == "0-9"


def test_the_announced_limit_of_chunks_is_four_mebibytes() -> None:
    """The number that GHCR names."""
    assert Dialect().chunk_limit == 4 * 1024 * 1024


def test_a_wrong_range_is_appended_where_ranges_are_ignored(open_client: Opener) -> None:
    """Which the digest finds out."""
    with LocalRegistry(dialect=Dialect(ranges="none")) as registry:
        http = open_client(registry)
        place = begin(http)

        first, again = chunk(http, place, DATA, 0), chunk(http, place, DATA, 0)
        done = http.put(f"{place}&digest={Digest.of(DATA)}")

        assert (first.status_code, again.status_code) == (202, 202)
        assert codes(done) == ["DIGEST_INVALID"]


@pytest.mark.parametrize("announced", [True, False])
def test_a_body_over_the_limit_is_refused_as_by_a_proxy(
    open_client: Opener, announced: bool
) -> None:
    """413 and HTML, whether the length is said beforehand or not."""
    with LocalRegistry(dialect=Dialect(body_limit=9)) as registry:
        http = open_client(registry)
        place = begin(http)
        content = DATA if announced else iter((DATA[:5], DATA[5:]))

        refused = http.patch(place, content=content)
        taken = http.patch(begin(http), content=DATA[:9])

        assert (refused.status_code, taken.status_code) == (413, 202)
        assert refused.headers["content-type"] == "text/html"


def test_a_body_that_takes_too_long_is_cut(open_client: Opener) -> None:
    """As by a proxy's timeout: no answer, and what came is kept."""
    with LocalRegistry(dialect=Dialect(time_limit=0.0)) as registry:
        http = open_client(registry)
        place = begin(http)

        with pytest.raises(httpx.TransportError):
            http.patch(place, content=DATA)


def test_a_broken_chunk_may_count_for_nothing(open_client: Opener) -> None:
    """Some registries only keep what arrived whole."""
    for keeps, size in ((True, 9), (False, 4)):
        with LocalRegistry(dialect=Dialect(keeps_partial=keeps, body_limit=5)) as registry:
            http = open_client(registry)
            place = begin(http)
            http.patch(place, content=DATA[:4])

            http.patch(place, content=iter((DATA[:5], DATA[5:])))

            # The sixth byte of the second body has arrived when it is found to be too long.
            told = http.get(place).headers["range"]
            assert told == f"0-{size if keeps else size - 1}"


@pytest.mark.parametrize(
    ("locations", "expected"),
    [
        ("absolute", "http://127.0.0.1:{port}/v2/app/blobs/uploads/"),
        ("relative", "/v2/app/blobs/uploads/"),
        ("http", "http://127.0.0.1:{port}/v2/app/blobs/uploads/"),
        ("other-host", "http://localhost:{port}/v2/app/blobs/uploads/"),
    ],
)
def test_a_location_has_the_form_that_was_chosen(
    open_client: Opener, locations: str, expected: str
) -> None:
    """Always with a query that has to come back."""
    with LocalRegistry(dialect=Dialect(locations=locations)) as registry:  # type: ignore[arg-type]
        place = begin(open_client(registry))

        port = registry.host.partition(":")[2]
        assert place.startswith(expected.format(port=port))
        assert "?_state=" in place


@pytest.mark.parametrize("where", ["other-host", "other-port"])
def test_an_upload_elsewhere_needs_no_login(open_client: Opener, where: str) -> None:
    """The address is the permission, as with signed ones."""
    dialect = Dialect(locations=where)  # type: ignore[arg-type]
    with LocalRegistry(auth="basic", users={"ci": "pw"}, dialect=dialect) as registry:
        http = open_client(registry)
        place = http.post("/v2/app/blobs/uploads/", auth=("ci", "pw")).headers["location"]

        done = http.put(f"{place}&digest={Digest.of(DATA)}", content=DATA)

        assert done.status_code == 201
        assert not place.startswith(f"{registry.url}/")
        assert registry.requests[-1].scheme == ""


def test_another_host_refuses_a_login(open_client: Opener) -> None:
    """As an object store does: so a test sees credentials that were carried along."""
    with LocalRegistry(dialect=Dialect(locations="other-host")) as registry:
        http = open_client(registry)

        refused = http.get(begin(http), auth=("ci", "pw"))

        assert refused.status_code == 400


@pytest.mark.parametrize("where", ["other-host", "other-port"])
def test_a_download_elsewhere_is_a_redirect(open_client: Opener, where: str) -> None:
    """With ranges, and without a login."""
    dialect = Dialect(downloads=where)  # type: ignore[arg-type]
    with LocalRegistry(auth="basic", users={"ci": "pw"}, dialect=dialect) as registry:
        digest = registry.add_blob("app", DATA)
        http = open_client(registry)

        redirect = http.get(f"/v2/app/blobs/{digest}", auth=("ci", "pw"))
        place = redirect.headers["location"]
        part = http.get(place, headers={"Range": "bytes=4-"})
        forged = http.get(place.replace("signature=", "signature=x"))
        head = http.head(f"/v2/app/blobs/{digest}", auth=("ci", "pw"))

        assert redirect.status_code == 307
        assert (part.status_code, part.content) == (206, DATA[4:])
        assert (forged.status_code, head.status_code) == (403, 200)


def test_a_download_at_another_host_refuses_a_login(open_client: Opener) -> None:
    """A signature and a login at once are an error."""
    with LocalRegistry(dialect=Dialect(downloads="other-host")) as registry:
        digest = registry.add_blob("app", DATA)
        http = open_client(registry)

        place = http.get(f"/v2/app/blobs/{digest}").headers["location"]

        assert http.get(place, auth=("ci", "pw")).status_code == 400


@pytest.mark.parametrize("status", [201, 202, 400, 401, 403, 404, 405])
def test_a_mount_is_answered_as_told(open_client: Opener, status: int) -> None:
    """Only 201 mounts; 202 begins an upload; the others say no."""
    dialect = Dialect(mount_answer=status)  # type: ignore[arg-type]
    with LocalRegistry(dialect=dialect) as registry:
        digest = registry.add_blob("base", DATA)

        answer = open_client(registry).post(f"/v2/app/blobs/uploads/?mount={digest}&from=base")

        assert answer.status_code == status
        assert (registry.blob("app", digest) is not None) == (status == 201)
        assert registry.uploads_open == (status == 202)


def test_a_mount_refused_for_lack_of_a_login_has_a_challenge(open_client: Opener) -> None:
    """One that names both repositories."""
    dialect = Dialect(mount_answer=401)
    with LocalRegistry(
        auth="token", users={"ci": "pw"}, anonymous_pull=True, dialect=dialect
    ) as registry:
        http = open_client(registry)
        scopes = {"scope": ["repository:app:push", "repository:base:pull"]}
        token = http.get("/token", params=scopes, auth=("ci", "pw")).json()["token"]

        answer = http.post(
            f"/v2/app/blobs/uploads/?mount={Digest.of(DATA)}&from=base",
            headers={"Authorization": f"Bearer {token}"},
        )

        assert answer.status_code == 401
        assert "repository:base:pull" in answer.headers["www-authenticate"]


@pytest.mark.parametrize(
    ("rejected", "data", "media_type"),
    [
        ("oci", image(), MANIFEST),
        ("docker", image(DOCKER), DOCKER),
        ("zstd", image(layer="application/vnd.oci.image.layer.v1.tar+zstd"), MANIFEST),
        ("index", index(), INDEX),
        ("odd-index", index(str(Digest.of(CONFIG)), media_type="application/x"), INDEX),
    ],
)
@pytest.mark.parametrize("status", [400, 415])
def test_a_kind_of_manifest_is_rejected(
    open_client: Opener, rejected: str, data: bytes, media_type: str, status: int
) -> None:
    """And taken by a registry that has nothing against it."""
    found: list[int] = []
    for rejects in ({rejected}, set[str]()):
        dialect = Dialect(rejects=rejects, rejects_with=status)  # type: ignore[arg-type]
        with LocalRegistry(dialect=dialect) as registry:
            registry.add_blob("app", CONFIG)

            found.append(put(open_client(registry), data, media_type).status_code)

    assert found == [status, 201]


def test_a_subject_may_have_to_be_there_first(open_client: Opener) -> None:
    """GitLab's way, against the specification."""
    with LocalRegistry(dialect=Dialect(rejects={"subject-first"})) as registry:
        registry.add_blob("app", CONFIG)
        http = open_client(registry)
        plain = image()
        subject = {"mediaType": MANIFEST, "digest": str(Digest.of(plain)), "size": len(plain)}
        referrer = image(subject=subject)

        early = put(http, referrer, target="a")
        put(http, plain, target="b")
        late = put(http, referrer, target="a")

        assert codes(early) == ["MANIFEST_BLOB_UNKNOWN"]
        assert late.status_code == 201


def test_every_missing_reference_is_named(open_client: Opener) -> None:
    """One error each, unless the registry does not look."""
    gone = [str(Digest.of(bytes([n]))) for n in range(2)]
    with LocalRegistry() as strict, LocalRegistry(dialect=Dialect(accepts_missing=True)) as lax:
        refused = put(open_client(strict), index(*gone), INDEX)
        taken = put(open_client(lax), index(*gone), INDEX)

        named = [error["detail"]["digest"] for error in refused.json()["errors"]]
        assert named == gone
        assert taken.status_code == 201


@pytest.mark.parametrize(
    ("immutable", "status", "code", "word"),
    [
        ("tag", 400, "TAG_INVALID", "tag is immutable"),
        ("repository", 400, "TAG_INVALID", "repository is immutable"),
        ("rule", 412, "PRECONDITION", "rule"),
    ],
)
def test_a_tag_may_be_immutable(
    open_client: Opener, immutable: str, status: int, code: str, word: str
) -> None:
    """Also for the same bytes again; a digest can always be put."""
    dialect = Dialect(immutable=immutable)  # type: ignore[arg-type]
    with LocalRegistry(dialect=dialect) as registry:
        registry.add_blob("app", CONFIG)
        http = open_client(registry)
        first = put(http, image())

        again, other = put(http, image()), put(http, image(annotations={"a": "b"}))
        pinned = put(http, image(), target=str(Digest.of(image())))

        assert first.status_code == pinned.status_code == 201
        assert again.status_code == other.status_code == status
        assert codes(other) == [code]
        assert word in other.json()["errors"][0]["message"]


def test_tags_may_come_as_parameters(open_client: Opener) -> None:
    """With the next version of the specification; before, they are ignored."""
    with LocalRegistry() as now, LocalRegistry(dialect=Dialect(tag_parameters=True)) as later:
        target = f"{Digest.of(image())}?tag=1&tag=1.2"
        for registry in (now, later):
            registry.add_blob("app", CONFIG)

        ignored = put(open_client(now), image(), target=target)
        tagged = put(open_client(later), image(), target=target)

        assert "oci-tag" not in ignored.headers
        assert tagged.headers["oci-tag"] == "1, 1.2"
        assert (now.tags("app"), later.tags("app")) == ((), ("1", "1.2"))


def test_deleting_may_be_forbidden(open_client: Opener) -> None:
    """Content and uploads, each by itself."""
    with LocalRegistry(dialect=Dialect(deletes=False, cancels=False)) as registry:
        digest = registry.add_blob("app", CONFIG)
        http = open_client(registry)
        put(http, image())

        answers = [
            http.delete("/v2/app/manifests/1"),
            http.delete(f"/v2/app/blobs/{digest}"),
            http.delete(begin(http)),
        ]

        assert [answer.status_code for answer in answers] == [405, 405, 405]
        assert registry.tags("app") == ("1",)


def test_a_repository_may_have_to_exist(open_client: Opener) -> None:
    """No push makes one; the console does."""
    with LocalRegistry(repositories=["app"]) as registry:
        http = open_client(registry)

        known, unknown = http.post("/v2/app/blobs/uploads/"), http.post("/v2/new/blobs/uploads/")
        registry.create_repository("new")
        created = http.post("/v2/new/blobs/uploads/")

        assert codes(unknown) == ["NAME_UNKNOWN"]
        assert (known.status_code, unknown.status_code, created.status_code) == (202, 404, 202)
        assert registry.repositories == ("app", "new")

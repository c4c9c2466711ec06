"""Faults that interrupt, lie or limit, as a client of LocalRegistry sees them."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx
import pytest

from buildpush.oci import Digest
from buildpush.testing import (
    Close,
    CorruptUpload,
    DropUpload,
    Fault,
    Hang,
    LocalRegistry,
    Present,
    RateLimit,
    Status,
)

DATA = bytes(range(256)) * 1024


def begin(http: httpx.Client) -> str:
    place: str = http.post("/v2/app/blobs/uploads/").headers["location"]
    return place


def pieces() -> Iterator[bytes]:
    yield from (DATA[n : n + 4096] for n in range(0, len(DATA), 4096))


def test_an_answer_may_come_in_the_middle_of_a_body(
    http: httpx.Client, local_registry: LocalRegistry
) -> None:
    """What had arrived is kept; the rest is not waited for."""
    fault = local_registry.inject(
        Fault(method="PATCH", action=Status(503, after=5000), path="/uploads/")
    )
    place = begin(http)

    answer = http.patch(place, content=DATA, headers={"Content-Length": str(len(DATA))})
    told = http.get(place).headers["range"]

    assert answer.status_code == 503
    assert (fault.fired, told) == (1, "0-4999")


def test_a_login_may_run_out_in_the_middle_of_a_body() -> None:
    """The answer tells how to get another."""
    with (
        LocalRegistry(auth="token", users={"ci": "pw"}) as registry,
        httpx.Client(base_url=registry.url, trust_env=False) as http,
    ):
        scope = {"scope": "repository:app:pull,push"}
        token = http.get("/token", params=scope, auth=("ci", "pw")).json()["token"]
        http.headers["Authorization"] = f"Bearer {token}"
        registry.inject(Fault(method="PUT", action=Status(401, after=1)))

        answer = http.put(f"{begin(http)}&digest={Digest.of(DATA)}", content=DATA)

        assert answer.status_code == 401
        assert "repository:app:pull,push" in answer.headers["www-authenticate"]


def test_a_short_body_meets_its_fault_at_the_end(
    http: httpx.Client, local_registry: LocalRegistry
) -> None:
    """The fault is not lost because there was less to interrupt."""
    local_registry.inject(Fault(method="PATCH", action=Status(500, after=1 << 30)))

    assert http.patch(begin(http), content=DATA).status_code == 500


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("json", "application/json; charset=utf-8"),
        ("text", "text/plain; charset=utf-8"),
        ("html", "text/html"),
        ("", "application/json"),
    ],
)
def test_a_rate_limit_speaks_in_several_ways(
    http: httpx.Client, local_registry: LocalRegistry, body: str, kind: str
) -> None:
    """Only one of them is the specification's."""
    local_registry.inject(Fault(RateLimit(2, body=body)))  # type: ignore[arg-type]

    answer = http.get("/v2/")

    assert (answer.status_code, answer.headers["retry-after"]) == (429, "2")
    assert answer.headers["content-type"] == kind
    assert bool(answer.content) == bool(body)


def test_a_rate_limit_may_name_a_date(http: httpx.Client, local_registry: LocalRegistry) -> None:
    """Or no time at all."""
    local_registry.inject(Fault(RateLimit(3600, date=True)))
    local_registry.inject(Fault(RateLimit(None)))

    dated, silent = http.get("/v2/"), http.get("/v2/")

    until = parsedate_to_datetime(dated.headers["retry-after"])
    assert 3500 < (until - datetime.now(UTC)).total_seconds() <= 3601
    assert "retry-after" not in silent.headers


@pytest.mark.parametrize("handled", [True, False])
def test_a_connection_may_end_without_an_answer(
    http: httpx.Client, local_registry: LocalRegistry, handled: bool
) -> None:
    """Whether the request was carried out or not is not to be seen from outside."""
    local_registry.inject(Fault(method="POST", action=Close(handled=handled)))

    with pytest.raises(httpx.RemoteProtocolError):
        http.post("/v2/app/blobs/uploads/")

    assert local_registry.uploads_open == handled


def test_a_body_may_be_cut_off_without_a_reset(
    http: httpx.Client, local_registry: LocalRegistry
) -> None:
    """An end of file after all of it: the client waits for an answer in vain."""
    local_registry.inject(Fault(method="PATCH", action=DropUpload(len(DATA), reset=False)))

    with pytest.raises(httpx.RemoteProtocolError):
        http.patch(begin(http), content=pieces(), headers={"Content-Length": str(len(DATA))})


def test_a_byte_may_change_on_the_way_in(
    http: httpx.Client, local_registry: LocalRegistry
) -> None:
    """The registry finds out, and the upload is gone; the next one is well."""
    local_registry.inject(Fault(method="PUT", action=CorruptUpload(200_000)))
    place = begin(http)

    bad = http.put(f"{place}&digest={Digest.of(DATA)}", content=DATA)
    gone = http.get(place)
    good = http.put(f"{begin(http)}&digest={Digest.of(DATA)}", content=DATA)

    assert bad.json()["errors"][0]["code"] == "DIGEST_INVALID"
    assert (bad.status_code, gone.status_code, good.status_code) == (400, 404, 201)
    assert local_registry.blob("app", Digest.of(DATA)) == DATA


@pytest.mark.parametrize(
    ("path", "digest"),
    [
        (f"/v2/app/blobs/{Digest.of(DATA)}", str(Digest.of(DATA))),
        ("/v2/app/manifests/1", f"sha256:{'a' * 64}"),
    ],
)
def test_a_head_may_lie(
    http: httpx.Client, local_registry: LocalRegistry, path: str, digest: str
) -> None:
    """It says what is not there; GET tells the truth."""
    lie = Present(size=7, digest=f"sha256:{'a' * 64}")
    local_registry.inject(Fault(method="HEAD", action=lie))

    head, get = http.head(path), http.get(path)

    assert (head.status_code, get.status_code) == (200, 404)
    assert head.headers["docker-content-digest"] == digest
    assert head.headers["content-length"] == "7"


def test_a_fault_may_strike_now_and_then(
    http: httpx.Client, local_registry: LocalRegistry
) -> None:
    """Every third time, after the first one was let pass."""
    fault = local_registry.inject(Fault(Status(500), skip=1, every=3, times=None))

    seen = [http.get("/v2/").status_code for _ in range(7)]

    assert seen == [200, 200, 200, 500, 200, 200, 500]
    assert fault.fired == 2


def test_requests_in_flight_are_counted(http: httpx.Client, local_registry: LocalRegistry) -> None:
    """A client that asks one thing after the other is never seen twice at once."""
    for _ in itertools.repeat(None, 50):
        http.get("/v2/")
    during = local_registry.traffic
    http.close()

    assert (during.peak_requests, during.requests) == (1, 0)
    assert (during.connections, during.peak_connections, during.opened) == (1, 1, 1)


def test_requests_at_once_are_counted(http: httpx.Client, local_registry: LocalRegistry) -> None:
    """Also those whose answer takes its time; the peak is forgotten with the log."""
    faults = [local_registry.inject(Fault(Hang())) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(http.get, "/v2/") for _ in faults]
        assert all(fault.wait() for fault in faults)
        during = local_registry.traffic
        for fault in faults:
            fault.release()
    assert [answer.result().status_code for answer in asked] == [200] * 3
    peak = local_registry.traffic.peak_requests
    local_registry.clear_log()

    assert (during.requests, peak) == (3, 3)
    assert local_registry.traffic.peak_requests == 0


def test_the_log_says_who_was_where(local_registry: LocalRegistry, http: httpx.Client) -> None:
    """Repository by repository, and when."""
    http.post("/v2/base/blobs/uploads/", auth=("anna", "pw"))
    http.get("/v2/team/app/tags/list", auth=("bert", "pw"))
    http.get("/v2/team/app/tags/list")

    first, second, third = local_registry.requests
    assert local_registry.principals("team/app") == {"bert", ""}
    assert local_registry.principals("team/app", "PUT", "POST") == frozenset()
    assert local_registry.principals("base", "POST") == {"anna"}
    assert (first.repository, first.scheme, third.scheme) == ("base", "basic", "")
    assert first.at <= second.at <= third.at


def test_the_log_may_be_short() -> None:
    """So that a long run does not grow."""
    with (
        LocalRegistry(log_limit=2) as registry,
        httpx.Client(base_url=registry.url, trust_env=False) as http,
    ):
        for path in ("/v2/", "/v2/a/tags/list", "/v2/b/tags/list"):
            http.get(path)

        assert [request.repository for request in registry.requests] == ["a", "b"]


def test_a_blob_can_be_lost(http: httpx.Client, local_registry: LocalRegistry) -> None:
    """As by a garbage collection that was too eager."""
    digest = local_registry.add_blob("app", DATA)

    assert local_registry.delete_blob("app", digest)
    assert not local_registry.delete_blob("app", digest)
    assert http.head(f"/v2/app/blobs/{digest}").status_code == 404


def test_what_cannot_be_a_tag_is_not_found(http: httpx.Client) -> None:
    """Asking for it is no mistake; putting it is."""
    asked = http.get("/v2/app/manifests/.no"), http.delete("/v2/app/manifests/.no")

    assert [answer.status_code for answer in asked] == [404, 404]

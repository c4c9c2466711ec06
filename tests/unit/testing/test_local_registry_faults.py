"""What LocalRegistry does wrong when it is told to, as a client sees it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import httpx
import pytest

from buildpush.oci import Digest
from buildpush.testing import (
    DropUpload,
    Fault,
    FlipByte,
    Hang,
    LocalRegistry,
    ReplaceHeaders,
    Reset,
    Slow,
    Status,
    Truncate,
    WrongDigest,
)

DATA = bytes(range(256)) * 8192  # 2 MiB: several chunks
DIGEST = Digest.of(DATA)
BLOB = f"/v2/app/blobs/{DIGEST}"


@pytest.fixture
def registry(local_registry: LocalRegistry) -> LocalRegistry:
    """A registry that holds DATA in the repository app."""
    local_registry.add_blob("app", DATA)
    return local_registry


def begin(http: httpx.Client) -> str:
    place: str = http.post("/v2/app/blobs/uploads/").headers["location"]
    return place


def upload(http: httpx.Client, place: str, digest: Digest = DIGEST) -> httpx.Response:
    def chunks() -> Iterator[bytes]:
        for start in range(0, len(DATA), 1 << 16):
            yield DATA[start : start + (1 << 16)]

    headers = {"Content-Length": str(len(DATA))}
    return http.put(f"{place}&digest={digest}", content=chunks(), headers=headers)


def test_a_status_instead_of_an_answer(registry: LocalRegistry, http: httpx.Client) -> None:
    """With the codes and headers of a real refusal, as often as asked."""
    fault = registry.inject(Fault(Status(429, headers={"Retry-After": "3"}), times=2))

    first, second, third = (http.get("/v2/") for _ in range(3))

    assert [first.status_code, second.status_code, third.status_code] == [429, 429, 200]
    assert first.headers["retry-after"] == "3"
    assert first.json()["errors"][0]["code"] == "TOOMANYREQUESTS"
    assert fault.fired == 2
    assert [request.status for request in registry.requests] == [429, 429, 200]


@pytest.mark.parametrize(
    ("action", "code"),
    [
        (Status(503), "UNAVAILABLE"),
        (Status(418), "UNKNOWN"),
        (Status(400, ("SIZE_INVALID", "DENIED")), "SIZE_INVALID"),
    ],
)
def test_a_status_has_a_code(
    registry: LocalRegistry, http: httpx.Client, action: Status, code: str
) -> None:
    """Its own, or what is usual for the number."""
    registry.inject(Fault(action))

    assert http.get("/v2/").json()["errors"][0]["code"] == code


def test_a_status_may_have_any_body(registry: LocalRegistry, http: httpx.Client) -> None:
    """Such as a proxy's HTML."""
    registry.inject(Fault(Status(502, body=b"<html>", headers={"Content-Type": "text/html"})))

    response = http.get("/v2/")

    assert (response.content, response.headers["content-type"]) == (b"<html>", "text/html")


def test_a_status_lets_the_body_come_first(registry: LocalRegistry, http: httpx.Client) -> None:
    """The whole upload is received, and refused; the connection can be used again."""
    place = begin(http)
    registry.inject(Fault(Status(500), method="PUT"))

    response = upload(http, place)

    assert response.status_code == 500
    assert registry.requests[-1].bytes_received == len(DATA)
    assert upload(http, place).status_code == 201


def test_an_early_status_does_not_read_the_body(
    registry: LocalRegistry, http: httpx.Client
) -> None:
    """As a registry that looks at the headers only: the answer, and the end of the connection."""
    place = begin(http)
    registry.inject(Fault(Status(413, early=True), method="PUT"))

    response = upload(http, place)

    assert response.status_code == 413
    assert response.headers["connection"] == "close"
    assert registry.requests[-1].bytes_received == 0
    assert http.get("/v2/").status_code == 200


def test_a_fault_picks_its_requests(registry: LocalRegistry, http: httpx.Client) -> None:
    """By method, path and query, after some that pass."""
    fault = registry.inject(
        Fault(
            Status(500),
            method="GET|HEAD",
            path="/tags/list$",
            query="n=1",
            skip=1,
            times=None,
        )
    )
    paths = ["/v2/", "/v2/app/tags/list", *["/v2/app/tags/list?n=1"] * 3]

    statuses = [http.get(path).status_code for path in paths]
    posted = http.post("/v2/app/tags/list?n=1").status_code

    assert statuses == [200, 200, 200, 500, 500]
    assert posted == 405
    assert fault.fired == 2


def test_the_first_fault_that_fits_wins(registry: LocalRegistry, http: httpx.Client) -> None:
    """The second gets its turn when the first is used up."""
    registry.inject(Fault(Status(500)))
    registry.inject(Fault(Status(501)))

    assert [http.get("/v2/").status_code for _ in range(3)] == [500, 501, 200]


def test_faults_can_be_disarmed(registry: LocalRegistry, http: httpx.Client) -> None:
    """All at once."""
    registry.inject(Fault(Status(500), times=None))

    registry.faults.clear()

    assert http.get("/v2/").status_code == 200


def test_a_reset_before_the_answer(registry: LocalRegistry, http: httpx.Client) -> None:
    """ECONNRESET; nothing was done."""
    place = begin(http)
    registry.inject(Fault(Reset(), method="DELETE"))

    with pytest.raises(httpx.ReadError):
        http.delete(place)

    assert registry.uploads_open == 1
    assert registry.requests[-1].status == 0


def test_a_reset_that_loses_the_answer(registry: LocalRegistry, http: httpx.Client) -> None:
    """ECONNRESET; but it was done."""
    place = begin(http)
    registry.inject(Fault(Reset(handled=True), method="DELETE"))

    with pytest.raises(httpx.ReadError):
        http.delete(place)

    assert registry.uploads_open == 0


@pytest.mark.parametrize("after", [0, 10, 1_500_000])
def test_a_reset_in_the_middle_of_an_answer(
    registry: LocalRegistry, http: httpx.Client, after: int
) -> None:
    """Headers and no more than that many bytes arrive."""
    registry.inject(Fault(Reset(after=after), path="/blobs/"))
    received = 0

    def fetch() -> None:
        nonlocal received
        with http.stream("GET", BLOB) as response:
            assert response.headers["content-length"] == str(len(DATA))
            for chunk in response.iter_raw():
                received += len(chunk)

    with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
        fetch()
    assert received <= after


@pytest.mark.parametrize("after", [0, 10, 1_500_000])
def test_a_truncated_answer(registry: LocalRegistry, http: httpx.Client, after: int) -> None:
    """The whole length is announced, exactly that many bytes come, and the connection ends."""
    registry.inject(Fault(Truncate(after), path="/blobs/"))
    received = bytearray()

    def fetch() -> None:
        with http.stream("GET", BLOB) as response:
            assert response.headers["content-length"] == str(len(DATA))
            for chunk in response.iter_raw():
                received.extend(chunk)

    with pytest.raises(httpx.RemoteProtocolError):
        fetch()
    assert received == DATA[:after]


@pytest.mark.parametrize(("at", "place"), [(0, 0), (1_200_000, 1_200_000), (-1, len(DATA) - 1)])
def test_a_wrong_byte(registry: LocalRegistry, http: httpx.Client, at: int, place: int) -> None:
    """The right length, one byte changed."""
    registry.inject(Fault(FlipByte(at), path="/blobs/"))

    content = http.get(BLOB).content

    assert len(content) == len(DATA)
    assert [i for i, (a, b) in enumerate(zip(content, DATA, strict=True)) if a != b] == [place]


def test_a_wrong_digest_header(registry: LocalRegistry, http: httpx.Client) -> None:
    """The right bytes under a false name."""
    registry.inject(Fault(WrongDigest()))

    response = http.get(BLOB)

    assert response.headers["docker-content-digest"] == f"sha256:{'0' * 64}"
    assert response.content == DATA


def test_replaced_headers(registry: LocalRegistry, http: httpx.Client) -> None:
    """Set one, remove one, whatever their case."""
    registry.inject(
        Fault(ReplaceHeaders({"docker-CONTENT-digest": None, "content-type": "text/plain"}))
    )

    response = http.get(BLOB)

    assert "docker-content-digest" not in response.headers
    assert response.headers["content-type"] == "text/plain"


def test_an_upload_that_is_cut_off_can_be_resumed(
    registry: LocalRegistry, http: httpx.Client
) -> None:
    """What has arrived is kept, and the registry says how much."""
    place = begin(http)
    fault = registry.inject(Fault(DropUpload(100_000), method="PATCH"))

    with pytest.raises((httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError)):
        http.patch(place, content=DATA)

    assert fault.fired == 1
    assert http.get(place).headers["range"] == "0-99999"
    assert registry.requests[-2].bytes_received == 100_000


def test_an_upload_can_be_cut_off_at_once(registry: LocalRegistry, http: httpx.Client) -> None:
    """Before its first byte."""
    place = begin(http)
    registry.inject(Fault(DropUpload(0), method="PUT"))

    with pytest.raises((httpx.WriteError, httpx.ReadError, httpx.RemoteProtocolError)):
        upload(http, place)

    assert registry.requests[-1].bytes_received == 0


def test_a_hang_lasts_until_it_is_released(
    registry: LocalRegistry, open_client: Callable[[LocalRegistry], httpx.Client]
) -> None:
    """Then everything goes on as usual."""
    fault = registry.inject(Fault(Hang()))
    client = open_client(registry)
    answers: list[int] = []
    waiter = threading.Thread(target=lambda: answers.append(client.get("/v2/").status_code))
    waiter.start()
    hit = fault.wait()
    before = list(answers)

    fault.release()
    waiter.join()

    assert hit
    assert (before, answers) == ([], [200])


def test_a_fault_that_has_not_fired_is_not_waited_for_longer(registry: LocalRegistry) -> None:
    """`wait` says whether it has."""
    assert not registry.inject(Fault(Hang())).wait(0)


def test_slow_bodies_arrive_whole(registry: LocalRegistry, http: httpx.Client) -> None:
    """In both directions; only the pace differs."""
    place = begin(http)
    fault = registry.inject(Fault(Slow(seconds=0.001, bytes_per_second=1e9), times=None))

    sent = upload(http, place)
    got = http.get(BLOB)

    assert (sent.status_code, got.content) == (201, DATA)
    assert fault.fired == 2


def test_a_slow_answer_only_comes_later(registry: LocalRegistry, http: httpx.Client) -> None:
    """Without a rate, bodies move as usual."""
    fault = registry.inject(Fault(Slow(seconds=0.001)))

    assert http.get(BLOB).content == DATA
    assert fault.fired == 1

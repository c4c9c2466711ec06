"""Fetching a file by URL: verified, bounded, revalidated, never less secure than asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from attrs import evolve

from buildpush.errors import (
    DigestMismatchError,
    NotFoundError,
    RegistryError,
    RegistryUnavailableError,
)
from buildpush.oci import Digest
from buildpush.registry.download import Downloaded, download
from buildpush.runtime import CancelToken, Environment, Run
from buildpush.runtime.retry import RetryPolicy

DATA = b"the file"
QUICK = RetryPolicy(attempts=3, first_wait=0.0, longest_wait=0.0)
Handler = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def serving(answer: Handler) -> Iterator[str]:
    """A web server on this machine whose GETs are answered by *answer*."""

    class Server(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def reply(
    handler: BaseHTTPRequestHandler, status: int = 200, body: bytes = DATA, **headers: str
) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    environment = evolve(Environment.current(), variables={})
    return Run(
        workdir=tmp_path, cancel=CancelToken(), sink=lambda _: None, environment=environment
    )


def test_a_file_is_written_with_what_is_known(run: Run, tmp_path: Path) -> None:
    """Digest, size, age and validator."""
    age = "Thu, 01 Jan 1970 00:01:00 GMT"
    with serving(lambda h: reply(h, ETag='"e"', Last_Modified=age)) as url:
        found = download(f"{url}/x", tmp_path / "f", run=run)

    assert (tmp_path / "f").read_bytes() == DATA
    assert found == Downloaded(digest=Digest.of(DATA), size=8, modified=60, etag='"e"')


def test_redirects_are_followed(run: Run, tmp_path: Path) -> None:
    """On the same machine, plain HTTP may stay plain."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path == "/a":
            reply(handler, 302, b"", Location="/b")
        else:
            reply(handler)

    with serving(answer) as url:
        found = download(f"{url}/a", tmp_path / "f", run=run)

    assert found is not None and found.size == len(DATA)


def test_an_unchanged_file_is_not_sent_again(run: Run, tmp_path: Path) -> None:
    """None says so."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.headers["If-None-Match"] == '"e"':
            reply(handler, 304, b"")
        else:
            reply(handler)

    with serving(answer) as url:
        same = download(f"{url}/x", tmp_path / "f", run=run, etag='"e"')
        other = download(f"{url}/x", tmp_path / "f", run=run, etag='"old"')

    assert same is None
    assert other is not None


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_a_checksum_is_checked(run: Run, tmp_path: Path, algorithm: str) -> None:
    """Whatever hash it is; wrong bytes are removed."""
    import hashlib

    right = Digest(f"{algorithm}:{hashlib.new(algorithm, DATA).hexdigest()}")
    wrong = Digest(f"{algorithm}:{hashlib.new(algorithm, b'x').hexdigest()}")
    with serving(reply) as url:
        found = download(f"{url}/x", tmp_path / "f", run=run, checksum=right)
        with pytest.raises(DigestMismatchError):
            download(f"{url}/x", tmp_path / "g", run=run, checksum=wrong)

    assert found is not None
    assert not (tmp_path / "g").exists()


def test_a_file_may_be_too_large(run: Run, tmp_path: Path) -> None:
    """Nobody's disk is filled."""
    with serving(reply) as url, pytest.raises(RegistryError, match="more than 3 bytes"):
        download(f"{url}/x", tmp_path / "f", run=run, limit=3)

    assert not (tmp_path / "f").exists()


@pytest.mark.parametrize(
    ("status", "kind"),
    [(404, NotFoundError), (410, NotFoundError), (403, RegistryError), (400, RegistryError)],
)
def test_a_refusal_is_final(
    run: Run, tmp_path: Path, status: int, kind: type[RegistryError]
) -> None:
    """It is not asked for again."""
    asked: list[str] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked.append(handler.path)
        reply(handler, status)

    with serving(answer) as url, pytest.raises(kind, match=str(status)):
        download(f"{url}/x?token=secret", tmp_path / "f", run=run, policy=QUICK)

    assert len(asked) == 1


def test_a_server_error_is_tried_again(run: Run, tmp_path: Path) -> None:
    """Until it works."""
    statuses = iter([503, 500, 200])

    with serving(lambda h: reply(h, next(statuses))) as url:
        found = download(f"{url}/x", tmp_path / "f", run=run, policy=QUICK)

    assert found is not None


def test_a_short_body_is_no_file(run: Run, tmp_path: Path) -> None:
    """The connection broke off."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(DATA)

    with serving(answer) as url, pytest.raises(RegistryUnavailableError):
        download(f"{url}/x", tmp_path / "f", run=run, policy=QUICK)

    assert not (tmp_path / "f").exists()


def test_the_query_stays_out_of_messages(run: Run, tmp_path: Path) -> None:
    """It may hold a signature."""
    with serving(lambda h: reply(h, 404)) as url, pytest.raises(NotFoundError) as caught:
        download(f"{url}/x?sig=hunter2", tmp_path / "f", run=run)

    assert "hunter2" not in caught.value.report()


@pytest.mark.parametrize("age", ["", "yesterday"])
def test_an_unknown_age_is_none(run: Run, tmp_path: Path, age: str) -> None:
    """A header that is no date is no date."""
    with serving(lambda h: reply(h, Last_Modified=age)) as url:
        found = download(f"{url}/x", tmp_path / "f", run=run)

    assert found is not None and found.modified is None

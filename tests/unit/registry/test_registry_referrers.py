"""Listing what refers to an image: page after page, from the registry alone."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from buildpush.errors import RegistryError
from buildpush.oci import Digest, ImageReference
from buildpush.oci.wire import Descriptor, Index, MediaType, dump
from buildpush.registry import RegistryClient

SUBJECT = Digest.of(b"subject")
FIRST = Descriptor(media_type=MediaType.OCI_MANIFEST, digest=Digest.of(b"1"), size=1)
SECOND = Descriptor(media_type=MediaType.OCI_MANIFEST, digest=Digest.of(b"2"), size=1)


@contextmanager
def pages(link: Callable[[str], str]) -> Iterator[str]:
    """A registry of two pages, whose first says by *link* where the second is; its host."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            second = self.path.endswith("page=2")
            body = dump(Index(manifests=(SECOND if second else FIRST,)))
            self.send_response(200)
            self.send_header("Content-Type", MediaType.OCI_INDEX)
            self.send_header("Content-Length", str(len(body)))
            if not second:
                self.send_header("Link", link(self.path))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def test_every_page_is_read(client: RegistryClient, ref: Callable[[str], ImageReference]) -> None:
    """Following the registry's own links."""
    with pages(lambda path: f'<{path}?page=2>; rel="next"') as host:
        found = client.referrers(ref(f"{host}/app").repository, SUBJECT)

    assert found == (FIRST, SECOND)


@pytest.mark.parametrize(
    ("link", "message"),
    [
        (lambda path: '<http://localhost:1/x>; rel="next"', "somewhere else"),
        (lambda path: f'<{path}>; rel="next"', "does not end"),
    ],
)
def test_a_link_that_leads_astray_is_not_followed(
    client: RegistryClient,
    ref: Callable[[str], ImageReference],
    link: Callable[[str], str],
    message: str,
) -> None:
    """To another server, or round in circles."""
    with pages(link) as host, pytest.raises(RegistryError, match=message):
        client.referrers(ref(f"{host}/app").repository, SUBJECT)

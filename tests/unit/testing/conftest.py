"""A plain HTTP client for what the testing package serves."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from buildpush.oci import Digest
from buildpush.testing import LocalRegistry

Opener = Callable[[LocalRegistry], httpx.Client]


@pytest.fixture
def open_client() -> Iterator[Opener]:
    """Make clients that are closed when the test ends."""
    clients: list[httpx.Client] = []

    def open_(registry: LocalRegistry) -> httpx.Client:
        client = httpx.Client(base_url=registry.url, verify=False, trust_env=False, timeout=10)
        clients.append(client)
        return client

    yield open_
    for client in clients:
        client.close()


@pytest.fixture
def http(local_registry: LocalRegistry, open_client: Opener) -> httpx.Client:
    """A client of `local_registry`."""
    return open_client(local_registry)


@pytest.fixture
def put_blob(http: httpx.Client) -> Callable[[str, bytes], Digest]:
    """Upload a blob the usual way: POST, then PUT with the body."""

    def put(repository: str, data: bytes) -> Digest:
        digest = Digest.of(data)
        place = http.post(f"/v2/{repository}/blobs/uploads/").headers["location"]
        done = http.put(f"{place}&digest={digest}", content=data)
        assert done.status_code == 201
        return digest

    return put

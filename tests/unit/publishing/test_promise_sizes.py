"""What is promised of layers that are too large for a registry, against real sockets."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from buildpush.errors import BlobTooLargeError
from buildpush.oci.wire import Descriptor, Manifest, MediaType, dump
from buildpush.registry import limits
from buildpush.testing import Dialect, LocalRegistry

Start = Callable[..., LocalRegistry]
Send = Callable[..., Any]

SMALL, LARGE = b"small", bytes(400_000)
HISTORY = b"""{"os":"linux","history":[
{"created_by":"COPY small /"},{"created_by":"ENV A=1","empty_layer":true},
{"created_by":"RUN   fetch --all"}]}"""


@pytest.fixture
def image(layout: Any) -> Descriptor:
    """Two layers, of which `RUN fetch --all` made the large one."""
    manifest = Manifest(
        media_type=MediaType.OCI_MANIFEST,
        config=layout.add_bytes(HISTORY, MediaType.OCI_CONFIG),
        layers=tuple(layout.add_bytes(data, MediaType.OCI_LAYER_GZIP) for data in (SMALL, LARGE)),
    )
    added: Descriptor = layout.add_bytes(dump(manifest), manifest.media_type)
    return added


def test_a_layer_that_a_registry_refuses_names_its_instruction(
    send: Send, image: Descriptor, registries: Start
) -> None:
    """Chunks were tried once and are refused, too: the Dockerfile has to change."""
    registry = registries(dialect=Dialect(body_limit=10_000))

    with pytest.raises(BlobTooLargeError) as caught:
        send(image, registry.reference("app:1"))

    assert caught.value.instruction == "RUN fetch --all"
    assert caught.value.size == len(LARGE)
    assert str(caught.value).endswith("; it was made by: RUN fetch --all")


def test_a_layer_over_a_known_limit_is_refused_before_anything_is_sent(
    send: Send, image: Descriptor, registries: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also not the layers that would fit; the error has both numbers."""
    registry = registries()
    known = ((re.compile(re.escape(registry.host)), 300_000),)
    monkeypatch.setattr(limits, "_LIMITS", known)

    with pytest.raises(BlobTooLargeError, match="RUN fetch --all") as caught:
        send(image, registry.reference("app:1"))

    assert (caught.value.size, caught.value.limit) == (len(LARGE), 300_000)
    assert registry.host in caught.value.message
    assert {request.method for request in registry.requests} <= {"GET", "HEAD"}


def test_a_layer_without_a_history_is_refused_all_the_same(
    send: Send, images: Any, registries: Start
) -> None:
    """By its digest and its size."""
    registry = registries(dialect=Dialect(body_limit=10_000))

    with pytest.raises(BlobTooLargeError) as caught:
        send(images.image(LARGE), registry.reference("app:1"))

    assert caught.value.instruction == ""
    assert caught.value.digest in caught.value.message

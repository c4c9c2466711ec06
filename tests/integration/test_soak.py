"""Thousands of pushes through a registry that fails at every tenth request lose nothing."""

from __future__ import annotations

import gc
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import buildpush
from buildpush import Credential, ImageReference, StaticKeychain
from buildpush.oci.layout import Layout
from buildpush.oci.wire import Manifest, MediaType, parse_manifest
from buildpush.testing import LocalRegistry, random_image
from buildpush.testing.faults import (
    Action,
    Close,
    CorruptUpload,
    DropUpload,
    Fault,
    Present,
    RateLimit,
    Reset,
    Slow,
    Status,
    Truncate,
)

PUSHES = 2000
AT_ONCE = 16
WARM = 200
IMAGES = 50

# Each strikes once in so many of the requests that it is about: together, one in ten.
KINDS: tuple[tuple[Action, str, str, int], ...] = (
    (Status(500), "", "", 120),
    (Status(502), "", "", 120),
    (Status(503), "", "", 120),
    (Status(504), "", "", 120),
    (RateLimit(0), "", "", 120),
    (RateLimit(0, date=True, body="html"), "", "", 120),
    (Reset(), "", "", 120),
    (Close(), "", "", 120),
    (Slow(seconds=0.02), "", "", 120),
    (Reset(handled=True), "PUT|POST|PATCH", "", 60),
    (Close(handled=True), "PUT|POST|PATCH", "", 60),
    (Status(401, after=20), "PUT|PATCH", "/blobs/uploads/", 60),
    (Status(500, after=20), "PUT|PATCH", "/blobs/uploads/", 60),
    (DropUpload(20), "PUT|PATCH", "/blobs/uploads/", 60),
    (CorruptUpload(0), "PUT|PATCH", "/blobs/uploads/", 60),
    (Present(), "HEAD", "/blobs/", 60),
    (Truncate(10), "GET", "/manifests/", 60),
)


def images(folder: Path) -> list[tuple[Path, str]]:
    """Layouts with one small image each, and its digest."""
    made = []
    for number in range(IMAGES):
        layout = Layout.create(folder / str(number))
        digest = random_image(layout, layers=2, size=200, seed=number)
        made.append((folder / str(number), str(digest)))
    return made


def growth() -> tuple[int, int, int]:
    """Threads, open files, and resident memory in MiB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    open_files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - nothing of it is a path
    return threading.active_count(), open_files, pages * os.sysconf("SC_PAGE_SIZE") >> 20


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_thousand_pushes_through_faults_of_every_kind(tmp_path: Path) -> None:
    """None is lost, none is corrupt, and nothing grows."""
    sources = images(tmp_path / "images")
    with LocalRegistry(
        auth="token", users={"ci": "s3cret"}, token_lifetime=2.0, log_limit=1000
    ) as registry:
        keychain = StaticKeychain(
            prefix=registry.host, credential=Credential(username="ci", password="s3cret")
        )
        faults = [
            registry.inject(Fault(action, method=method, path=path, every=every, times=None))
            for action, method, path, every in KINDS
        ]

        def push(number: int) -> tuple[ImageReference, str]:
            folder, digest = sources[number % IMAGES]
            reference = registry.reference(f"team{number % 40}/app{number % 7}:{number}")
            result = buildpush.push(folder, [reference], auth=[keychain], retries=10)
            assert str(result.digest) == digest
            return result.references[0], digest

        def push_all(numbers: range) -> list[tuple[ImageReference, str]]:
            with ThreadPoolExecutor(AT_ONCE) as pool:
                return list(pool.map(push, numbers))

        pushed = push_all(range(WARM))
        before = growth()
        pushed += push_all(range(WARM, PUSHES))
        after = growth()

        assert [fault for fault in faults if not fault.fired] == []
        assert len({reference for reference, _ in pushed}) == PUSHES
        for reference, digest in pushed:
            path = reference.repository.path
            assert str(registry.digest(path, reference.tag)) == digest
            data = registry.manifest(path, digest)
            assert data is not None
            manifest = parse_manifest(data, MediaType.OCI_MANIFEST)
            assert isinstance(manifest, Manifest)
            for blob in (manifest.config, *manifest.layers):
                assert registry.blob(path, blob.digest) is not None
    threads, files, memory = (now - then for now, then in zip(after, before, strict=True))
    assert threads <= 2
    assert files <= 8
    assert memory <= 64

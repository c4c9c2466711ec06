"""`pull_image`: layers become files as a container would see them."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile

import pytest

from buildpush.oci import Digest
from buildpush.testing import LocalRegistry, pull_image
from buildpush.testing.conformance.pulled import read_layer

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


def tar(*entries: tuple[str, bytes, str]) -> bytes:
    """A layer of (name, type, content or link)."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, kind, text in entries:
            info = tarfile.TarInfo(name)
            info.type = kind
            if kind == tarfile.REGTYPE:
                info.size = len(text)
            elif kind in (tarfile.LNKTYPE, tarfile.SYMTYPE):
                info.linkname = text
            archive.addfile(info, io.BytesIO(text.encode()))
    return stream.getvalue()


def put(registry: LocalRegistry, tag: str, *layers: bytes, arch: str = "amd64") -> Digest:
    def blob(data: bytes, kind: str) -> dict[str, object]:
        digest = registry.add_blob("acme/app", data)
        return {"mediaType": kind, "digest": str(digest), "size": len(data)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": blob(json.dumps({"architecture": arch}).encode(), "config"),
        "layers": [blob(layer, "layer") for layer in layers],
    }
    return registry.add_manifest("acme/app", json.dumps(manifest).encode(), MANIFEST, tag=tag)


def test_layers_lie_upon_each_other(local_registry: LocalRegistry) -> None:
    """Whiteouts and opaque folders hide what is below, not what comes with them."""
    below = tar(
        ("./d", tarfile.DIRTYPE, ""),
        ("d/old", tarfile.REGTYPE, "1"),
        ("e/old", tarfile.REGTYPE, "1"),
        ("gone", tarfile.REGTYPE, "1"),
        ("was/folder", tarfile.REGTYPE, "1"),
    )
    above = tar(
        ("d/new", tarfile.REGTYPE, "2"),
        ("d/.wh..wh..opq", tarfile.REGTYPE, ""),
        (".wh.gone", tarfile.REGTYPE, ""),
        ("e/.wh.old", tarfile.REGTYPE, ""),
        ("was", tarfile.SYMTYPE, "d"),
    )
    digest = put(local_registry, "1", gzip.compress(below), above)

    image = pull_image(local_registry.reference("acme/app:1"))

    assert image.digest == str(digest)
    assert {name: file.kind for name, file in image.files().items()} == {
        "d": "dir",
        "d/new": "file",
        "was": "symlink",
    }
    assert image.text("d/new") == "2"


def test_hard_links_are_the_file_they_stand_for(local_registry: LocalRegistry) -> None:
    """All names of a file know each other, across layers too."""
    put(
        local_registry,
        "1",
        tar(("a", tarfile.REGTYPE, "x"), ("b", tarfile.LNKTYPE, "a")),
        tar(("c", tarfile.LNKTYPE, "b")),
    )

    files = pull_image(local_registry.reference("acme/app:1")).files()

    assert {file.twins for file in files.values()} == {("a", "b", "c")}
    assert {file.content for file in files.values()} == {b"x"}


def test_an_index_is_looked_into(local_registry: LocalRegistry) -> None:
    """The first image, or the one of a platform; what is not there is said."""
    entries = [
        {
            "mediaType": MANIFEST,
            "digest": str(put(local_registry, arch, arch=arch)),
            "size": 1,
            "platform": {"os": "linux", "architecture": arch},
        }
        for arch in ("amd64", "arm64")
    ]
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    local_registry.add_manifest("acme/app", index, INDEX, tag="1")
    reference = local_registry.reference("acme/app:1")

    assert pull_image(reference).config == {"architecture": "amd64"}
    assert pull_image(reference, platform="linux/arm64").config == {"architecture": "arm64"}
    pinned = f"{reference}@{entries[1]['digest']}"
    assert pull_image(pinned).config == {"architecture": "arm64"}
    with pytest.raises(AssertionError, match="no image for linux/s390x"):
        pull_image(reference, platform="linux/s390x")


def test_what_is_missing_or_wrong_is_said(local_registry: LocalRegistry) -> None:
    """Of a name, and of a blob that the manifest names."""
    absent = hashlib.sha256(b"absent").hexdigest()
    manifest = {"schemaVersion": 2, "config": {"digest": f"sha256:{absent}"}, "layers": []}
    local_registry.add_manifest("acme/app", json.dumps(manifest).encode(), MANIFEST, tag="1")

    with pytest.raises(AssertionError, match="404"):
        pull_image(local_registry.reference("acme/app:2"))
    with pytest.raises(AssertionError, match=absent):
        pull_image(local_registry.reference("acme/app:1"))


def test_the_last_entry_of_a_name_counts() -> None:
    """As it does when a layer is unpacked."""
    layer = tar(("a", tarfile.REGTYPE, "1"), ("a", tarfile.REGTYPE, "2"))

    assert read_layer(layer)["a"].content == b"2"

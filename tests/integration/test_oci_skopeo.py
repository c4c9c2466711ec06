"""skopeo as a witness: it reads our layouts and archives, and we read what it copies."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve

from buildpush.oci import Digest, ImageReference
from buildpush.oci.archive import read_docker_archive, write_docker_archive
from buildpush.oci.layer import LayerWriter
from buildpush.oci.layout import Layout, pack_tar, unpack_tar, verify
from buildpush.oci.tar import Entry
from buildpush.oci.wire import (
    Compression,
    Descriptor,
    History,
    ImageConfig,
    Manifest,
    MediaType,
    RunConfig,
    dump,
    parse_config,
)

pytestmark = pytest.mark.needs_skopeo

NAME = ImageReference.parse("example.com/team/app:1.0")


def skopeo(*arguments: str) -> bytes:
    program = shutil.which("skopeo")
    assert program is not None
    command = [program, "--insecure-policy", *arguments]
    return subprocess.run(command, check=True, capture_output=True).stdout


def inspect(image: str, *options: str) -> Any:
    return json.loads(skopeo("inspect", *options, image))


@pytest.fixture(params=["gzip", "zstd", "none"])
def image(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Layout, Descriptor]:
    """A layout with an image of two layers, tagged ``1.0``."""
    compression: Compression = request.param
    layout = Layout.create(tmp_path / "layout")
    layers = []
    for number in range(2):
        path = tmp_path / f"{number}.blob"
        with LayerWriter(path, compression=compression) as writer:
            writer.add(Entry("etc", "dir", 0o755))
            writer.add(Entry(f"etc/{number}", "file", size=100_000), bytes([number]) * 100_000)
            writer.add(Entry("bin", "symlink", 0o777, link="usr/bin"))
            layers.append(writer.finish())
        layout.add_file(path, layers[-1].descriptor)
    config = ImageConfig(
        architecture="amd64",
        os="linux",
        created="2024-01-02T03:04:05Z",
        config=RunConfig(cmd=("/bin/sh",), env=("A=<b>&c",), labels={"a": "1"}),
        diff_ids=tuple(layer.diff_id for layer in layers),
        history=(History(created_by="COPY a /"), History(created_by="COPY b /")),
    )
    manifest = Manifest(
        config=layout.add_bytes(config.dump(), MediaType.OCI_CONFIG),
        layers=tuple(layer.descriptor for layer in layers),
    )
    top = layout.add_bytes(dump(manifest), MediaType.OCI_MANIFEST)
    layout.set_index([evolve(top, annotations={"org.opencontainers.image.ref.name": "1.0"})])
    return layout, top


def diff_ids(layout: Layout, digest: Digest) -> tuple[Digest, ...]:
    image = verify(layout, digest)[0]
    return parse_config(layout.read(image.config.digest)).diff_ids


def test_skopeo_reads_our_layout(image: tuple[Layout, Descriptor]) -> None:
    """The digest, the layers, the config and the labels are what we say they are."""
    layout, top = image
    ours = verify(layout, top.digest)[0]

    seen = inspect(f"oci:{layout.path}:1.0")
    config = inspect(f"oci:{layout.path}:1.0", "--config")

    assert seen["Digest"] == str(top.digest)
    assert seen["Layers"] == [str(layer.digest) for layer in ours.layers]
    assert seen["Labels"] == {"a": "1"} and seen["Env"] == ["A=<b>&c"]
    assert config["rootfs"]["diff_ids"] == [str(d) for d in diff_ids(layout, top.digest)]


def test_skopeo_copies_our_archive_of_a_layout(
    image: tuple[Layout, Descriptor], tmp_path: Path
) -> None:
    """And we read its copy, with the digest that it had."""
    layout, top = image
    pack_tar(layout, tmp_path / "ours.tar")

    skopeo(
        "copy",
        "--preserve-digests",  # it would gzip plain layers otherwise
        f"oci-archive:{tmp_path}/ours.tar:1.0",
        f"oci-archive:{tmp_path}/theirs.tar:1.0",
    )

    copied = unpack_tar(tmp_path / "theirs.tar", tmp_path / "copied")
    assert [entry.digest for entry in copied.index().manifests] == [top.digest]
    assert verify(copied, top.digest)[0].layers == verify(layout, top.digest)[0].layers


def test_layout_to_docker_archive_and_back_keeps_the_content(
    image: tuple[Layout, Descriptor], tmp_path: Path
) -> None:
    """Our docker archive, copied by skopeo to a docker archive of its own, read by us."""
    layout, top = image
    write_docker_archive(layout, top.digest, [NAME], tmp_path / "ours.tar")

    skopeo(
        "copy",
        f"docker-archive:{tmp_path}/ours.tar:{NAME}",
        f"docker-archive:{tmp_path}/theirs.tar:{NAME}",
    )

    again = Layout.create(tmp_path / "again")
    ((descriptor, names),) = read_docker_archive(tmp_path / "theirs.tar", again)
    assert names == (NAME,)
    assert diff_ids(again, descriptor.digest) == diff_ids(layout, top.digest)
    listed = json.loads(skopeo("list-tags", f"docker-archive:{tmp_path}/ours.tar"))
    assert listed["Tags"] == [str(NAME)]


def test_our_docker_archive_read_by_ourselves_keeps_the_digest(
    image: tuple[Layout, Descriptor], tmp_path: Path
) -> None:
    """And skopeo finds the same digest in the layout that comes out."""
    layout, top = image
    write_docker_archive(layout, top.digest, [NAME], tmp_path / "ours.tar")
    again = Layout.create(tmp_path / "again")

    ((descriptor, _),) = read_docker_archive(tmp_path / "ours.tar", again)
    again.set_index([descriptor])

    assert descriptor.digest == top.digest
    assert inspect(f"oci:{again.path}")["Digest"] == str(top.digest)

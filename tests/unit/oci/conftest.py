"""Small real images for the tests of layouts and archives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from buildpush.oci import Platform
from buildpush.oci.layer import LayerWriter
from buildpush.oci.layout import Layout
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
)

MakeImage = Callable[..., Descriptor]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout.create(tmp_path / "layout")


@pytest.fixture
def make_image(tmp_path: Path) -> MakeImage:
    """Put an image with one layer for each of *layers* into a layout; its manifest."""

    def make(
        layout: Layout,
        *layers: Mapping[str, bytes],
        architecture: str = "amd64",
        compression: Compression = "gzip",
    ) -> Descriptor:
        written = []
        for number, files in enumerate(layers):
            path = tmp_path / f"{architecture}-{number}.blob"
            with LayerWriter(path, compression=compression) as writer:
                for name, data in files.items():
                    writer.add(Entry(name, "file", size=len(data)), data)
                written.append(writer.finish())
            layout.add_file(path, written[-1].descriptor)
        config = ImageConfig(
            architecture=architecture,
            os="linux",
            config=RunConfig(cmd=("/bin/sh",)),
            diff_ids=tuple(layer.diff_id for layer in written),
            history=tuple(History(created_by="COPY . /") for _ in written),
        )
        manifest = Manifest(
            config=layout.add_bytes(config.dump(), MediaType.OCI_CONFIG),
            layers=tuple(layer.descriptor for layer in written),
        )
        descriptor = layout.add_bytes(dump(manifest), MediaType.OCI_MANIFEST)
        return Descriptor(
            media_type=descriptor.media_type,
            digest=descriptor.digest,
            size=descriptor.size,
            platform=Platform("linux", architecture),
        )

    return make

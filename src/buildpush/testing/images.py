"""`random_image`: small, valid, reproducible images for tests that need any image at all."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..oci import Digest, Platform
from ..oci.layer import Layer, LayerWriter
from ..oci.layout import Layout
from ..oci.tar import Entry
from ..oci.wire import (
    Compression,
    Descriptor,
    History,
    ImageConfig,
    Index,
    Manifest,
    MediaType,
    RunConfig,
    dump,
)

__all__ = ["random_image", "random_index"]

_CREATED = "1970-01-01T00:00:00Z"


def random_image(
    layout: Layout,
    *,
    layers: int = 1,
    size: int = 1 << 12,
    seed: int = 0,
    platform: Platform | None = None,
    compression: Compression = "gzip",
) -> Digest:
    """Write an image into *layout* and add it to its index; the manifest's digest.

    Each of the *layers* holds one file of *size* random bytes. The default *platform* is
    linux/amd64, wherever this runs. Equal arguments give equal digests on one machine, and on
    every machine when *compression* is ``none``: there are several zlibs.
    """
    descriptor = _write_image(
        layout,
        platform=platform or Platform("linux", "amd64"),
        contents=[(seed, number, size) for number in range(layers)],
        compression=compression,
    )
    _list(layout, descriptor)
    return descriptor.digest


def random_index(
    layout: Layout,
    platforms: Sequence[Platform],
    *,
    layers: int = 1,
    size: int = 1 << 12,
    seed: int = 0,
) -> Digest:
    """Write an image for each of *platforms* and an index of them; the index's digest.

    The images share their layers but not their configs, as multi-platform images of data do.
    """
    manifests = tuple(
        _write_image(
            layout,
            platform=platform,
            contents=[(seed, number, size) for number in range(layers)],
            compression="gzip",
        )
        for platform in platforms
    )
    descriptor = layout.add_bytes(dump(Index(manifests=manifests)), MediaType.OCI_INDEX)
    _list(layout, descriptor)
    return descriptor.digest


def _write_image(
    layout: Layout,
    *,
    platform: Platform,
    contents: Sequence[tuple[int, int, int]],
    compression: Compression,
) -> Descriptor:
    written = [_write_layer(layout, *content, compression) for content in contents]
    config = ImageConfig(
        architecture=platform.architecture,
        os=platform.os,
        variant=platform.variant,
        created=_CREATED,
        config=RunConfig(env=("PATH=/bin",)),
        diff_ids=tuple(layer.diff_id for layer in written),
        history=tuple(History(created=_CREATED, created_by="random_image") for _ in written),
    )
    manifest = Manifest(
        config=layout.add_bytes(config.dump(), MediaType.OCI_CONFIG),
        layers=tuple(layer.descriptor for layer in written),
    )
    found = layout.add_bytes(dump(manifest), MediaType.OCI_MANIFEST)
    return Descriptor(
        media_type=found.media_type, digest=found.digest, size=found.size, platform=platform
    )


def _write_layer(
    layout: Layout, seed: int, number: int, size: int, compression: Compression
) -> Layer:
    data = random.Random(f"{seed}/{number}").randbytes(size)  # noqa: S311 - not for secrets
    entry = Entry(name=f"random-{number}.bin", kind="file", mode=0o644, size=size)
    with tempfile.TemporaryDirectory(prefix="buildpush-image-") as folder:
        path = Path(folder, "layer")
        with LayerWriter(path, compression=compression, strict=True) as writer:
            writer.add(entry, data)
            layer = writer.finish()
        layout.add_file(path, layer.descriptor, link=False)
    return layer


def _list(layout: Layout, descriptor: Descriptor) -> None:
    listed = layout.index().manifests
    if descriptor.digest not in {known.digest for known in listed}:
        layout.set_index((*listed, descriptor))

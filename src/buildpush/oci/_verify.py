"""Is a layout what its digests say? Import this from `layout`."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from typing import BinaryIO

from attrs import define, field, frozen

from ..errors import DigestMismatchError, NotFoundError, RegistryError
from . import Digest, Platform
from ._folder import CHUNK, Layout
from .layer import open_layer
from .wire import MAX_CONFIG, Descriptor, Manifest, MediaType, parse_config


@frozen(kw_only=True)
class VerifiedImage:
    """One platform's image; *size* is the bytes of its manifest, config and layers as stored."""

    platform: Platform
    manifest: Descriptor
    config: Descriptor
    layers: tuple[Descriptor, ...]
    size: int


def verify(
    layout: Layout, digest: Digest, *, allow_missing: Collection[Digest] = ()
) -> tuple[VerifiedImage, ...]:
    """Check all that *digest* names, streaming: sizes, digests, and the layers' diffIDs.

    Returns one summary for each image, in the index's order; attestations are checked but are
    no images. What is in *allow_missing* and foreign layers may be absent. Raises
    `DigestMismatchError` naming the digest, `NotFoundError`, or `RegistryError`.
    """
    check = _Check(layout, frozenset(allow_missing))
    images: list[VerifiedImage] = []
    for descriptor, document in layout.manifests(digest, allow_missing=allow_missing):
        check.size(descriptor)
        if isinstance(document, Manifest):
            platform = check.manifest(document)
            if platform is not None:
                images.append(_summary(platform, descriptor, document))
    return tuple(images)


def _summary(platform: Platform, descriptor: Descriptor, manifest: Manifest) -> VerifiedImage:
    return VerifiedImage(
        platform=platform,
        manifest=descriptor,
        config=manifest.config,
        layers=manifest.layers,
        size=sum(d.size for d in (descriptor, manifest.config, *manifest.layers)),
    )


@define
class _Check:
    """What one verification has seen; a layer that platforms share is read once."""

    layout: Layout
    allowed: frozenset[Digest]
    diff_ids: dict[Digest, Digest] = field(factory=dict[Digest, Digest])

    def manifest(self, manifest: Manifest) -> Platform | None:
        """Check the blobs of *manifest*; its platform, or None when it is no runnable image."""
        present = [layer for layer in manifest.layers if self.blob(layer)]
        if not self.blob(manifest.config) or not MediaType.is_config(manifest.config.media_type):
            return None
        config = parse_config(self.layout.read(manifest.config.digest, MAX_CONFIG))
        if not all(MediaType.is_layer(layer.media_type) for layer in manifest.layers):
            return None
        if len(config.diff_ids) != len(manifest.layers):
            raise RegistryError(
                f"{manifest.config.digest} names {len(config.diff_ids)} layers, "
                f"its manifest {len(manifest.layers)}"
            )
        for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True):
            if layer in present and self.diff_id(layer) != diff_id:
                raise DigestMismatchError(
                    f"the content of layer {layer.digest} is not {diff_id}, as its config says"
                )
        return config.platform

    def blob(self, descriptor: Descriptor) -> bool:
        """Check a blob against its descriptor; False when it is absent and may be."""
        digest = descriptor.digest
        try:
            self.size(descriptor)
        except NotFoundError:
            if digest in self.allowed or MediaType.is_foreign(descriptor.media_type):
                return False
            raise
        if digest not in self.diff_ids:
            with self.layout.blob_path(digest).open("rb") as file:
                if _hash(file, digest.algorithm) != digest:
                    raise DigestMismatchError(f"the content of {digest} does not hash to it")
        return True

    def size(self, descriptor: Descriptor) -> None:
        """Compare the size on disk with the descriptor's."""
        try:
            size = self.layout.blob_path(descriptor.digest).stat().st_size
        except FileNotFoundError:
            raise NotFoundError(f"the layout has no {descriptor.digest}") from None
        if size != descriptor.size:
            raise DigestMismatchError(
                f"{descriptor.digest} is {size} bytes long, its descriptor says {descriptor.size}"
            )

    def diff_id(self, layer: Descriptor) -> Digest:
        """The digest of the layer's uncompressed content."""
        if layer.digest not in self.diff_ids:
            path = self.layout.blob_path(layer.digest)
            with open_layer(path, layer.media_type) as stream:
                self.diff_ids[layer.digest] = _hash(stream, "sha256")
        return self.diff_ids[layer.digest]


def _hash(stream: BinaryIO, algorithm: str) -> Digest:
    hasher = hashlib.new(algorithm)
    while chunk := stream.read(CHUNK):
        hasher.update(chunk)
    return Digest(f"{algorithm}:{hasher.hexdigest()}")

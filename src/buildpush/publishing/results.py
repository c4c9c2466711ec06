"""What a push without a build hands back."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from ..oci import Digest, ImageReference, Platform
from ..oci.layout import Layout
from ..oci.wire import MAX_CONFIG, Descriptor, Manifest, MediaType, parse_config
from ..plan import Destination, ImageSummary

__all__ = ["PushResult", "images_of", "summary_of"]


@frozen(kw_only=True)
class PushResult:
    """What `push`, `copy` and `assemble` hand back.

    *digest* is what every pushed tag names, read back from its registry; *references* are those
    that name it, pinned (``name:tag@digest``), and *destinations* say of each what was done there.
    *images* has one summary for each platform. *seconds* is the wall time.
    """

    digest: Digest
    references: tuple[ImageReference, ...]
    destinations: tuple[Destination, ...]
    images: Mapping[Platform, ImageSummary] = field(factory=dict[Platform, ImageSummary])
    seconds: float = 0.0
    warnings: tuple[str, ...] = ()


def images_of(layout: Layout, digest: Digest) -> Mapping[Platform, ImageSummary]:
    """The images behind *digest* by platform, as far as *layout* has their configs."""
    found: dict[Platform, ImageSummary] = {}
    for descriptor, document in layout.manifests(digest):
        if not isinstance(document, Manifest):
            continue
        config = document.config
        if MediaType.is_config(config.media_type) and layout.has(config.digest):
            platform = parse_config(layout.read(config.digest, MAX_CONFIG)).platform
            if platform.os != "unknown":
                found.setdefault(platform, summary_of(descriptor, document))
    return found


def summary_of(descriptor: Descriptor, manifest: Manifest) -> ImageSummary:
    """What a result tells of the image *manifest* that *descriptor* names."""
    layers = sum(layer.size for layer in manifest.layers)
    return ImageSummary(
        digest=descriptor.digest,
        config=manifest.config.digest,
        size=descriptor.size + manifest.config.size + layers,
        layers=len(manifest.layers),
    )

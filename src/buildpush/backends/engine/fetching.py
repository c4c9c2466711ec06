"""Images and BuildKit's caches brought from a registry into a layout, for an engine to read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...oci import Digest, ImageReference, Platform, Repository
from ...oci.layout import Layout
from ...oci.wire import Descriptor, Index, MediaType, parse_manifest
from ...runtime import Run

if TYPE_CHECKING:
    from ...registry import RegistryClient

__all__ = ["fetch_cache", "fetch_image"]


def fetch_image(
    client: RegistryClient,
    reference: ImageReference,
    layout: Layout,
    platforms: Sequence[Platform],
    run: Run,
) -> Digest:
    """Bring the image for each of *platforms*; the digest of the manifest or index that has them.

    An index is kept as it is, so that its digest stays what the registry calls it; of its images
    only those wanted are fetched. Raises what pulling raises.
    """
    from ...registry.pull import choose, pull

    top = client.get_manifest(reference)
    digest = top.descriptor.digest
    document = parse_manifest(top.data, top.descriptor.media_type)
    chosen = [digest]
    if isinstance(document, Index):
        layout.add_bytes(top.data, top.descriptor.media_type)
        entries = (choose(document, platform, str(reference)) for platform in platforms)
        chosen = list(dict.fromkeys(entry.digest for entry in entries))
    for image in chosen:
        pull(client, reference.with_digest(image), layout, run=run)
    layout.set_index((*_others(layout, digest), top.descriptor))
    return digest


def fetch_cache(
    client: RegistryClient, reference: ImageReference, layout: Layout, run: Run
) -> Digest:
    """Bring a cache: an image manifest, an image with an inline cache, or an index of layers.

    Older BuildKits write the last, which is an index in name only. Raises what pulling raises.
    """
    top = client.get_manifest(reference)
    pending, seen = [top], {top.descriptor.digest}
    while pending:
        fetched = pending.pop()
        layout.add_bytes(fetched.data, fetched.descriptor.media_type)
        document = parse_manifest(fetched.data, fetched.descriptor.media_type)
        if isinstance(document, Index):
            listed = document.manifests
        else:
            listed = (document.config, *document.layers)
        for entry in listed:
            if entry.digest in seen:
                continue
            seen.add(entry.digest)
            if MediaType.is_manifest(entry.media_type) or MediaType.is_index(entry.media_type):
                pending.append(client.get_manifest(reference.with_digest(entry.digest)))
            else:
                _bring(client, reference.repository, entry, layout, run)
    digest = top.descriptor.digest
    layout.set_index((*_others(layout, digest), top.descriptor))
    return digest


def _bring(
    client: RegistryClient, repository: Repository, blob: Descriptor, layout: Layout, run: Run
) -> None:
    if layout.has(blob.digest) or MediaType.is_foreign(blob.media_type):
        return
    with (
        run.task(f"pull {blob.digest}", f"pull cache {blob.digest}") as task,
        client.get_blob(repository, blob) as chunks,
    ):
        layout.add_stream(task.counting(chunks, blob.size), blob)


def _others(layout: Layout, digest: Digest) -> tuple[Descriptor, ...]:
    return tuple(entry for entry in layout.index().manifests if entry.digest != digest)

"""Pulling: choose an image from an index, and copy images into an OCI layout."""

from __future__ import annotations

from typing import Final

from attrs import evolve

from ..errors import NotFoundError, RegistryError
from ..oci import ImageReference, Platform, Repository
from ..oci.layout import Layout
from ..oci.wire import Descriptor, Index, Manifest, MediaType, parse_manifest
from ..runtime import Run
from .client import Fetched, RegistryClient
from .parallel import Siblings, each
from .progress import SHORT, size_text, watched

__all__ = ["choose", "pull", "resolve"]

_DEEPEST: Final = 4
_ARM: Final = ("v8", "v7", "v6", "v5")
_AMD: Final = ("v4", "v3", "v2", "")


def choose(index: Index, platform: Platform, name: str) -> Descriptor:
    """The best entry of *index* for *platform*: the same, or an older variant it can run.

    *name* is how messages call the index. Raises `NotFoundError` listing what it has instead.
    Attestations (platform ``unknown/unknown``) never match.
    """
    for wanted in _runnable(platform):
        for entry in index.manifests:
            if entry.platform == wanted:
                return entry
    plain = [e for e in index.manifests if e.platform is None]
    if len(plain) == len(index.manifests) == 1:
        return plain[0]
    there = {str(e.platform) for e in index.manifests if e.platform and e.platform.os != "unknown"}
    listed = ", ".join(sorted(there)) or "no platform at all"
    raise NotFoundError(
        f"{name} has no image for {platform}; it has {listed}",
        hint="choose one of these platforms, or another base image",
    )


def _runnable(platform: Platform) -> tuple[Platform, ...]:
    """*platform* and then the variants it also runs, best first (containerd's order)."""
    newest_first = {"arm": _ARM, "amd64": _AMD}.get(platform.architecture, ())
    if platform.variant not in newest_first:
        return (platform,)
    older = newest_first[newest_first.index(platform.variant) :]
    return tuple(evolve(platform, variant=variant) for variant in older)


def resolve(
    client: RegistryClient, reference: ImageReference, platform: Platform
) -> tuple[Fetched, Manifest]:
    """Read the manifest that *reference* names, for *platform* where it names an index.

    Raises `NotFoundError` when there is no such image or none for *platform*.
    """
    fetched = client.get_manifest(reference)
    for _ in range(_DEEPEST):
        document = parse_manifest(fetched.data, fetched.descriptor.media_type)
        if isinstance(document, Manifest):
            return fetched, document
        entry = choose(document, platform, str(reference))
        fetched = client.get_manifest(reference.with_digest(entry.digest))
    raise RegistryError(f"{reference} is an index of indexes, more than {_DEEPEST} deep")


def pull(
    client: RegistryClient,
    reference: ImageReference,
    layout: Layout,
    *,
    platform: Platform | None = None,
    run: Run,
) -> Descriptor:
    """Copy an image into *layout* and return what names it there; index.json is left alone.

    The image for *platform*, or everything that *reference* names when that is None. Blobs
    that are there already are not fetched; foreign layers never are.
    """
    if platform is None:
        top = client.get_manifest(reference)
    else:
        top, _ = resolve(client, reference, platform)
    blobs = _manifests(client, reference, layout, top)
    missing = [blob for blob in blobs if not _has(layout, blob)]
    missing.sort(key=lambda blob: -blob.size)  # what takes longest ends earliest that way
    each(
        missing,
        lambda blob, siblings: _fetch(client, reference.repository, layout, blob, run, siblings),
    )
    return top.descriptor


def _manifests(
    client: RegistryClient, reference: ImageReference, layout: Layout, top: Fetched
) -> list[Descriptor]:
    """Store *top* and every manifest below it; the blobs they name, each once."""
    blobs: dict[str, Descriptor] = {}
    pending, seen = [top], {top.descriptor.digest}
    while pending:
        fetched = pending.pop()
        layout.add_bytes(fetched.data, fetched.descriptor.media_type)
        document = parse_manifest(fetched.data, fetched.descriptor.media_type)
        if isinstance(document, Index):
            for entry in document.manifests:
                if entry.digest not in seen:
                    seen.add(entry.digest)
                    pending.append(client.get_manifest(reference.with_digest(entry.digest)))
            continue
        for blob in (document.config, *document.layers):
            if not MediaType.is_foreign(blob.media_type):
                blobs[str(blob.digest)] = blob
    return list(blobs.values())


def _has(layout: Layout, blob: Descriptor) -> bool:
    """Whether the blob is there, whole as far as its size tells."""
    try:
        return layout.blob_path(blob.digest).stat().st_size == blob.size
    except FileNotFoundError:
        return False


def _fetch(
    client: RegistryClient,
    repository: Repository,
    layout: Layout,
    blob: Descriptor,
    run: Run,
    siblings: Siblings,
) -> None:
    title = f"pull {str(blob.digest)[:SHORT]} ({size_text(blob.size)})"
    with (
        run.task(f"pull {blob.digest}", title) as task,
        client.get_blob(repository, blob) as pieces,
    ):
        layout.add_stream(watched(pieces, task, blob.size, siblings), blob, fetched=True)

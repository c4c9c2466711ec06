"""Several platforms, one index: images that were built side by side become one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from attrs import evolve, frozen

from ...errors import BuildError
from ...oci import Digest, ImageReference, Platform, Repository
from ...oci.layout import Layout
from ...oci.wire import (
    MAX_CONFIG,
    MAX_MANIFEST,
    Descriptor,
    Index,
    Manifest,
    MediaType,
    dump,
    parse_config,
    parse_manifest,
)
from ...plan import LayoutArtifact
from ...plan.annotations import Annotations
from ...registry import RegistryClient

__all__ = ["Built", "join", "put_index"]


@frozen(kw_only=True)
class Built:
    """One platform's image in a registry."""

    platform: Platform
    digest: Digest


def join(
    images: Sequence[tuple[Platform, LayoutArtifact]], folder: Path, annotations: Annotations
) -> LayoutArtifact:
    """Make one layout in *folder*, with an index of *images*. Raises `BuildError`."""
    layout = Layout.create(folder)
    children: list[Descriptor] = []
    origins: dict[Digest, Repository] = {}
    for platform, image in images:
        source = Layout.open(image.path)
        data = source.read(image.digest, MAX_MANIFEST)
        manifest = _manifest(data)
        config = source.read(manifest.config.digest, MAX_CONFIG)
        children.append(_child(platform, image.digest, data, config, manifest, annotations))
        for blob in (manifest.config, *manifest.layers):
            if source.has(blob.digest) and not layout.has(blob.digest):
                layout.add_file(source.blob_path(blob.digest), blob)
        layout.add_bytes(data, manifest.media_type)
        origins |= image.origins
    index, data = _index(children, annotations)
    top = layout.add_bytes(data, index.media_type)
    layout.set_index((top,))
    return LayoutArtifact(path=layout.path, digest=top.digest, origins=origins)


def put_index(
    client: RegistryClient,
    images: Iterable[Built],
    references: Sequence[ImageReference],
    annotations: Annotations,
) -> Digest:
    """Put an index of *images*, which are there already, under each of *references*.

    Raises `RegistryError` or `AuthError`, and `BuildError` for an image of another platform.
    """
    children: list[Descriptor] = []
    for image in images:
        place = evolve(references[0], tag="", digest=image.digest)
        data = client.get_manifest(place).data
        manifest = _manifest(data)
        with client.get_blob(place.repository, manifest.config) as chunks:
            config = b"".join(chunks)
        children.append(_child(image.platform, image.digest, data, config, manifest, annotations))
    index, data = _index(children, annotations)
    for reference in references:
        client.put_manifest(reference, data, index.media_type)
    return Digest.of(data)


def _manifest(data: bytes) -> Manifest:
    manifest = parse_manifest(data)
    if not isinstance(manifest, Manifest):
        raise BuildError("kaniko made no image but an index")
    return manifest


def _child(
    platform: Platform,
    digest: Digest,
    data: bytes,
    config: bytes,
    manifest: Manifest,
    annotations: Annotations,
) -> Descriptor:
    found = parse_config(config).platform
    if (found.os, found.architecture) != (platform.os, platform.architecture):
        raise BuildError(
            f"the image for {platform} is one for {found}",
            hint=f"is a base image there for {platform}, and the node one of that platform?",
        )
    return Descriptor(
        media_type=manifest.media_type,
        digest=digest,
        size=len(data),
        platform=platform,
        annotations=annotations.at("manifest-descriptor", platform),
    )


def _index(children: Sequence[Descriptor], annotations: Annotations) -> tuple[Index, bytes]:
    texts: Mapping[str, str] = annotations.at("index")
    # Docker's list knows no annotations, and its manifests may stand in an index of either kind.
    docker = not texts and all(c.media_type == MediaType.DOCKER_MANIFEST for c in children)
    index = Index(
        media_type=MediaType.DOCKER_LIST if docker else MediaType.OCI_INDEX,
        manifests=tuple(children),
        annotations=texts,
    )
    return index, dump(index)

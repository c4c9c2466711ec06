"""The finished image as files: config, manifest, index, and the OCI layout that holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

from attrs import evolve, frozen

from ...oci import Digest, Platform, Repository
from ...oci.layout import Layout
from ...oci.wire import Descriptor, History, ImageConfig, Index, Manifest, MediaType, dump
from ...plan import BuildRequest, LayoutArtifact
from ...plan.annotations import Annotations
from .images import Layer
from .recipe.config import dated
from .store import Store

__all__ = ["BuiltImage", "export", "finished_config", "timestamp"]


@frozen(kw_only=True)
class BuiltImage:
    """One platform's image, its layers in the store or elsewhere."""

    platform: Platform
    config: ImageConfig
    layers: tuple[Layer, ...]


def timestamp(moment: datetime) -> str:
    """*moment* (in UTC) as RFC 3339 text, the fraction without trailing zeros, as Go writes it."""
    text = moment.strftime("%Y-%m-%dT%H:%M:%S")
    fraction = f"{moment.microsecond:06d}".rstrip("0")
    return f"{text}.{fraction}Z" if fraction else f"{text}Z"


def finished_config(
    image: ImageConfig,
    *,
    layers: Sequence[Layer],
    history: Sequence[History],
    labels: Mapping[str, str],
    platform: Platform | None,
) -> ImageConfig:
    """The config as it leaves the builder.

    The request's labels win over the Dockerfile's; *platform* is the one asked for, None when the
    base's own stands. The image is as old as its last history line.
    """
    history = dated(history)
    created = next((line.created for line in reversed(history) if line.created), None)
    run = evolve(image.config, labels={**image.config.labels, **labels})
    finished = evolve(
        image,
        config=run,
        created=created,
        diff_ids=tuple(layer.diff_id for layer in layers),
        history=history,
    )
    if platform is None:
        return finished
    return evolve(
        finished, os=platform.os, architecture=platform.architecture, variant=platform.variant
    )


def export(
    images: Sequence[BuiltImage], request: BuildRequest, store: Store, folder: Path
) -> LayoutArtifact:
    """Write the layout of one image, or of the index of several, into the new *folder*.

    Layers in the store are linked in; those that are not stay where their origin says.
    """
    layout = Layout.create(folder)
    annotations = Annotations(texts=request.annotations)
    hosts = {reference.repository.host for reference in request.references}
    origins: dict[Digest, Repository] = {}
    manifests: list[Descriptor] = []
    for image in images:
        for layer in image.layers:
            _place(layer, layout, store, hosts, origins)
        manifests.append(_write_manifest(image, layout, annotations))
    top = manifests[0]
    if len(request.platforms) > 1:
        index = Index(manifests=tuple(manifests), annotations=annotations.at("index"))
        top = layout.add_bytes(dump(index), MediaType.OCI_INDEX)
        entries = [evolve(top, annotations=annotations.at("index-descriptor"))]
    else:
        entries = [top]
    layout.set_index(entries)
    return LayoutArtifact(path=folder, digest=top.digest, origins=origins)


def _place(
    layer: Layer,
    layout: Layout,
    store: Store,
    hosts: set[str],
    origins: dict[Digest, Repository],
) -> None:
    digest, size = layer.descriptor.digest, layer.descriptor.size
    if layer.origin is not None:
        origins[digest] = layer.origin
    if store.has_blob(digest, size):
        layout.add_file(store.blob_path(digest), layer.descriptor)
        # Present here, so a place to mount it from is only a hint: the nearest one will do.
        nearest = next((r for r in store.origins(digest) if r.host in hosts), None)
        if nearest is not None:
            origins[digest] = nearest
    elif layer.local is not None:
        layout.add_file(layer.local, layer.descriptor)


def _write_manifest(image: BuiltImage, layout: Layout, annotations: Annotations) -> Descriptor:
    config = layout.add_bytes(image.config.dump(), MediaType.OCI_CONFIG)
    manifest = Manifest(
        config=evolve(config, platform=None),
        layers=tuple(evolve(x.descriptor, annotations={}) for x in image.layers),
        annotations=annotations.at("manifest", image.platform),
    )
    descriptor = layout.add_bytes(dump(manifest), MediaType.OCI_MANIFEST)
    return evolve(
        descriptor,
        platform=image.platform,
        annotations=annotations.at("manifest-descriptor", image.platform),
    )

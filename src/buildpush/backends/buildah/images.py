"""An image out of buildah's storage as the image that buildpush pushes: its config and manifest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from attrs import evolve, frozen

from ...errors import BuildError
from ...oci.layout import Layout
from ...oci.wire import Descriptor, History, ImageConfig, Index, Manifest, MediaType, dump
from ...plan.annotations import Annotations

__all__ = ["Exported", "Image", "clean_config", "combine", "only_docker_says"]

# What docker's own builder leaves in a config of what happened to it: ids and host names.
_SCRAP: Final = ("container", "container_config", "docker_version", "id", "parent")
_RUNTIME: Final = frozenset(
    {
        "ArgsEscaped",
        "AttachStderr",
        "AttachStdin",
        "AttachStdout",
        "Domainname",
        "Hostname",
        "Image",
        "MacAddress",
        "NetworkDisabled",
        "OpenStdin",
        "StdinOnce",
        "Tty",
    }
)
_NEVER: Final = "0001-01-01T00:00:00Z"


def clean_config(config: ImageConfig) -> ImageConfig:
    """*config* without what is different each time: ids, host names, parents in comments."""
    run = config.config
    kept = {name: value for name, value in run.extra.items() if name not in _RUNTIME}
    return evolve(
        config,
        config=evolve(run, extra=kept),
        history=tuple(map(_clean_line, config.history)),
        extra={name: value for name, value in config.extra.items() if name not in _SCRAP},
    )


def _clean_line(line: History) -> History:
    comment = "" if line.comment.startswith("FROM ") else line.comment
    return evolve(line, comment=comment, created=None if line.created == _NEVER else line.created)


def only_docker_says(config: ImageConfig) -> bool:
    """Whether *config* holds what an OCI config written by buildah would lose."""
    run = config.config
    return bool(run.healthcheck or run.on_build or run.shell)


@frozen(kw_only=True)
class Image:
    """A finished image in the storage: its id, and whether its config is in OCI's format."""

    id: str
    oci: bool = True


@frozen(kw_only=True)
class Exported:
    """One platform's image: its config, and the layers that its layout holds or has marks for."""

    config: ImageConfig
    layers: tuple[Descriptor, ...]


def combine(
    images: Sequence[Exported], layout: Layout, annotations: Annotations, *, several: bool
) -> None:
    """Make *images* the contents of *layout*: one manifest, or an index where *several*."""
    manifests = tuple(_write(image, layout, annotations) for image in images)
    if several:
        index = Index(manifests=manifests, annotations=annotations.at("index"))
        top = layout.add_bytes(dump(index), MediaType.OCI_INDEX)
        manifests = (evolve(top, annotations=annotations.at("index-descriptor")),)
    layout.set_index(manifests)


def _write(image: Exported, layout: Layout, annotations: Annotations) -> Descriptor:
    if len(image.layers) != len(image.config.diff_ids):
        raise BuildError(
            f"buildah exported {len(image.layers)} layers of {len(image.config.diff_ids)}",
            hint="build again",
        )
    platform = image.config.platform
    config = layout.add_bytes(image.config.dump(), MediaType.OCI_CONFIG)
    manifest = Manifest(
        config=config, layers=image.layers, annotations=annotations.at("manifest", platform)
    )
    descriptor = layout.add_bytes(dump(manifest), MediaType.OCI_MANIFEST)
    return evolve(
        descriptor,
        platform=platform,
        annotations=annotations.at("manifest-descriptor", platform),
    )

"""The values that `wire` reads and writes: descriptors, manifests, indexes, configs.

Import them from `wire`. Their JSON is what Go's image-spec and docker-image-spec structs give.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import ClassVar, Final, Literal

from attrs import field, frozen

from . import Digest, Platform

Compression = Literal["gzip", "zstd", "none"]
_EMPTY: Final[Mapping[str, object]] = {}


class MediaType:
    """The media types of images, and questions about them."""

    OCI_MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
    OCI_INDEX: Final = "application/vnd.oci.image.index.v1+json"
    OCI_CONFIG: Final = "application/vnd.oci.image.config.v1+json"
    OCI_EMPTY: Final = "application/vnd.oci.empty.v1+json"
    OCI_LAYER: Final = "application/vnd.oci.image.layer.v1.tar"
    OCI_LAYER_GZIP: Final = "application/vnd.oci.image.layer.v1.tar+gzip"
    OCI_LAYER_ZSTD: Final = "application/vnd.oci.image.layer.v1.tar+zstd"
    DOCKER_MANIFEST: Final = "application/vnd.docker.distribution.manifest.v2+json"
    DOCKER_LIST: Final = "application/vnd.docker.distribution.manifest.list.v2+json"
    DOCKER_CONFIG: Final = "application/vnd.docker.container.image.v1+json"
    DOCKER_LAYER: Final = "application/vnd.docker.image.rootfs.diff.tar.gzip"

    ACCEPT: ClassVar[tuple[str, ...]] = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)

    @staticmethod
    def is_manifest(media_type: str) -> bool:
        """Whether *media_type* is one platform's manifest."""
        return media_type in (MediaType.OCI_MANIFEST, MediaType.DOCKER_MANIFEST)

    @staticmethod
    def is_index(media_type: str) -> bool:
        """Whether *media_type* is an index, or docker's manifest list."""
        return media_type in (MediaType.OCI_INDEX, MediaType.DOCKER_LIST)

    @staticmethod
    def is_config(media_type: str) -> bool:
        """Whether *media_type* is the config of a runnable image."""
        return media_type in (MediaType.OCI_CONFIG, MediaType.DOCKER_CONFIG)

    @staticmethod
    def is_layer(media_type: str) -> bool:
        """Whether *media_type* is a file system layer, of whatever compression."""
        return ".image.layer." in media_type or ".image.rootfs." in media_type

    @staticmethod
    def is_foreign(media_type: str) -> bool:
        """Whether a layer is fetched from elsewhere and never pushed (“nondistributable”)."""
        return "nondistributable" in media_type or ".foreign." in media_type

    @staticmethod
    def compression_of(media_type: str) -> Compression:
        """How a layer of this media type is compressed."""
        if media_type.endswith(("+gzip", ".gzip")):
            return "gzip"
        return "zstd" if media_type.endswith(("+zstd", ".zstd")) else "none"


def _copy_text(mapping: Mapping[str, str]) -> Mapping[str, str]:
    return dict(mapping)


def _copy_json(mapping: Mapping[str, object]) -> Mapping[str, object]:
    return dict(mapping)


@frozen(kw_only=True)
class Descriptor:
    """Points at content: *size* is in bytes, *urls* are where foreign layers live."""

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: Mapping[str, str] = field(
        factory=dict[str, str], converter=_copy_text, hash=False
    )
    artifact_type: str = ""
    urls: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """The descriptor as Go's image-spec writes it: its key order, empty fields left out."""
        out: dict[str, object] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        platform = self.platform and {
            "architecture": self.platform.architecture,
            "os": self.platform.os,
            "variant": self.platform.variant,
        }
        return out | _present(
            urls=list(self.urls),
            annotations=dict(sorted(self.annotations.items())),
            platform=platform and {k: v for k, v in platform.items() if v},
            artifactType=self.artifact_type,
        )


@frozen(kw_only=True)
class Manifest:
    """One platform's image: its config and its layers, base layer first."""

    media_type: str = MediaType.OCI_MANIFEST
    config: Descriptor
    layers: tuple[Descriptor, ...] = ()
    annotations: Mapping[str, str] = field(
        factory=dict[str, str], converter=_copy_text, hash=False
    )
    subject: Descriptor | None = None
    artifact_type: str = ""


@frozen(kw_only=True)
class Index:
    """A list of manifests, usually one for each platform."""

    media_type: str = MediaType.OCI_INDEX
    manifests: tuple[Descriptor, ...] = ()
    annotations: Mapping[str, str] = field(
        factory=dict[str, str], converter=_copy_text, hash=False
    )
    subject: Descriptor | None = None
    artifact_type: str = ""


@frozen(kw_only=True)
class History:
    """How a layer, or a change that made none (*empty_layer*), came to be."""

    created: str | None = None
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False

    def to_json(self) -> dict[str, object]:
        """The entry as Go's image-spec writes it."""
        return _present(
            created=self.created,
            created_by=self.created_by,
            author=self.author,
            comment=self.comment,
            empty_layer=self.empty_layer,
        )


@frozen(kw_only=True)
class RunConfig:
    """How a container of the image starts.

    *healthcheck* is spelled as docker's JSON: ``Test`` and the times in nanoseconds; *extra*
    holds what a base image's config said beyond the fields known here.
    """

    user: str = ""
    exposed_ports: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    working_dir: str = ""
    labels: Mapping[str, str] = field(factory=dict[str, str], converter=_copy_text, hash=False)
    stop_signal: str = ""
    args_escaped: bool = False
    healthcheck: Mapping[str, object] | None = field(default=None, hash=False)
    on_build: tuple[str, ...] = ()
    shell: tuple[str, ...] = ()
    extra: Mapping[str, object] = field(
        factory=dict[str, object], converter=_copy_json, hash=False
    )

    def to_json(self) -> dict[str, object]:
        """The config as Go's docker-image-spec writes it, then *extra* in order of its keys."""
        known = _present(
            User=self.user,
            ExposedPorts=dict.fromkeys(sorted(self.exposed_ports), _EMPTY),
            Env=list(self.env),
            Entrypoint=list(self.entrypoint),
            Cmd=list(self.cmd),
            Volumes=dict.fromkeys(sorted(self.volumes), _EMPTY),
            WorkingDir=self.working_dir,
            Labels=dict(sorted(self.labels.items())),
            StopSignal=self.stop_signal,
            ArgsEscaped=self.args_escaped,
        )
        if self.healthcheck is not None:
            known["Healthcheck"] = _healthcheck(self.healthcheck)
        known |= _present(OnBuild=list(self.on_build), Shell=list(self.shell))
        return known | {k: self.extra[k] for k in sorted(self.extra) if k not in known}


@frozen(kw_only=True)
class ImageConfig:
    """A platform's image config: what it runs on, how it starts, what it is made of.

    *created* is RFC 3339 text, *diff_ids* name the uncompressed layers, base first; *extra*
    holds a base image's unknown top-level fields.
    """

    architecture: str
    os: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()
    created: str | None = None
    author: str = ""
    config: RunConfig = RunConfig()
    diff_ids: tuple[Digest, ...] = ()
    history: tuple[History, ...] = ()
    extra: Mapping[str, object] = field(
        factory=dict[str, object], converter=_copy_json, hash=False
    )

    @property
    def platform(self) -> Platform:
        """The platform of the image, normalised."""
        return Platform.of(self.os, self.architecture, self.variant)

    def dump(self) -> bytes:
        """Serialise as BuildKit does: compact, top-level keys sorted, deterministic."""
        out = dict(self.extra) | _present(
            created=self.created,
            author=self.author,
            architecture=self.architecture,
            os=self.os,
            variant=self.variant,
            history=[entry.to_json() for entry in self.history],
        )
        out |= {"config": self.config.to_json()}
        out |= {"rootfs": {"type": "layers", "diff_ids": [str(d) for d in self.diff_ids]}}
        if self.os_version:
            out["os.version"] = self.os_version
        if self.os_features:
            out["os.features"] = list(self.os_features)
        return _encode(dict(sorted(out.items())))


def dump(document: Manifest | Index) -> bytes:
    """Serialise a manifest or index of our own making: compact, Go's key order, deterministic.

    Never for one that came from elsewhere: its digest names the bytes that came.
    """
    head: dict[str, object] = {"schemaVersion": 2, "mediaType": document.media_type}
    head |= _present(artifactType=document.artifact_type)
    match document:
        case Manifest():
            head["config"] = document.config.to_json()
            head["layers"] = [layer.to_json() for layer in document.layers]
        case Index():
            head["manifests"] = [manifest.to_json() for manifest in document.manifests]
    tail = _present(
        subject=document.subject and document.subject.to_json(),
        annotations=dict(sorted(document.annotations.items())),
    )
    return _encode(head | tail)


def _present(**fields: object) -> dict[str, object]:
    """Drop what Go's omitempty drops: zero numbers, empty text, empty collections."""
    return {name: value for name, value in fields.items() if value}


def _healthcheck(check: Mapping[str, object]) -> dict[str, object]:
    order = ("Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries")
    known = {name: check[name] for name in order if check.get(name)}
    return known | {name: check[name] for name in sorted(check) if name not in order}


# What encoding/json escapes although JSON does not ask for it; only strings can hold these.
_GO_ESCAPES: Final = {
    ord("<"): "\\u003c",
    ord(">"): "\\u003e",
    ord("&"): "\\u0026",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}
_NOT_UNICODE: Final = re.compile("[\ud800-\udfff]")


def _encode(document: object) -> bytes:
    """Write JSON byte for byte as Go's encoding/json does."""
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return _NOT_UNICODE.sub(r"\\ufffd", text.translate(_GO_ESCAPES)).encode()

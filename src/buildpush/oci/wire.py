"""Manifests, indexes and configs: registry JSON in, trusted values out, and back again.

Follows the OCI image-spec 1.1 and docker's image manifest version 2, schema 2. Bytes that a
digest names are never re-serialised: keep the bytes, use the values only to look around.
"""

from __future__ import annotations

import json
import re
from typing import Final, TypeVar

from pydantic import BaseModel, ValidationError

from ..errors import RegistryError
from . import Digest, Platform
from ._models import ConfigModel, DescriptorModel, ManifestModel
from ._values import (
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

__all__ = [
    "MAX_CONFIG",
    "MAX_MANIFEST",
    "Compression",
    "Descriptor",
    "History",
    "ImageConfig",
    "Index",
    "Manifest",
    "MediaType",
    "RunConfig",
    "dump",
    "parse_config",
    "parse_manifest",
]

MAX_MANIFEST: Final = 4 << 20
"""The most bytes that anyone should read before parsing a manifest or an index."""

MAX_CONFIG: Final = 16 << 20
"""The most bytes that anyone should read before parsing a config."""


def parse_manifest(data: bytes, media_type: str = "") -> Manifest | Index:
    """Read a manifest or an index; *media_type* is what it was served as, if known.

    Raises `RegistryError` naming the field that is wrong, never quoting the input. A document
    that could be read both ways, or is not what it was served as, is refused (the image-spec's
    advice after CVE-2021-41190).
    """
    model = _validate(ManifestModel, data, "manifest")
    served = media_type.partition(";")[0].strip()
    if model.schemaVersion != 2:
        raise RegistryError(
            f"manifest: schema version {model.schemaVersion} is not supported, only 2 is",
            hint="push the image again with a current tool",
        )
    has_manifests = "manifests" in model.model_fields_set
    has_layers = not {"layers", "config"}.isdisjoint(model.model_fields_set)
    if has_manifests and has_layers:
        raise RegistryError("manifest: has both layers and manifests, so it is ambiguous")
    declared = model.mediaType or served
    said_index = any(MediaType.is_index(t) for t in (model.mediaType, served))
    said_manifest = any(MediaType.is_manifest(t) for t in (model.mediaType, served))
    if (said_index and has_layers) or (said_manifest and has_manifests):
        raise RegistryError("manifest: its content does not match its media type")
    if has_manifests or (said_index and not has_layers):
        known = declared if MediaType.is_index(declared) else MediaType.OCI_INDEX
        return _index(model, known)
    known = declared if MediaType.is_manifest(declared) else MediaType.OCI_MANIFEST
    return _manifest(model, known)


def _index(model: ManifestModel, media_type: str) -> Index:
    return Index(
        media_type=media_type,
        manifests=tuple(_descriptor(m) for m in model.manifests or ()),
        annotations=model.annotations or {},
        subject=_descriptor(model.subject) if model.subject else None,
        artifact_type=model.artifactType,
    )


def _manifest(model: ManifestModel, media_type: str) -> Manifest:
    if model.config is None:
        raise RegistryError("manifest: has neither a config nor manifests")
    return Manifest(
        media_type=media_type,
        config=_descriptor(model.config),
        layers=tuple(_descriptor(layer) for layer in model.layers or ()),
        annotations=model.annotations or {},
        subject=_descriptor(model.subject) if model.subject else None,
        artifact_type=model.artifactType,
    )


def _descriptor(model: DescriptorModel) -> Descriptor:
    said = model.platform
    return Descriptor(
        media_type=model.mediaType,
        digest=Digest(model.digest),
        size=model.size,
        platform=Platform.of(said.os, said.architecture, said.variant) if said else None,
        annotations=model.annotations or {},
        artifact_type=model.artifactType,
        urls=tuple(model.urls or ()),
    )


def parse_config(data: bytes) -> ImageConfig:
    """Read an image config, keeping what is not known here in the ``extra`` mappings.

    Raises `RegistryError` naming the field that is wrong, never quoting the input.
    """
    return _validate(ConfigModel, data, "image config").to_value()


M = TypeVar("M", bound=BaseModel)


def _validate(model: type[M], data: bytes, what: str) -> M:
    """Parse JSON strictly (no NaN, no bombs) and validate it as *model*."""
    found = _parsed(model, data)
    if isinstance(found, str):
        # Not raised where it was found out: those errors and frames hold the whole document.
        raise RegistryError(f"{what}: {found}")
    return found


def _parsed(model: type[M], data: bytes) -> M | str:
    """The value, or what is wrong."""
    try:
        tree: object = json.loads(data, parse_constant=_not_json)
        return model.model_validate(tree, strict=True)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        place = ".".join(_shown(str(part)) for part in first["loc"]) or "the document"
        return f"{place}: {first['msg']}"
    except (ValueError, RecursionError):
        return "is not JSON"


def _not_json(_: str) -> object:
    raise ValueError("not a JSON value")


def _shown(part: str) -> str:
    """A key of untrusted JSON, short and harmless enough for a message."""
    return re.sub(r"[^\x21-\x7e]", "?", part)[:71]

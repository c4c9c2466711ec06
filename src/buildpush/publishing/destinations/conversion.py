"""Docker's media types or OCI's: an image of one family rewritten as the other, never mixed.

Only names change: configs and layers keep their bytes and digests, manifests and indexes get
new ones.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final, Literal, cast

from attrs import evolve

from ...errors import SpecError
from ...oci import Digest
from ...oci.wire import Descriptor, MediaType, parse_manifest
from ...registry.images import Document, Image

__all__ = ["Family", "convert", "family_of"]

Family = Literal["docker", "oci"]
Json = dict[str, object]

_DOCKER_TAR: Final = "application/vnd.docker.image.rootfs.diff.tar"
_DOCKER_FOREIGN: Final = "application/vnd.docker.image.rootfs.foreign.diff.tar"
_OCI_FOREIGN: Final = "application/vnd.oci.image.layer.nondistributable.v1.tar"
_PAIRS: Final = (
    (MediaType.DOCKER_MANIFEST, MediaType.OCI_MANIFEST),
    (MediaType.DOCKER_LIST, MediaType.OCI_INDEX),
    (MediaType.DOCKER_CONFIG, MediaType.OCI_CONFIG),
    (MediaType.DOCKER_LAYER, MediaType.OCI_LAYER_GZIP),
    (_DOCKER_TAR, MediaType.OCI_LAYER),
    (_DOCKER_FOREIGN, _OCI_FOREIGN),
    (f"{_DOCKER_FOREIGN}.gzip", f"{_OCI_FOREIGN}+gzip"),
)
_TO_OCI: Final = dict(_PAIRS)
_TO_DOCKER: Final = {oci: docker for docker, oci in _PAIRS}


def family_of(image: Image) -> Family:
    """The family of the manifest or index that tags name."""
    docker = (MediaType.DOCKER_MANIFEST, MediaType.DOCKER_LIST)
    return "docker" if image.top.value.media_type in docker else "oci"


def convert(image: Image, family: Family, warn: Callable[[str], None]) -> Image:
    """*image* with all its media types of one *family*; the same image when they are already.

    Everything else in a manifest stays, also what is not known here. *warn* is told what docker's
    types cannot say. Raises `SpecError` for what has no name in *family*: docker has none for
    zstd, nor for attestations and other artifacts.
    """
    renamed: dict[Digest, Descriptor] = {}
    documents: list[Document] = []
    for document in image.documents:
        made = _converted(document, family, renamed, warn)
        renamed[document.descriptor.digest] = made.descriptor
        documents.append(made)
    if documents[-1].descriptor.digest == image.digest:
        return image
    if image.absent:
        raise SpecError(
            f"{image.digest} cannot be converted: it lists {image.absent[0].digest},"
            " which is not at hand",
            hint="push with media_types: keep",
        )
    return evolve(image, digest=documents[-1].descriptor.digest, documents=tuple(documents))


def _converted(
    document: Document,
    family: Family,
    renamed: Mapping[Digest, Descriptor],
    warn: Callable[[str], None],
) -> Document:
    before = cast("Json", json.loads(document.data))
    after = _rewritten(before, document.value.media_type, family, renamed)
    if family == "docker":
        _refuse(document, after)
        if after.pop("annotations", None):
            warn(f"{document.descriptor.digest}: docker's media types have no annotations")
    if after == before:
        return document
    data = json.dumps(after, separators=(",", ":")).encode()
    media_type = str(after["mediaType"])
    return Document(
        descriptor=evolve(
            document.descriptor, media_type=media_type, digest=Digest.of(data), size=len(data)
        ),
        value=parse_manifest(data, media_type),
        data=data,
    )


def _rewritten(
    document: Json, media_type: str, family: Family, renamed: Mapping[Digest, Descriptor]
) -> Json:
    out = {**document}
    named = _named(media_type, family)
    if named != media_type or "mediaType" in document:
        # What an OCI manifest may leave out is left out; a converted one says what it is.
        out["mediaType"] = named
    for key in ("config", "subject"):
        if isinstance(out.get(key), dict):
            out[key] = _pointing(cast("Json", out[key]), family, renamed)
    for key in ("layers", "manifests"):
        if isinstance(out.get(key), list):
            listed = cast("list[Json]", out[key])
            out[key] = [_pointing(one, family, renamed) for one in listed]
    return out


def _pointing(descriptor: Json, family: Family, renamed: Mapping[Digest, Descriptor]) -> Json:
    """A descriptor that points at what was converted; also in BuildKit's annotations."""
    out = {**descriptor, "mediaType": _named(str(descriptor.get("mediaType", "")), family)}
    target = renamed.get(Digest(str(descriptor["digest"])))
    if target is not None:
        out |= {"digest": str(target.digest), "size": target.size}
        if target.digest != Digest(str(descriptor["digest"])):
            out.pop("data", None)  # a copy of the old bytes
    said = out.get("annotations")
    if isinstance(said, dict):
        names = {str(old): str(new.digest) for old, new in renamed.items()}
        words = cast("dict[str, str]", said)
        out["annotations"] = {key: names.get(value, value) for key, value in words.items()}
    return out


def _named(media_type: str, family: Family) -> str:
    return (_TO_OCI if family == "oci" else _TO_DOCKER).get(media_type, media_type)


def _refuse(document: Document, after: Json) -> None:
    """Raise for what docker's schema 2 has no name for."""
    known = set(_TO_OCI)
    parts = [cast("Json", after[key]) for key in ("config",) if key in after]
    for key in ("layers", "manifests"):
        parts += cast("list[Json]", after.get(key) or [])
    strange = [str(one["mediaType"]) for one in parts if one["mediaType"] not in known]
    if "artifactType" in after or "subject" in after:
        strange.append("an attestation or another artifact")
    if strange:
        raise SpecError(
            f"{document.descriptor.digest} cannot be converted to docker's media types: they have"
            f" no name for {strange[0]}",
            hint="push with media_types: oci; or build with compression: gzip and without"
            " provenance and SBOM",
        )

"""What a manifest says of other contents, read without trusting its shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

from attrs import frozen

from ..oci.wire import MediaType
from ._dialect import Rejection

Document = dict[str, object]


@frozen
class Reference:
    """A digest that has to be there, as a manifest or as a blob."""

    digest: str
    manifest: bool = False


def references(document: Document) -> Iterator[Reference]:
    """Every reference of a manifest or index except its subject and foreign layers."""
    for descriptor in _list(document, "manifests"):
        # Build caches are indexes of layers: those are blobs.
        yield Reference(digest_of(descriptor), manifest=_is_manifest(descriptor))
    if "config" in document:
        yield Reference(digest_of(document["config"]))
    for descriptor in _list(document, "layers"):
        if not _list(as_document(descriptor), "urls"):  # a foreign layer is never here
            yield Reference(digest_of(descriptor))


def kinds(document: Document, media_type: str) -> set[Rejection]:
    """The names by which a dialect may reject this manifest."""
    found: set[Rejection] = set()
    if media_type.startswith("application/vnd.docker."):
        found.add("docker")
    if media_type.startswith("application/vnd.oci."):
        found.add("oci")
    if MediaType.is_index(media_type):
        found.add("index")
    if any(not _is_manifest(descriptor) for descriptor in _list(document, "manifests")):
        found.add("odd-index")
    if any(str(_media_type(layer)).endswith("zstd") for layer in _list(document, "layers")):
        found.add("zstd")
    return found


def as_document(value: object) -> Document:
    """*value* when it is a JSON object, else an empty one."""
    return cast("Document", value) if isinstance(value, dict) else {}


def digest_of(descriptor: object) -> str:
    """The digest of a descriptor, "" when it has none."""
    digest = as_document(descriptor).get("digest")
    return digest if isinstance(digest, str) else ""


def _media_type(descriptor: object) -> object:
    return as_document(descriptor).get("mediaType", MediaType.OCI_MANIFEST)


def _is_manifest(descriptor: object) -> bool:
    media_type = str(_media_type(descriptor))
    return MediaType.is_manifest(media_type) or MediaType.is_index(media_type)


def _list(document: Document, name: str) -> list[object]:
    found = document.get(name)
    return cast("list[object]", found) if isinstance(found, list) else []

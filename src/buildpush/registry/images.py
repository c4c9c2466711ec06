"""What a push consists of: manifests in the order they may be put, and the blobs they name."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from ..oci import Digest, ImageReference, Repository
from ..oci.layout import Layout
from ..oci.wire import Descriptor, Index, Manifest, MediaType, parse_manifest
from .client import RegistryClient

__all__ = ["Document", "Image", "read_image"]


@frozen(kw_only=True)
class Document:
    """A manifest or an index: what points at it, what it says, and its very bytes."""

    descriptor: Descriptor
    value: Manifest | Index
    data: bytes = field(repr=False)

    @property
    def children(self) -> tuple[Descriptor, ...]:
        """What an index lists; nothing for a manifest."""
        return self.value.manifests if isinstance(self.value, Index) else ()

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The config and the layers, without those that are never pushed (“foreign” ones)."""
        if isinstance(self.value, Index):
            return ()
        blobs = (self.value.config, *self.value.layers)
        return tuple(blob for blob in blobs if not MediaType.is_foreign(blob.media_type))


def _copy(mapping: Mapping[Digest, Repository]) -> Mapping[Digest, Repository]:
    return dict(mapping)


@frozen(kw_only=True)
class Image:
    """An image or index with all it lists; *documents* come after what they need.

    *origins* are the repositories that hold what the layout lacks. *absent* are children that
    nobody here has: a repository that is to get the index must hold them already.
    """

    digest: Digest
    documents: tuple[Document, ...]
    origins: Mapping[Digest, Repository] = field(factory=dict[Digest, Repository], converter=_copy)
    absent: tuple[Descriptor, ...] = ()

    @property
    def top(self) -> Document:
        """What the tags are to name."""
        return self.documents[-1]

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Every blob once."""
        found = {blob.digest: blob for one in self.documents for blob in one.blobs}
        return tuple(found.values())


def read_image(
    client: RegistryClient,
    layout: Layout,
    digest: Digest,
    origins: Mapping[Digest, Repository],
) -> Image:
    """Read *digest* and all it lists from *layout*, and what is not there from its origin.

    Raises what `Layout.read` and the client raise, and `RegistryError` for a document that is
    broken.
    """
    found: dict[Digest, Document] = {}
    absent: dict[Digest, Descriptor] = {}
    known = dict(origins)
    pending = [Descriptor(media_type="", digest=digest, size=0)]
    while pending:
        wanted = pending.pop()
        if wanted.digest in found or wanted.digest in absent:
            continue
        origin = None if layout.has(wanted.digest) else known.get(wanted.digest)
        if origin is not None:
            place = ImageReference(repository=origin, digest=wanted.digest)
            data = client.get_manifest(place).data
        elif layout.has(wanted.digest) or wanted.digest == digest:
            data = layout.read(wanted.digest)
        else:
            absent[wanted.digest] = wanted
            continue
        document = found[wanted.digest] = _document(wanted, data)
        if origin is not None:
            for needed in (*document.blobs, *document.children):
                known.setdefault(needed.digest, origin)
        pending += document.children
    return Image(
        digest=digest,
        documents=_ordered(found, digest),
        origins=known,
        absent=tuple(absent.values()),
    )


def _document(wanted: Descriptor, data: bytes) -> Document:
    value = parse_manifest(data, wanted.media_type)
    described = Descriptor(
        media_type=value.media_type,
        digest=wanted.digest,
        size=len(data),
        platform=wanted.platform,
        annotations=wanted.annotations,
        artifact_type=wanted.artifact_type,
    )
    return Document(descriptor=described, value=value, data=data)


def _ordered(found: Mapping[Digest, Document], top: Digest) -> tuple[Document, ...]:
    """Children before what lists them, and what an attestation is about before the attestation.

    The distribution-spec allows any order of a subject and what refers to it; not every registry
    does.
    """
    ordered: dict[Digest, Document] = {}
    stack = [(top, False)]
    while stack:
        digest, complete = stack.pop()
        if digest in ordered or digest not in found:
            continue
        document = found[digest]
        if complete:
            ordered[digest] = document
            continue
        stack.append((digest, True))
        needed = [child.digest for child in document.children]
        if document.value.subject is not None:
            needed.append(document.value.subject.digest)
        stack += [(other, False) for other in reversed(needed)]
    return tuple(ordered.values())

"""Bring an image's manifests and configs together in one layout, and say where its layers are.

Layers on this machine are linked, those of a registry stay there until they are pushed: nothing
large is copied to disk here. Every manifest keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from attrs import define, field, frozen

from ...errors import NotFoundError, SpecError
from ...oci import Digest, ImageReference, Platform, Repository
from ...oci.layout import Layout
from ...oci.wire import (
    MAX_CONFIG,
    Descriptor,
    Index,
    Manifest,
    MediaType,
    parse_config,
    parse_manifest,
)
from ...plan import LayoutArtifact
from ...registry import RegistryClient
from ...registry.parallel import Siblings, each
from ...runtime import Run
from .indexes import Entry, describe, entries_of, narrowed, without_strays

__all__ = ["ArtifactPlace", "Gathering", "Place", "RegistryPlace"]

_DEEPEST: Final = 4


class Place(Protocol):
    """Where an image is: on this machine, or in a registry."""

    def manifest(self, digest: Digest) -> bytes:
        """The bytes of a manifest or an index."""
        ...

    def config(self, blob: Descriptor) -> bytes:
        """The bytes of a small blob, at most 16 MiB."""
        ...

    def layer(self, blob: Descriptor, into: Gathering) -> None:
        """Make *blob* available: as a file, or by the repository that has it."""
        ...


@frozen
class ArtifactPlace:
    """A layout, which may lack what its origins have."""

    artifact: LayoutArtifact
    client: RegistryClient

    @property
    def _layout(self) -> Layout:
        return Layout(self.artifact.path)

    def manifest(self, digest: Digest) -> bytes:
        """From the layout, else from its origin."""
        origin = self._origin(digest)
        return (
            RegistryPlace(self.client, origin).manifest(digest) if origin else self._read(digest)
        )

    def config(self, blob: Descriptor) -> bytes:
        """From the layout, else from its origin."""
        origin = self._origin(blob.digest)
        if origin is not None:
            return RegistryPlace(self.client, origin).config(blob)
        return self._read(blob.digest, MAX_CONFIG)

    def layer(self, blob: Descriptor, into: Gathering) -> None:
        """Link the file; raises `NotFoundError` when nobody has the blob."""
        known = self.artifact.origins.get(blob.digest)
        if known is not None:
            into.origins[blob.digest] = known
        path = self._layout.blob_path(blob.digest)
        if path.is_file():
            into.layout.add_file(path, blob)
        elif known is None:
            raise self._lacks(blob.digest)

    def _read(self, digest: Digest, limit: int = 4 << 20) -> bytes:
        if not self._layout.has(digest):
            raise self._lacks(digest)
        return self._layout.read(digest, limit)

    def _origin(self, digest: Digest) -> Repository | None:
        return None if self._layout.has(digest) else self.artifact.origins.get(digest)

    def _lacks(self, digest: Digest) -> NotFoundError:
        return NotFoundError(
            f"{self.artifact.path} lacks {digest}, which a manifest in it names",
            hint="save or export the image again; was it cut short, or made for one platform?",
        )


@frozen
class RegistryPlace:
    """A repository."""

    client: RegistryClient
    repository: Repository

    def manifest(self, digest: Digest) -> bytes:
        """Ask the registry, or its mirrors."""
        reference = ImageReference(repository=self.repository, digest=digest)
        return self.client.get_manifest(reference).data

    def config(self, blob: Descriptor) -> bytes:
        """Ask the registry, or its mirrors."""
        if blob.size > MAX_CONFIG:
            raise SpecError(f"{self.repository}: the config {blob.digest} exceeds 16 MiB")
        with self.client.get_blob(self.repository, blob) as pieces:
            return b"".join(pieces)

    def layer(self, blob: Descriptor, into: Gathering) -> None:
        """Leave it where it is; a place on this machine that has it, too, is as good."""
        into.origins.setdefault(blob.digest, self.repository)


@define(eq=False, kw_only=True)
class Gathering:
    """An artifact in the making: *layout* is new and ours, *origins* have what stays elsewhere."""

    layout: Layout
    run: Run
    origins: dict[Digest, Repository] = field(factory=dict[Digest, Repository])

    def artifact(self, digest: Digest) -> LayoutArtifact:
        """What was gathered, by the digest of its top."""
        return LayoutArtifact(path=self.layout.path, digest=digest, origins=self.origins)

    def bring(self, place: Place, digest: Digest) -> None:
        """Bring in *digest* and all that it names; foreign layers stay where they are.

        Each document is looked at once, however often and however deep it is listed.
        """
        pending: tuple[Digest, ...] = (digest,)
        seen = {digest}
        while pending:
            listed = each(pending, lambda one, _: self._bring(place, one))
            found = dict.fromkeys(child for children in listed for child in children)
            pending = tuple(child for child in found if child not in seen)
            seen.update(pending)

    def _bring(self, place: Place, digest: Digest) -> tuple[Digest, ...]:
        """Bring in one manifest and its blobs, or one index; what that lists."""
        self.run.cancel.check()
        document = parse_manifest(self._document(place, digest))
        if isinstance(document, Index):
            return tuple(entry.digest for entry in document.manifests)
        if MediaType.is_config(document.config.media_type):
            self._config(place, document.config)
        for blob in (document.config, *document.layers):
            if not MediaType.is_foreign(blob.media_type):
                place.layer(blob, self)
        return ()

    def narrow(self, place: Place, digest: Digest, platforms: tuple[Platform, ...]) -> Digest:
        """The part of *digest* that is for *platforms*: all, one image itself, or a new index.

        Entries stay as they are; attestations go with their images where there is an index.
        Raises `NotFoundError` listing what there is for a platform that is not.
        """
        leaves = self.leaves(place, digest, f"{digest}")
        there = {entry.descriptor.platform for entry in leaves if entry.is_image}
        absent = [platform for platform in platforms if platform not in there]
        if absent:
            listed = ", ".join(sorted(str(one) for one in there if one)) or "no platform at all"
            raise NotFoundError(
                f"there is no image for {', '.join(map(str, absent))}; there is {listed}"
            )
        left_out = {
            entry.descriptor.digest
            for entry in leaves
            if entry.is_image and entry.descriptor.platform not in platforms
        }
        if not left_out:
            return digest
        return self.subset(
            place, digest, [e for e in leaves if e.descriptor.digest not in left_out]
        )

    def subset(self, place: Place, digest: Digest, kept: Sequence[Entry]) -> Digest:
        """The index *digest* with only *kept* in it; a single image is taken out of it."""
        images = {entry.descriptor.digest for entry in kept if entry.is_image}
        if len(images) == 1:
            return images.pop()
        return self.put(narrowed(self._document(place, digest), without_strays(kept)))

    def leaves(self, place: Place, digest: Digest, origin: str) -> tuple[Entry, ...]:
        """What *digest* lists, indexes in it flattened, each once; each image with its platform."""
        return self._leaves(place, digest, origin, {digest}, _DEEPEST)

    def _leaves(
        self, place: Place, digest: Digest, origin: str, seen: set[Digest], depth: int
    ) -> tuple[Entry, ...]:
        data = self._document(place, digest)
        document = parse_manifest(data)
        if isinstance(document, Manifest):
            found = Descriptor(
                media_type=document.media_type,
                digest=digest,
                size=len(data),
                artifact_type=document.artifact_type,
            )
            return (self._described(place, found, document, origin),)
        if not depth:
            raise SpecError(f"{origin} is an index of indexes of indexes, too deep to follow")

        def within(index: Digest) -> tuple[Entry, ...]:
            if index in seen:
                return ()
            seen.add(index)
            return self._leaves(place, index, origin, seen, depth - 1)

        def leaf(entry: Entry, _: Siblings) -> tuple[Entry, ...]:
            child = entry.descriptor
            if MediaType.is_index(child.media_type):
                return within(child.digest)
            if child.platform is not None or child.artifact_type:
                return (entry,)
            manifest = parse_manifest(self._document(place, child.digest))
            if isinstance(manifest, Index):
                return within(child.digest)
            described = self._described(place, child, manifest, origin)
            return (described if described.descriptor.platform else entry,)

        found_all = each(entries_of(data, origin), leaf)
        return tuple(entry for entries in found_all for entry in entries)

    def put(self, data: bytes) -> Digest:
        """Store a document of our own."""
        return self.layout.add_bytes(data, "").digest

    def _described(
        self, place: Place, descriptor: Descriptor, manifest: Manifest, origin: str
    ) -> Entry:
        if not MediaType.is_config(manifest.config.media_type):
            return describe(descriptor, None, b"", origin)
        config = self._config(place, manifest.config)
        return describe(descriptor, parse_config(config).platform, config, origin)

    def _document(self, place: Place, digest: Digest) -> bytes:
        if self.layout.has(digest):
            return self.layout.read(digest)
        data = place.manifest(digest)
        self.layout.add_stream([data], Descriptor(media_type="", digest=digest, size=len(data)))
        return data

    def _config(self, place: Place, blob: Descriptor) -> bytes:
        if self.layout.has(blob.digest):
            return self.layout.read(blob.digest, MAX_CONFIG)
        data = place.config(blob)
        self.layout.add_stream([data], blob)
        return data

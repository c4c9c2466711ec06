"""From what an engine exported to an image that buildpush can push.

Engines export layers uncompressed where they can, since compressing them here is several times
faster; base layers, which the registry has already, are left where they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from attrs import define, evolve, field

from ...auth import Keychain
from ...errors import BuildError
from ...oci import Digest, Repository
from ...oci.wire import (
    MAX_CONFIG,
    Descriptor,
    Index,
    Manifest,
    MediaType,
    parse_config,
    parse_manifest,
)
from ...plan import BuildRequest, LayoutArtifact
from ...runtime import Run
from .recompressing import compress
from .sparing import Bases, look_up
from .unpacking import Exported, Span, open_export

__all__ = ["adopt"]

_REFERS: Final = "vnd.docker.reference.digest"
_DOCKER_LAYERS: Final = {
    MediaType.OCI_LAYER: "application/vnd.docker.image.rootfs.diff.tar",
    MediaType.OCI_LAYER_GZIP: MediaType.DOCKER_LAYER,
    MediaType.OCI_LAYER_ZSTD: "application/vnd.docker.image.rootfs.diff.tar.zstd",
}
_OCI_LAYERS: Final = {docker: oci for oci, docker in _DOCKER_LAYERS.items()}


def adopt(
    source: Path,
    request: BuildRequest,
    keychain: Keychain,
    run: Run,
    *,
    bases: Bases | None = None,
) -> LayoutArtifact:
    """Make an artifact of *source*: a layout folder, an OCI archive or a docker archive.

    A folder is changed in place. Layers that came uncompressed are compressed as *request* says,
    and the manifests that name them rewritten, but for attested images, whose attestations name
    the manifests as they are. Base layers become what the base image has (which an engine may
    have re-encoded), and need not be in *source*. *bases* is what `sparing` gave; without it the
    registry is asked here.

    Raises `BuildError` for an export that is damaged or not whole, `DigestMismatchError` for a
    layer that is not what its digest says.
    """
    exported = open_export(source, run)
    known = bases or Bases(found=look_up(request, keychain, run))
    adoption = _Adoption(exported=exported, request=request, run=run, bases=known)
    top = adoption.adopt()
    return LayoutArtifact(path=exported.layout.path, digest=top.digest, origins=adoption.origins)


@define(eq=False, kw_only=True)
class _Adoption:
    """One export on its way to an artifact; *replaced* maps layers to what they become."""

    exported: Exported
    request: BuildRequest
    run: Run
    bases: Bases
    origins: dict[Digest, Repository] = field(factory=dict[Digest, Repository], init=False)
    replaced: dict[Digest, Descriptor] = field(factory=dict[Digest, Descriptor], init=False)

    def adopt(self) -> Descriptor:
        layout, top = self.exported.layout, self.exported.top
        documents = tuple(layout.manifests(top.digest))
        may_rewrite = not any(_is_referred_to(document) for _, document in documents)
        plain: dict[Digest, Span] = {}
        for _, document in documents:
            if isinstance(document, Manifest):
                for layer, diff_id in self._layers(document):
                    span = self._settle(layer, diff_id if may_rewrite else None)
                    if span is not None:
                        plain[layer.digest] = span
        self.replaced |= compress(plain, layout, self.request, self.run)
        top = self._rewrite(top)
        layout.set_index((top,))
        self._tidy(top)
        return top

    def _layers(self, manifest: Manifest) -> Iterator[tuple[Descriptor, Digest | None]]:
        """The layers of *manifest* with their diff ids; attestations have none."""
        diff_ids: tuple[Digest | None, ...] = ()
        if MediaType.is_config(manifest.config.media_type):
            config = self.exported.layout.read(manifest.config.digest, MAX_CONFIG)
            diff_ids = parse_config(config).diff_ids
        if len(diff_ids) != len(manifest.layers):
            diff_ids = (None,) * len(manifest.layers)
        return zip(manifest.layers, diff_ids, strict=True)

    def _settle(self, layer: Descriptor, diff_id: Digest | None) -> Span | None:
        """Decide what becomes of *layer*; its bytes when they are to be compressed.

        Without *diff_id* it stays what it is.
        """
        origin = self.bases.by_digest(layer.digest)
        span = self.exported.find(layer)
        if origin is not None:
            self.origins[layer.digest] = origin
            if not self.bases.spares(layer.digest):
                self._keep(layer, span)
            return None
        base = self.bases.by_diff_id(diff_id) if diff_id else None
        if base is not None:
            original, repository = base
            self.replaced[layer.digest] = original
            self.origins[original.digest] = repository
            return None
        if MediaType.is_foreign(layer.media_type):
            return None
        if span is None:
            raise BuildError(f"the engine exported no layer {layer.digest}", hint="build again")
        is_plain = MediaType.compression_of(layer.media_type) == "none"
        wanted = self.request.compression != "none"
        if wanted and is_plain and layer.digest == diff_id:
            return span
        self._keep(layer, span)
        return None

    def _keep(self, layer: Descriptor, span: Span | None) -> None:
        """Have the layer's blob in the layout as it is."""
        layout = self.exported.layout
        if span is not None and span.path != layout.blob_path(layer.digest):
            layout.add_stream(span.chunks(), layer)

    def _rewrite(self, descriptor: Descriptor) -> Descriptor:
        """Store the document of *descriptor* with its layers replaced, if any of them was."""
        layout = self.exported.layout
        data = layout.read(descriptor.digest)
        document = parse_manifest(data, descriptor.media_type)
        if isinstance(document, Index):
            before = document.manifests
            after = tuple(self._rewrite(child) for child in before)
        else:
            before = document.layers
            after = tuple(self._replacement(layer, document.media_type) for layer in before)
        if before == after:
            return descriptor
        tree: dict[str, Any] = json.loads(data)  # what is not known here has to survive
        entries = tree["manifests" if isinstance(document, Index) else "layers"]
        for entry, changed in zip(entries, after, strict=True):
            entry |= {
                "mediaType": changed.media_type,
                "digest": str(changed.digest),
                "size": changed.size,
            }
            if changed.urls:
                entry["urls"] = list(changed.urls)
        text = json.dumps(tree, ensure_ascii=False, separators=(",", ":"))
        stored = layout.add_bytes(text.encode(), document.media_type)
        return evolve(descriptor, digest=stored.digest, size=stored.size)

    def _replacement(self, layer: Descriptor, manifest_type: str) -> Descriptor:
        """What *layer* has become, by the name that a manifest of this type has for it."""
        found = self.replaced.get(layer.digest)
        if found is None:
            return layer
        names = _DOCKER_LAYERS if manifest_type == MediaType.DOCKER_MANIFEST else _OCI_LAYERS
        return evolve(
            layer,
            media_type=names.get(found.media_type, found.media_type),
            digest=found.digest,
            size=found.size,
            urls=found.urls,
        )

    def _tidy(self, top: Descriptor) -> None:
        """Remove what *top* does not name: tars that are compressed now, marks, old manifests."""
        layout = self.exported.layout
        named = {top.digest}
        for descriptor, document in layout.manifests(top.digest):
            named.add(descriptor.digest)
            if isinstance(document, Manifest):
                named |= {document.config.digest, *self._present(document)}
        names = {str(digest) for digest in named}
        for folder in (layout.path / "blobs").iterdir():
            for path in folder.iterdir():
                if f"{folder.name}:{path.name}" not in names:
                    path.unlink()

    def _present(self, manifest: Manifest) -> Iterator[Digest]:
        return (x.digest for x in manifest.layers if self.exported.find(x) is not None)


def _is_referred_to(document: Manifest | Index) -> bool:
    """Whether something in *document* names another manifest by its digest."""
    if isinstance(document, Manifest):
        return document.subject is not None
    return any(_REFERS in entry.annotations for entry in document.manifests)

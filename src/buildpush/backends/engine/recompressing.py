"""Layers that came uncompressed, compressed: side by side, checked, cancellable."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attrs import frozen

from ...errors import DigestMismatchError
from ...oci import Digest
from ...oci.layer import LayerWriter
from ...oci.layout import Layout
from ...oci.wire import Descriptor
from ...plan import BuildRequest
from ...runtime import Run
from .unpacking import Span

if TYPE_CHECKING:
    from ...registry.parallel import Siblings

__all__ = ["compress"]

_AT_ONCE: Final = 2
"""Layers compressed at once; each of them already keeps two threads busy."""


def compress(
    layers: Mapping[Digest, Span], layout: Layout, request: BuildRequest, run: Run
) -> dict[Digest, Descriptor]:
    """Compress tars, named by their digests, into *layout*, as *request* wants them.

    Returns what each has become. Raises `DigestMismatchError` when one is not what it is named.
    """
    from ...registry.parallel import each

    job = _Compression(layout=layout, request=request, run=run)
    largest_first = sorted(layers.items(), key=lambda item: -item[1].size)
    done = each(largest_first, job.compress, workers=_AT_ONCE)
    return dict(done)


@frozen(kw_only=True)
class _Compression:
    layout: Layout
    request: BuildRequest
    run: Run

    def compress(self, item: tuple[Digest, Span], siblings: Siblings) -> tuple[Digest, Descriptor]:
        from ...registry.progress import SHORT, size_text, watched

        digest, span = item
        path = self.layout.path / f".compress-{digest.hex}"
        title = f"compress {str(digest)[:SHORT]} ({size_text(span.size)})"
        with (
            self.run.task(f"compress {digest}", title) as task,
            self._writer(path) as writer,
        ):
            for chunk in watched(span.chunks(), task, span.size, siblings):
                self.run.cancel.check()
                writer.write(chunk)
            layer = writer.finish()
            if layer.diff_id != digest:
                raise DigestMismatchError(f"the exported layer {digest} does not hash to it")
        path.replace(self.layout.blob_path(layer.descriptor.digest))
        return digest, layer.descriptor

    def _writer(self, path: Path) -> LayerWriter:
        return LayerWriter(
            path,
            compression=self.request.compression,
            level=self.request.compression_level,
            strict=self.request.reproducible == "strict",
        )

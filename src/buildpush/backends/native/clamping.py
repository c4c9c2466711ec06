"""The writer of a layer in the form asked for: nothing in it newer than SOURCE_DATE_EPOCH."""

from __future__ import annotations

from pathlib import Path
from typing import BinaryIO

from ...oci.layer import LayerWriter
from ...oci.tar import Entry
from .recipe.keys import LayerForm

__all__ = ["layer_writer"]


class _Clamped(LayerWriter):
    """A layer writer that sets later modification times back to *epoch*, in seconds."""

    def __init__(self, path: Path, form: LayerForm, epoch: int) -> None:
        super().__init__(path, compression=form.compression, level=form.level, strict=form.strict)
        self._latest = epoch * 10**9

    def add(self, entry: Entry, body: BinaryIO | bytes | None = None) -> None:
        """Append *entry*, set back."""
        if entry.mtime_ns > self._latest:
            entry = entry._replace(mtime_ns=self._latest)
        super().add(entry, body)


def layer_writer(path: Path, form: LayerForm) -> LayerWriter:
    """The writer for a layer of this *form*."""
    if form.epoch is not None:
        return _Clamped(path, form, form.epoch)
    return LayerWriter(path, compression=form.compression, level=form.level, strict=form.strict)

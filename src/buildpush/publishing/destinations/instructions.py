"""Which instruction made a layer: what the author of a Dockerfile can change about its size."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from ...errors import BlobTooLargeError, BuildpushError
from ...oci import Digest, Repository
from ...oci.layout import Layout
from ...oci.wire import MAX_CONFIG, Manifest, parse_config
from ...registry.images import Image
from ...registry.limits import check_size
from ...runtime import Run

__all__ = ["instruction_of", "sizes_explained"]

_SHOWN: Final = 120


@contextmanager
def sizes_explained(
    layout: Layout, image: Image, repository: Repository, run: Run
) -> Generator[None]:
    """Refuse what *repository* is known not to take, and name the instruction of what it refuses.

    The first happens before anything is sent. Raises `BlobTooLargeError`.
    """
    try:
        for blob in image.blobs:
            check_size(repository, blob)
        yield
    except BlobTooLargeError as error:
        error.instruction = run.redact(instruction_of(layout, image, Digest(error.digest)))
        if error.instruction:
            error.message += f"; it was made by: {error.instruction}"
            error.args = (error.message,)
        raise


def instruction_of(layout: Layout, image: Image, digest: Digest) -> str:
    """What the history of *image* says of the layer *digest*; empty when it says nothing."""
    for document in image.documents:
        if not isinstance(document.value, Manifest):
            continue
        layers = [layer.digest for layer in document.value.layers]
        if digest not in layers or not layout.has(document.value.config.digest):
            continue
        try:
            config = parse_config(layout.read(document.value.config.digest, MAX_CONFIG))
        except BuildpushError:
            return ""  # what was refused matters more than a config that cannot be read
        made = [entry for entry in config.history if not entry.empty_layer]
        if len(made) == len(layers):
            said = " ".join(made[layers.index(digest)].created_by.split())
            return said if len(said) <= _SHOWN else f"{said[: _SHOWN - 1]}…"
    return ""

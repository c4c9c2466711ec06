"""Docker archives: the tar files of ``docker save`` and ``docker load``, written and read.

What is written is both at once, as docker itself does since version 25: an OCI archive, and
docker's own ``manifest.json``. What is read may be either, compressed or not, of any age.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from attrs import evolve

from ..errors import NotFoundError, UnsupportedFeatureError
from . import Digest, ImageReference
from ._folder import Layout, written
from .layout import put_file
from .saved import NAME, TAG, Archive
from .tar import END
from .wire import Descriptor, Index, Manifest, MediaType, dump

__all__ = ["read_docker_archive", "write_docker_archive"]

Named = tuple[Descriptor, tuple[ImageReference, ...]]


def write_docker_archive(
    layout: Layout, digest: Digest, references: Sequence[ImageReference], destination: Path
) -> None:
    """Write the image *digest* of *layout* as a tar that ``docker load`` takes.

    Blobs are written as they are stored, so that its digest survives. Raises
    `UnsupportedFeatureError` when *digest* is an index of several platforms, `NotFoundError`
    when a blob is absent.
    """
    documents = list(layout.manifests(digest))
    image = _only_image(documents)
    tagged = [evolve(reference, digest=None) for reference in references if reference.tag]
    tops = [
        evolve(documents[0][0], annotations={NAME: str(name), TAG: name.tag}) for name in tagged
    ]
    saved = {
        "Config": _blob_name(image.config.digest),
        "RepoTags": [_familiar(name) for name in tagged],
        "Layers": [_blob_name(layer.digest) for layer in image.layers],
    }
    with written(destination) as archive:
        for name, data in (
            ("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
            ("index.json", dump(Index(manifests=tuple(tops) or (documents[0][0],)))),
            ("manifest.json", json.dumps([saved], separators=(",", ":")).encode()),
        ):
            put_file(archive, name, io.BytesIO(data))
        for blob in _blobs(documents):
            if not layout.has(blob):
                raise NotFoundError(f"the layout has no {blob}")
            with layout.blob_path(blob).open("rb") as body:
                put_file(archive, _blob_name(blob), body)
        archive.write(END)


def _only_image(documents: Iterable[tuple[Descriptor, Manifest | Index]]) -> Manifest:
    images = [
        document
        for _, document in documents
        if isinstance(document, Manifest)
        and all(MediaType.is_layer(layer.media_type) for layer in document.layers)
    ]
    if len(images) != 1:
        raise UnsupportedFeatureError(
            f"a docker archive holds one platform's image, not {len(images)}",
            hint="write an OCI archive instead, or build for one platform",
        )
    return images[0]


def _blobs(documents: Iterable[tuple[Descriptor, Manifest | Index]]) -> list[Digest]:
    """All that *documents* name and are, each once, sorted."""
    found: set[Digest] = set()
    for descriptor, document in documents:
        found.add(descriptor.digest)
        if isinstance(document, Manifest):
            found.add(document.config.digest)
            found |= {layer.digest for layer in document.layers}
    return sorted(found)


def _blob_name(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.hex}"


def _familiar(reference: ImageReference) -> str:
    """The name as docker shows it: without Docker Hub's host and ``library/``."""
    text = str(reference).removeprefix("docker.io/")
    return text.removeprefix("library/") if text.count("/") == 1 else text


def read_docker_archive(path: Path, layout: Layout) -> tuple[Named, ...]:
    """Add the images of the docker archive *path* to *layout*, with the names they were saved by.

    Manifests of their own are kept where the archive has all that they name; else one is made,
    and plain layers are gzipped on the way. Raises `SpecError` when *path* is no docker archive,
    `DigestMismatchError` for content that is not what its digest or diffID says, `NotFoundError`
    for content that is not there.
    """
    archive = Archive.open(path)
    if archive.is_layout:
        with TemporaryDirectory(prefix=".unpack-", dir=layout.path) as room:
            unpacked = archive.unpack(Path(room) / "layout")
            if _is_complete(unpacked):
                return _take_over(unpacked, layout)
        archive = archive.as_docker()
    return tuple(
        (archive.bring(image, layout), tuple(map(ImageReference.parse, image.names)))
        for image in archive.images
    )


def _is_complete(layout: Layout) -> bool:
    """Whether all that the index names is there; docker saves indexes of which it is not."""
    try:
        return all(
            layout.has(blob)
            for top in layout.index().manifests
            for blob in _blobs(layout.manifests(top.digest))
        )
    except NotFoundError:
        return False


def _take_over(source: Layout, layout: Layout) -> tuple[Named, ...]:
    """Link what the index of *source* names into *layout*."""
    found: dict[Descriptor, list[ImageReference]] = {}
    for top in source.index().manifests:
        for blob in _blobs(source.manifests(top.digest)):
            path = source.blob_path(blob)
            size = path.stat().st_size
            layout.add_file(path, Descriptor(media_type="", digest=blob, size=size))
        names = found.setdefault(evolve(top, annotations={}), [])
        if NAME in top.annotations:
            names.append(ImageReference.parse(top.annotations[NAME]))
    return tuple((descriptor, tuple(names)) for descriptor, names in found.items())

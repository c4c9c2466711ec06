"""From a source to a place with an image in it: archives unpacked, daemons asked, tags resolved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp

from attrs import evolve, frozen

from ...errors import NotFoundError, SpecError
from ...oci import Digest, Platform
from ...oci.layout import Layout
from ...oci.saved import Archive
from ...oci.wire import Compression, Index, MediaType, parse_manifest
from ...plan import LayoutArtifact
from ...registry import RegistryClient
from ...runtime import Run
from ..destinations.keeping import kept
from .choosing import choose, listed
from .daemon import save
from .gathering import ArtifactPlace, Gathering, Place, RegistryPlace
from .given import DaemonSource, FileSource, RegistrySource, Source
from .indexes import Entry

__all__ = ["Opened", "open_source", "whole_part"]


@frozen(kw_only=True)
class Opened:
    """An image that can be read: *digest* of *place*.

    *may_be_partial*: docker saves indexes of which it has only some platforms.
    """

    place: Place
    digest: Digest
    may_be_partial: bool = False


def open_source(
    source: Source,
    client: RegistryClient,
    run: Run,
    *,
    compression: Compression = "gzip",
    platforms: Sequence[Platform] = (),
) -> Opened:
    """Make *source* readable; archives go into a folder of the run.

    *compression* is for layers that docker saved plain, *platforms* a hint for a daemon. Raises `SpecError` for what is no image
    or holds several, `NotFoundError` for what is not there, and `BackendUnavailableError` for a
    daemon that does not answer.
    """
    match source:
        case LayoutArtifact():
            return Opened(place=ArtifactPlace(source, client), digest=source.digest)
        case RegistrySource(reference=reference):
            found = client.head_manifest(reference)
            if found is None:
                raise NotFoundError(f"there is no {reference}", hint="check its name and its tag")
            return Opened(place=RegistryPlace(client, reference.repository), digest=found.digest)
        case DaemonSource(name=name):
            return _open_archive(
                save(name, platforms, run), "", client, run, compression, str(source)
            )
        case FileSource(path=path, image=image):
            if path.is_dir():
                return _open_layout(path, image, client)
            if not path.exists():
                raise SpecError(f"no such file or folder: {path}")
            return _open_archive(path, image, client, run, compression, str(path))


def _open_layout(path: Path, image: str, client: RegistryClient) -> Opened:
    layout = Layout.open(path)
    images = listed(layout.index().manifests)
    if image.startswith("sha") and ":" in image:
        # Any manifest that is there, listed or not: one platform's, say.
        digest = Digest(image)
        if not layout.has(digest):
            choose(images, image, str(path))
    else:
        digest = _digest(choose(images, image, str(path)).digest)
    artifact = kept(path) if len(images) == 1 else LayoutArtifact(path=path, digest=digest)
    return Opened(place=ArtifactPlace(evolve(artifact, digest=digest), client), digest=digest)


def _digest(digest: Digest | None) -> Digest:
    assert digest is not None, "a layout's images have digests"
    return digest


def _open_archive(
    path: Path, image: str, client: RegistryClient, run: Run, compression: Compression, what: str
) -> Opened:
    room = Path(mkdtemp(prefix="unpacked-", dir=run.workdir))
    with run.task(f"read {what}", f"read {what}"):
        archive = Archive.open(path, check=run.cancel.check)
        chosen = choose(archive.images, image, what)
        if chosen.digest is not None:
            layout, digest = archive.unpack(room / "layout", check=run.cancel.check), chosen.digest
        else:
            layout = Layout.create(room / "layout")
            brought = archive.bring(
                chosen, layout, compression=compression, check=run.cancel.check
            )
            digest = brought.digest
    artifact = LayoutArtifact(path=layout.path, digest=digest)
    return Opened(
        place=ArtifactPlace(artifact, client), digest=digest, may_be_partial=archive.is_layout
    )


def whole_part(
    opened: Opened, gathering: Gathering, warn: Callable[[str], None], what: str
) -> Digest:
    """*opened* without the platforms of which its manifest or blobs are missing.

    Raises `NotFoundError` when that leaves nothing.
    """
    data = opened.place.manifest(opened.digest)
    if not isinstance(parse_manifest(data), Index):
        return opened.digest
    leaves = gathering.leaves(opened.place, opened.digest, what)
    there = [entry for entry in leaves if _is_whole(opened.place, entry)]
    images = [entry for entry in there if entry.is_image]
    absent = [entry for entry in leaves if entry.is_image and entry not in images]
    if not images:
        raise NotFoundError(f"{what} has no platform's image whole", hint="pull it, save it again")
    if absent:
        names = ", ".join(str(e.descriptor.platform or e.descriptor.digest) for e in absent)
        warn(f"{what} lists {names}, but does not have them: they are left out")
    if len(there) == len(leaves):
        return opened.digest
    return gathering.subset(opened.place, opened.digest, there)


def _is_whole(place: Place, entry: Entry) -> bool:
    """Whether a manifest of a folder is there with all its blobs."""
    if not isinstance(place, ArtifactPlace):
        return True
    layout = Layout(place.artifact.path)
    if not layout.has(entry.descriptor.digest):
        return False
    document = layout.document(entry.descriptor.digest)
    if isinstance(document, Index):
        return all(layout.has(child.digest) for child in document.manifests)
    return all(
        layout.has(blob.digest)
        for blob in (document.config, *document.layers)
        if not MediaType.is_foreign(blob.media_type)
    )

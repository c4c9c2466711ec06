"""Filling a repository with an image, untagged: blobs first, then manifests by their digests."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Final

from attrs import define, field, frozen

from ..errors import NotFoundError, RegistryError, RegistryUnavailableError
from ..oci import Digest, ImageReference, Repository
from ..oci.layout import Layout
from ..oci.wire import Descriptor
from ..runtime import Run, Task
from .client import RegistryClient
from .contents import Content, content
from .images import Document, Image
from .parallel import Siblings, each
from .progress import SHORT, size_text, watched
from .uploads import MOST_MOUNTS, Placed

__all__ = ["Filling", "Places", "Tally", "fill_blobs", "put_documents", "tally"]

_UNKNOWN: Final = frozenset({"BLOB_UNKNOWN", "MANIFEST_BLOB_UNKNOWN", "MANIFEST_UNKNOWN"})
_DIGEST: Final = re.compile(r"sha(?:256:[0-9a-f]{64}|512:[0-9a-f]{128})")


@frozen(kw_only=True)
class Tally:
    """A number of blobs and their bytes."""

    blobs: int = 0
    bytes: int = 0


def tally(placed: Iterable[tuple[Placed, Descriptor]], kind: Placed) -> Tally:
    """How many blobs became what *kind* says."""
    sizes = [blob.size for how, blob in placed if how == kind]
    return Tally(blobs=len(sizes), bytes=sum(sizes))


@define(eq=False)
class Places:
    """Which repositories have which blobs, as far as is known: where a mount may come from.

    Thread-safe. The surest come first: those of this push, then what was told beforehand.
    """

    _found: dict[Digest, tuple[Repository, ...]] = field(
        factory=dict[Digest, tuple[Repository, ...]]
    )
    _lost: set[tuple[Digest, Repository]] = field(factory=set[tuple[Digest, Repository]])
    _lock: threading.Lock = field(factory=threading.Lock)

    def near(self, digest: Digest, repository: Repository) -> tuple[Repository, ...]:
        """Other repositories of the same registry that have the blob."""
        with self._lock:
            known = self._found.get(digest, ())
            return tuple(
                place
                for place in known
                if place.host == repository.host
                and place != repository
                and (digest, place) not in self._lost
            )

    def heard(self, digest: Digest, repositories: Iterable[Repository]) -> None:
        """Somebody says that these have the blob."""
        with self._lock:
            known = (*self._found.get(digest, ()), *repositories)
            self._found[digest] = tuple(dict.fromkeys(known))

    def seen(self, digest: Digest, repository: Repository) -> None:
        """The blob is there."""
        with self._lock:
            known = (repository, *self._found.get(digest, ()))
            self._found[digest] = tuple(dict.fromkeys(known))
            self._lost.discard((digest, repository))

    def lost(self, digest: Digest, repositories: Iterable[Repository]) -> None:
        """These would not give the blob."""
        with self._lock:
            self._lost |= {(digest, repository) for repository in repositories}

    @property
    def losses(self) -> frozenset[tuple[Digest, Repository]]:
        """What `lost` was told."""
        with self._lock:
            return frozenset(self._lost)


def _go_on() -> None:
    pass


@frozen(kw_only=True)
class Filling:
    """The fixed things of one push.

    *places* is None when nothing is to be mounted. *check* is called between pieces and raises
    when the push is to stop. *first* is the repository whose rows need no name.
    """

    client: RegistryClient
    layout: Layout
    run: Run
    places: Places | None = None
    check: Callable[[], None] = _go_on
    first: Repository | None = None

    def label(self, repository: Repository) -> str:
        """How rows of *repository* begin."""
        return "" if repository == self.first else f"{repository} "


def fill_blobs(
    job: Filling, image: Image, repository: Repository
) -> list[tuple[Placed, Descriptor]]:
    """Make sure that *repository* has every blob of *image*, a few at a time."""
    # The largest first: what takes longest ends earliest that way.
    blobs = sorted(image.blobs, key=lambda blob: -blob.size)
    return each(blobs, lambda blob, siblings: _place(job, image, repository, blob, siblings))


def put_documents(job: Filling, image: Image, repository: Repository) -> None:
    """Put every manifest of *image* by its digest, children before what lists them.

    Blobs that the registry then does not know are sent again, exactly those and once. Raises
    `NotFoundError` naming a child that neither the layout nor *repository* has.
    """
    for child in image.absent:
        reference = ImageReference(repository=repository, digest=child.digest)
        if job.client.head_manifest(reference, access="push") is None:
            raise NotFoundError(
                f"the index lists {child.digest}, which neither the layout nor {repository} has",
                hint="push that image first, or copy the index from where it is complete",
            )
    known = {one.descriptor.digest: one for one in image.documents}
    for document in image.documents:
        job.check()
        _put(job, image, repository, document, known)


def _put(
    job: Filling,
    image: Image,
    repository: Repository,
    document: Document,
    known: Mapping[Digest, Document],
) -> None:
    reference = ImageReference(repository=repository, digest=document.descriptor.digest)
    again: set[Digest] = set()
    while True:
        try:
            job.client.put_manifest(reference, document.data, document.value.media_type)
        except RegistryError as error:
            missing = _missing(error, document, again)
            if not missing:
                raise
            again |= missing
            job.run.warn(
                f"{repository.host} claims to have blobs that it then does not know"
                f" ({error.message}); sending them again"
            )
            for child in (known[d] for d in missing if d in known):
                place = ImageReference(repository=repository, digest=child.descriptor.digest)
                job.client.put_manifest(place, child.data, child.value.media_type)
            blobs = [blob for blob in document.blobs if blob.digest in missing]
            each(blobs, partial(_place_again, job, image, repository))
        else:
            return


def _missing(error: RegistryError, document: Document, again: Collection[Digest]) -> set[Digest]:
    """What the registry says it lacks of *document*; all of it when it names nothing."""
    if isinstance(error, RegistryUnavailableError):
        return set()
    proofs = [p for p in error.evidence if _UNKNOWN & {*getattr(p, "codes", ())}]
    if not proofs:
        return set()
    needed = {one.digest for one in (*document.blobs, *document.children)}
    said = {Digest(d) for p in proofs for d in _DIGEST.findall(getattr(p, "detail", ""))}
    named = needed & said
    return (named or (set() if again else needed)) - set(again)


def _place(
    job: Filling, image: Image, repository: Repository, blob: Descriptor, siblings: Siblings
) -> tuple[Placed, Descriptor]:
    """Put one blob, from the layout or from where it came."""
    job.check()
    label = job.label(repository)
    near = job.places.near(blob.digest, repository) if job.places else ()
    with (
        job.run.task(f"push {label}{blob.digest}", _title(blob, label)) as task,
        _content(job, image, repository, blob) as found,
    ):
        placed = job.client.put_blob(
            repository,
            blob,
            _opener(job, found, blob, task, siblings),
            mount_from=near,
            source=found.source,
            prepare=found.prepare,
        )
        if placed != "uploaded":
            task.outcome = "cached"
    if job.places:
        job.places.seen(blob.digest, repository)
        if placed == "uploaded":
            job.places.lost(blob.digest, near[:MOST_MOUNTS])
    return placed, blob


def _place_again(
    job: Filling, image: Image, repository: Repository, blob: Descriptor, siblings: Siblings
) -> None:
    """Send a blob although the registry said that it had it."""
    label = job.label(repository)
    name = f"push again {repository} {blob.digest}"
    with (
        job.run.task(name, _title(blob, label)) as task,
        _content(job, image, repository, blob) as found,
    ):
        job.client.put_blob(
            repository,
            blob,
            _opener(job, found, blob, task, siblings),
            look_first=False,
            source=found.source,
            prepare=found.prepare,
        )


def _title(blob: Descriptor, label: str) -> str:
    return f"push {label}{str(blob.digest)[:SHORT]} ({size_text(blob.size)})"


def _content(
    job: Filling, image: Image, repository: Repository, blob: Descriptor
) -> AbstractContextManager[Content]:
    """From the layout's file, else from its origin."""
    origin = image.origins.get(blob.digest)
    return content(job.client, job.run, job.layout, blob, origin=origin, destination=repository)


def _opener(
    job: Filling, found: Content, blob: Descriptor, task: Task, siblings: Siblings
) -> Callable[[], Iterator[bytes]]:
    """How to read *blob* from its start, as rows and siblings want it read."""
    return lambda: _checked(watched(found.read(), task, blob.size, siblings), job.check)


def _checked(pieces: Iterator[bytes], check: Callable[[], None]) -> Iterator[bytes]:
    for piece in pieces:
        check()
        yield piece

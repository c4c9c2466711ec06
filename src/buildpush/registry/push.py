"""Pushing an image: blobs, then manifests by digest, then tags, then everything read back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Final

from attrs import evolve, field, frozen

from ..auth import Access
from ..errors import (
    DigestMismatchError,
    NotFoundError,
    RegistryError,
    RegistryUnavailableError,
    SpecError,
)
from ..oci import Digest, ImageReference, Repository
from ..oci.layout import Layout
from ..oci.wire import Descriptor, Index, Manifest, MediaType
from ..runtime import Run, Task
from .client import RegistryClient
from .parallel import Siblings, each
from .progress import SHORT, size_text, watched
from .uploads import Placed

__all__ = ["PushReport", "Pushed", "Tally", "push", "read_back"]

_CHUNK: Final = 1 << 20
_UNKNOWN: Final = frozenset({"BLOB_UNKNOWN", "MANIFEST_BLOB_UNKNOWN"})


@frozen(kw_only=True)
class Tally:
    """A number of blobs and their bytes."""

    blobs: int = 0
    bytes: int = 0


@frozen(kw_only=True)
class Pushed:
    """One destination, pinned to the digest that was found there afterwards.

    *already* says that it named this digest before anything was sent.
    """

    reference: ImageReference
    already: bool


@frozen(kw_only=True)
class PushReport:
    """What a push did; every reference in *references* was verified."""

    digest: Digest
    references: tuple[Pushed, ...]
    uploaded: Tally = field(factory=Tally)
    mounted: Tally = field(factory=Tally)
    existing: Tally = field(factory=Tally)


@frozen(kw_only=True)
class _Image:
    """What is to be pushed: manifests in the order they may be put, and the blobs they name."""

    digest: Digest
    manifests: tuple[tuple[Descriptor, Manifest | Index], ...]

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        found: dict[Digest, Descriptor] = {}
        for _, document in self.manifests:
            if isinstance(document, Manifest):
                found |= {blob.digest: blob for blob in _blobs_of(document)}
        return tuple(found.values())


@frozen(kw_only=True)
class _Push:
    """The fixed things of one push."""

    client: RegistryClient
    layout: Layout
    image: _Image
    origins: Mapping[Digest, Repository]
    run: Run


def push(
    client: RegistryClient,
    layout: Layout,
    digest: Digest,
    references: Sequence[ImageReference],
    *,
    origins: Mapping[Digest, Repository],
    run: Run,
) -> PushReport:
    """Make every one of *references* name the image or index *digest* of *layout*.

    *origins* says which repositories hold blobs that the layout may lack: they are mounted on
    the same registry, and copied from another. Nothing is tagged before every repository has
    everything; tags that name *digest* already are left alone. Raises `DigestMismatchError`
    when a tag names something else afterwards, and the client's errors.
    """
    image = _read(layout, digest)
    job = _Push(client=client, layout=layout, image=image, origins=origins, run=run)
    wanted = tuple(_pinned(reference, digest) for reference in dict.fromkeys(references))
    already = {reference: _names(client, reference, digest) for reference in wanted}
    placed: list[tuple[Placed, Descriptor]] = []
    filled: list[Repository] = []
    for repository in dict.fromkeys(r.repository for r in wanted if not already[r]):
        placed += _fill(job, repository, filled)
        filled.append(repository)
    for reference in wanted:
        if not already[reference]:
            _tag(job, reference)
    for reference in wanted:
        if not already[reference]:
            read_back(client, reference, digest, access="push")
    return PushReport(
        digest=digest,
        references=tuple(Pushed(reference=r, already=already[r]) for r in wanted),
        uploaded=_tally(placed, "uploaded"),
        mounted=_tally(placed, "mounted"),
        existing=_tally(placed, "exists"),
    )


def _read(layout: Layout, digest: Digest) -> _Image:
    """Walk the layout; children come before what lists them."""
    walked = tuple(layout.manifests(digest))
    return _Image(digest=digest, manifests=tuple(reversed(walked)))


def _blobs_of(manifest: Manifest) -> tuple[Descriptor, ...]:
    blobs = (manifest.config, *manifest.layers)
    return tuple(blob for blob in blobs if not MediaType.is_foreign(blob.media_type))


def _pinned(reference: ImageReference, digest: Digest) -> ImageReference:
    if reference.digest not in (None, digest):
        raise SpecError(
            f"{reference} cannot be pushed: the image is {digest}",
            hint="name the destination by tag",
        )
    return reference.with_digest(digest)


def _by_tag(reference: ImageReference) -> ImageReference:
    """What is asked for *reference*: its tag, or its digest when it has none."""
    return evolve(reference, digest=None) if reference.tag else reference


def _names(client: RegistryClient, reference: ImageReference, digest: Digest) -> bool:
    found = client.head_manifest(_by_tag(reference), access="push")
    return found is not None and found.digest == digest


def _fill(
    job: _Push, repository: Repository, filled: Sequence[Repository]
) -> list[tuple[Placed, Descriptor]]:
    """Put every blob and manifest into *repository*, untagged."""
    neighbour = next((r for r in filled if r.host == repository.host), None)
    label = f"{repository} " if filled else ""
    placed = each(
        job.image.blobs,
        lambda blob, siblings: _place(job, repository, blob, siblings, neighbour, label),
    )
    for descriptor, document in job.image.manifests:
        reference = ImageReference(repository=repository, digest=descriptor.digest)
        data = job.layout.read(descriptor.digest)
        try:
            job.client.put_manifest(reference, data, document.media_type)
        except RegistryError as error:
            if not _says_missing(error) or not isinstance(document, Manifest):
                raise
            _place_again(job, repository, document, error)
            job.client.put_manifest(reference, data, document.media_type)
    return placed


def _place(
    job: _Push,
    repository: Repository,
    blob: Descriptor,
    siblings: Siblings,
    neighbour: Repository | None,
    label: str,
    *,
    look_first: bool = True,
) -> tuple[Placed, Descriptor]:
    """Put one blob, from the layout or from where it came."""
    name = f"push {label}{blob.digest}" if look_first else f"push again {label}{blob.digest}"
    title = f"push {label}{str(blob.digest)[:SHORT]} ({size_text(blob.size)})"
    origin = job.origins.get(blob.digest)
    mount = origin if origin is not None and origin.host == repository.host else neighbour
    with job.run.task(name, title) as task:
        placed = job.client.put_blob(
            repository,
            blob,
            _opener(job, blob, task, siblings),
            mount_from=mount if look_first else None,
            look_first=look_first,
        )
        if placed != "uploaded":
            task.outcome = "cached"
    return placed, blob


def _opener(
    job: _Push, blob: Descriptor, task: Task, siblings: Siblings
) -> Callable[[], Iterator[bytes]]:
    """How to read *blob* from its start: from the layout's file, else from its origin."""
    origin = job.origins.get(blob.digest)
    if job.layout.has(blob.digest):
        read = partial(_from_file, job.layout, blob)
    elif origin is not None:
        read = partial(_from_registry, job.client, origin, blob)
    else:
        raise NotFoundError(
            f"the layout lacks blob {blob.digest}, and nothing says where it could be had",
            hint="build the image again",
        )
    return lambda: watched(read(), task, blob.size, siblings)


def _from_file(layout: Layout, blob: Descriptor) -> Iterator[bytes]:
    with layout.blob_path(blob.digest).open("rb", buffering=0) as file:
        while piece := file.read(_CHUNK):
            yield piece


def _from_registry(
    client: RegistryClient, origin: Repository, blob: Descriptor
) -> Iterator[bytes]:
    with ExitStack() as stack:
        yield from stack.enter_context(client.get_blob(origin, blob))


def _says_missing(error: RegistryError) -> bool:
    if isinstance(error, RegistryUnavailableError):
        return False
    return any(_UNKNOWN & {*getattr(proof, "codes", ())} for proof in error.evidence)


def _place_again(
    job: _Push, repository: Repository, manifest: Manifest, error: RegistryError
) -> None:
    """Send the blobs of *manifest* although the registry said that it had them."""
    job.run.warn(
        f"{repository.host} claims to have blobs that it then does not know"
        f" ({error.message}); sending them again"
    )
    each(
        _blobs_of(manifest),
        lambda blob, siblings: _place(
            job, repository, blob, siblings, None, f"{repository} ", look_first=False
        ),
    )


def _tag(job: _Push, reference: ImageReference) -> None:
    if not reference.tag:
        return
    tagged = _by_tag(reference)
    top, document = job.image.manifests[-1]
    with job.run.task(f"tag {tagged}", f"tag {tagged}"):
        job.client.put_manifest(tagged, job.layout.read(top.digest), document.media_type)


def read_back(
    client: RegistryClient, reference: ImageReference, digest: Digest, *, access: Access
) -> None:
    """Read *reference* by its tag and compare digests: a push succeeded only when this does.

    Raises `DigestMismatchError` when the tag names another digest.
    """
    tagged = _by_tag(reference)
    found = client.get_manifest(tagged, access=access).descriptor.digest
    if found != digest:
        raise DigestMismatchError(
            f"{tagged} was pushed as {digest}, and now names {found}",
            hint="does something else push to the same tag, or is it immutable?",
        )


def _tally(placed: Sequence[tuple[Placed, Descriptor]], kind: Placed) -> Tally:
    sizes = [blob.size for how, blob in placed if how == kind]
    return Tally(blobs=len(sizes), bytes=sum(sizes))

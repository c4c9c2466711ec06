"""Pushing an image: blobs, then manifests by digest, then tags, then everything read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import evolve, field, frozen

from ..auth import Access
from ..errors import DigestMismatchError, SpecError
from ..oci import Digest, ImageReference, Repository
from ..oci.layout import Layout
from ..oci.wire import Descriptor
from ..runtime import Run
from .client import RegistryClient
from .filling import Filling, Places, Tally, fill_blobs, put_documents, tally
from .images import Image, read_image
from .uploads import Placed

__all__ = ["PushReport", "Pushed", "Tally", "by_tag", "pinned", "push", "read_back"]


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
    image = read_image(client, layout, digest, origins)
    wanted = tuple(pinned(reference, digest) for reference in dict.fromkeys(references))
    already = {reference: _names(client, reference, digest) for reference in wanted}
    repositories = tuple(dict.fromkeys(r.repository for r in wanted if not already[r]))
    places = Places()
    for blob, origin in image.origins.items():
        places.heard(blob, (origin,))
    first = next(iter(repositories), None)
    job = Filling(client=client, layout=layout, run=run, places=places, first=first)
    placed: list[tuple[Placed, Descriptor]] = []
    for repository in repositories:
        placed += fill_blobs(job, image, repository)
        put_documents(job, image, repository)
    for reference in wanted:
        if not already[reference]:
            _tag(job, image, reference)
    for reference in wanted:
        if not already[reference]:
            read_back(client, reference, digest, access="push")
    return PushReport(
        digest=digest,
        references=tuple(Pushed(reference=r, already=already[r]) for r in wanted),
        uploaded=tally(placed, "uploaded"),
        mounted=tally(placed, "mounted"),
        existing=tally(placed, "exists"),
    )


def pinned(reference: ImageReference, digest: Digest) -> ImageReference:
    """*reference* with *digest*; raises `SpecError` when it has another."""
    if reference.digest not in (None, digest):
        raise SpecError(
            f"{reference} cannot be pushed: the image is {digest}",
            hint="name the destination by tag",
        )
    return reference.with_digest(digest)


def by_tag(reference: ImageReference) -> ImageReference:
    """What is asked for *reference*: its tag, or its digest when it has none."""
    return evolve(reference, digest=None) if reference.tag else reference


def _names(client: RegistryClient, reference: ImageReference, digest: Digest) -> bool:
    found = client.head_manifest(by_tag(reference), access="push")
    return found is not None and found.digest == digest


def _tag(job: Filling, image: Image, reference: ImageReference) -> None:
    if not reference.tag:
        return
    tagged = by_tag(reference)
    with job.run.task(f"tag {tagged}", f"tag {tagged}"):
        job.client.put_manifest(tagged, image.top.data, image.top.value.media_type)


def read_back(
    client: RegistryClient, reference: ImageReference, digest: Digest, *, access: Access
) -> None:
    """Read *reference* by its tag and compare digests: a push succeeded only when this does.

    Raises `DigestMismatchError` when the tag names another digest.
    """
    tagged = by_tag(reference)
    found = client.get_manifest(tagged, access=access).descriptor.digest
    if found != digest:
        raise DigestMismatchError(
            f"{tagged} was pushed as {digest}, and now names {found}",
            hint="does something else push to the same tag, or is it immutable?",
        )

"""Signatures, SBOMs and whatever else refers to a copied image, copied after it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from attrs import evolve

from ...errors import NotFoundError
from ...oci import Digest, ImageReference, Repository
from ...oci.wire import Descriptor, Index, MediaType, dump, parse_manifest
from ...plan import Destination
from ...registry.referrers import referrers_tag
from ..destinations.publishing import publish
from .gathering import Gathering, RegistryPlace

if TYPE_CHECKING:
    from ..conducting import Job
    from .gathering import Place

__all__ = ["copy_referrers"]

_MOST: Final = 1000


def copy_referrers(
    job: Job,
    gathering: Gathering,
    place: Place,
    digest: Digest,
    destinations: Sequence[Destination],
) -> int:
    """Copy what refers to *digest*, to what it lists, and to those referrers in turn; how many.

    They go to every repository that the image went to. Where that registry has no referrers
    API, its tag for them is brought up to date.
    """
    if not isinstance(place, RegistryPlace):
        return 0
    targets = tuple(
        dict.fromkeys(one.reference.repository for one in destinations if one.error is None)
    )
    pending = [found for found, _ in gathering.layout.manifests(digest)]
    subjects, done = {one.digest for one in pending}, 0
    while pending:
        subject = pending.pop(0)
        for found in place.client.referrers(place.repository, subject.digest):
            if found.digest in subjects:
                continue
            if done == _MOST:
                job.run.warn(f"{digest} has more than {_MOST} referrers: the rest is not copied")
                return done
            subjects.add(found.digest)
            gathering.bring(place, found.digest)
            _publish(job, gathering, found, targets)
            for target in targets:
                _list(job, target, subject.digest, found)
            pending.append(found)
            done += 1
    return done


def _publish(
    job: Job, gathering: Gathering, found: Descriptor, targets: Sequence[Repository]
) -> None:
    references = [ImageReference(repository=target, digest=found.digest) for target in targets]
    # What a signature signs are these very bytes, and it has no tag that could be in the way.
    policy = evolve(
        job.options.policy,
        media_types="keep",
        on_existing_tag="overwrite",
        expect_current=None,
    )
    publish(job.client, gathering.artifact(found.digest), references, policy, job.run)


def _list(job: Job, target: Repository, subject: Digest, found: Descriptor) -> None:
    """Put *found* into the tag for referrers, unless the registry lists it by itself."""
    listed = job.client.referrers(target, subject)
    if found.digest in {entry.digest for entry in listed}:
        return
    tag = referrers_tag(target, subject)
    try:
        document = parse_manifest(job.client.get_manifest(tag, access="push").data)
        before = document.manifests if isinstance(document, Index) else ()
    except NotFoundError:
        before = ()
    index = Index(manifests=(*before, found))
    job.client.put_manifest(tag, dump(index), MediaType.OCI_INDEX)

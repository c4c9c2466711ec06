"""`copy`: from one registry to others, streamed, byte for byte; with its signatures if wanted."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Unpack

from ..events import EventSink, ignore
from ..oci import ImageReference
from ..runtime import CancelToken, Environment
from .conducting import References, conduct
from .options import Options, PushArguments
from .results import PushResult
from .sources.given import Source, read_source

if TYPE_CHECKING:
    from .conducting import Job

__all__ = ["copy"]


def copy(
    source: str | ImageReference,
    to: References,
    *,
    referrers: bool = False,
    on_event: EventSink = ignore,
    cancel: CancelToken | None = None,
    **options: Unpack[PushArguments],
) -> PushResult:
    """Copy an image from its registry to other names, there or elsewhere, byte for byte.

    All platforms and attestations come along, but for *platforms* (of `PushArguments`): one is
    copied as the image itself, several as an index of them. Blobs are mounted within a registry
    and streamed between two, without touching the disk; foreign layers stay where they are. With
    *referrers* everything that refers to the image or its platforms (signatures, SBOMs) is copied,
    too. *on_event* and *cancel* are those of `push`.

    Raises `NotFoundError` when *source* is not there, and what pushes raise.
    """
    found = read_source(source, Environment.current().cwd, remote=True)
    read = Options.read(options)
    work = partial(_copy, found, with_referrers=referrers)
    return conduct(work, to, read, on_event=on_event, cancel=cancel)


def _copy(source: Source, job: Job, *, with_referrers: bool) -> PushResult:
    from .sources.opening import open_source
    from .sources.referrers import copy_referrers

    gathering = job.gathering()
    opened = open_source(source, job.client, job.run)
    digest = opened.digest
    if job.options.platforms:
        digest = gathering.narrow(opened.place, digest, job.options.platforms)
    gathering.bring(opened.place, digest)
    result = job.publish(gathering.artifact(digest))
    if with_referrers:
        copy_referrers(job, gathering, opened.place, digest, result.destinations)
    return result

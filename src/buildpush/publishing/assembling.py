"""`assemble`: one index of images that were built apart, wherever they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

from ..errors import SpecError
from ..events import EventSink, ignore
from ..oci import ImageReference
from ..plan import LayoutArtifact
from ..runtime import CancelToken, Environment
from .conducting import References, conduct
from .options import Options, PushArguments
from .results import PushResult
from .sources.given import Source, read_source

if TYPE_CHECKING:
    from .conducting import Job
    from .sources.indexes import Entry

__all__ = ["assemble"]

Attestations = Literal["keep", "drop"]


def assemble(
    images: Sequence[str | ImageReference | Path | LayoutArtifact],
    to: References,
    *,
    annotations: Mapping[str, str] | None = None,
    attestations: Attestations = "keep",
    on_event: EventSink = ignore,
    cancel: CancelToken | None = None,
    **options: Unpack[PushArguments],
) -> PushResult:
    """Push an index of *images*, each for a platform of its own, to the names *to*.

    Images are references, best by digest, in any repositories of any registries, or what `push`
    takes; they are mounted or copied into the index's repository first, byte for byte. An index
    among them is flattened. *attestations* of flattened indexes are kept with their images, or
    dropped. *annotations* are the index's own. *platforms* (of `PushArguments`) leaves out the
    others.

    Raises `SpecError` naming both when two images are for one platform, and when one is no
    image; else what `push` raises.
    """
    if isinstance(images, str):
        raise SpecError("images: name several, in a list")
    cwd = Environment.current().cwd
    found = tuple(read_source(image, cwd, remote=True) for image in images)
    if not found:
        raise SpecError("images: name at least one")
    read = Options.read(options)
    work = partial(
        _assemble,
        found,
        annotations=dict(annotations or {}),
        keep=attestations == "keep",
    )
    return conduct(work, to, read, on_event=on_event, cancel=cancel)


def _assemble(
    sources: Sequence[Source], job: Job, *, annotations: Mapping[str, str], keep: bool
) -> PushResult:
    from .sources.indexes import joined, without_strays
    from .sources.opening import open_source

    gathering = job.gathering()
    entries: list[Entry] = []
    for source in sources:
        opened = open_source(source, job.client, job.run, platforms=job.options.platforms)
        found = gathering.leaves(
            opened.place, opened.digest, str(source).removeprefix("docker://")
        )
        for entry in without_strays(e for e in found if _is_wanted(e, job.options, keep=keep)):
            _check(entry)
            gathering.bring(opened.place, entry.descriptor.digest)
            entries.append(entry)
    _check_platforms(entries, job.options)
    data, _ = joined(entries, annotations)
    return job.publish(gathering.artifact(gathering.put(data)))


def _is_wanted(entry: Entry, options: Options, *, keep: bool) -> bool:
    if not entry.is_image:
        return keep and entry.about is not None
    return not options.platforms or entry.descriptor.platform in options.platforms


def _check(entry: Entry) -> None:
    if entry.is_image and entry.descriptor.platform is None:
        raise SpecError(
            f"{entry.origin} is for no platform: {entry.descriptor.digest} is an artifact, not an"
            " image",
            hint="an index of platforms holds images only",
        )


def _check_platforms(entries: Sequence[Entry], options: Options) -> None:
    there = {entry.descriptor.platform for entry in entries}
    absent = [platform for platform in options.platforms if platform not in there]
    if absent:
        raise SpecError(f"none of the images is for {', '.join(map(str, absent))}")
    if not entries:
        raise SpecError("images: there is no image in them")

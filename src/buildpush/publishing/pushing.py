"""`push`: an image that exists already, from wherever it is, to registries."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from ..events import EventSink, ignore
from ..oci.wire import Compression
from ..plan import LayoutArtifact
from ..runtime import CancelToken, Environment
from .conducting import References, conduct
from .options import Options, PushArguments
from .results import PushResult
from .sources.given import Source, read_source

if TYPE_CHECKING:
    from .conducting import Job

__all__ = ["push"]


def push(
    source: LayoutArtifact | Path | str,
    to: References,
    *,
    image: str = "",
    compression: Compression = "gzip",
    on_event: EventSink = ignore,
    cancel: CancelToken | None = None,
    **options: Unpack[PushArguments],
) -> PushResult:
    """Push an image without building it; manifests and blobs keep every byte.

    *source* is a path (an OCI layout's folder, an OCI archive or a docker archive; what it is, is
    looked up), ``oci:PATH[:TAG]`` or ``oci:PATH@DIGEST``, ``docker-archive:PATH``,
    ``docker-daemon:NAME``, ``docker://REFERENCE``, the artifact of a backend, or the path in the
    ``artifact`` of an error. *image* chooses one of several by tag, name or digest. *to* are the
    names it gets.

    What docker saves of its classic store has plain layers and no manifest: a manifest is made,
    and the layers are compressed by *compression*, to the same bytes everywhere.

    *platforms* (of `PushArguments`) takes only these out of an index: one is pushed as the image
    itself, several as an index of them. *on_event* is called in this thread; flipping *cancel*
    stops the push. Raises `SpecError` for what is no image or holds several, `NotFoundError` for
    a blob that is not there, and what pushes raise.
    """
    found = read_source(source, Environment.current().cwd, image=image)
    read = Options.read(options)
    work = partial(_push, found, compression)
    return conduct(work, to, read, on_event=on_event, cancel=cancel)


def _push(source: Source, compression: Compression, job: Job) -> PushResult:
    from .sources.opening import open_source, whole_part

    gathering = job.gathering()
    opened = open_source(
        source,
        job.client,
        job.run,
        compression=compression,
        platforms=job.options.platforms,
    )
    digest = opened.digest
    if opened.may_be_partial:
        digest = whole_part(opened, gathering, job.run.warn, str(source))
    if job.options.platforms:
        digest = gathering.narrow(opened.place, digest, job.options.platforms)
    gathering.bring(opened.place, digest)
    return job.publish(gathering.artifact(digest))

"""What passes between kaniko's backend and the runners: one image, told, run and ended."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath
from typing import Literal, Protocol, runtime_checkable

from attrs import field, frozen

from ...oci import Platform
from ...plan import BuildRequest, Feature
from ...runtime import Run
from ..engine.command import Translator

__all__ = ["Command", "Ending", "Execution", "Found", "Places", "Runner"]

Cause = Literal["", "out of memory"]


# mypy's attrs plugin cannot solve a generic converter, so there is one per value type.
def _copy_text(mapping: Mapping[str, str]) -> Mapping[str, str]:
    return dict(mapping)


def _copy_bytes(mapping: Mapping[str, bytes]) -> Mapping[str, bytes]:
    return dict(mapping)


@frozen(kw_only=True)
class Places:
    """Where things lie in the container that the executor runs in; the runner decides.

    *context* is what ``--context`` is told; *private* the folder of `Execution.files`; *layout*
    the folder for an OCI layout, None where the executor pushes; *digest* the file for the
    image's digest; *cache* a folder for the cache, None where nothing is kept between builds.
    """

    context: str
    private: PurePosixPath
    digest: PurePosixPath
    layout: PurePosixPath | None = None
    cache: PurePosixPath | None = None


@frozen(kw_only=True)
class Command:
    """The executor's arguments, and the environment variables it needs; neither is secret."""

    words: tuple[str, ...]
    variables: Mapping[str, str] = field(factory=dict[str, str], converter=_copy_text)


@frozen(kw_only=True)
class Execution:
    """One image for one platform, to be built by one run of the executor.

    *request* is the step's, for one *platform* (None: the executor's own); *files* are private:
    names below `Places.private`, with what is in them: ``Dockerfile``, ``Dockerfile.dockerignore``
    (empty, since the context comes without what is ignored), ``config.json``, certificates,
    secrets. *command* says what the executor is told, given the places. *layout* is the folder
    here that is to get the image, None where the executor pushes it. *prefix* begins the titles
    of its tasks, where the step has several platforms.
    """

    image: str
    request: BuildRequest
    command: Callable[[Places], Command]
    files: Mapping[str, bytes] = field(repr=False, converter=_copy_bytes)
    platform: Platform | None = None
    layout: Path | None = None
    prefix: str = ""

    def title(self, words: str) -> str:
        """A task's title, set apart from those of the step's other platforms by *prefix*."""
        return f"{self.prefix}{words}"


@frozen(kw_only=True)
class Ending:
    """How a run of the executor ended.

    *argv* is what was started, redacted; *cause* what the runner knows beyond the exit code, and
    *limit* the memory that was too little, in bytes; *digest* is what the executor has written,
    empty where it wrote none.
    """

    exit_code: int
    argv: tuple[str, ...]
    digest: str = ""
    cause: Cause = ""
    limit: int | None = None


@frozen(kw_only=True)
class Found:
    """What a runner can do here.

    *features* are what the runner adds to what the executor can: how the image leaves it
    (`Feature.EXPORT_LAYOUT`, `Feature.PUSH_DIRECTLY`), host names, memory limits…; *notes* say
    why others are absent. *version* is what the executor calls itself (``v1.28.3``), empty where
    that was not asked. *platforms* are those it can execute RUN for, none when that is unknown.
    *at_once* says how many executions of one build it takes at the same time.
    """

    features: frozenset[Feature]
    notes: Mapping[Feature, str] = field(factory=dict[Feature, str])
    version: str = ""
    platforms: tuple[Platform, ...] = ()
    remarks: tuple[str, ...] = ()
    at_once: int = 1


@runtime_checkable
class Runner(Protocol):
    """Runs kaniko's executor somewhere it does no harm: a container of its own, or a pod."""

    def probe(self, image: str, *, ask_version: bool) -> Found:
        """Say what can be done here, or raise `BackendUnavailableError`.

        With *ask_version*, what the executor in *image* calls itself, asked once and remembered.
        """
        ...

    def execute(self, execution: Execution, translator: Translator, run: Run) -> Ending:
        """Run the executor to its end, whatever that is; nothing is left behind.

        Its lines go through *translator* as they come. Raises what stopped the run, and
        `BackendUnavailableError` where it could not be started or was taken away.
        """
        ...

    def preview(self, execution: Execution) -> str:
        """What `execute` would start, as text to be read or applied by hand; no secret in it."""
        ...

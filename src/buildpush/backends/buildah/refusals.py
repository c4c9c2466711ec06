"""What a request asks in a way that this buildah would ignore or do wrongly, said beforehand.

Whole features are the planner's (`Capabilities`); here are the values that only some versions
know, each with its line.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...dockerfile.faults import evidence_of
from ...dockerfile.instructions import (
    Healthcheck,
    Instruction,
    Mount,
    OnBuild,
    Run,
    Shell,
)
from ...dockerfile.stages import Resolution, resolve
from ...errors import UnsupportedFeatureError
from ...oci import Platform
from ...plan import BuildRequest
from .probing import Buildah

__all__ = ["base_name", "needs_docker_format", "refuse", "writes_into_context"]


def refuse(request: BuildRequest, buildah: Buildah) -> None:
    """Raise `UnsupportedFeatureError` for what *buildah* has no way to do as asked."""
    for instruction in _needed(request):
        fault = _fault(instruction, buildah)
        if fault:
            raise UnsupportedFeatureError(
                f"{request.dockerfile.filename}, line {instruction.lines.first}: {fault}",
                evidence=(evidence_of(request.dockerfile, instruction.lines),),
            )
    if buildah.version < (1, 29):
        for name, caches in (("cache_from", request.cache_from), ("cache_to", request.cache_to)):
            if len(caches) > 1:
                raise UnsupportedFeatureError(
                    f"{name}: buildah {buildah.number} takes one repository",
                    hint="name one, or use buildah 1.29 or later",
                )
    if len(request.local_outputs) > 1:
        raise UnsupportedFeatureError(
            "outputs: buildah writes the image's files into one folder", hint="name one"
        )


def writes_into_context(request: BuildRequest) -> bool:
    """Whether a RUN mounts the build context to write into it, which here is the user's folder."""
    return any(
        mount.type in ("", "bind") and mount.flag("rw", "readwrite") and not mount.get("from")
        for instruction in _needed(request)
        if isinstance(instruction, Run)
        for mount in instruction.mounts
    )


def needs_docker_format(request: BuildRequest) -> bool:
    """Whether a stage says what buildah's OCI format forgets."""
    return any(isinstance(i, Healthcheck | OnBuild | Shell) for i in _needed(request))


def base_name(request: BuildRequest) -> str:
    """The image that the final stage is based on, through other stages; empty for none."""
    stages = _resolution(request).stages
    stage = stages[_resolution(request).target]
    while stage.base.stage is not None:
        stage = stages[stage.base.stage]
    return "" if stage.base.reference is None else str(stage.base.reference)


def _needed(request: BuildRequest) -> Iterator[Instruction]:
    """The instructions of the stages that are built."""
    resolution = _resolution(request)
    for index in resolution.needed:
        yield from resolution.stages[index].instructions


def _resolution(request: BuildRequest) -> Resolution:
    """The Dockerfile as seen from the target, for the first platform."""
    return resolve(
        request.dockerfile,
        target=request.target,
        build_args=request.build_args,
        platform=next(iter(request.platforms), Platform.host()),
        contexts=tuple(request.build_contexts),
    )


def _fault(instruction: Instruction, buildah: Buildah) -> str:
    if buildah.version >= (1, 44) or not isinstance(instruction, Run):
        return ""
    if any(map(_sets_env, instruction.mounts)):
        return f"buildah {buildah.number} cannot put a secret into a variable (env=)"
    return ""


def _sets_env(mount: Mount) -> bool:
    return mount.type == "secret" and bool(mount.get("env"))

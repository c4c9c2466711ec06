"""Which stages of a Dockerfile a build needs, and the images they begin with."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from attrs import frozen

from ..dockerfile.instructions import Copy, Dockerfile, Run, Stage
from ..dockerfile.words import expand_word
from ..errors import DockerfileError, SourceEvidence
from ..oci import Platform

__all__ = ["StagePlan", "plan_stages"]


@frozen(kw_only=True)
class StagePlan:
    """One stage: whether it is built, the image (or stage) it begins with, its platform.

    *image* is True when *base* is an image to pull, False for another stage or ``scratch``.
    """

    stage: Stage
    needed: bool
    base: str
    image: bool
    platform: Platform


def plan_stages(
    dockerfile: Dockerfile,
    *,
    target: str | None,
    build_args: Mapping[str, str],
    platform: Platform,
    host: Platform,
    contexts: Iterable[str] = (),
) -> tuple[StagePlan, ...]:
    """Resolve every stage for one *platform*; *contexts* are the names of build contexts.

    Raises `DockerfileError` when there is no stage called *target*.
    """
    environment = _global_arguments(dockerfile, build_args, platform, host)
    names = {stage.base.name: stage.index for stage in dockerfile.stages if stage.base.name}
    bases: list[tuple[str, int | None]] = []
    for stage in dockerfile.stages:
        text = expand_word(stage.base.image, environment, escape=dockerfile.escape)
        earlier = names.get(text.lower())
        known = earlier is not None and earlier < stage.index
        bases.append((text, earlier if known else None))
    needed: set[int] = set()
    waiting = [_target(dockerfile, target)]
    while waiting:
        index = waiting.pop()
        if index in needed:
            continue
        needed.add(index)
        wanted = [bases[index][1], *_sources(dockerfile.stages[index], names)]
        waiting += [other for other in wanted if other is not None and other < index]
    outside = {"scratch", *contexts}
    return tuple(
        StagePlan(
            stage=stage,
            needed=stage.index in needed,
            base=text,
            image=earlier is None and text not in outside,
            platform=_platform(dockerfile, stage, environment, platform),
        )
        for stage, (text, earlier) in zip(dockerfile.stages, bases, strict=True)
    )


def _target(dockerfile: Dockerfile, target: str | None) -> int:
    if target is None:
        return len(dockerfile.stages) - 1
    for stage in dockerfile.stages:
        if target.lower() in (stage.base.name, str(stage.index)):
            return stage.index
    last = dockerfile.text.count("\n") + 1
    known = ", ".join(stage.name for stage in dockerfile.stages)
    raise DockerfileError(
        f"there is no stage called {target!r}",
        hint=f"the stages are {known}",
        evidence=(
            SourceEvidence(
                filename=dockerfile.filename, first_line=1, last_line=last, text=dockerfile.text
            ),
        ),
    )


def _sources(stage: Stage, names: Mapping[str, int]) -> Iterable[int]:
    """The stages that COPY --from and RUN --mount=from read."""
    for instruction in stage.instructions:
        match instruction:
            case Copy(from_stage=text) if text:
                sources = [text]
            case Run(mounts=mounts):
                sources = [mount.get("from") for mount in mounts]
            case _:
                continue
        for source in sources:
            if source.lower() in names:
                yield names[source.lower()]
            elif source.isdigit():
                yield int(source)


def _global_arguments(
    dockerfile: Dockerfile, build_args: Mapping[str, str], platform: Platform, host: Platform
) -> dict[str, str]:
    found: dict[str, str] = {}
    for prefix, value in (("TARGET", platform), ("BUILD", host)):
        found |= {
            f"{prefix}PLATFORM": str(value),
            f"{prefix}OS": value.os,
            f"{prefix}ARCH": value.architecture,
            f"{prefix}VARIANT": value.variant,
        }
    for arg in dockerfile.args:
        for name, default in arg.args:
            if name in build_args:
                found[name] = build_args[name]
            elif default is not None:
                found[name] = expand_word(default, found, escape=dockerfile.escape)
    return found


def _platform(
    dockerfile: Dockerfile, stage: Stage, environment: Mapping[str, str], platform: Platform
) -> Platform:
    if not stage.base.platform:
        return platform
    text = expand_word(stage.base.platform, environment, escape=dockerfile.escape)
    return Platform.parse(text) if text else platform

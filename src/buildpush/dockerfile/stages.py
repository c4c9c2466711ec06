"""Which stages a target needs, what they are based on, and which images that takes.

Follows BuildKit's ``frontend/dockerfile/dockerfile2llb``: FROM sees only earlier stages, COPY
--from and RUN --mount see all of them and may use only earlier ones.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from attrs import evolve, frozen

from ..errors import DockerfileError, InvalidReferenceError
from ..oci import ImageReference, Platform
from .arguments import global_arguments
from .faults import Source, suggestion
from .instructions import Copy, Dockerfile, Lines, OnBuild, Run, Stage
from .resolution import SCRATCH, BaseImage, Origin, Resolution, ResolvedStage
from .words import expand_word

__all__ = [
    "BaseImage",
    "Origin",
    "Resolution",
    "ResolvedStage",
    "find_target",
    "resolve",
]

_INDEX = re.compile(r"[+-]?[0-9]{1,9}")
_SYSTEMS = frozenset({"linux", "windows", "darwin", "freebsd"})


def resolve(
    dockerfile: Dockerfile,
    *,
    target: str | None = None,
    build_args: Mapping[str, str] | None = None,
    platform: Platform | None = None,
    build_platform: Platform | None = None,
    contexts: Collection[str] = (),
) -> Resolution:
    """Expand every FROM, connect the stages, and find those *target* needs.

    *target* is a stage's name in any case, or its index as text; None means the last stage.
    *platform* is built for and *build_platform* built on; both default to this machine's.
    *contexts* are the names of named build contexts, which replace stages and images.

    Raises `DockerfileError` with the lines for an unknown target, a base that is empty or no
    image reference, a stage used before it is defined, an index that does not exist, and
    stages that need each other.
    """
    build_platform = build_platform or Platform.host()
    platform = platform or build_platform
    index = find_target(dockerfile, target)
    arguments = global_arguments(
        dockerfile,
        target=target or dockerfile.stages[-1].base.name,
        build_args=build_args or {},
        platform=platform,
        build_platform=build_platform,
    )
    graph = _Graph(dockerfile, arguments, platform, build_platform, frozenset(contexts))
    stages = graph.stages()
    graph.refuse_cycles(stages)
    needed = _reachable(stages, index)
    for number in needed:
        graph.refuse_later(stages[number], stages)
    return Resolution(
        dockerfile=dockerfile,
        target=index,
        stages=tuple(stages),
        needed=needed,
        arguments=arguments,
        platform=platform,
    )


def find_target(dockerfile: Dockerfile, target: str | None) -> int:
    """The index of the stage called *target*: by name in any case, by index, None for the last.

    Of two stages with one name the later is meant. Raises `DockerfileError`.
    """
    last = len(dockerfile.stages) - 1
    if not target:
        return last
    names = [stage.base.name for stage in dockerfile.stages]
    for index in range(last, -1, -1):
        if names[index] and names[index] == target.lower():
            return index
    if _INDEX.fullmatch(target) and 0 <= int(target) <= last:
        return int(target)
    known = [name for name in names if name]
    raise _source(dockerfile).located(
        f'target stage "{target}" could not be found{suggestion(target, known)}',
        dockerfile.stages[last].base.lines,
        f"stages with a name: {', '.join(known)}" if known else "no stage has a name",
    )


def _source(dockerfile: Dockerfile) -> Source:
    return Source(dockerfile.filename, dockerfile.text)


@frozen
class _Graph:
    """What it takes to connect the stages of one Dockerfile."""

    dockerfile: Dockerfile
    arguments: Mapping[str, str]
    platform: Platform
    build_platform: Platform
    contexts: frozenset[str]

    def stages(self) -> list[ResolvedStage]:
        """Resolve every FROM in order, then every COPY --from and mount."""
        by_name: dict[str, int] = {}
        resolved: list[ResolvedStage] = []
        for stage in self.dockerfile.stages:
            resolved.append(self._based(stage, by_name, resolved))
            if stage.base.name:
                by_name[stage.base.name] = stage.index
        return [
            stage
            if stage.base.context and stage.base.name == stage.stage.base.name
            else evolve(stage, sources=tuple(self._sources(stage, by_name)))
            for stage in resolved
        ]

    def _based(
        self, stage: Stage, by_name: Mapping[str, int], earlier: Sequence[ResolvedStage]
    ) -> ResolvedStage:
        base = stage.base
        if base.name and self._is_context(base.name):
            # The context stands in for the whole stage: nothing in it is executed.
            origin = Origin(name=base.name, lines=base.lines, context=True)
            return ResolvedStage(stage=stage, base=origin, platform=self._platform(stage))
        name = self._expanded(base.image, base.lines)
        if not name:
            raise self._fault(
                f"base name ({base.image}) should not be blank",
                base.lines,
                "FROM sees only ARGs that stand before the first FROM: give one a default, or "
                "pass it as a build arg",
            )
        platform = self._platform(stage)
        if name not in by_name:
            origin = self._origin(name, base.lines, {})
            return ResolvedStage(
                stage=stage, base=origin, platform=platform, instructions=stage.instructions
            )
        parent = earlier[by_name[name]]
        triggers = tuple(
            instruction.instruction
            for instruction in parent.stage.instructions
            if isinstance(instruction, OnBuild) and not parent.base.context
        )
        return ResolvedStage(
            stage=stage,
            base=Origin(name=name, lines=base.lines, stage=parent.index),
            platform=parent.platform,
            instructions=(*triggers, *stage.instructions),
        )

    def _platform(self, stage: Stage) -> Platform:
        base = stage.base
        if not base.platform:
            return self.platform
        text = self._expanded(base.platform, base.lines)
        if not text:
            raise self._fault(
                f"empty platform value from expression {base.platform}",
                base.lines,
                "FROM sees only ARGs that stand before the first FROM",
            )
        if "/" not in text:
            text = self._whole_platform(text.lower())
        try:
            return Platform.parse(text)
        except InvalidReferenceError as error:
            raise self._fault(
                f"failed to parse platform {base.platform}: {error.message}",
                base.lines,
                error.hint,
            ) from error

    def _whole_platform(self, word: str) -> str:
        """Complete ``linux`` or ``arm64`` with the other half of the machine's own platform."""
        if word in _SYSTEMS:
            return f"{word}/{self.build_platform.architecture}"
        return f"{self.build_platform.os}/{word}"

    def _sources(self, stage: ResolvedStage, by_name: Mapping[str, int]) -> Iterator[Origin]:
        for instruction in stage.instructions:
            match instruction:
                case Copy(from_stage=name, lines=lines) if name:
                    yield self._copied(name, lines, by_name)
                case Run(mounts=mounts, lines=lines):
                    for mount in mounts:
                        if name := mount.get("from"):
                            origin = self._origin(name, lines, by_name)
                            where = mount.get("target", "dst", "destination")
                            yield evolve(origin, mount_target=where)
                case _:
                    pass

    def _copied(self, name: str, lines: Lines, by_name: Mapping[str, int]) -> Origin:
        """What COPY --from names; unlike a mount, it may say a stage's index."""
        if not _INDEX.fullmatch(name):
            return self._origin(name, lines, by_name)
        if not 0 <= int(name) < len(self.dockerfile.stages):
            raise self._fault(f"invalid stage index {int(name)}", lines, "stages count from 0")
        return Origin(name=name, lines=lines, stage=int(name))

    def _origin(self, name: str, lines: Lines, by_name: Mapping[str, int]) -> Origin:
        stage = by_name.get(name.lower())
        if stage is not None or name == SCRATCH:
            return Origin(name=name, lines=lines, stage=stage)
        if self._is_context(name):
            return Origin(name=name, lines=lines, context=True)
        try:
            ImageReference.parse(name)
        except InvalidReferenceError as error:
            known = [stage.base.name for stage in self.dockerfile.stages if stage.base.name]
            alike = name.lower() in known
            raise self._fault(
                f'failed to parse stage name "{name}": {error.message}',
                lines,
                f"FROM wants the stage in lower case: {name.lower()}" if alike else error.hint,
            ) from error
        return Origin(name=name, lines=lines)

    def _is_context(self, name: str) -> bool:
        if not self.contexts or name.lower() in (SCRATCH, "context"):
            return False
        return name in self.contexts or _familiar(name) in self.contexts

    def _expanded(self, text: str, lines: Lines) -> str:
        try:
            return expand_word(text, self.arguments, escape=self.dockerfile.escape)
        except ValueError as error:
            raise self._fault(str(error), lines) from error

    def _fault(self, message: str, lines: Lines, hint: str = "") -> DockerfileError:
        return _source(self.dockerfile).located(message, lines, hint)

    def refuse_cycles(self, stages: Sequence[ResolvedStage]) -> None:
        """Raise `DockerfileError` when stages copy from each other, or one from itself."""
        wants = {s.index: [o.stage for o in s.sources if o.stage is not None] for s in stages}
        try:
            TopologicalSorter(wants).prepare()
        except CycleError as error:
            # graphlib lists the cycle with every stage behind one it needs.
            circle: list[int] = error.args[1]
            first = min(circle)
            guilty = next(o for o in stages[first].sources if o.stage in circle)
            raise self._fault(
                f"circular dependency detected on stage: {stages[first].stage.name}", guilty.lines
            ) from None

    def refuse_later(self, stage: ResolvedStage, stages: Sequence[ResolvedStage]) -> None:
        """Raise `DockerfileError` when *stage* uses one that is defined after it."""
        for origin in stage.sources:
            if origin.stage is None or origin.stage < stage.index:
                continue
            if origin.mount_target is not None:
                raise self._fault(
                    f'cannot mount from stage "{origin.name}" to "{origin.mount_target}", '
                    "stage needs to be defined before current command",
                    origin.lines,
                )
            raise self._fault(
                f'cannot copy from stage "{origin.name}", it needs to be defined before '
                f'current stage "{stages[stage.index].stage.name}"',
                origin.lines,
            )


def _familiar(name: str) -> str:
    """Shorten an image name as people write it, without Docker Hub's host and ``:latest``."""
    try:
        text = str(ImageReference.parse(name))
    except InvalidReferenceError:
        return name
    return text.removeprefix("docker.io/").removeprefix("library/").removesuffix(":latest")


def _reachable(stages: Sequence[ResolvedStage], target: int) -> tuple[int, ...]:
    found: set[int] = set()
    waiting = [target]
    while waiting:
        index = waiting.pop()
        if index not in found:
            found.add(index)
            origins = (stages[index].base, *stages[index].sources)
            waiting.extend(o.stage for o in origins if o.stage is not None)
    return tuple(sorted(found))

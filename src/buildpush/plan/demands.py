"""What a Dockerfile asks of a backend: features, and the lines that need them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from attrs import frozen

from ..dockerfile.instructions import Add, Copy, Dockerfile, Instruction, Lines, OnBuild, Run
from ..errors import SourceEvidence
from ..oci import Platform
from .stages import StagePlan
from .values import Feature

__all__ = ["Demand", "demands", "foreign_runs"]

_GIT = re.compile(r"git@[^:/]+:|(?:git|ssh)://|https?://[^#]*\.git(?:[#?]|$)")
_URL = re.compile(r"https?://", re.IGNORECASE)
_OFFICIAL = re.compile(r"(?:[^/]+/)*docker/dockerfile(?:-upstream)?(?:[:@].*)?")


@frozen
class Demand:
    """A feature that some lines of a Dockerfile need."""

    feature: Feature
    lines: Lines

    def evidence(self, dockerfile: Dockerfile) -> SourceEvidence:
        """The lines, to be shown."""
        return SourceEvidence(
            filename=dockerfile.filename,
            first_line=self.lines.first,
            last_line=self.lines.last,
            text=dockerfile.text,
        )


def demands(dockerfile: Dockerfile, stages: Iterable[StagePlan]) -> Iterator[Demand]:
    """What the needed ones of *stages* demand, in the order of their lines."""
    if dockerfile.syntax and not _OFFICIAL.fullmatch(dockerfile.syntax):
        yield Demand(Feature.CUSTOM_SYNTAX, _syntax_line(dockerfile))
    for plan in stages:
        if plan.needed:
            for instruction in plan.stage.instructions:
                for feature in dict.fromkeys(_features(instruction)):
                    yield Demand(feature, instruction.lines)


def foreign_runs(
    stages: Iterable[StagePlan], runnable: Iterable[Platform]
) -> Iterator[tuple[Platform, Lines]]:
    """Each stage's first RUN whose platform is none of *runnable*."""
    possible = frozenset(runnable)
    for plan in stages:
        runs = (i for i in plan.stage.instructions if isinstance(i, Run))
        first = next(runs, None)
        if plan.needed and first is not None and plan.platform not in possible:
            yield plan.platform, first.lines


def _features(instruction: Instruction) -> Iterator[Feature]:
    match instruction:
        case Run():
            yield from _run_features(instruction)
        case Copy():
            if instruction.heredocs:
                yield Feature.HEREDOCS
            if instruction.link or instruction.parents or instruction.exclude:
                yield Feature.COPY_FLAGS
        case Add():
            yield from _add_features(instruction)
        case OnBuild():
            pass  # it runs in another build
        case _:
            pass


def _run_features(run: Run) -> Iterator[Feature]:
    yield Feature.RUN
    if run.heredocs:
        yield Feature.HEREDOCS
    if run.mounts:
        yield Feature.RUN_MOUNTS
    kinds = {mount.type for mount in run.mounts}
    if "secret" in kinds:
        yield Feature.SECRETS
    if "ssh" in kinds:
        yield Feature.SSH
    if run.network != "default":
        yield Feature.STEP_NETWORK
    if run.security != "sandbox":
        yield Feature.INSECURE_RUN


def _add_features(add: Add) -> Iterator[Feature]:
    if add.heredocs:
        yield Feature.HEREDOCS
    if add.link or add.exclude:
        yield Feature.COPY_FLAGS
    for source in add.sources:
        if _GIT.match(source):
            yield Feature.ADD_GIT
        elif _URL.match(source):
            yield Feature.ADD_URL


def _syntax_line(dockerfile: Dockerfile) -> Lines:
    numbered = enumerate(dockerfile.text.splitlines(), start=1)
    number = next((n for n, line in numbered if dockerfile.syntax in line), 1)
    return Lines(first=number, last=number)

"""What a Dockerfile asks of a backend: its stages, its base images, and the lines that need more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from attrs import frozen

from ..dockerfile.faults import evidence_of
from ..dockerfile.features import Need, used_features
from ..dockerfile.instructions import Dockerfile, Lines, Run
from ..dockerfile.stages import Resolution, resolve
from ..errors import SourceEvidence
from ..oci import Platform
from ..spec import StepSpec
from .values import Feature

__all__ = [
    "FRONTEND",
    "Demand",
    "StagePlan",
    "demands",
    "foreign_runs",
    "resolutions",
    "stage_plans",
]

_FRONTENDS: Final = frozenset(("docker/dockerfile", "docker/dockerfile-upstream"))

_FEATURES: Final[dict[Need, tuple[Feature, ...]]] = {
    Need.RUN: (Feature.RUN,),
    Need.RUN_HEREDOC: (Feature.HEREDOCS,),
    Need.COPY_HEREDOC: (Feature.HEREDOCS,),
    Need.MOUNT_BIND: (Feature.RUN_MOUNTS,),
    Need.MOUNT_CACHE: (Feature.RUN_MOUNTS,),
    Need.MOUNT_FROM: (Feature.RUN_MOUNTS, Feature.STAGE_MOUNTS),
    Need.MOUNT_TMPFS: (Feature.RUN_MOUNTS, Feature.TMPFS_MOUNTS),
    Need.MOUNT_SECRET: (Feature.RUN_MOUNTS, Feature.SECRETS),
    Need.MOUNT_SSH: (Feature.RUN_MOUNTS, Feature.SSH),
    Need.NETWORK: (Feature.STEP_NETWORK,),
    Need.SECURITY: (Feature.INSECURE_RUN,),
    Need.DEVICE: (Feature.DEVICES,),
    Need.ADD_URL: (Feature.ADD_URL,),
    Need.ADD_GIT: (Feature.ADD_GIT,),
    Need.CHECKSUM: (Feature.ADD_CHECKSUM,),
    Need.UNPACK: (Feature.ADD_UNPACK,),
    Need.LINK: (Feature.COPY_LINK,),
    Need.PARENTS: (Feature.COPY_PARENTS,),
    Need.EXCLUDE: (Feature.COPY_EXCLUDE,),
    Need.COPY_FROM: (),  # as old as stages
    Need.ONBUILD: (),
}


FRONTEND: Final = frozenset(
    {
        Feature.HEREDOCS,
        Feature.RUN_MOUNTS,
        Feature.STAGE_MOUNTS,
        Feature.TMPFS_MOUNTS,
        Feature.STEP_NETWORK,
        Feature.DEVICES,
        Feature.COPY_LINK,
        Feature.COPY_EXCLUDE,
        Feature.COPY_PARENTS,
        Feature.ADD_CHECKSUM,
        Feature.ADD_UNPACK,
        Feature.ADD_GIT,
    }
)
"""What the Dockerfile's frontend decides: where ``# syntax=`` names one, the backend's own does
not matter."""


@frozen
class Demand:
    """A feature that some lines of a Dockerfile need."""

    feature: Feature
    lines: Lines

    def evidence(self, dockerfile: Dockerfile) -> SourceEvidence:
        """The lines, to be shown."""
        return evidence_of(dockerfile, self.lines)


@frozen(kw_only=True)
class StagePlan:
    """One stage: what it begins with (an image, a stage, ``scratch``), and whether it is built."""

    index: int
    name: str
    base: str
    needed: bool


def resolutions(
    spec: StepSpec, dockerfile: Dockerfile, *, own: Platform
) -> tuple[Resolution, ...]:
    """The Dockerfile seen from the target, for each platform; *own* is the backend's.

    Raises `DockerfileError` with the lines when its stages cannot be connected.
    """
    return tuple(
        resolve(
            dockerfile,
            target=spec.target,
            build_args=spec.build_args,
            platform=platform,
            build_platform=own,
            contexts=tuple(spec.build_contexts),
        )
        for platform in spec.platforms or (own,)
    )


def stage_plans(resolution: Resolution) -> tuple[StagePlan, ...]:
    """Every stage of the Dockerfile, needed or not."""
    return tuple(
        StagePlan(
            index=stage.index,
            name=stage.stage.base.name,
            base=stage.base.name,
            needed=stage.index in resolution.needed,
        )
        for stage in resolution.stages
    )


def demands(spec: StepSpec, dockerfile: Dockerfile, *, own: Platform) -> Iterator[Demand]:
    """What the needed stages demand, in the order of their lines."""
    if dockerfile.syntax and not _is_official(dockerfile.syntax):
        yield Demand(Feature.CUSTOM_SYNTAX, _syntax_line(dockerfile))
    for platform in spec.platforms or (own,):
        uses = used_features(
            dockerfile,
            spec.target,
            build_args=spec.build_args,
            platform=platform,
            build_platform=own,
            contexts=tuple(spec.build_contexts),
        )
        for use in uses:
            for feature in _FEATURES[use.need]:
                yield Demand(feature, use.lines)


def foreign_runs(
    resolution: Resolution, runnable: Iterable[Platform]
) -> Iterator[tuple[Platform, Lines]]:
    """The first RUN of each needed stage whose platform is none of *runnable*."""
    possible = frozenset(runnable)
    for index in resolution.needed:
        stage = resolution.stages[index]
        first = next((i for i in stage.instructions if isinstance(i, Run)), None)
        if first is not None and stage.platform not in possible:
            yield stage.platform, first.lines


def _is_official(syntax: str) -> bool:
    """Whether ``# syntax=`` names Docker's own frontend, on Docker Hub or a mirror of it."""
    name = syntax.partition("@")[0]
    head, _, tail = name.rpartition("/")
    path = f"{head}/{tail.partition(':')[0]}"
    return any(f"/{path}".endswith(f"/{frontend}") for frontend in _FRONTENDS)


def _syntax_line(dockerfile: Dockerfile) -> Lines:
    numbered = enumerate(dockerfile.text.splitlines(), start=1)
    number = next((n for n, line in numbered if dockerfile.syntax in line), 1)
    return Lines(first=number, last=number)

"""What surrounds a stage: the base it begins with, the variables in scope, the plan it becomes.

Pure. The scopes are BuildKit's (frontend/dockerfile/dockerfile2llb/convert.go): ARGs before the
first FROM are for FROM alone, until a stage declares them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import evolve, frozen

from ....dockerfile.faults import evidence_of
from ....dockerfile.instructions import Dockerfile, Lines
from ....errors import DockerfileError
from ....oci.wire import ImageConfig
from .config import join_path, with_path
from .operations import Annotate, Execute, MakeDirectory, Operation, Origin, Transfer

__all__ = ["Base", "Scope", "StagePlan", "fault"]


@frozen(kw_only=True)
class Base:
    """What a stage begins with: a config and the variables in scope.

    *triggers* are the ONBUILD instructions to execute first; *counts* tells whether fetching the
    base is a step of its own in the titles.
    """

    image: ImageConfig
    env: Mapping[str, str]
    args: tuple[tuple[str, str | None], ...] = ()
    triggers: tuple[str, ...] = ()
    counts: bool = False

    @classmethod
    def of_image(cls, image: ImageConfig, *, counts: bool = True) -> Base:
        """Begin with a finished image: its environment, its ONBUILD triggers."""
        image = with_path(evolve(image, extra=_kept(image.extra)))
        if image.config.working_dir:
            clean = join_path("/", image.config.working_dir)
            image = evolve(image, config=evolve(image.config, working_dir=clean))
        env = {k: v for k, _, v in (e.partition("=") for e in image.config.env)}
        return cls(
            image=evolve(image, config=evolve(image.config, on_build=())),
            env=env,
            triggers=image.config.on_build,
            counts=counts,
        )

    @classmethod
    def of_stage(cls, plan: StagePlan) -> Base:
        """Begin with another stage: its ARGs stay in scope, as in BuildKit."""
        image = plan.image
        return cls(
            image=evolve(image, config=evolve(image.config, on_build=())),
            env=plan.env,
            args=plan.args,
            triggers=image.config.on_build,
        )


@frozen(kw_only=True)
class StagePlan:
    """The operations of one stage in order, and the config and variables after the last."""

    operations: tuple[Operation, ...]
    image: ImageConfig
    env: Mapping[str, str]
    args: tuple[tuple[str, str | None], ...]

    @property
    def origins(self) -> tuple[Origin, ...]:
        """Every other stage and image that the operations read from."""
        found: list[Origin | None] = []
        for operation in self.operations:
            match operation:
                case Transfer(origin=origin):
                    found.append(origin)
                case Execute(mounts=mounts):
                    found += [origin for _, origin in mounts]
                case Annotate() | MakeDirectory():
                    pass
        return tuple(dict.fromkeys(o for o in found if o is not None))


@frozen(kw_only=True)
class Scope:
    """What all stages share: the Dockerfile, the build args, and the global ARGs' values."""

    dockerfile: Dockerfile
    build_args: Mapping[str, str]
    global_args: Mapping[str, str]
    prefix: str = ""
    """Stands before the stage's name in titles: the platform, when several are built."""


def fault(
    dockerfile: Dockerfile, lines: Lines, message: str, *, hint: str = ""
) -> DockerfileError:
    """The error for an instruction, showing its lines."""
    return DockerfileError(message, evidence=(evidence_of(dockerfile, lines),), hint=hint)


_STALE: Final = ("container", "container_config", "docker_version", "id", "parent", "throwaway")


def _kept(extra: Mapping[str, object]) -> dict[str, object]:
    """A base config's unknown fields, without those that only described that very image."""
    return {
        key: value
        for key, value in extra.items()
        if key not in _STALE and not key.startswith("moby.buildkit.")
    }

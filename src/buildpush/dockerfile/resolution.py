"""What a Dockerfile comes to, seen from one target: stages connected, images named."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import field, frozen

from ..oci import ImageReference, Platform
from .instructions import Dockerfile, Instruction, Lines, Stage

__all__ = ["BaseImage", "Origin", "Resolution", "ResolvedStage"]

SCRATCH = "scratch"


@frozen(kw_only=True)
class Origin:
    """What FROM, COPY --from or a mount's ``from=`` names: *name*, with variables expanded.

    It is a stage when *stage* is its index, a named build context when *context* is True, an
    empty file system when it *is_scratch*, else an image.
    """

    name: str
    lines: Lines
    stage: int | None = None
    context: bool = False
    mount_target: str | None = None

    @property
    def is_scratch(self) -> bool:
        """Whether this is ``scratch``: nothing to fetch."""
        return self.stage is None and not self.context and self.name == SCRATCH

    @property
    def reference(self) -> ImageReference | None:
        """The image to fetch; None for a stage, a context and scratch."""
        if self.stage is not None or self.context or self.is_scratch:
            return None
        return ImageReference.parse(self.name)


@frozen(kw_only=True)
class ResolvedStage:
    """A stage whose FROM is known: *platform* is what it builds for.

    *instructions* begin with the ONBUILD triggers of the stage it is based on (those of an
    image are in that image's config). *sources* are what COPY --from and mounts take from.
    """

    stage: Stage
    base: Origin
    platform: Platform
    instructions: tuple[Instruction, ...] = ()
    sources: tuple[Origin, ...] = ()

    @property
    def index(self) -> int:
        """The stage's place in the Dockerfile, from 0."""
        return self.stage.index


@frozen(kw_only=True)
class BaseImage:
    """An image that needed stages take files from; *stage* is the first that does."""

    stage: int
    name: str
    reference: ImageReference
    platform: Platform
    lines: Lines


@frozen(kw_only=True)
class Resolution:
    """A Dockerfile seen from one target: *needed* are the indexes of the stages to build.

    *target* is the target's index, *arguments* the global ARG scope.
    """

    dockerfile: Dockerfile
    target: int
    stages: tuple[ResolvedStage, ...]
    needed: tuple[int, ...]
    arguments: Mapping[str, str] = field(factory=dict[str, str])
    platform: Platform

    @property
    def base_images(self) -> tuple[BaseImage, ...]:
        """Every image the needed stages use, once per name and platform, in file order."""
        found: dict[tuple[ImageReference, Platform], BaseImage] = {}
        for stage in (self.stages[index] for index in self.needed):
            # COPY --from and mounts take an image for the target, whatever the stage is for.
            uses = [(stage.base, stage.platform), *((o, self.platform) for o in stage.sources)]
            for origin, platform in uses:
                reference = origin.reference
                if reference is not None and (reference, platform) not in found:
                    found[reference, platform] = BaseImage(
                        stage=stage.index,
                        name=origin.name,
                        reference=reference,
                        platform=platform,
                        lines=origin.lines,
                    )
        return tuple(found.values())

"""One build from its request to its artifact: the commands in their order, and the clearing up."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import Final, Self

from attrs import define, evolve, field

from ...auth import Keychain
from ...errors import AuthError, BuildpushError, RegistryError
from ...oci import Platform
from ...oci.wire import ImageConfig
from ...plan import Artifact, BuildRequest, Delivery
from ...runtime import Run
from ..engine.command import converse
from ..registries import reach_required_caches
from .argv import Surroundings, build, build_environment, epoch_of
from .delivering import export, push_image
from .failures import CACHE_NOT_WRITTEN, build_error, was_killed_by_itself
from .images import Image, only_docker_says
from .inspecting import inspect
from .leftovers import remove_leftovers
from .probing import Buildah
from .refusals import base_name, needs_docker_format, refuse
from .translate import BuildOutput
from .workplace import Workplace

__all__ = ["Building"]

_ATTEMPTS: Final = 4


@define(eq=False, kw_only=True)
class Building:
    """A build under way: a context manager that leaves nothing of it in the storage but layers."""

    buildah: Buildah
    request: BuildRequest
    keychain: Keychain
    run: Run
    place: Workplace = field(init=False)

    def __enter__(self) -> Self:
        self.place = Workplace(
            buildah=self.buildah, request=self.request, keychain=self.keychain, run=self.run
        )
        self.place.make()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # After a success too: an attempt before it may have been killed. It is reading a folder.
        place = self.place
        remove_leftovers(
            self.buildah,
            self.run.environment,
            variables=place.variables(),
            mark=place.mark,
            scratch=place.scratch,
        )
        place.clear()

    def artifact(self) -> Artifact:
        """Build for each platform; push the images or export them."""
        refuse(self.request, self.buildah)
        reach_required_caches(self.request, self.keychain, self.run)
        where = self.place.surroundings()
        return self._deliver(where)

    def _deliver(self, where: Surroundings) -> Artifact:
        oci = not needs_docker_format(self.request)
        if self.request.delivery is Delivery.DIRECT and _can_be_pushed(self.request, oci=oci):
            images = self._images(where, oci=oci)
            if _can_be_pushed(self.request, oci=images[0].oci):
                return push_image(images[0], self.place)
            return export(lambda: images, self.place)
        return export(lambda: self._images(where, oci=oci), self.place)

    def _images(self, where: Surroundings, *, oci: bool) -> tuple[Image, ...]:
        images = tuple(self._build_all(where, oci=oci))
        if oci and self._forgets():
            images = tuple(self._build_all(where, oci=False))
        return images

    def _build_all(self, where: Surroundings, *, oci: bool) -> Iterator[Image]:
        several = len(self.request.platforms) > 1
        for platform in self.request.platforms or (None,):
            request = self.request
            if several and platform is not None and request.local_outputs:
                name = str(platform).replace("/", "_")
                folders = tuple(folder / name for folder in request.local_outputs)
                request = evolve(request, local_outputs=folders)
            for folder in request.local_outputs:
                folder.parent.mkdir(parents=True, exist_ok=True)
            prefix = f"{platform} " if several else ""
            image = self._build_or_do_without_cache(request, where, platform, prefix, oci=oci)
            if platform is not None and not _is_for(platform, inspect(image.id, self.place)):
                # The cache of a stage from scratch does not know platforms.
                anew = evolve(request, no_cache=True)
                image = self._build(anew, where, platform, prefix, oci=oci)
            yield image

    def _build_or_do_without_cache(
        self,
        request: BuildRequest,
        where: Surroundings,
        platform: Platform | None,
        prefix: str,
        *,
        oci: bool,
    ) -> Image:
        """Build; once more, from the layers made, where nothing but writing a cache has failed."""
        try:
            return self._build(request, where, platform, prefix, oci=oci)
        except (RegistryError, AuthError) as error:
            required = any(cache.required for cache in request.cache_to)
            if required or not error.message.startswith(CACHE_NOT_WRITTEN):
                raise
            self.run.warn(error.message)
        without = evolve(request, cache_to=())
        return self._build(without, where, platform, prefix, oci=oci)

    def _build(
        self,
        request: BuildRequest,
        where: Surroundings,
        platform: Platform | None,
        prefix: str,
        *,
        oci: bool,
    ) -> Image:
        variables = build_environment(request, self.place.variables())
        words = build(
            request, self.buildah, where, platform=platform, variables=variables, oci=oci
        )
        if self._kills_itself:
            variables["GOMAXPROCS"] = "1"  # fewer threads that could end; not never
        output = self._converse(request, words, variables, prefix)
        return Image(id=output.image, oci=oci)

    def _converse(
        self,
        request: BuildRequest,
        words: tuple[str, ...],
        variables: dict[str, str],
        prefix: str,
    ) -> BuildOutput:
        """Run the build; again where buildah has killed its own RUN, layers being kept."""
        left = _ATTEMPTS if self._kills_itself else 1
        while True:
            left -= 1
            output = BuildOutput(prefix=prefix)
            cwd = self.run.environment.cwd
            done = converse(words, output, run=self.run, env=variables, cwd=cwd)
            if done.exit_code == 0 and output.image:
                return output
            if not (left and was_killed_by_itself(output)):
                raise build_error(request, output, done, self.run.redact)
            self.run.warn(f"buildah {self.buildah.number} killed its own RUN: once more")

    @property
    def _kills_itself(self) -> bool:
        """Whether this buildah may kill what RUN executes for no reason (mended in 1.31)."""
        return self.buildah.version < (1, 31)

    def _forgets(self) -> bool:
        """Whether the base image says what the OCI format has made of it forgotten."""
        name = base_name(self.request)
        if not name:
            return False
        try:
            return only_docker_says(inspect(name, self.place))
        except BuildpushError:
            return False  # it came by another name, a build context perhaps


def _is_for(platform: Platform, config: ImageConfig) -> bool:
    found = config.platform
    return (found.os, found.architecture) == (platform.os, platform.architecture)


def _can_be_pushed(request: BuildRequest, *, oci: bool) -> bool:
    """Whether what buildah pushes is what *request* asks for; else it is exported and finished.

    Docker's format has no compression but gzip, and puts ids and host names into the config.
    """
    if request.annotations or request.compression == "none":
        return False
    if len(request.platforms) > 1:
        return False  # an index is put together here, from images side by side
    return oci or (request.compression == "gzip" and epoch_of(request) is None)

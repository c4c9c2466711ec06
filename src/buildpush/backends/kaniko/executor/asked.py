"""Settings and options that an executor does not know, refused before it is started."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from ....errors import UnsupportedFeatureError
from ....plan import BuildRequest
from .argv import cache_repository, target_name
from .featureflags import NEWEST, SINCE
from .flavors import Executor, Flavor, Version, newer
from .handover import labels_again
from .options import KanikoOptions
from .wrongs import READS_TWICE

__all__ = ["refuse_settings"]

_OF_THE_FORK: Final[Mapping[str, Version]] = {
    "preserve_context": (1, 24, 1),
    "materialize": (1, 24, 1),
    "credential_helpers": (1, 25, 2),
    "pre_cleanup": (1, 25, 4),
    "image_format": (1, 28, 1),
}
"""Options that Google's never had, and since when osscontainertools' has them."""
_OF_GOOGLE: Final[Mapping[str, Version]] = {
    "skip_default_registry_fallback": (1, 13, 0),
    "push_ignore_immutable_tag_errors": (1, 21, 0),
    "registry_client_certs": (1, 10, 0),
    "registry_maps": (1, 22, 0),
}
"""Options that older ones of Google's lack."""
_IMAGE_FORMAT: Final[Version] = (1, 28, 1)
_GIT_DEPTH: Final[Version] = (1, 25, 4)
_MAPS: Final[Version] = (1, 22, 0)
_VARIANTS: Final[Version] = (1, 27, 6)
_HUB: Final = "docker.io"
_SECRET_ID: Final = re.compile(r"(?!\.\.?$)[A-Za-z0-9._-]+")


def refuse_settings(request: BuildRequest, executor: Executor, options: KanikoOptions) -> None:
    """Raise `UnsupportedFeatureError` for a setting that *executor* would not know or not heed.

    Raises `SpecError` where the caches are several repositories.
    """
    for what, hint in (
        *_options(executor, options),
        *_feature_flags(executor, options),
        *_form(request, executor, options),
        *_cache(request, options),
        *_registries(request, executor),
        *_names(request, executor),
    ):
        raise UnsupportedFeatureError(what, hint=hint)


def _options(executor: Executor, options: KanikoOptions) -> Iterator[tuple[str, str]]:
    for name, since in _OF_THE_FORK.items():
        if getattr(options, name) not in (None, "") and not executor.has(since):
            yield f"{name}: {executor} has no such flag", f"use {newer(since)}"
    for name, since in _OF_GOOGLE.items():
        if getattr(options, name) and executor.version < since:
            number = ".".join(map(str, since))
            yield f"{name}: {executor} has no such flag", f"use {number} or later"
    if options.git is not None and options.git.depth and not executor.has(_GIT_DEPTH):
        yield f"git: {executor} cannot clone to a depth", f"use {newer(_GIT_DEPTH)}"


def _feature_flags(executor: Executor, options: KanikoOptions) -> Iterator[tuple[str, str]]:
    for name in options.feature_flags:
        since = SINCE.get(name)
        if executor.flavor is not Flavor.OSSCONTAINERTOOLS:
            yield f"feature_flags: {executor} has none", f"use {newer(since or NEWEST)}"
        elif since is None and executor.version <= NEWEST:
            yield f"feature_flags: {executor} has no {name}", "see its README for what there is"
        elif since is not None and not executor.has(since):
            yield f"feature_flags: {executor} has no {name}", f"use {newer(since)}"


def _form(
    request: BuildRequest, executor: Executor, options: KanikoOptions
) -> Iterator[tuple[str, str]]:
    if request.compression == "none":
        yield "compression: kaniko's layers are always compressed", "choose gzip or zstd"
    if request.compression == "zstd" and not executor.has(_IMAGE_FORMAT):
        yield (
            f"compression: {executor} takes the base image's format, and Docker's has no zstd",
            f"use {newer(_IMAGE_FORMAT)}",
        )
    for wanted, name in (
        (request.compression == "zstd", "compression: zstd"),
        (bool(request.annotations), "annotations"),
    ):
        if wanted and options.image_format == "docker":
            yield f"{name}: Docker's image format has none", "leave image_format out, or say oci"


def _cache(request: BuildRequest, options: KanikoOptions) -> Iterator[tuple[str, str]]:
    repository = cache_repository(request)
    if request.no_cache and request.cache_to:
        yield (
            "no_cache: kaniko writes a cache only where it reads it, too",
            "leave cache_to and remote_cache_repo out, or name a new repository",
        )
    if options.no_push_cache and request.cache_to:
        yield "no_push_cache: the step says cache_to", "leave one of them out"
    if options.no_push_cache is False and repository and not request.cache_to:
        yield "no_push_cache=False: the step says only cache_from", "say remote_cache_repo"


def _registries(request: BuildRequest, executor: Executor) -> Iterator[tuple[str, str]]:
    elsewhere = [host for host in request.mirrors if host != _HUB]
    if elsewhere and executor.version < _MAPS:
        yield f"mirrors: {executor} knows mirrors of docker.io only", "use 1.22 or later"


def _names(request: BuildRequest, executor: Executor) -> Iterator[tuple[str, str]]:
    again = labels_again(request)
    for name in again if executor.has(READS_TWICE) else ():
        if any(character in f"{name}{again[name]}" for character in "\"'$\\"):
            yield (
                f"labels: {executor} does not set {name} over the Dockerfile's",
                "take it out of the Dockerfile",
            )
    for name in request.secrets:
        if _SECRET_ID.fullmatch(name) is None:
            yield f"secrets: kaniko keeps a secret in a file, and {name!r} names none", "rename it"
    if target_name(request).isdecimal():
        yield f"target: kaniko knows stages by name, not {request.target}", "name it: FROM … AS"
    for platform in request.platforms:
        if platform.variant and not executor.has(_VARIANTS):
            yield (
                f"platforms: {executor} forgets the variant of {platform}",
                (f"use {newer(_VARIANTS)}"),
            )

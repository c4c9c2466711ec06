"""What a request asks that an executor would ignore or do wrongly, said with its line.

Whole features are the planner's (`flavors.features_of`); here is what only some versions know,
and what no plan can see. All of it was seen to go wrong with real executors.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from ....dockerfile.faults import evidence_of
from ....errors import UnsupportedFeatureError
from ....oci import Platform
from ....plan import BuildRequest
from .asked import refuse_settings
from .flavors import Executor, newer
from .options import KanikoOptions
from .stale import KEYS_ARE_WHOLE, stale
from .wrongs import Wrong, wrongs

__all__ = ["refuse"]


def refuse(
    request: BuildRequest,
    executor: Executor,
    options: KanikoOptions,
    *,
    own: Platform | None = None,
) -> None:
    """Raise `UnsupportedFeatureError` for what *executor* has no way to do as asked.

    *own* is the platform that it runs on, None where each platform's image is built on that
    platform itself.
    """
    refuse_settings(request, executor, options)
    for platform in request.platforms or (None,):
        found = chain(wrongs(request, executor, platform, own), _stale(request, executor, options))
        wrong = next(found, None)
        if wrong is not None:
            raise UnsupportedFeatureError(
                f"{request.dockerfile.filename}, line {wrong.lines.first}: {wrong.what}",
                evidence=(evidence_of(request.dockerfile, wrong.lines),),
                hint=wrong.hint,
            )


def _stale(request: BuildRequest, executor: Executor, options: KanikoOptions) -> Iterator[Wrong]:
    if request.no_cache or not (request.cache_from or request.cache_to):
        return
    for instruction in stale(request, executor, copies=bool(options.cache_copy_layers)):
        yield Wrong(
            what=f"{executor} takes this from the cache even if its variables have changed",
            lines=instruction.lines,
            hint=f"use {newer(KEYS_ARE_WHOLE)}, or no cache",
        )

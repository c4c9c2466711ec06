"""What a request asks that an executor would ignore or do wrongly, said with its line.

Whole features are the planner's (`flavors.features_of`); here is what only some versions know,
and what no plan can see. All of it was seen to go wrong with real executors.
"""

from __future__ import annotations

from ...dockerfile.faults import evidence_of
from ...errors import UnsupportedFeatureError
from ...oci import Platform
from ...plan import BuildRequest
from .asked import refuse_settings
from .flavors import Executor
from .options import KanikoOptions
from .wrongs import wrongs

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
        wrong = next(wrongs(request, executor, platform, own), None)
        if wrong is not None:
            raise UnsupportedFeatureError(
                f"{request.dockerfile.filename}, line {wrong.lines.first}: {wrong.what}",
                evidence=(evidence_of(request.dockerfile, wrong.lines),),
                hint=wrong.hint,
            )

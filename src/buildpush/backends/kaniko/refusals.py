"""What a request asks that an executor would ignore or do wrongly, said with its line."""

from __future__ import annotations

from ...plan import BuildRequest
from .flavors import Executor
from .options import KanikoOptions

__all__ = ["refuse"]


def refuse(request: BuildRequest, executor: Executor, options: KanikoOptions) -> None:
    """Raise `UnsupportedFeatureError` for what *executor* has no way to do as asked."""
    del request, executor, options

"""What a plugin's run has done."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import field, frozen

from ..oci import Digest, ImageReference

if TYPE_CHECKING:
    from ..plan import BuildResult
    from ..publishing import PushResult

__all__ = ["PluginResult"]


@frozen(kw_only=True)
class PluginResult:
    """What a plugin has done.

    *skipped* says why nothing was, empty otherwise; *digest* and *references* are those of the
    image, *files* what was written beside it, *remarks* what the variables asked for that does
    nothing, or something else than it says. A bake of several targets has the references of
    all, and neither *digest* nor *result*.
    """

    skipped: str = ""
    digest: Digest | None = None
    references: tuple[ImageReference, ...] = ()
    files: tuple[Path, ...] = ()
    remarks: tuple[str, ...] = ()
    result: BuildResult | PushResult | None = field(default=None, repr=False)

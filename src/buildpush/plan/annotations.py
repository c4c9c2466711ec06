"""Annotations as settings name them, by where in an image they belong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from ..errors import SpecError
from ..oci import Platform

__all__ = ["Annotations"]

_LEVELS: Final = ("manifest", "index", "manifest-descriptor", "index-descriptor")
_PREFIX: Final = re.compile(rf"((?:{'|'.join(_LEVELS)})(?:,(?:{'|'.join(_LEVELS)}))*)(\[.+?\])?:")


@frozen(kw_only=True)
class Annotations:
    """Annotations by where they go: in a manifest, on its descriptor, in the index."""

    texts: Mapping[str, str] = field(factory=dict[str, str])

    def at(self, level: str, platform: Platform | None = None) -> dict[str, str]:
        """Those for *level*; keys are read as buildx reads them: ``index,manifest[p]:key``."""
        found: dict[str, str] = {}
        for text, value in self.texts.items():
            match = _PREFIX.match(text)
            levels = match[1].split(",") if match else ["manifest"]
            only = match[2] if match else None
            if level not in levels:
                continue
            if only and (platform is None or Platform.parse(only[1:-1]) != platform):
                continue
            key = text[match.end() :] if match else text
            if not key:
                raise SpecError(f"annotation {text!r} has no key")
            found[key] = value
        return found

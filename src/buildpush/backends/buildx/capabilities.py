"""From what was found of an installation to what it can do. Pure."""

from __future__ import annotations

from ...plan import Capabilities
from ..buildkit.features import features
from .instances import DOCKER
from .probing import Situation

__all__ = ["capabilities"]

"""Bringing images to registries without building them: push, copy, assemble, and prove beforehand."""

from __future__ import annotations

from .assembling import assemble
from .copying import copy
from .pushing import push
from .results import PushResult

__all__ = ["PushResult", "assemble", "copy", "push"]

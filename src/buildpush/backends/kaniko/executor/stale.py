"""Cached layers that an executor would take although a variable in them has changed since."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ....dockerfile.instructions import Add, Copy, Instruction, Workdir
from ....plan import BuildRequest
from .flavors import Executor, Flavor, Version
from .handover import needed, resolution

__all__ = ["KEYS_ARE_WHOLE", "stale"]

KEYS_ARE_WHOLE: Final[Version] = (1, 28, 0)
"""Since when the key of a cached layer has the values of the variables in its instruction."""


def stale(
    request: BuildRequest, executor: Executor, *, copies: bool = False
) -> Iterator[Instruction]:
    """The instructions whose cached layer is taken whatever the values of their variables.

    With *copies*, the layers of COPY and ADD are cached, too. Google's kaniko caches no WORKDIR,
    and looks at what is copied where; Chainguard's does not do the latter.
    """
    if executor.has(KEYS_ARE_WHOLE) or executor.flavor is Flavor.GOOGLE:
        return
    ours = executor.flavor is Flavor.OSSCONTAINERTOOLS
    for instruction in needed(resolution(request)):
        match instruction:
            case Workdir(path=path) if ours and "$" in path:
                yield instruction
            case Copy() | Add() if copies:
                words = (*instruction.sources, instruction.destination)
                if "$" in "".join((*words, instruction.chown, instruction.chmod)):
                    yield instruction
            case _:
                pass

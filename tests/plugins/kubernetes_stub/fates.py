"""What becomes of a pod, where a test wants something else than that it works.

stub.fates.add(Fate(pull=("ErrImagePull", 'failed to pull "x": 401 Unauthorized')))
stub.fates.add(Fate(script=fails))      # what runs instead of the executor
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Literal

from attrs import define, field, frozen

from .consoles import Console

Script = Callable[[Console], int]


@frozen(kw_only=True)
class Fate:
    """For pods whose name matches *pod* (the next *times* of them; 0 is all).

    *unschedulable* is what the scheduler says; *stuck* keeps it in ContainerCreating and says
    nothing; *pull* is a reason and a message; *no_node* lets the pod lose its node once the
    container *at* runs, *evicted* is the message of an eviction then; *script* runs instead of
    the main container's program.
    """

    pod: str = ""
    times: int = 0
    unschedulable: str = ""
    stuck: bool = False
    pull: tuple[str, str] | None = None
    evicted: str = ""
    preempted: str = ""
    no_node: bool = False
    at: Literal["init", "main"] = "main"
    script: Script | None = None


@define(eq=False)
class Fates:
    """Those that wait for their pods; the first that matches is taken."""

    _waiting: list[list[Fate | int]] = field(factory=list)
    _lock: threading.Lock = field(factory=threading.Lock)

    def add(self, fate: Fate) -> Fate:
        """Have *fate* for pods from now on."""
        with self._lock:
            self._waiting.append([fate, 0])
        return fate

    def of(self, name: str) -> Fate:
        """The fate of the pod *name*."""
        with self._lock:
            for entry in self._waiting:
                fate, used = entry
                assert isinstance(fate, Fate) and isinstance(used, int)
                if re.search(fate.pod, name) and not (fate.times and used >= fate.times):
                    entry[1] = used + 1
                    return fate
        return Fate()

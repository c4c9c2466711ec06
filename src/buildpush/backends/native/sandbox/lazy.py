"""A sandbox that is looked for when somebody needs it: a rebuild from the cache never does."""

from __future__ import annotations

import threading
from pathlib import Path

from attrs import define, field

from ....runtime import Run
from .rootfs import Sandbox

__all__ = ["LazySandbox"]


@define(eq=False)
class LazySandbox:
    """The best sandbox there is, found once. Safe between threads."""

    run: Run
    _found: Sandbox | None = field(default=None, init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def get(self) -> Sandbox:
        """The sandbox; the first caller waits while it is looked for."""
        with self._lock:
            if self._found is None:
                self._found = Sandbox.probe(self.run.environment, cancel=self.run.cancel)
            return self._found

    def remove(self, path: Path) -> None:
        """Remove a tree that may belong to mapped ids."""
        self.get().remove(path)

"""Builds under way: in a process of their own, or in a thread, until something is seen."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable
from typing import Any

from attrs import define, field

from buildpush.events import Event
from buildpush.runtime import CancelToken
from buildpush.step import BuildAndPushStep
from buildpush.testing import RecordingSink


@define(eq=False)
class Child:
    """A client process, and what it has said."""

    process: subprocess.Popen[str]
    lines: list[dict[str, Any]] = field(factory=list)
    reader: threading.Thread = field(init=False)
    _changed: threading.Condition = field(factory=threading.Condition)

    def __attrs_post_init__(self) -> None:
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._changed:
                self.lines.append(json.loads(line))
                self._changed.notify_all()
        with self._changed:
            self.lines.append({"event": "end"})
            self._changed.notify_all()

    def until(self, test: Callable[[dict[str, Any]], bool], *, seconds: float = 120.0) -> Any:
        """The first line for which *test* is true."""
        with self._changed:
            found: list[dict[str, Any]] = []

            def look() -> bool:
                found[:] = [line for line in self.lines if test(line)]
                return bool(found) or self.lines[-1:] == [{"event": "end"}]

            self._changed.wait_for(look, seconds)
        assert found, f"it never said that; it said {self.lines[-5:]}"
        return found[0]


@define(eq=False)
class Stopping:
    """Runs a step in a thread, and stops it when something is seen."""

    step: BuildAndPushStep
    cancel: CancelToken = field(factory=CancelToken)
    sink: RecordingSink = field(factory=RecordingSink)
    error: BaseException | None = None

    def run(
        self, when: Callable[[Event], bool], act: Callable[[], None], *, within: float
    ) -> BaseException | None:
        """Run; *act* once *when* is true of an event. The error it ended with."""
        seen = threading.Event()

        def listen(event: Event) -> None:
            self.sink(event)
            if not seen.is_set() and when(event):
                seen.set()

        def work() -> None:
            try:
                self.step.run(on_event=listen, cancel=self.cancel)
            except BaseException as error:  # noqa: BLE001 - the test looks at it
                self.error = error
            finally:
                seen.set()

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        assert seen.wait(240), "it never came so far"
        act()
        thread.join(within)
        assert not thread.is_alive(), f"still running {within:g} s after it was stopped"
        return self.error

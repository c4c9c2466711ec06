"""One line per event: for CI logs and pipes."""

from __future__ import annotations

import re
from typing import Final, TextIO

from attrs import define, field

from ..events import (
    Event,
    PhaseStarted,
    RunState,
    TaskFinished,
    TaskLog,
    TaskProgress,
    TaskStarted,
    Warned,
)

_CONTROLS: Final = re.compile(r"(\x1b\[[0-9;]*m|\t)|[\x00-\x09\x0b-\x1f\x7f-\x9f]")
_NEXT_LINE: Final = "\n          | "


@define(eq=False)
class PlainRenderer:
    """Writes each event as a line: seconds since the start, then what happened.

    An engine tells some things later than they happened; the seconds never go back for that.
    What a build prints may colour its text, and do nothing else to a terminal; none of it looks
    like a line of ours, or like a command to the CI system that reads along.
    """

    stream: TextIO
    state: RunState = field(factory=RunState, init=False)
    _latest: float = field(default=0.0, init=False)

    def __call__(self, event: Event) -> None:
        """Draw *event*."""
        self.state = self.state.after(event)
        line = self._line(event)
        if line:
            self._latest = max(self._latest, event.at)
            self.stream.write(f"{self._latest:8.2f}  {_harmless(line)}\n")
            self.stream.flush()

    def _line(self, event: Event) -> str:
        match event:
            case PhaseStarted(phase=phase):
                return f"== {phase.value} =="
            case TaskStarted(title=title):
                return title
            case TaskLog(line=line):
                return f"  | {line}"
            case TaskFinished(task=task, outcome=outcome):
                ended = self.state.tasks[task]
                took = (ended.ended or 0.0) - ended.started
                return f"{outcome.upper():6} {ended.title} ({took:.2f} s)"
            case Warned(message=message):
                return f"warning: {message}"
            case TaskProgress():
                return ""


def visible(text: str) -> str:
    """*text* that may colour itself, and do nothing else to a terminal."""
    return _CONTROLS.sub(lambda found: found[1] or "\N{REPLACEMENT CHARACTER}", text)


def _harmless(text: str) -> str:
    return visible(text).replace("\n", _NEXT_LINE)

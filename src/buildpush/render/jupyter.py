"""A table in a notebook that updates itself while the step runs; needs no widgets."""

from __future__ import annotations

import html
from importlib import import_module
from typing import Protocol, cast

from attrs import define, field

from ..events import Event, RunState, TaskLog, TaskProgress

_SHOWN_LINES = 8
_MARKS = {"running": "…", "done": "✓", "cached": "✓ cached", "failed": "✗ failed"}


class _Handle(Protocol):
    def update(self, obj: object, *, raw: bool) -> None: ...


class _Display(Protocol):
    def __call__(self, obj: object, *, raw: bool, display_id: bool) -> _Handle: ...


def _display() -> _Display:
    """IPython's ``display``, which is there wherever there is a notebook."""
    return cast("_Display", import_module("IPython.display").display)


@define(eq=False)
class JupyterRenderer:
    """Draws the run's state as HTML in the cell's output, anew after each event."""

    state: RunState = field(factory=RunState, init=False)
    _tail: list[str] = field(factory=list[str], init=False)
    _handle: _Handle | None = field(default=None, init=False)

    def __call__(self, event: Event) -> None:
        """Draw the state once *event* has happened."""
        self.state = self.state.after(event)
        if isinstance(event, TaskLog):
            self._tail = [*self._tail, event.line][-_SHOWN_LINES:]
        if isinstance(event, TaskProgress):
            return  # the table shows no bytes; redrawing for them would flood the front end
        bundle = {"text/html": self.html(), "text/plain": self.text()}
        if self._handle is None:
            self._handle = _display()(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def html(self) -> str:
        """The table as HTML."""
        rows = "".join(
            f"<tr><td>{_MARKS[task.outcome]}</td>"
            f"<td style='text-align:left'>{html.escape(task.title)}</td>"
            f"<td>{'' if task.ended is None else f'{task.ended - task.started:.2f} s'}</td></tr>"
            for task in self.state.tasks.values()
        )
        warnings = "".join(f"<p>⚠ {html.escape(text)}</p>" for text in self.state.warnings)
        tail = html.escape("\n".join(self._tail))
        return f"<table>{rows}</table>{warnings}<pre>{tail}</pre>"

    def text(self) -> str:
        """The table as plain text, for front ends that show no HTML."""
        return "\n".join(
            f"{_MARKS[task.outcome]:9} {task.title}" for task in self.state.tasks.values()
        )

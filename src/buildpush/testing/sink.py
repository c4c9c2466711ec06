"""`RecordingSink`: an event sink that remembers."""

from __future__ import annotations

from typing import TypeVar

from attrs import define, field

from ..events import Event, RunState, TaskLog, Warned

T = TypeVar("T")

__all__ = ["RecordingSink"]


@define(eq=False)
class RecordingSink:
    """Keeps every event it is called with, in order. Callable from any thread."""

    _events: list[Event] = field(factory=list[Event], init=False)

    def __call__(self, event: Event) -> None:
        """Remember *event*."""
        self._events.append(event)

    @property
    def events(self) -> tuple[Event, ...]:
        """Every event so far."""
        return tuple(self._events)

    def of(self, kind: type[T]) -> tuple[T, ...]:
        """The events of one class."""
        return tuple(event for event in self._events if isinstance(event, kind))

    @property
    def lines(self) -> tuple[str, ...]:
        """The text of every output line."""
        return tuple(event.line for event in self.of(TaskLog))

    @property
    def warnings(self) -> tuple[str, ...]:
        """The text of every warning."""
        return tuple(event.message for event in self.of(Warned))

    @property
    def state(self) -> RunState:
        """What a display would show after these events."""
        state = RunState()
        for event in self.events:
            state = state.after(event)
        return state

"""The progress of a push or a pull, as the daemon reports it: layer by layer. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from attrs import define, field

from ...events import Event, Outcome, TaskFinished, TaskLog, TaskProgress, TaskStarted, Warned
from ...oci import Digest

__all__ = ["Transfer"]

_PROGRESS_SECONDS: Final = 0.1
_DIGEST: Final = re.compile(r"(?:.*: digest: |Digest: )(sha256:[0-9a-f]{64}).*")
_MOVING: Final = ("Pushing", "Downloading", "Extracting")
_ENDS: Final[Mapping[str, Outcome]] = {
    "Pushed": "done",
    "Pull complete": "done",
    "Download complete": "done",
    "Layer already exists": "cached",
    "Already exists": "cached",
}


@define(eq=False)
class Transfer:
    """Turns the messages of one transfer, of which *task* is the name, into events."""

    task: str
    digest: Digest | None = field(default=None, init=False)
    retried: bool = field(default=False, init=False)
    """Whether the daemon has had to try something again."""
    _open: dict[str, float] = field(factory=dict[str, float], init=False)

    def message(self, message: Mapping[str, object], at: float) -> Iterator[Event]:
        """The events that one message means; *at* is seconds since the run began."""
        match message:
            case {"aux": {"Digest": str(digest)}}:
                self.digest = Digest(digest)
            case {"id": str(layer), "status": str(status)}:
                yield from self._layer(layer, status, message, at)
            case {"status": str(status)}:
                found = _DIGEST.fullmatch(status)
                if found:
                    self.digest = Digest(found[1])
                yield TaskLog(at=at, task=self.task, stream="stdout", line=status)
            case _:
                pass

    def finish(self, at: float, *, failed: bool) -> Iterator[Event]:
        """Close the layers that are still open."""
        outcome: Outcome = "failed" if failed else "done"
        for layer in self._open:
            yield TaskFinished(at=at, task=self._name(layer), outcome=outcome)
        self._open.clear()

    def _name(self, layer: str) -> str:
        return f"{self.task} {layer}"

    def _layer(
        self, layer: str, status: str, message: Mapping[str, object], at: float
    ) -> Iterator[Event]:
        name = self._name(layer)
        if status.startswith("Retrying"):
            if not self.retried:
                yield Warned(at=at, message=f"{self.task}: the daemon has to try again")
            self.retried = True
        elif status in _ENDS:
            if layer not in self._open:
                yield TaskStarted(at=at, task=name, title=f"layer {layer}")
            yield TaskFinished(at=at, task=name, outcome=_ENDS[status])
            self._open.pop(layer, None)
        elif status in _MOVING:
            if layer not in self._open:
                self._open[layer] = float("-inf")
                yield TaskStarted(at=at, task=name, title=f"layer {layer}")
            match message.get("progressDetail"):
                case {"current": int(done), "total": int(total)}:
                    yield from self._moved(layer, done, total, at)
                case {"current": int(done)}:
                    yield from self._moved(layer, done, None, at)
                case _:
                    pass

    def _moved(self, layer: str, done: int, total: int | None, at: float) -> Iterator[Event]:
        if at - self._open[layer] >= _PROGRESS_SECONDS:
            self._open[layer] = at
            # The daemon counts what it reads of the tar's padding, too.
            seen = done if total is None else min(done, total)
            yield TaskProgress(at=at, task=self._name(layer), done=seen, total=total)

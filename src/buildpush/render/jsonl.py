"""One JSON object per event: for machines, and for replaying a run."""

from __future__ import annotations

import json
from enum import Enum
from typing import TextIO

from attrs import asdict, define

from ..events import SCHEMA_VERSION, Event


def to_json(event: Event) -> str:
    """*event* as one line of JSON: its fields, ``event`` (its class) and ``v`` (the schema)."""
    fields = asdict(event, value_serializer=_plain)
    return json.dumps({"v": SCHEMA_VERSION, "event": type(event).__name__, **fields})


def _plain(_: object, __: object, value: object) -> object:
    return value.value if isinstance(value, Enum) else value


@define(eq=False)
class JsonlRenderer:
    """Writes each event as a line of JSON to *stream*."""

    stream: TextIO

    def __call__(self, event: Event) -> None:
        """Write *event*."""
        self.stream.write(to_json(event) + "\n")
        self.stream.flush()

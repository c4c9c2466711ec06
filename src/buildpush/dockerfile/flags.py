"""``--flag=value`` in front of an instruction's arguments, checked as BuildKit checks them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from attrs import field, frozen

from .faults import Fault, suggestion


class Kind(Enum):
    """What a flag's value is."""

    SWITCH = "true or false; bare means true"
    TEXT = "text, once"
    TEXTS = "text, any number of times"


@frozen
class Flags:
    """The flags one instruction was given, by name; read them by kind."""

    given: dict[str, list[str]] = field(factory=dict[str, list[str]])

    def text(self, name: str, default: str = "") -> str:
        """The value of a text flag."""
        return self.given.get(name, [default])[0]

    def texts(self, name: str) -> tuple[str, ...]:
        """Every value of a flag that may be repeated."""
        return tuple(self.given.get(name, ()))

    def switch(self, name: str) -> bool | None:
        """The value of a switch; None when it was not given."""
        return None if name not in self.given else self.given[name][0] == "true"


def read_flags(words: Sequence[str], **known: Kind) -> Flags:
    """Sort *words* into flags; an underscore in *known* stands for a dash, a last one for none.

    Raises `Fault` for a flag that is unknown, repeated, or lacks its value.
    """
    kinds = {name.rstrip("_").replace("_", "-"): kind for name, kind in known.items()}
    given: dict[str, list[str]] = {}
    for word in words:
        name, equals, value = word.removeprefix("--").partition("=")
        if name not in kinds:
            raise Fault(f"unknown flag: --{name}{suggestion(name, kinds)}")
        kind = kinds[name]
        if name in given and kind is not Kind.TEXTS:
            raise Fault(f"duplicate flag specified: --{name}")
        if (equals and not value and kind is Kind.SWITCH) or (
            not equals and kind is not Kind.SWITCH
        ):
            raise Fault(f"missing a value on flag: --{name}")
        if kind is Kind.SWITCH:
            value = value.lower() or "true"
            if value not in ("true", "false"):
                raise Fault(f"expecting boolean value for flag --{name}, not: {value}")
        given.setdefault(name, []).append(value)
    return Flags(given)

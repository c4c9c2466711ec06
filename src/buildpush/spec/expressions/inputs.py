"""Values that whoever runs it gives: ``<+input>`` and what may follow it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, cast

from ...errors import ExpressionError
from .context import Context
from .methods import pattern, subject, text_of
from .syntax import Malformed

__all__ = ["input_of", "is_input"]

_NAMES: Final = "default|allowedValues|selectOneFrom|selectManyFrom|regex|executionInput"
# An argument ends before the next of these words, since a pattern may have parentheses itself.
_CALL: Final = re.compile(rf"\.({_NAMES})\((.*?)\)(?=\.(?:{_NAMES})\(|$)", re.DOTALL)
_PREFIX: Final = "<+input>"


def is_input(text: str) -> bool:
    """Whether *text* asks for an input, and for nothing else."""
    return text.startswith(_PREFIX)


def input_of(text: str, context: Context, where: str) -> object:
    """What was given for *where*, else the default; it must be what the text allows.

    Raises `ExpressionError`, which quotes no value, and `Malformed`.
    """
    rules = dict(_rules(text[len(_PREFIX) :]))
    given = context.given(where) if where else None
    if given is None and "default" in rules:
        given = (_unquoted(rules["default"]),)
    if given is None:
        error = ExpressionError("an input is needed, and none was given")
        error.hint = f"give it with the context: Context.of(inputs={{{where!r}: …}})"
        raise error
    (value,) = given
    if isinstance(value, str) and "<+" in value:
        raise Malformed("the input is an expression itself; give its value")
    many = "selectManyFrom" in rules
    for each in _several(value) if many else (value,):
        _allow(rules, each)
    return list(_several(value)) if many else value


def _rules(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    for match in _CALL.finditer(text):
        if match.start() != at:
            break
        yield match[1], match[2]
        at = match.end()
    if at < len(text):
        raise Malformed(f"after <+input> there may be: {_NAMES.replace('|', ', ')}")


def _several(value: object) -> tuple[object, ...]:
    if isinstance(value, list | tuple):
        return tuple(cast("list[object]", value))
    return tuple(part.strip() for part in text_of(value).split(","))


def _unquoted(text: str) -> str:
    text = text.strip()
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "\"'"
    return text[1:-1] if quoted else text


def _allow(rules: dict[str, str], value: object) -> None:
    for name in ("allowedValues", "selectOneFrom", "selectManyFrom"):
        if name in rules:
            allowed = [_unquoted(part) for part in rules[name].split(",")]
            if text_of(value) not in allowed:
                raise ExpressionError(f"the input is none of: {', '.join(allowed)}")
    if "regex" in rules and not pattern(rules["regex"]).fullmatch(subject(value)):
        raise ExpressionError(f"the input does not fit the pattern {rules['regex']}")

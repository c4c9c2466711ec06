"""Label and field selectors, as they stand in queries."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from .kinds import Kind
from .refusals import Refusal

Test = Callable[[Mapping[str, Any]], bool]


def everything(_: Mapping[str, Any]) -> bool:
    """Select all."""
    return True


def selector(kind: Kind, labels: str, fields: str) -> Test:
    """What both select together."""
    tests = [*_labels(labels), *_fields(kind, fields)]
    if not tests:
        return everything
    return lambda found: all(test(found) for test in tests)


def _labels(text: str) -> list[Test]:
    return [_label(part.strip()) for part in re.split(r",(?![^(]*\))", text) if part.strip()]


def _label(part: str) -> Test:
    def of(found: Mapping[str, Any]) -> Mapping[str, str]:
        return found["metadata"].get("labels") or {}

    if match := re.fullmatch(r"(\S+)\s+(in|notin)\s+\((.*)\)", part):
        key, how, listed = match.groups()
        values = {value.strip() for value in listed.split(",")}
        if how == "in":
            return lambda found: of(found).get(key) in values
        return lambda found: of(found).get(key) not in values
    if match := re.fullmatch(r"([^=!\s]+)\s*(==|=|!=)\s*([^=!\s]*)", part):
        key, how, value = match.groups()
        if how == "!=":
            return lambda found: of(found).get(key) != value
        return lambda found: of(found).get(key) == value
    if re.fullmatch(r"![^=!\s(]+", part):
        return lambda found: part[1:] not in of(found)
    if re.fullmatch(r"[^=!\s(]+", part):
        return lambda found: part in of(found)
    raise Refusal(400, "found '=', expected: ',' or 'end of string'")


def _fields(kind: Kind, text: str) -> list[Test]:
    tests: list[Test] = []
    for part in filter(None, text.split(",")):
        match = re.fullmatch(r"([^=!]+)(==|=|!=)(.*)", part)
        if match is None:
            raise Refusal(
                400,
                f"invalid field selector {text!r}: invalid selector: {part!r}; can't understand",
            )
        key, how, value = match.groups()
        known = {"metadata.name", *(("metadata.namespace",) if kind.namespaced else ())}
        if key not in known and key not in kind.fields:
            raise Refusal(400, f"field label not supported: {key}")
        tests.append(_field(key.split("."), value, wanted=how != "!="))
    return tests


def _field(path: list[str], value: str, *, wanted: bool) -> Test:
    def test(found: Mapping[str, Any]) -> bool:
        at: Any = found
        for step in path:
            at = at.get(step) if isinstance(at, dict) else None
        text = "" if at is None else str(at).lower() if isinstance(at, bool) else str(at)
        return (text == value) is wanted

    return test

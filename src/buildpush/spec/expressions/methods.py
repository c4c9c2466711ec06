"""The methods of texts, lists and mappings, with Java's behaviour, and a few functions."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

from .syntax import Malformed

__all__ = ["FUNCTIONS", "call", "pattern", "subject", "text_of"]

_LONGEST_PATTERN: Final = 500
_LONGEST_SUBJECT: Final = 10_000
_LONGEST_RESULT: Final = 1 << 20
_GROUP: Final = re.compile(r"\\(.)|\$(\d)", re.DOTALL)


def call(owner: object, method: str, arguments: Sequence[object]) -> object:
    """What *method* of *owner* returns. Raises `Malformed`, which quotes no value."""
    work: Callable[[], object]
    match owner:
        case str():
            work, known = (lambda: _of_text(owner, method, arguments)), _TEXT
        case list() | tuple():
            items = cast("Sequence[object]", owner)
            work, known = (lambda: _of_list(items, method, arguments)), _LIST
        case Mapping():
            names = cast("Mapping[str, object]", owner)
            work, known = (lambda: _of_mapping(names, method, arguments)), _MAPPING
        case _ if method == "toString" and not arguments:
            return text_of(owner)
        case _:
            raise Malformed(f"this value has no method {method}")
    if method not in known:
        raise Malformed(f"there is no method {method} here, but: {', '.join(sorted(known))}")
    return checked(method, work)


def checked(name: str, work: Callable[[], object]) -> object:
    """What *work* returns. Raises `Malformed` where *name* has the wrong arguments."""
    try:
        result = work()
    except (TypeError, ValueError, IndexError, KeyError, RecursionError) as error:
        if isinstance(error, Malformed):
            raise
        raise Malformed(f"{name} cannot be called with these arguments") from None
    if isinstance(result, str) and len(result) > _LONGEST_RESULT:
        raise Malformed(f"{name} makes a text of more than {_LONGEST_RESULT} characters")
    return result


def text_of(value: object) -> str:
    """A value inside a text. Raises `Malformed` for what has no text."""
    match value:
        case bool():
            return str(value).lower()
        case str():
            return value
        case float() if value.is_integer():
            return str(int(value))
        case int() | float():
            return str(value)
        case None:
            raise Malformed("the value is null, which is no text")
        case _:
            raise Malformed("the value is a list or a mapping, which is no text")


def pattern(text: object) -> re.Pattern[str]:
    """A regular expression, of bounded length. Raises `Malformed`."""
    if not isinstance(text, str) or len(text) > _LONGEST_PATTERN:
        raise Malformed(f"expected a pattern of at most {_LONGEST_PATTERN} characters")
    try:
        return re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        raise Malformed(f"the pattern is wrong: {error}") from None


def subject(text: object) -> str:
    """The text that a pattern is held against, of bounded length. Raises `Malformed`."""
    found = text_of(text)
    if len(found) > _LONGEST_SUBJECT:
        raise Malformed(f"a pattern is for texts of at most {_LONGEST_SUBJECT} characters")
    return found


def _replace_all(text: str, wanted: str, by: str) -> str:
    """As Java's: ``$1`` is a group, a backslash takes the next character as it is."""

    def made(found: re.Match[str]) -> str:
        return _GROUP.sub(lambda mark: mark[1] or found[int(mark[2])] or "", by)

    return pattern(wanted).sub(made, subject(text))


def _split(text: str, separator: str) -> list[str]:
    """As Java's: empty parts at the end are left out."""
    parts = pattern(separator).split(subject(text))
    while len(parts) > 1 and not parts[-1]:
        parts.pop()
    return parts


def _substring(text: str, arguments: Sequence[object]) -> str:
    start, stop, *_ = (*arguments, len(text))
    if not (isinstance(start, int) and isinstance(stop, int) and 0 <= start <= stop <= len(text)):
        raise IndexError
    return text[start:stop]


def _select(path: object, text: object) -> object:
    """What stands at a dotted *path* of a JSON document."""
    value: object = json.loads(text) if isinstance(text, str) else text
    for part in re.findall(r"[^.\[\]]+", text_of(path).removeprefix("$")):
        if isinstance(value, list):
            value = cast("list[object]", value)[int(part)]
        else:
            value = cast("Mapping[str, object]", value)[part]
    return value


def _extract(wanted: object, text: object) -> str:
    found = pattern(wanted).search(subject(text))
    if not found:
        raise ValueError
    return found[0]


_ALONE: Final[Mapping[str, Callable[[str], object]]] = {
    "isBlank": lambda text: not text.strip(),
    "isEmpty": lambda text: not text,
    "length": len,
    "size": len,
    "toLowerCase": str.lower,
    "toString": str,
    "toUpperCase": str.upper,
    "trim": str.strip,
}
_WITH_ONE: Final[Mapping[str, Callable[[str, str], object]]] = {
    "concat": lambda text, other: text + other,
    "contains": lambda text, part: part in text,
    "endsWith": str.endswith,
    "equals": lambda text, other: text == other,
    "equalsIgnoreCase": lambda text, other: text.lower() == other.lower(),
    "indexOf": str.find,
    "lastIndexOf": str.rfind,
    "matches": lambda text, wanted: bool(pattern(wanted).fullmatch(subject(text))),
    "split": _split,
    "startsWith": str.startswith,
}
_WITH_TWO: Final[Mapping[str, Callable[[str, str, str], object]]] = {
    "replace": str.replace,
    "replaceAll": _replace_all,
}
_TEXT: Final = frozenset({*_ALONE, *_WITH_ONE, *_WITH_TWO, "charAt", "substring"})
_LIST: Final = frozenset({"contains", "get", "indexOf", "isEmpty", "size"})
_MAPPING: Final = frozenset({"containsKey", "get", "isEmpty", "size"})


def _of_text(text: str, method: str, arguments: Sequence[object]) -> object:
    match method, *arguments:
        case "substring", *given:
            return _substring(text, given)
        case "charAt", int() as at:
            return _substring(text, (at, at + 1))
        case (_,) if method in _ALONE:
            return _ALONE[method](text)
        case _, one if method in _WITH_ONE:
            return _WITH_ONE[method](text, text_of(one))
        case _, one, two if method in _WITH_TWO:
            return _WITH_TWO[method](text, text_of(one), text_of(two))
        case _:
            raise TypeError


def _of_list(items: Sequence[object], method: str, arguments: Sequence[object]) -> object:
    match method, *arguments:
        case "contains", item:
            return item in items
        case "get", int() as at if at >= 0:
            return items[at]
        case "indexOf", item:
            return items.index(item) if item in items else -1
        case ("isEmpty",):
            return not items
        case ("size",):
            return len(items)
        case _:
            raise TypeError


def _of_mapping(names: Mapping[str, object], method: str, arguments: Sequence[object]) -> object:
    match method, *arguments:
        case "containsKey", str() as name:
            return name in names
        case "get", str() as name:
            return names[name]
        case ("isEmpty",):
            return not names
        case ("size",):
            return len(names)
        case _:
            raise TypeError


FUNCTIONS: Final[Mapping[tuple[str, str], Callable[[object, object], object]]] = {
    ("json", "select"): lambda path, text: checked("select", lambda: _select(path, text)),
    ("regex", "extract"): lambda wanted, text: checked("extract", lambda: _extract(wanted, text)),
}
"""What belongs to no value, by what stands before the dot and after it."""

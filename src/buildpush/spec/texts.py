"""From what people write (text, lists of "k=v", numbers from YAML) to plain texts and mappings."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from typing import Final, cast

from pydantic import SecretBytes, SecretStr

__all__ = ["fields", "kind_of", "listed", "plain_text", "splitter", "text_items"]

USE_SECRETS: Final = (
    "a secret here would be stored in the image or shown in logs: put it in secrets and use it"
    " with RUN --mount=type=secret"
)
_NEXT_PAIR = re.compile(r",\s*[A-Za-z_][\w.-]*=")


def kind_of(value: object) -> str:
    """Name the shape of *value* for a message, without showing it."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "true or false"
        case str():
            return "text"
        case int() | float():
            return "a number"
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case _:
            return f"a value of type {type(value).__name__}"


def plain_text(value: object) -> str:
    """Take text, or a whole number as its digits; raises ValueError for everything else.

    Fractions are refused because YAML and Python have already lost how they were written:
    ``1.10`` arrives as ``1.1``.
    """
    match value:
        case str():
            return value
        case SecretStr() | SecretBytes():
            raise ValueError(USE_SECRETS)
        case bool():
            raise ValueError("expected text, not true or false: put it in quotes")
        case int():
            return str(value)
        case float():
            raise ValueError(
                f"expected text, not the number {value}: put it in quotes, because 1.10 without"
                " quotes is 1.1"
            )
        case _:
            raise ValueError(f"expected text, not {kind_of(value)}")


def listed(value: object) -> object:
    """Make a list of a single text or number; leave lists alone, and let None be empty."""
    match value:
        case None:
            return ()
        case str() | int() | float() | SecretStr():
            return (value,)
        case _:
            return value


def splitter(value: object) -> object:
    """Make a list of text whose items stand on lines or between commas; drop empty items."""
    if isinstance(value, str):
        return [item for part in re.split(r"[,\n]", value) if (item := part.strip())]
    return listed(value)


def text_items(value: object) -> object:
    """Make a mapping of ``k=v`` texts: a list of them, or text with one on each line.

    Mappings pass unchanged. Raises ValueError for an item without ``=``, for a name given
    twice with two values, and for text where a comma may or may not separate two pairs.
    """
    match value:
        case None:
            return {}
        case str():
            lines = [line for line in value.splitlines() if line.strip()]
            if any(_NEXT_PAIR.search(line.partition("=")[2]) for line in lines):
                raise ValueError(
                    "it is unclear whether the comma separates two pairs: write a mapping, a"
                    " list, or one name=value on each line"
                )
            return _pairs(lines)
        case list() | tuple():
            return _pairs(cast("Iterable[object]", value))
        case _:
            return value


def _pairs(items: Iterable[object]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for number, item in enumerate(items):
        try:
            name, equals, text = plain_text(item).partition("=")
        except ValueError as error:
            raise ValueError(f"item {number}: {error}") from None
        if not equals or not name:
            raise ValueError(f"item {number}: expected name=value")
        if pairs.get(name, text) != text:
            raise ValueError(f"item {number}: {name} is given twice, with two values")
        pairs[name] = text
    return pairs


def fields(text: str) -> dict[str, str]:
    """Read ``key=value,key=value`` as docker does: CSV, so that a value may hold a comma.

    Keys are lower-cased; a bare key has the value ``""``. Raises ValueError for a key given
    twice.
    """
    found: dict[str, str] = {}
    for item in next(csv.reader([text]), list[str]()):
        key, _, value = item.partition("=")
        key = key.strip().lower()
        if key in found:
            raise ValueError(f"{key} is given twice")
        found[key] = value
    return found

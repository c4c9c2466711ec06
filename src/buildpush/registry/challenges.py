"""Reading WWW-Authenticate: which schemes a registry offers, and with what parameters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

from attrs import field, frozen

_WORD: Final = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PART: Final = re.compile(
    rf'\s*+,?\s*+(?:(?P<name>{_WORD})\s*+=\s*+(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s,"]*))'
    rf"|(?P<scheme>{_WORD})(?=\s|,|$))"
)


@frozen
class Challenge:
    """One offer: *scheme* and the names of *parameters* are in lower case."""

    scheme: str
    parameters: Mapping[str, str] = field(factory=dict[str, str])


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Read every challenge of every header (RFC 9110, 11.6.1), skipping what makes no sense.

    One header may hold several, separated by the same commas that separate parameters.
    """
    found: list[tuple[str, dict[str, str]]] = []
    for header in headers:
        position = 0
        while match := _PART.match(header, position):
            position = match.end()
            if match["scheme"]:
                found.append((match["scheme"].lower(), {}))
            elif found:
                value = match["bare"] if match["quoted"] is None else match["quoted"]
                found[-1][1][match["name"].lower()] = re.sub(r"\\(.)", r"\1", value)
    return tuple(Challenge(scheme, parameters) for scheme, parameters in found)

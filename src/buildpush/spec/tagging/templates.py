"""Text with ``{{…}}`` in it: dates, and what git says, as docker's metadata-action writes them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

from ...errors import SpecError
from .facts import GitFacts

__all__ = ["fill", "format_date"]

_FIELD: Final = re.compile(r"\{\{(?P<inside>.*?)\}\}")
_CALL: Final = re.compile(
    r"(?P<name>date|commit_date)\s+'(?P<format>[^']*)'(?:\s+tz='(?P<zone>[^']*)')?"
)
_TOKEN: Final = re.compile(
    r"\[(?P<quoted>[^\]]*)\]|YYYY|YY|MM|M|DD|D|HH|H|mm|m|ss|s|X|(?P<letter>[A-Za-z])"
)
_SHORT: Final = 7

_PARTS: Final[Mapping[str, Callable[[datetime], str]]] = {
    "YYYY": lambda t: f"{t.year:04}",
    "YY": lambda t: f"{t.year % 100:02}",
    "MM": lambda t: f"{t.month:02}",
    "M": lambda t: str(t.month),
    "DD": lambda t: f"{t.day:02}",
    "D": lambda t: str(t.day),
    "HH": lambda t: f"{t.hour:02}",
    "H": lambda t: str(t.hour),
    "mm": lambda t: f"{t.minute:02}",
    "m": lambda t: str(t.minute),
    "ss": lambda t: f"{t.second:02}",
    "s": lambda t: str(t.second),
    "X": lambda t: str(int(t.timestamp())),
}


def fill(
    text: str, facts: GitFacts, now: datetime, *, more: Mapping[str, str] | None = None
) -> str:
    """*text* with its ``{{…}}`` replaced: branch, tag, sha, base_ref, is_default_branch, dates, *more*.

    Raises `SpecError` for a name that nobody knows, and a commit's date where it is not known.
    """
    known = {
        "branch": facts.branch,
        "tag": facts.tag,
        "sha": facts.sha[:_SHORT],
        "base_ref": facts.base_branch,
        "is_default_branch": "true" if facts.on_default_branch else "false",
        **(more or {}),
    }

    def replace(found: re.Match[str]) -> str:
        inside = found["inside"].strip()
        if inside in known:
            return known[inside]
        if call := _CALL.fullmatch(inside):
            return _dated(call, facts, now)
        names = ", ".join(known)
        raise SpecError(
            f"there is no {{{{{inside}}}}} in tags",
            hint=f"known are {names}, date 'FORMAT' and commit_date 'FORMAT'",
        )

    return _FIELD.sub(replace, text)


def _dated(call: re.Match[str], facts: GitFacts, now: datetime) -> str:
    moment = now
    if call["name"] == "commit_date":
        if facts.commit_time is None:
            raise SpecError("{{commit_date}}: nothing says when the commit was made")
        moment = facts.commit_time
    return format_date(moment, call["format"], call["zone"] or "UTC")


def format_date(moment: datetime, pattern: str, zone: str = "UTC") -> str:
    """*moment*, which has a timezone, in *zone*, as *pattern* says: ``YYYYMMDD``, ``HHmmss``, ``X``.

    What stands in square brackets is text. Raises `SpecError` for other letters, and a timezone
    that is not known.
    """
    try:
        local = moment.astimezone(ZoneInfo(zone))
    except (KeyError, ValueError, OSError):
        raise SpecError(f"no timezone is called {zone!r}", hint="such as Europe/Berlin") from None

    def replace(found: re.Match[str]) -> str:
        if found["quoted"] is not None:
            return found["quoted"]
        if found["letter"]:
            raise SpecError(
                f"a date has no {found['letter']!r}: {pattern!r}",
                hint=f"known are {', '.join(_PARTS)}; text stands in square brackets",
            )
        return _PARTS[found[0]](local)

    return _TOKEN.sub(replace, pattern)

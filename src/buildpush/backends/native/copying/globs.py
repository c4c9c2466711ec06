"""Go's ``filepath.Match`` patterns, in which COPY names its sources: ``*`` stays in its folder."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["compile_glob", "has_wildcards", "may_hold", "split_wildcards"]

_WILD: Final = "*?["


def has_wildcards(name: str) -> bool:
    """Whether *name* has a ``*``, ``?`` or ``[`` that no backslash escapes."""
    at = 0
    while at < len(name):
        if name[at] == "\\":
            at += 1
        elif name[at] in _WILD:
            return True
        at += 1
    return False


def split_wildcards(path: str) -> tuple[str, tuple[str, ...]]:
    """Cut a clean *path* before its first part with a wildcard: a folder, and pattern parts."""
    parts = path.split("/") if path else []
    for at, part in enumerate(parts):
        if has_wildcards(part):
            return "/".join(parts[:at]), tuple(parts[at:])
    return path, ()


def compile_glob(pattern: str) -> re.Pattern[str]:
    """Translate one part of a path; raises `ValueError` for what Go calls a bad pattern."""
    out: list[str] = []
    at = 0
    while at < len(pattern):
        letter = pattern[at]
        at += 1
        if letter == "*":
            out.append("[^/]*")
        elif letter == "?":
            out.append("[^/]")
        elif letter == "[":
            text, at = _bracket(pattern, at)
            out.append(text)
        else:
            if letter == "\\":
                letter, at = _escaped(pattern, at)
            out.append(re.escape(letter))
    return re.compile("".join(out), re.DOTALL)


def _bracket(pattern: str, at: int) -> tuple[str, int]:
    """Translate a character class whose ``[`` is just before *at*."""
    negated = pattern[at : at + 1] == "^"
    at += negated
    ranges: list[str] = []
    while pattern[at : at + 1] != "]" or not ranges:
        low, at = _member(pattern, at)
        high = low
        if pattern[at : at + 1] == "-":
            high, at = _member(pattern, at + 1)
        if low <= high:  # Go lets an empty range pass: it matches nothing
            ranges.append(f"{re.escape(low)}-{re.escape(high)}")
        else:
            ranges.append("")
    inside = "".join(ranges)
    if not inside:
        return ("." if negated else "(?!)"), at + 1
    return f"[{'^' if negated else ''}{inside}]", at + 1


def _member(pattern: str, at: int) -> tuple[str, int]:
    letter = pattern[at : at + 1]
    if letter in ("", "-", "]"):
        raise ValueError(f"syntax error in pattern {pattern!r}")
    return _escaped(pattern, at + 1) if letter == "\\" else (letter, at + 1)


def _escaped(pattern: str, at: int) -> tuple[str, int]:
    if at >= len(pattern):
        raise ValueError(f"syntax error in pattern {pattern!r}")
    return pattern[at], at + 1


def may_hold(pattern: str, folder: str) -> bool:
    """Whether *pattern* (with ``**``, as in .dockerignore) could match something in *folder*."""
    parts = pattern.split("/")
    names = folder.split("/")
    for part, name in zip(parts, names, strict=False):
        if "**" in part:
            return True
        if not compile_glob(part).fullmatch(name):
            return False
    return len(parts) > len(names)

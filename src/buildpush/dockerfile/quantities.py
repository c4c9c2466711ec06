"""Durations, sizes and numbers in a Dockerfile, with the grammar of Go's standard library."""

from __future__ import annotations

import re

_UNITS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "μs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60_000_000_000,
    "h": 3_600_000_000_000,
}
_TERM = re.compile(r"(?=\.?[0-9])([0-9]*)(?:\.([0-9]*))?(ns|us|µs|μs|ms|s|m|h)")
_SIZE = re.compile(r"([0-9]+)(?:\.([0-9]+))? ?([kmgtp])?i?b?", re.IGNORECASE)
_DIGITS = 18
_LARGEST = 2**63 - 1
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE = frozenset({"0", "f", "F", "FALSE", "false", "False"})


def nanoseconds(text: str) -> int:
    """Read a duration such as ``1m30s`` or ``1.5h`` as Go's ``time.ParseDuration`` does.

    Raises ValueError with a message of one line.
    """
    sign = -1 if text.startswith("-") else 1
    unsigned = text[1:] if text[:1] in ("+", "-") else text
    if unsigned == "0":
        return 0
    total, position = 0, 0
    for term in _TERM.finditer(unsigned):
        if term.start() != position:
            break
        position = term.end()
        total += _times(term[1], term[2], _UNITS[term[3]])
    if not unsigned or position != len(unsigned) or total > _LARGEST:
        raise ValueError(f"not a duration: {text!r}")
    return sign * total


def size_in_bytes(text: str) -> int:
    """Read a size such as ``64m`` or ``1.5 GiB``, powers of 1024, as ``docker`` does.

    Raises ValueError with a message of one line.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"not a size: {text!r}")
    power = " kmgtp".index(match[3].lower()) if match[3] else 0
    return _times(match[1], match[2], 1 << 10 * power)


def _times(whole: str, fraction: str | None, unit: int) -> int:
    """Multiply the decimal number *whole*.*fraction* by *unit*, rounding down."""
    digits = (fraction or "")[:_DIGITS]
    scale: int = 10 ** len(digits)
    return int(whole or "0") * unit + int(digits or "0") * unit // scale


def unsigned(text: str, base: int) -> int:
    """Read a number of up to 32 bits in *base* 8 or 10; raises ValueError."""
    digits = "01234567" if base == 8 else "0123456789"
    if not text or text.strip(digits) or len(text) > 64 or int(text, base) >= 2**32:
        raise ValueError(f"not a number: {text!r}")
    return int(text, base)


def truth(text: str) -> bool:
    """Read a boolean as Go's ``strconv.ParseBool`` does; raises ValueError."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError(f"not a boolean: {text!r}")

"""Amounts as people write them: durations ("1h 30m"), memory ("500Mi"), CPUs ("400m")."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Final

__all__ = [
    "DEFAULT_TIMEOUT",
    "LONGEST_IMPLIED",
    "parse_cpu",
    "parse_duration",
    "parse_memory",
    "parse_size",
    "parse_timeout",
]

_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DURATION = re.compile(r"[0-9]+[smhdw](?: ?[0-9]+[smhdw])*")
_TOKEN = re.compile(r"([0-9]+)([smhdw])")
DEFAULT_TIMEOUT: Final = 7200.0
"""Seconds a step may take when nobody says otherwise: two hours, as in Harness."""

LONGEST_IMPLIED: Final = 36000.0
"""Seconds that a written timeout of zero (``0s``) stands for, as in Harness: ten hours."""

_NUMBER = r"([0-9]+(?:\.[0-9]+)?|\.[0-9]+)"
_MEMORY = re.compile(rf"{_NUMBER}(?:[eE]([0-9]+)|([A-Za-z]*))")
_CPU = re.compile(rf"{_NUMBER}(m?)")
_SIZE = re.compile(rf"{_NUMBER} ?([kmgtp]?)(?:i?b)?", re.IGNORECASE)
_POWERS: Final = {"k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_MEMORY_UNITS: Final = (
    {"": 1}
    | {unit: 1000**power for unit, power in _POWERS.items()}
    | {f"{unit.upper()}i": 1024**power for unit, power in _POWERS.items()}
)


def parse_duration(value: object) -> float:
    """Read a duration as seconds: ``1h 30m``, `timedelta`, or a plain number from Python.

    Text follows Harness: whole numbers with a unit (s m h d w), at most one space between two of
    them and none elsewhere. Raises ValueError saying what was expected.
    """
    match value:
        case timedelta():
            return _not_negative(value.total_seconds())
        case bool():
            raise ValueError("expected a duration such as '1h 30m', not true or false")
        case int() | float():
            return _not_negative(float(value))
        case str() if _DURATION.fullmatch(value):
            return float(sum(int(n) * _SECONDS[unit] for n, unit in _TOKEN.findall(value)))
        case str() if value.strip().isdigit():
            raise ValueError(f"{value!r} has no unit: write {value.strip()}s, or {value.strip()}m")
        case str():
            raise ValueError(
                f"{value!r} is not a duration: expected numbers with a unit (s, m, h, d or w) and"
                " at most one space between them, as in '1h 30m'"
            )
        case _:
            raise ValueError(f"expected a duration such as '1h 30m', not {_kind(value)}")


def parse_timeout(value: object) -> float | None:
    """Read a step's timeout as seconds; None (no limit) for None.

    As in Harness, empty text is the default and a written zero (``0s``) ten hours; the number 0
    from Python is refused.
    """
    if value is None:
        return None
    if value == "":
        return DEFAULT_TIMEOUT
    seconds = parse_duration(value)
    if seconds == 0 and isinstance(value, str):
        return LONGEST_IMPLIED
    if seconds == 0:
        raise ValueError("a timeout must be more than 0 (None means no limit)")
    return seconds


def parse_memory(value: object) -> int:
    """Read an amount of memory as bytes, as Kubernetes does: ``500Mi``, ``2Gi``, ``1G``, ``128e6``.

    A fraction of a byte is rounded up. Raises ValueError saying what was expected.
    """
    text = _written(value, "an amount of memory such as '500Mi'")
    found = _MEMORY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not an amount of memory: expected '500Mi', '2Gi' or bytes")
    number, exponent, unit = found.groups()
    if exponent is not None:
        factor: int = 10 ** min(int(exponent), 30)
    elif unit == "m":
        raise ValueError(
            f"{text!r} is {Decimal(number) / 1000} bytes, because m means thousandths:"
            f" write {number}M or {number}Mi"
        )
    elif unit in _MEMORY_UNITS:
        factor = _MEMORY_UNITS[unit]
    else:
        raise ValueError(
            f"{text!r} has the unknown unit {unit!r}: use Ki, Mi, Gi, Ti (times 1024) or"
            " k, M, G, T (times 1000)"
        )
    return _whole(Decimal(number) * factor, "memory")


def parse_cpu(value: object) -> float:
    """Read an amount of CPU as whole CPUs, as Kubernetes does: ``400m`` is 0.4, ``2`` is two.

    Raises ValueError for anything finer than a thousandth, zero, or not an amount.
    """
    text = _written(value, "an amount of CPU such as '400m' or '0.5'")
    found = _CPU.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not an amount of CPU: expected '400m', '0.5' or '2'")
    thousandths = Decimal(found[1]) * (1 if found[2] else 1000)
    if thousandths != thousandths.to_integral_value():
        raise ValueError(f"{text!r} is finer than a thousandth of a CPU")
    if thousandths == 0:
        raise ValueError("an amount of CPU must be more than 0")
    return float(thousandths / 1000)


def parse_size(value: object) -> int:
    """Read a size as bytes, as the options of docker do: ``64m`` and ``64MB`` are 64 times 1024².

    Raises ValueError saying what was expected. Not for memory limits: see `parse_memory`.
    """
    text = _written(value, "a size such as '64m'")
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a size: expected '64m', '1g' or bytes")
    power = " kmgtp".index(found[2].lower() or " ")
    return _whole(Decimal(found[1]) * 1024**power, "a size")


def _written(value: object, expected: str) -> str:
    """The text of a number or of text; anything else is not an amount."""
    match value:
        case bool():
            raise ValueError(f"expected {expected}, not true or false")
        case str():
            return value
        case int():
            return str(value)
        case float() if math.isfinite(value):
            return format(Decimal(repr(value)), "f")
        case _:
            raise ValueError(f"expected {expected}, not {_kind(value)}")


def _whole(amount: Decimal, what: str) -> int:
    if amount <= 0:
        raise ValueError(f"{what} must be more than 0")
    if amount >= 2**63:
        raise ValueError(f"{what} must be less than 8Ei")
    return int(amount.to_integral_value(ROUND_CEILING))


def _not_negative(seconds: float) -> float:
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError("a duration must be a number of seconds, not negative")
    return seconds


def _kind(value: object) -> str:
    return "nothing" if value is None else f"a value of type {type(value).__name__}"

"""Kubernetes' quantities: ``4Gi``, ``500m``, ``1e3``; read for comparison, written for the server."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal
from typing import Final

from ....plan import Resources

__all__ = ["combine", "cpus", "quantity"]

# apimachinery, pkg/api/resource/quantity.go: a signed number with a suffix or an exponent.
_QUANTITY: Final = re.compile(
    r"\+?([0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE]([+-]?[0-9]{1,2})|(n|u|m|k|M|G|T|P|E|[KMGTPE]i)?)"
)
_SUFFIXES: Final[Mapping[str, Decimal]] = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", 1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", 1)},
}


def quantity(text: str) -> Decimal:
    """How much *text* is. Raises ValueError for what is no amount, or less than nothing."""
    found = _QUANTITY.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not an amount such as 4Gi, 500m or 2")
    number, exponent, suffix = found.groups()
    factor = Decimal(10) ** int(exponent) if exponent else _SUFFIXES[suffix or ""]
    return Decimal(number) * factor


def cpus(amount: float) -> str:
    """*amount* CPUs as the server writes them: ``2``, ``400m``."""
    thousandths = int((Decimal(repr(amount)) * 1000).to_integral_value(ROUND_CEILING))
    whole, rest = divmod(thousandths, 1000)
    return f"{thousandths}m" if rest else str(whole)


def combine(
    limits: Mapping[str, str],
    requests: Mapping[str, str],
    step: tuple[Resources, Resources] = (Resources(), Resources()),
) -> dict[str, dict[str, str]]:
    """A container's ``resources``: what *step* (limits, requests) says wins over the pod's own.

    No server takes a request above its limit: the one that the step did not say gives way.
    """
    said_limits, said_requests = (_words(resources) for resources in step)
    all_limits = {**limits, **said_limits}
    all_requests = {**requests, **said_requests}
    for name in all_limits.keys() & all_requests.keys():
        if quantity(all_requests[name]) <= quantity(all_limits[name]):
            continue
        if name in said_requests and name not in said_limits:
            all_limits[name] = all_requests[name]
        elif name in said_limits and name not in said_requests:
            all_requests[name] = all_limits[name]
    both = {"limits": all_limits, "requests": all_requests}
    return {kind: dict(sorted(found.items())) for kind, found in both.items() if found}


def _words(resources: Resources) -> dict[str, str]:
    found: dict[str, str] = {}
    if resources.cpus is not None:
        found["cpu"] = cpus(resources.cpus)
    if resources.memory is not None:
        found["memory"] = str(resources.memory)
    return found

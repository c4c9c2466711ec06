"""From pydantic's list of complaints to one `SpecError` that names every setting and no value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from pydantic import ValidationError

from ..errors import BuildpushError, SpecError

_WORDS = {
    "missing": "is required",
    "too_short": "must not be empty",
    "dict_type": "expected a mapping, or a list of name=value",
    "mapping_type": "expected a mapping, or a list of name=value",
    "model_type": "expected a mapping",
    "tuple_type": "expected a list",
    "frozen_set_type": "expected a list",
    "bool_type": "expected true or false",
    "bool_parsing": "expected true or false",
    "int_type": "expected a whole number",
    "int_parsing": "expected a whole number",
    "int_from_float": "expected a whole number",
}


def spec_error(error: ValidationError, known: Mapping[str, Iterable[str]]) -> SpecError:
    """Gather every fault of *error*, each with its path; inputs are never quoted.

    *known* maps each setting's name to its other spellings, for “did you mean”.
    """
    faults: list[str] = []
    hints: list[str] = []
    for fault in error.errors(include_url=False, include_input=False):
        path = ".".join(_part(part) for part in fault["loc"] if part != "[key]")
        cause = fault.get("ctx", {}).get("error")
        match fault["type"]:
            case "extra_forbidden":
                text, hint = _unknown(fault["loc"], known)
                hints.append(hint)
            case "value_error" if isinstance(cause, BuildpushError):
                text = cause.message
                hints.append(cause.hint)
            case "value_error" if isinstance(cause, ValueError):
                text = str(cause)
            case kind:
                text = _WORDS.get(kind, fault["msg"][:1].lower() + fault["msg"][1:])
        faults.append(f"{path}: {text}" if path else text)
    count = f"{len(faults)} settings are wrong: " if len(faults) > 1 else ""
    return SpecError(
        count + "; ".join(dict.fromkeys(faults)),
        hint="; ".join(dict.fromkeys(filter(None, hints))),
    )


def _part(part: object) -> str:
    return str(part) if not isinstance(part, str) or part.isprintable() else ascii(part)


def _unknown(
    location: tuple[int | str, ...], known: Mapping[str, Iterable[str]]
) -> tuple[str, str]:
    """What is wrong with a name that no setting has, and which one may have been meant."""
    asked = str(location[-1])
    for name, spellings in known.items():
        if len(location) == 1 and asked in (name, *spellings):
            return f"another spelling of {name}, which is given too", "keep one of them"
    if len(location) > 1:
        candidates = ["memory", "cpu", "limits", "requests"]
    elif "_" in asked or asked.islower():
        candidates = list(known)
    else:
        candidates = [spelling for names in known.values() for spelling in names]
    near = get_close_matches(asked, candidates, n=1)
    return "there is no such setting", f"did you mean {near[0]}?" if near else ""

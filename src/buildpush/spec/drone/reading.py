"""From environment variables to the values of a plugin's flags, by the rules the plugins read them by.

They are those of urfave/cli 1.22: the first variable that is set wins, be it empty; then the
file ``.tags``, for the tags alone; then the default.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from typing import Final

from attrs import field, frozen

from ...errors import SpecError
from .flags import Flag, flags_of

__all__ = ["Scalar", "Value", "Values", "read", "unknown_variables"]

Scalar = str | bool | int | tuple[str, ...]

_TRUE: Final = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FALSE: Final = frozenset({"", "0", "f", "F", "FALSE", "false", "False"})
_INTEGER: Final = re.compile(
    r"(?P<sign>[+-]?)(?:(?P<base>0[xX]|0[oO]|0[bB]|0(?=[0-9_]))_?)?(?P<digits>[0-9A-Fa-f]+(?:_[0-9A-Fa-f]+)*)"
)
_BASES: Final = {"": 10, "0x": 16, "0o": 8, "0b": 2, "0": 8}


@frozen(kw_only=True)
class Value:
    """One flag's value: *variable* is where it is from, ``.tags`` for the file, or empty."""

    flag: Flag
    value: Scalar = field(repr=False)
    variable: str = ""


@frozen(kw_only=True)
class Values:
    """The values of all flags of *program*. Asking for a flag it has not gives the empty value."""

    program: str
    by_name: Mapping[str, Value]

    def is_set(self, name: str) -> bool:
        """Whether somebody gave the flag a value, which may be empty."""
        return bool(self.variable(name))

    def variable(self, name: str) -> str:
        """The variable that the value is from, ``.tags``, or empty for the default."""
        found = self.by_name.get(name)
        return found.variable if found else ""

    def text(self, name: str) -> str:
        """The value of a text flag."""
        found = self._of(name, "")
        assert isinstance(found, str), name
        return found

    def on(self, name: str) -> bool:
        """The value of a flag that is on or off."""
        found = self._of(name, False)
        assert isinstance(found, bool), name
        return found

    def number(self, name: str) -> int:
        """The value of a number."""
        found = self._of(name, 0)
        assert isinstance(found, int), name
        return found

    def items(self, name: str) -> tuple[str, ...]:
        """The value of a list; a variable that is set and empty is a list of one empty item."""
        found = self._of(name, ())
        assert isinstance(found, tuple), name
        return found

    def _of(self, name: str, missing: Scalar) -> Scalar:
        found = self.by_name.get(name)
        return found.value if found else missing


def read(environ: Mapping[str, str], program: str, *, tags_file: str | None = None) -> Values:
    """The flags of *program*, one of `flags.PROGRAMS`, from *environ*.

    *tags_file* is the text of ``.tags`` in the working folder, if it is there. Raises one
    `SpecError` that names every variable that is no number, or neither true nor false; it quotes
    none of them.
    """
    values: dict[str, Value] = {}
    faults: list[str] = []
    for flag in flags_of(program):
        variable, text = _given(flag, environ, tags_file)
        try:
            values[flag.name] = Value(flag=flag, value=_scalar(flag, text), variable=variable)
        except ValueError as error:
            faults.append(f"{variable}: {error}")
    if faults:
        raise SpecError("; ".join(faults))
    return Values(program=program, by_name=values)


def unknown_variables(environ: Mapping[str, str], program: str) -> Iterator[tuple[str, str]]:
    """The ``PLUGIN_`` variables that *program* does not read, each with the nearest that it does."""
    known = {name for flag in flags_of(program) for name in flag.variables}
    for name in sorted(environ):
        if name.startswith("PLUGIN_") and name not in known | {"PLUGIN_ENV_FILE"}:
            yield name, next(iter(difflib.get_close_matches(name, sorted(known), 1, 0.8)), "")


def _given(
    flag: Flag, environ: Mapping[str, str], tags_file: str | None
) -> tuple[str, str | None]:
    """Where the value is from, and its text; None stands for the default."""
    for name in flag.variables:
        if name in environ:
            return name, environ[name]
    if flag.name == "tags" and tags_file is not None:
        return ".tags", tags_file
    return "", None


def _scalar(flag: Flag, text: str | None) -> Scalar:
    given = flag.default if text is None else text
    match flag.kind:
        case "str":
            return given
        case "bool" | "bool-T":
            return flag.kind == "bool-T" if text is None else _boolean(given)
        case "int":
            return 0 if text is None and not given else _integer(given)
        case "csv" | "ssv":
            if text is None and not given:
                return ()
            return tuple(item.strip() for item in given.split("," if flag.kind == "csv" else ";"))


def _boolean(text: str) -> bool:
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError("is neither true nor false")


def _integer(text: str) -> int:
    """A whole number as Go reads it with base 0: ``0x1F``, ``0b1``, and ``017`` is 15."""
    found = _INTEGER.fullmatch(text)
    try:
        if found is None:
            raise ValueError
        number = int(found["digits"].replace("_", ""), _BASES[(found["base"] or "").lower()])
    except ValueError:
        raise ValueError("is not a whole number") from None
    number = -number if found["sign"] == "-" else number
    if not -(1 << 63) <= number < 1 << 63:
        raise ValueError("is a number of more than 64 bits")
    return number

"""``--chmod``: octal modes and the symbolic ones of chmod(1), applied as BuildKit applies them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from attrs import frozen

from ....errors import BuildError

__all__ = ["Mode", "parse_mode"]

_ALL: Final = 0o6777
"""What ``a`` stands for: permissions and set-id bits, not the sticky bit."""
_STICKY: Final = 0o1000
_WHO: Final[Mapping[str, int]] = {"a": _ALL, "u": 0o4700, "g": 0o2070, "o": 0o007}
_PERMS: Final[Mapping[str, int]] = {"r": 0o444, "w": 0o222, "x": 0o111}
_SHIFT: Final[Mapping[str, int]] = {"u": 6, "g": 3, "o": 0}
_CLAUSE: Final = re.compile(r"([ugoa]*)((?:[-+=][rwxXstugo]*)+)")
_ACTION: Final = re.compile(r"([-+=])([rwxXstugo]*)")


class _Step(NamedTuple):
    """Set or clear *bits*; set them where something executes; or copy from one class."""

    what: Literal["set", "clear", "search", "copy"]
    bits: int
    source: str = ""
    operator: str = ""


@frozen(kw_only=True)
class Mode:
    """A parsed ``--chmod``: *octal* when it was a number, else the steps of a symbolic one."""

    octal: int | None = None
    steps: tuple[_Step, ...] = ()

    def apply(self, mode: int, *, is_dir: bool) -> int:
        """The new mode of a file or folder that had *mode* (the bits under 07777)."""
        if self.octal is not None:
            return self.octal
        new = mode
        for step in self.steps:
            if step.what == "set" or (step.what == "search" and (is_dir or mode & 0o111)):
                new |= step.bits
            elif step.what == "clear":
                new &= ~step.bits
            elif step.what == "copy":
                new = _copied(new, step)
        return new


def _copied(mode: int, step: _Step) -> int:
    """Give each class in ``step.bits`` the permissions of another, as in ``g=u``."""
    value = (mode >> _SHIFT[step.source]) & 0o7
    for shift in _SHIFT.values():
        if not step.bits >> shift & 0o7:
            continue
        if step.operator == "=":
            mode = mode & ~(0o7 << shift) | value << shift
        elif step.operator == "+":
            mode |= value << shift
        else:
            mode &= ~(value << shift)
    return mode


def parse_mode(text: str) -> Mode:
    """Parse ``755``, ``u=rwX,go=rX`` and the like; raises `BuildError` for anything else."""
    if re.fullmatch(r"[0-7]+", text) and int(text, 8) <= 0o7777:
        return Mode(octal=int(text, 8))
    if not text or text[0].isdigit():
        raise BuildError(
            f"invalid chmod parameter: {text!r}",
            hint="it should be octal, between 0 and 07777, or symbolic such as u=rwX,go=rX",
        )
    steps: list[_Step] = []
    for clause in text.split(","):
        found = _CLAUSE.fullmatch(clause)
        if found is None:
            raise BuildError(
                f"invalid chmod parameter: {text!r}: {clause!r} is no clause of a mode",
                hint="a clause is like u+x, go=rX or g=u",
            )
        who = 0
        for letter in found[1]:
            who |= _WHO[letter]
        for operator, perms in _ACTION.findall(found[2]):
            steps += _action(who, operator, perms)
    return Mode(steps=tuple(steps))


def _action(who: int, operator: str, perms: str) -> list[_Step]:
    """The steps of one operator and its letters; nobody named means everybody."""
    whose = who or _ALL
    plain = search = sticky = 0
    copies: list[_Step] = []
    for letter in perms:
        if letter in _PERMS:
            plain |= _PERMS[letter]
        elif letter == "X":
            search = 0o111
        elif letter in _SHIFT:
            copies.append(_Step("copy", whose, letter, operator))
        elif who == 0 or who & ~_WHO["o"]:  # set-id and sticky bits mean nothing to others
            plain |= 0o6000 if letter == "s" else 0
            sticky |= _STICKY if letter == "t" else 0
    plain = plain & whose | sticky
    steps: list[_Step] = []
    if operator == "=" and not (copies and not plain):
        steps.append(_Step("clear", whose | sticky))
    clears = operator == "-"
    steps.append(_Step("clear" if clears else "set", plain | (search & whose if clears else 0)))
    if search and not clears:
        steps.append(_Step("search", search & whose))
    return steps + copies

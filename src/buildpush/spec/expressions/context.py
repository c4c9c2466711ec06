"""What expressions may name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from difflib import get_close_matches
from itertools import islice
from typing import Final, cast

from attrs import field, frozen

from ...errors import ExpressionError, SpecError

__all__ = ["Context", "Scope", "SecretNamed"]

Scope = Mapping[str, object]

_MOST_NAMES: Final = 2000
_SHOWN: Final = 12


def _no_secret(name: str) -> str:
    raise KeyError(name)


@frozen
class SecretNamed:
    """A value that stands for the secret called *name*, and is asked for when it is needed."""

    name: str


@frozen(repr=False)
class Context:
    """The values, secrets and inputs that expressions may name; `repr` shows names alone.

    Made with `Context.of`.
    """

    values: Scope = field(factory=dict[str, object])
    secrets: Callable[[str], str] = _no_secret
    secret_names: tuple[str, ...] = ()
    inputs: Scope = field(factory=dict[str, object])

    def __repr__(self) -> str:
        return f"Context({', '.join(sorted(self.values))})"

    @classmethod
    def of(
        cls,
        values: Scope | None = None,
        *,
        secrets: Mapping[str, str] | Callable[[str], str] | None = None,
        inputs: Scope | None = None,
    ) -> Context:
        """A context of *values*, in mappings within mappings or by dotted names, or both.

        *secrets* are asked by name only when an expression needs one; a callable raises
        `LookupError` for what it does not know. *inputs* answer ``<+input>``, by the path of the
        setting or its end (``spec.tags``, ``tags``). Raises `SpecError` where a dotted name goes
        through something that has no names in it.
        """
        lookup: Callable[[str], str] = _no_secret
        names: tuple[str, ...] = ()
        if callable(secrets):
            lookup = secrets
        elif secrets:
            known = dict(secrets)
            lookup, names = known.__getitem__, tuple(known)
        return cls(_tree(values or {}), lookup, names, dict(inputs or {}))

    def within(self, values: Scope) -> Context:
        """The same context with *values* in front: a matrix's, a stage's."""
        tree = _merged(self.values, _tree(values))
        return Context(tree, self.secrets, self.secret_names, self.inputs)

    def behind(self, values: Scope) -> Context:
        """The same context with *values* behind: they count where nothing else has the name."""
        tree = _merged(_tree(values), self.values)
        return Context(tree, self.secrets, self.secret_names, self.inputs)

    def name(self, path: tuple[str, ...], owner: object, key: object) -> object:
        """What *key* names in *owner*; *path* is where that is, for the error."""
        if isinstance(owner, Mapping):
            scope = cast("Scope", owner)
            if str(key) in scope:
                return scope[str(key)]
            raise self.unknown((*path, str(key)), sorted(scope))
        if isinstance(owner, list | tuple):
            items, place = cast("Sequence[object]", owner), str(key)
            if place.isdecimal() and len(place) < _SHOWN and int(place) < len(items):
                return items[int(place)]
        raise self.unknown((*path, str(key)), ())

    def unknown(self, path: tuple[str, ...], there: Sequence[str]) -> ExpressionError:
        """The error of a name that is not there; *there* are those beside it."""
        name = ".".join(path)
        error = ExpressionError(f"nothing is called {name}")
        near = get_close_matches(name, islice(_names(self.values), _MOST_NAMES), n=3, cutoff=0.8)
        if near:
            error.hint = f"did you mean {' or '.join(near)}?"
        elif there:
            where = ".".join(path[:-1])
            shown = ", ".join(there[:_SHOWN]) + (", …" if len(there) > _SHOWN else "")
            error.hint = f"{f'below {where} ' if where else ''}there are: {shown}"
        return error

    def secret(self, name: str) -> str:
        """The value of the secret *name*; those of an account or organisation also without it."""
        for each in (name, name.partition(".")[2] if name.startswith(_WIDER) else ""):
            with suppress(LookupError):
                if each:
                    return self.secrets(each)
        error = ExpressionError(f"no secret is called {name}")
        if self.secret_names:
            error.hint = f"there are: {', '.join(sorted(self.secret_names)[:_SHOWN])}"
        else:
            error.hint = "give its value with the context: Context.of(secrets={…})"
        raise error

    def given(self, path: str) -> tuple[object] | None:
        """The input for the setting at *path*, or at an end of it; None when nobody gave one.

        That of a list is for each of its items, too.
        """
        for whole in (path, path.rpartition("[")[0] if path.endswith("]") else ""):
            parts = whole.split(".")
            for start in range(len(parts)):
                name = ".".join(parts[start:])
                if name in self.inputs:
                    return (self.inputs[name],)
        return None


_WIDER: Final = ("account.", "org.")


def _tree(values: Scope) -> dict[str, object]:
    """Mappings within mappings, of names that may have dots."""
    tree: dict[str, object] = {}
    for name, value in values.items():
        *above, last = name.split(".")
        level = tree
        for part in above:
            below = level.setdefault(part, {})
            if not isinstance(below, dict):
                raise SpecError(f"context: {name}: {part} is a value, with no names in it")
            level = cast("dict[str, object]", below)
        given = _tree(cast("Scope", value)) if isinstance(value, Mapping) else value
        there = level.get(last)
        if isinstance(given, dict) and isinstance(there, dict):
            given = _merged(cast("Scope", there), cast("Scope", given))
        level[last] = given
    return tree


def _merged(below: Scope, above: Scope) -> dict[str, object]:
    merged = dict(below)
    for name, value in above.items():
        there = merged.get(name)
        if isinstance(there, Mapping) and isinstance(value, Mapping):
            merged[name] = _merged(cast("Scope", there), cast("Scope", value))
        else:
            merged[name] = value
    return merged


def _names(values: Scope, before: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _names(cast("Scope", value), f"{before}{name}.")
        else:
            yield f"{before}{name}"

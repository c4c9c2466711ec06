"""One step for each combination of values, or for each item: pure arithmetic, nothing runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from typing import Final, TypeVar, cast

from attrs import field, frozen

from ..errors import BuildpushError, SpecError

__all__ = ["Iteration", "Matrix", "Repeat"]

T = TypeVar("T")

_MOST: Final = 10_000


@frozen(kw_only=True)
class Iteration:
    """One of *total* runs of the same step; *index* counts from 0, *name* is its own."""

    index: int
    total: int
    name: str
    values: Mapping[str, object]


def _dimensions(given: Mapping[str, Iterable[object]]) -> Mapping[str, tuple[object, ...]]:
    if not given:
        raise SpecError("a matrix needs a dimension", hint='Matrix({"python": ["3.11", "3.12"]})')
    found: dict[str, tuple[object, ...]] = {}
    for name, values in given.items():
        if isinstance(values, str | bytes | Mapping):
            raise SpecError(f"matrix: {name}: expected a list of values")
        found[name] = tuple(values)
        if not found[name]:
            raise SpecError(f"matrix: {name}: must not be empty")
    return found


def _exclusions(given: Iterable[Mapping[str, object]]) -> tuple[Mapping[str, object], ...]:
    return tuple(dict(values) for values in given)


@frozen
class Matrix:
    """Every combination of the values of some dimensions, but for those in *exclude*.

    An exclusion names some dimensions, or all; a combination that has all its values is left
    out. The last dimension changes fastest. Raises `SpecError` for an empty dimension, an
    exclusion that names none of the dimensions or excludes nothing, and for more than 10,000
    combinations.
    """

    dimensions: Mapping[str, tuple[object, ...]] = field(converter=_dimensions)
    exclude: tuple[Mapping[str, object], ...] = field(
        default=(), converter=_exclusions, kw_only=True
    )

    def __attrs_post_init__(self) -> None:
        count = 1
        for values in self.dimensions.values():
            count *= len(values)
        if count > _MOST:
            raise SpecError(f"matrix: {count} combinations are more than {_MOST}")
        for number, excluded in enumerate(self.exclude):
            where = f"matrix: exclude[{number}]"
            if not excluded:
                raise SpecError(f"{where}: excludes everything")
            for name, value in excluded.items():
                if name not in self.dimensions:
                    known = ", ".join(self.dimensions)
                    raise SpecError(
                        f"{where}: no dimension is called {name!r}; there are: {known}"
                    )
                if value not in self.dimensions[name]:
                    raise SpecError(f"{where}: {name} never has the value {value!r}")

    def iterations(self) -> tuple[Iteration, ...]:
        """The combinations that are left, in order. Raises `SpecError` when none is."""
        combined = (
            dict(zip(self.dimensions, values, strict=True))
            for values in product(*self.dimensions.values())
        )
        left = [values for values in combined if not any(map(_within(values), self.exclude))]
        if not left:
            raise SpecError("matrix: every combination is excluded")
        return _numbered([("-".join(map(_word, values.values())), values) for values in left])

    def steps(self, make: Callable[[Mapping[str, object]], T]) -> Mapping[str, T]:
        """What *make* makes of each combination, by name: what `run_many` takes."""
        return _made(self.iterations(), make)


def _size(instance: object, attribute: object, value: int) -> None:
    del instance, attribute
    if value < 1:
        raise SpecError("repeat: partition_size must be 1 or more")


def _items(given: int | Iterable[object]) -> tuple[object, ...]:
    if isinstance(given, bool | str | bytes | Mapping):
        raise SpecError("repeat: expected a number of times, or a list of items")
    if isinstance(given, int):
        if not 0 < given <= _MOST:
            raise SpecError(f"repeat: expected 1 to {_MOST} times")
        return tuple(range(given))
    found = tuple(given)
    if not found:
        raise SpecError("repeat: there are no items")
    return found


@frozen
class Repeat:
    """The same step for each of *items*, or a number of times.

    The step's values have ``item``; with a *partition_size*, a tuple of so many items at once.
    Raises `SpecError` when there is nothing to repeat.
    """

    items: tuple[object, ...] = field(converter=_items)
    partition_size: int = field(default=1, kw_only=True, validator=_size)

    def iterations(self) -> tuple[Iteration, ...]:
        """One for each item, or for each group of items, in order."""
        size = self.partition_size
        if size == 1:
            return _numbered([(_word(item), {"item": item}) for item in self.items])
        groups = [self.items[at : at + size] for at in range(0, len(self.items), size)]
        return _numbered([(str(n), {"item": group}) for n, group in enumerate(groups)])

    def steps(self, make: Callable[[Mapping[str, object]], T]) -> Mapping[str, T]:
        """What *make* makes of each item's values, by name: what `run_many` takes."""
        return _made(self.iterations(), make)


def _within(values: Mapping[str, object]) -> Callable[[Mapping[str, object]], bool]:
    return lambda excluded: all(values[name] == value for name, value in excluded.items())


def _word(value: object) -> str:
    """How *value* shows in a name; what has no short form shows as its kind."""
    if isinstance(value, Mapping):
        shown = cast("Mapping[object, object]", value).get("name", "values")
        return str(shown)
    return "+".join(map(_word, cast("Sequence[object]", value))) if _is_list(value) else str(value)


def _is_list(value: object) -> bool:
    return isinstance(value, list | tuple)


def _numbered(found: Sequence[tuple[str, Mapping[str, object]]]) -> tuple[Iteration, ...]:
    """Give each its place, and those that share a name their number."""
    shared = Counter(name for name, _ in found)
    names: set[str] = set()
    made: list[Iteration] = []
    for index, (name, values) in enumerate(found):
        own = name if shared[name] == 1 else f"{name}#{index}"
        while own in names:
            own += "#"
        names.add(own)
        made.append(Iteration(index=index, total=len(found), name=own, values=values))
    return tuple(made)


def _made(
    iterations: Iterable[Iteration], make: Callable[[Mapping[str, object]], T]
) -> Mapping[str, T]:
    found: dict[str, T] = {}
    for each in iterations:
        try:
            found[each.name] = make(each.values)
        except BuildpushError as error:
            error.hint = "; ".join(filter(None, (error.hint, f"it is the step {each.name}")))
            raise
    return found

"""Conditions, strategies and actions as Harness's YAML has them, as values of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Final, TypeVar, cast

from attrs import frozen

from ..errors import ExpressionError, SpecError
from ..spec.expressions import Context, evaluate, resolve_tree
from ..spec.harness.document import Node, Place, fault, located
from .expansion import Iteration, Matrix, Repeat
from .failures import Action, Ending, FailureStrategy, Intervene, Retry

__all__ = ["Expansion", "expansion_of", "failure_strategies_of", "may_run"]

T = TypeVar("T")
Mapped = Mapping[str, object]

_STATUSES: Final = ("Success", "Failure", "All")
_ENDINGS: Final[Mapping[str, Ending]] = {
    **{each.value: each for each in Ending},
    # Nothing is deployed here, so there is nothing to roll back: the step has failed.
    "StageRollback": Ending.MARK_AS_FAILURE,
    "StepGroupRollback": Ending.MARK_AS_FAILURE,
    "PipelineRollback": Ending.MARK_AS_FAILURE,
}
# Classes that Harness has, and that no build here can fail with.
_ELSEWHERE: Final = frozenset(
    {
        "ApprovalRejection",
        "DelegateProvisioning",
        "DelegateRestart",
        "InputTimeoutError",
        "PolicyEvaluationFailure",
        "UserMarkedFailure",
    }
)


@frozen(kw_only=True)
class Expansion:
    """The runs of one step or stage: names, and the values that expressions get."""

    runs: tuple[tuple[str, Mapped], ...]
    max_concurrency: int = 0


def may_run(
    node: Node, place: Place, context: Context, *, failed: bool, key: str = "stageStatus"
) -> bool:
    """Whether ``when`` lets a step run, or a stage, after a failure or without one.

    Raises `SpecError` for what is no condition.
    """
    when = node.names.get("when")
    names: Mapping[str, Node] = when.names if when else {}
    where = place.below("when", when.line if when else place.line)
    for name, found in names.items():
        if name not in (key, "condition"):
            raise fault(where.below(name, found.line), f"expected {key} and condition")
    status = names[key].text if key in names else "Success"
    if status not in _STATUSES:
        raise fault(where.below(key, names[key].line), f"expected {', '.join(_STATUSES)}")
    if status != "All" and (status == "Failure") != failed:
        return False
    condition = names.get("condition")
    if condition is None or condition.value is None:
        return True
    at = where.below("condition", condition.line)
    return _solved(at, lambda: evaluate(condition.text, context, where=at.path))


def expansion_of(node: Node, place: Place, context: Context) -> Expansion | None:
    """The runs that ``strategy`` makes of a step or a stage; None without one.

    Raises `SpecError` for a strategy that is wrong.
    """
    found = _tree(node, "strategy", place, context)
    if found is None:
        return None
    where, tree = found
    kinds = [name for name in _EXPANSIONS if name in tree]
    if len(kinds) != 1:
        raise fault(where, "expected one of matrix, repeat and parallelism")
    return _at(where, lambda: _EXPANSIONS[kinds[0]](tree))


def failure_strategies_of(
    node: Node, place: Place, context: Context
) -> tuple[FailureStrategy, ...]:
    """What ``failureStrategies`` say of a step or a stage.

    Raises `SpecError` for classes and actions that Harness does not have.
    """
    written = node.names.get("failureStrategies")
    if written is None or written.value is None:
        return ()
    where = place.below("failureStrategies", written.line)
    found = _solved(where, lambda: resolve_tree(written.plain(), context, where=where.path))
    if not isinstance(found.value, list):
        raise fault(where, "expected a list")
    items = cast("list[object]", found.value)
    return _at(where, lambda: tuple(made for each in items for made in _strategy(each)))


def _tree(node: Node, key: str, place: Place, context: Context) -> tuple[Place, Mapped] | None:
    written = node.names.get(key)
    if written is None or written.value is None:
        return None
    where = place.below(key, written.line)
    found = _solved(where, lambda: resolve_tree(written.plain(), context, where=where.path))
    return where, _at(where, lambda: _mapping(found.value))


def _solved(place: Place, work: Callable[[], T]) -> T:
    try:
        return work()
    except ExpressionError as error:
        fault = located(error, place.filename, place.line)
    raise fault


def _at(place: Place, work: Callable[[], T]) -> T:
    try:
        return work()
    except SpecError as error:
        fault = SpecError(f"{place}: {error}", hint=error.hint)
    raise fault


def _mapping(value: object) -> Mapped:
    if not isinstance(value, Mapping):
        raise SpecError("expected a mapping")
    return cast("Mapped", value)


def _number(tree: Mapped, key: str, default: int) -> int:
    text = str(tree.get(key, default))
    if not text.isdecimal() or len(text) > 6:
        raise SpecError(f"{key}: expected a whole number")
    return int(text)


def _list(value: object, name: str) -> Sequence[object]:
    """A list; one text with commas is one, too."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if not isinstance(value, list | tuple):
        raise SpecError(f"{name}: expected a list")
    return tuple(cast("Sequence[object]", value))


def _matrix(tree: Mapped) -> Expansion:
    matrix = _mapping(tree["matrix"])
    excluded = [_mapping(each) for each in _list(matrix.get("exclude") or (), "exclude")]
    own = ("exclude", "maxConcurrency", "nodeName")
    dimensions = {name: _list(value, name) for name, value in matrix.items() if name not in own}
    found = Matrix(dimensions, exclude=excluded)
    return _expansion(found.iterations(), "matrix", _number(matrix, "maxConcurrency", 0))


def _repeat(tree: Mapped) -> Expansion:
    repeat = _mapping(tree["repeat"])
    most = _number(repeat, "maxConcurrency", 0)
    if "items" not in repeat:
        times = _number(repeat, "times", 0)
        return _expansion(Repeat(times).iterations(), "repeat", most)
    items = _list(repeat["items"], "items")
    size = _number(repeat, "partitionSize", 1)
    unit = str(repeat.get("unit", "Count"))
    if unit not in ("Count", "Percentage"):
        raise SpecError("unit: expected Percentage or Count")
    whole = len(items) if unit == "Count" else 100
    start, end = _number(repeat, "start", 0), _number(repeat, "end", whole)
    first, last = (each * len(items) // max(whole, 1) for each in (start, end))
    return _expansion(Repeat(items[first:last], partition_size=size).iterations(), "repeat", most)


def _parallelism(tree: Mapped) -> Expansion:
    times = _number(tree, "parallelism", 0)
    return _expansion(Repeat(times).iterations(), "", _number(tree, "maxConcurrency", 0))


_EXPANSIONS: Final[Mapping[str, Callable[[Mapped], Expansion]]] = {
    "matrix": _matrix,
    "repeat": _repeat,
    "parallelism": _parallelism,
}


def _expansion(found: Sequence[Iteration], kind: str, most: int) -> Expansion:
    runs: list[tuple[str, Mapped]] = []
    for each in found:
        values: dict[str, object] = {
            "strategy": {"iteration": each.index, "iterations": each.total}
        }
        if kind:
            values[kind] = {
                name: list(cast("tuple[object, ...]", value))
                if isinstance(value, tuple)
                else value
                for name, value in each.values.items()
            }
        runs.append((each.name, values))
    return Expansion(runs=tuple(runs), max_concurrency=most)


def _strategy(value: object) -> Iterator[FailureStrategy]:
    failure = _mapping(_mapping(value).get("onFailure"))
    names = [str(each) for each in _list(failure.get("errors") or (), "errors")]
    action = _action(failure.get("action"))
    here = [name for name in names if name not in _ELSEWHERE]
    if here or not names:
        yield FailureStrategy(here, action)


def _action(value: object) -> Action:
    tree = _mapping(value)
    kind = str(tree.get("type", ""))
    spec = _mapping(tree.get("spec") or {})
    if kind in _ENDINGS:
        return _ENDINGS[kind]
    match kind:
        case "Retry":
            after = _mapping(spec.get("onRetryFailure") or {}).get("action")
            then = _action(after) if after else Ending.MARK_AS_FAILURE
            if isinstance(then, Retry):
                raise SpecError("onRetryFailure: a retry does not follow a retry")
            intervals = _list(spec.get("retryIntervals") or (), "retryIntervals")
            return Retry(_number(spec, "retryCount", 1), intervals=intervals, then=then)
        case "ManualIntervention":
            after = _mapping(spec.get("onTimeout") or {}).get("action")
            then = _action(after) if after else Ending.MARK_AS_FAILURE
            ending = then if isinstance(then, Ending) else Ending.MARK_AS_FAILURE
            return Intervene(timeout=str(spec.get("timeout") or "1d"), then=ending)
        case _:
            known = ", ".join((*_ENDINGS, "Retry", "ManualIntervention"))
            raise SpecError(f"no action is called {kind}; there are: {known}")

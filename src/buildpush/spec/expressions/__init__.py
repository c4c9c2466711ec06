"""The ``<+…>`` expressions of Harness: their values, from a context that the caller gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar, cast

from attrs import field, frozen

from ...errors import ExpressionError
from .context import Context
from .evaluating import Evaluator
from .inputs import input_of, is_input
from .syntax import MAX_LENGTH, Malformed, Parser

__all__ = ["Context", "Resolved", "evaluate", "resolve", "resolve_tree"]

T = TypeVar("T")

_DEEPEST = 50
_SHOWN = 200


@frozen
class Resolved:
    """A *value*, and the values of *secrets* that went into it, which must not be shown."""

    value: object = field(repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)


def resolve(text: str, context: Context, *, where: str = "") -> Resolved:
    """*text* with a value for each expression in it.

    A text that is one expression alone has that value, with its type; otherwise the result is
    text. Values are not looked at again: an expression in a commit's message is not resolved.
    *where* is the setting's path, for errors and for ``<+input>``.

    Raises `ExpressionError` for a name that is not there, and says which are.
    """
    run = Evaluator(context)
    return Resolved(_guarded(text, where, lambda: _filled(text, run, where)), tuple(run.secrets))


def resolve_tree(node: object, context: Context, *, where: str = "") -> Resolved:
    """*node*, with every text in its lists and mappings resolved; names of mappings stay.

    Raises `ExpressionError` with the path of the text that is wrong, below *where*.
    """
    run = Evaluator(context)
    return Resolved(_walked(node, run, where, _DEEPEST), tuple(run.secrets))


def evaluate(condition: str, context: Context, *, where: str = "") -> bool:
    """Whether *condition* holds: an expression, with ``<+…>`` or without; empty always does.

    A text beside a boolean is true unless it is ``false``, as in JEXL. Raises `ExpressionError`
    for a name that is not there, and for what is neither true nor false.
    """
    run = Evaluator(context)
    if not condition.strip():
        return True
    if is_input(condition.strip()):
        found = _guarded(condition, where, lambda: input_of(condition.strip(), context, where))
        return evaluate(str(found), context, where=where)
    return _guarded(condition, where, lambda: run.truth(Parser(condition).parse()))


def _filled(text: str, run: Evaluator, where: str) -> object:
    if is_input(text.strip()):
        return input_of(text.strip(), run.context, where)
    return run.fill(text)


def _walked(node: object, run: Evaluator, where: str, depth: int) -> object:
    if depth == 0:
        raise ExpressionError(f"{where}: is nested too deeply")
    match node:
        case str() if "<+" in node:
            return _guarded(node, where, lambda: _filled(node, run, where))
        case Mapping():
            names = cast("Mapping[object, object]", node)
            return {
                name: _walked(value, run, f"{where}.{name}".lstrip("."), depth - 1)
                for name, value in names.items()
            }
        case list() | tuple():
            items = cast("list[object]", node)
            return [
                _walked(item, run, f"{where}[{at}]", depth - 1) for at, item in enumerate(items)
            ]
        case _:
            return node


def _guarded(text: str, where: str, work: Callable[[], T]) -> T:
    """What *work* returns; its errors name *where*, and the expression."""
    try:
        if len(text) > MAX_LENGTH:
            raise Malformed(f"is longer than {MAX_LENGTH} characters")
        return work()
    except Malformed as fault:
        message, hint = str(fault), ""
    except ExpressionError as fault:
        message, hint = fault.message, fault.hint
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    error = ExpressionError(f"{where or 'expression'}: {message}, in {shown!r}", hint=hint)
    error.expression, error.where = text, where
    raise error

"""Finds what a parsed expression means in a context, by JEXL's rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, cast

from attrs import define, field

from ...errors import ExpressionError
from .context import Context, SecretNamed
from .methods import FUNCTIONS, call, pattern, subject, text_of
from .syntax import (
    Binary,
    Call,
    Items,
    Literal,
    Malformed,
    Member,
    Name,
    Node,
    Parser,
    Template,
    Ternary,
    Unary,
    end_of,
)

__all__ = ["Evaluator"]

Number = int | float


@define(eq=False)
class Evaluator:
    """One evaluation: what it looks names up in, and the secrets that went into its values."""

    context: Context
    secrets: list[str] = field(factory=list[str], repr=False)

    def fill(self, text: str) -> object:
        """*text* with a value for each ``<+…>``; that value itself where the text is one alone."""
        parts: list[str] = []
        at = 0
        while (start := text.find("<+", at)) >= 0:
            end = end_of(text, start)
            value = self._one(text[start + 2 : end])
            if start == 0 and end == len(text) - 1:
                return value
            parts += text[at:start], text_of(value)
            at = end + 1
        return "".join([*parts, text[at:]])

    def _one(self, body: str) -> object:
        before = len(self.secrets)
        value = self.value(Parser(body).parse())
        # What was made of a secret is one itself.
        if len(self.secrets) > before and isinstance(value, str) and value:
            self.secrets.append(value)
        return value

    def value(self, node: Node) -> object:
        """What *node* means. Raises `Malformed`, and `ExpressionError` for an unknown name."""
        match node:
            case Literal(value=value):
                return value
            case Template(text=text):
                return text_of(self.fill(text))
            case Items(nodes=nodes):
                return [self.value(each) for each in nodes]
            case Name() | Member():
                return self._named(node)
            case Call():
                return self._called(node)
            case Unary(operator="!"):
                return not self.truth(node.operand)
            case Unary():
                return -_number(self.value(node.operand))
            case Ternary():
                return self.value(node.yes if self.truth(node.condition) else node.no)
            case Binary():
                return self._binary(node)

    def truth(self, node: Node) -> bool:
        """Whether *node* is true. Raises `Malformed` when it is neither true nor false."""
        value = self.value(node)
        if isinstance(value, bool):
            return value
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        raise Malformed("the condition is neither true nor false")

    def _named(self, node: Name | Member) -> object:
        path = self._path(node)
        if isinstance(node, Name):
            return self.context.name((), self.context.values, node.text)
        found = self.context.name(path[:-1], self.value(node.owner), path[-1])
        return self._secret([found.name]) if isinstance(found, SecretNamed) else found

    def _path(self, node: Node) -> tuple[str, ...]:
        """The words of a path, as an error names them."""
        match node:
            case Name(text=text):
                return (text,)
            case Member(owner=owner, key=Literal(value=key)):
                return (*self._path(owner), str(key))
            case Member(owner=owner, key=key):
                return (*self._path(owner), text_of(self.value(key)))
            case _:
                return ("that",)

    def _called(self, node: Call) -> object:
        arguments = [self.value(each) for each in node.arguments]
        if isinstance(node.owner, Name):
            if (node.owner.text, node.method) == ("secrets", "getValue"):
                return self._secret(arguments)
            if function := FUNCTIONS.get((node.owner.text, node.method)):
                if len(arguments) != 2:
                    raise Malformed(f"{node.method} takes two arguments")
                return function(*arguments)
        return call(self.value(node.owner), node.method, arguments)

    def _secret(self, arguments: list[object]) -> str:
        if len(arguments) != 1:
            raise Malformed("secrets.getValue takes one name")
        value = self.context.secret(text_of(arguments[0]))
        if value:
            self.secrets.append(value)
        return value

    def _binary(self, node: Binary) -> object:
        match node.operator:
            case "&&":
                return self.truth(node.left) and self.truth(node.right)
            case "||":
                return self.truth(node.left) or self.truth(node.right)
            case "??" | "?:":
                left = self._or_null(node.left)
                empty = left is None or (node.operator == "?:" and left in ("", False))
                return self.value(node.right) if empty else left
            case "==" | "!=" if _null(node.left) or _null(node.right):
                same = self._or_null(node.left) is None and self._or_null(node.right) is None
                return same == (node.operator == "==")
            case _:
                left, right = self.value(node.left), self.value(node.right)
                return _OPERATORS[node.operator](left, right)

    def _or_null(self, node: Node) -> object:
        """The value, and null for a name that is not there."""
        try:
            return self.value(node)
        except ExpressionError:
            return None


def _null(node: Node) -> bool:
    return isinstance(node, Literal) and node.value is None


def _number(value: object) -> Number:
    """A number, also one written as text. Raises `Malformed`."""
    found = _perhaps(value)
    if found is None:
        raise Malformed("expected a number")
    return found


def _perhaps(value: object) -> Number | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value
    if isinstance(value, str) and len(value) < 40:
        for kind in (int, float):
            try:
                return kind(value)
            except ValueError:
                continue
    return None


def _equal(left: object, right: object) -> bool:
    """JEXL's: a text beside a boolean is true unless it is ``false``; numbers by their value."""
    for one, other in ((left, right), (right, left)):
        if isinstance(one, bool):
            return one == (other if isinstance(other, bool) else other != "false")
    if isinstance(left, int | float) or isinstance(right, int | float):
        one, other = _perhaps(left), _perhaps(right)
        return one is not None and one == other
    return left == right


def _ordered(left: object, right: object) -> int:
    """Less than 0, 0, or more, as *left* is to *right*. Raises `Malformed`."""
    one, other = _perhaps(left), _perhaps(right)
    if one is not None and other is not None:
        return (one > other) - (one < other)
    if isinstance(left, str) and isinstance(right, str):
        return (left > right) - (left < right)
    raise Malformed("the values cannot be compared")


def _sum(left: object, right: object) -> object:
    """JEXL's: two texts are joined; with a number beside it, a text that is one is added."""
    if not (isinstance(left, str) and isinstance(right, str)):
        one, other = _perhaps(left), _perhaps(right)
        if one is not None and other is not None:
            return one + other
    return text_of(left) + text_of(right)


def _divided(left: object, right: object) -> Number:
    """As Java does: the quotient of whole numbers is cut towards zero."""
    one, other = _number(left), _number(right)
    if not other:
        raise Malformed("division by zero")
    if isinstance(one, int) and isinstance(other, int):
        quotient = abs(one) // abs(other)
        return quotient if (one < 0) == (other < 0) else -quotient
    return one / other


def _rest(left: object, right: object) -> Number:
    one, other = _number(left), _number(right)
    if not other:
        raise Malformed("division by zero")
    return one - other * int(_divided(one, other))


def _matches(left: object, right: object) -> bool:
    """``=~``: a text in a list, or one that a pattern fits as a whole."""
    if isinstance(right, list | tuple | Mapping):
        return left in cast("list[object]", right)
    return bool(pattern(right).fullmatch(subject(left)))


def _starts(left: object, right: object) -> bool:
    return text_of(left).startswith(text_of(right))


def _ends(left: object, right: object) -> bool:
    return text_of(left).endswith(text_of(right))


_OPERATORS: Final[Mapping[str, Callable[[object, object], object]]] = {
    "==": _equal,
    "!=": lambda left, right: not _equal(left, right),
    "<": lambda left, right: _ordered(left, right) < 0,
    ">": lambda left, right: _ordered(left, right) > 0,
    "<=": lambda left, right: _ordered(left, right) <= 0,
    ">=": lambda left, right: _ordered(left, right) >= 0,
    "=~": _matches,
    "!~": lambda left, right: not _matches(left, right),
    "=^": _starts,
    "!^": lambda left, right: not _starts(left, right),
    "=$": _ends,
    "!$": lambda left, right: not _ends(left, right),
    "+": _sum,
    "-": lambda left, right: _number(left) - _number(right),
    "*": lambda left, right: _number(left) * _number(right),
    "/": _divided,
    "%": _rest,
}

"""Reads one `<+…>` expression into a tree: where it ends, its tokens, its operators."""

from __future__ import annotations

import re

from attrs import frozen

MAX_LENGTH = 8192
MAX_DEPTH = 40


class Malformed(ValueError):
    """The text is no expression; the message quotes none of it."""


@frozen
class Literal:
    """A number, true, false, null, or text without expressions."""

    value: object


@frozen
class Template:
    """Quoted text with `<+…>` inside it."""

    text: str


@frozen
class Name:
    """The first word of a path."""

    text: str


@frozen
class Member:
    """What *key* names in *owner*."""

    owner: Node
    key: Node


@frozen
class Call:
    """A method of *owner*."""

    owner: Node
    method: str
    arguments: tuple[Node, ...]


@frozen
class Unary:
    """`!` or `-`."""

    operator: str
    operand: Node


@frozen
class Binary:
    """Two operands and what stands between them."""

    operator: str
    left: Node
    right: Node


@frozen
class Ternary:
    """`condition ? yes : no`."""

    condition: Node
    yes: Node
    no: Node


@frozen
class Items:
    """A list, written out."""

    nodes: tuple[Node, ...]


Node = Literal | Template | Name | Member | Call | Unary | Binary | Ternary | Items

_BY_LEVEL = (
    ("?:", "??"),
    ("||",),
    ("&&",),
    ("==", "!=", "=~", "!~", "=^", "!^", "=$", "!$"),
    ("<", ">", "<=", ">="),
    ("+", "-"),
    ("*", "/", "%"),
)
_LEVELS = {name: level for level, names in enumerate(_BY_LEVEL, 1) for name in names}
_WORDS = {"and": "&&", "or": "||", "not": "!", "eq": "==", "ne": "!="}
_OPERATORS = re.compile(r"\?:|\?\?|\|\||&&|[=!][=~^$]|<=|>=|[-+*/%<>!?:]")
_WORD = re.compile(r"[A-Za-z_$][\w$-]*")
_PLAIN_WORD = re.compile(r"[A-Za-z_$][\w$]*")
_ESCAPED = re.compile(r"\\([\\\"'])")  # another backslash is a pattern's own
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_CONSTANTS: dict[str, object] = {"true": True, "false": False, "null": None}


def end_of(text: str, start: int, depth: int = 0) -> int:
    """Find the `>` that closes the `<+` at *start*."""
    if depth > MAX_DEPTH:
        raise Malformed("expressions are nested too deeply")
    at, open_brackets = start + 2, 0
    while at < len(text):
        character = text[at]
        if character in "\"'":
            at = end_of_quote(text, at, depth)
        elif text.startswith("<+", at):
            at = end_of(text, at, depth + 1)
        elif character in "([":
            open_brackets += 1
        elif character in ")]":
            open_brackets -= 1
        elif character == ">" and open_brackets <= 0 and not _compares(text, at):
            return at
        at += 1
    raise Malformed("an expression is not closed with '>'")


def _compares(text: str, at: int) -> bool:
    after = text[at + 1 : at + 3]
    spaced = text[at - 1].isspace() and (after[:1].isspace() or after.startswith("="))
    return spaced and ">" in text[at + 1 :]


def end_of_quote(text: str, start: int, depth: int = 0) -> int:
    """Find the quote that closes the one at *start*; quotes inside `<+…>` do not count."""
    at = start + 1
    while at < len(text):
        if text[at] == "\\":
            at += 1
        elif text.startswith("<+", at):
            at = end_of(text, at, depth + 1)
        elif text[at] == text[start]:
            return at
        at += 1
    raise Malformed("a quote is not closed")


class Parser:
    """Reads one expression by precedence, JEXL's."""

    def __init__(self, text: str, depth: int = 0) -> None:
        if len(text) > MAX_LENGTH:
            raise Malformed(f"an expression is longer than {MAX_LENGTH} characters")
        self.text = text
        self.at = 0
        self.depth = depth

    def parse(self) -> Node:
        """Read all of it."""
        node = self._ternary()
        self._space()
        if self.at < len(self.text):
            raise Malformed(f"unexpected text at character {self.at + 1}")
        return node

    def _space(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def _take(self, mark: str) -> bool:
        self._space()
        if not self.text.startswith(mark, self.at):
            return False
        self.at += len(mark)
        return True

    def _want(self, mark: str) -> None:
        if not self._take(mark):
            raise Malformed(f"expected '{mark}' at character {self.at + 1}")

    def _operator(self) -> tuple[str, int]:
        self._space()
        if found := _OPERATORS.match(self.text, self.at):
            return found[0], found.end()
        word = _PLAIN_WORD.match(self.text, self.at)
        if word and word[0] in _WORDS:
            return _WORDS[word[0]], word.end()
        return "", self.at

    def _ternary(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Malformed("an expression is nested too deeply")
        node = self._binary(1)
        if self._operator()[0] == "?":
            self._want("?")
            yes = self._ternary()
            self._want(":")
            node = Ternary(node, yes, self._ternary())
        self.depth -= 1
        return node

    def _binary(self, lowest: int) -> Node:
        left, count = self._unary(), 0
        while True:
            operator, end = self._operator()
            level = _LEVELS.get(operator, 0)
            if level < lowest:
                return left
            count += 1
            if count > MAX_DEPTH:
                raise Malformed("an expression has too many operators")
            self.at = end
            left = Binary(operator, left, self._binary(level + 1))

    def _unary(self) -> Node:
        operator, end = self._operator()
        if operator not in ("!", "-"):
            return self._path()
        self.at = end
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Malformed("an expression is nested too deeply")
        node = Unary(operator, self._unary())
        self.depth -= 1
        return node

    def _path(self) -> Node:
        node, count = self._primary(), 0
        while self.at < len(self.text) and self.text[self.at] in ".[":
            count += 1
            if count > MAX_DEPTH:
                raise Malformed("a path is too long")
            if self._take("["):
                node = Member(node, self._ternary())
                self._want("]")
            else:
                self.at += 1
                node = self._member(node)
        return node

    def _member(self, owner: Node) -> Node:
        if self.text.startswith("<+", self.at):
            return Member(owner, self._embedded())
        found = _WORD.match(self.text, self.at) or _NUMBER.match(self.text, self.at)
        if not found:
            raise Malformed(f"expected a name at character {self.at + 1}")
        self.at = found.end()
        if self._take("("):
            return Call(owner, found[0], self._list(")"))
        return Member(owner, Literal(found[0]))

    def _list(self, end: str) -> tuple[Node, ...]:
        """What stands between commas, up to *end*."""
        found: list[Node] = []
        while not self._take(end):
            if found:
                self._want(",")
            found.append(self._ternary())
        return tuple(found)

    def _embedded(self) -> Node:
        end = end_of(self.text, self.at, self.depth)
        inner = Parser(self.text[self.at + 2 : end], self.depth + 1)
        self.at = end + 1
        return inner.parse()

    def _primary(self) -> Node:
        if self._take("("):
            node = self._ternary()
            self._want(")")
            return node
        if self._take("["):
            return Items(self._list("]"))
        if self.text.startswith("<+", self.at):
            return self._embedded()
        if self.text[self.at : self.at + 1] in ("'", '"'):
            end = end_of_quote(self.text, self.at, self.depth)
            body = self.text[self.at + 1 : end]
            self.at = end + 1
            return Template(body) if "<+" in body else Literal(_ESCAPED.sub(r"\1", body))
        if found := _NUMBER.match(self.text, self.at):
            self.at = found.end()
            return Literal(float(found[0]) if "." in found[0] else int(found[0]))
        if found := _PLAIN_WORD.match(self.text, self.at):
            self.at = found.end()
            word = found[0]
            return Literal(_CONSTANTS[word]) if word in _CONSTANTS else Name(word)
        raise Malformed(f"expected a value at character {self.at + 1}")

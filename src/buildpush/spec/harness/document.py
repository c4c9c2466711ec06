"""YAML with the line of everything in it. Scalars stay text: a tag ``1.10`` is ``1.10``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, cast

from attrs import field, frozen

from ...errors import ExpressionError, SpecError

if TYPE_CHECKING:
    import yaml

__all__ = ["Node", "Place", "fault", "located", "read_document"]

_LARGEST: Final = 2 << 20
_DEEPEST: Final = 60
_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{kind}"
    for kind in ("bool", "float", "int", "map", "null", "seq", "str", "timestamp", "value")
)


@frozen
class Place:
    """Where something stands in a file; lines count from 1."""

    filename: str
    line: int
    path: str = ""

    def __str__(self) -> str:
        where = f"{self.filename}:{self.line}" if self.filename else f"line {self.line}"
        return f"{where}: {self.path}" if self.path else where

    def below(self, name: str, line: int) -> Place:
        """The place of what is called *name* in this one."""
        return Place(self.filename, line, f"{self.path}.{name}".lstrip("."))


def fault(place: Place, message: str, hint: str = "") -> SpecError:
    """The error that something at *place* is wrong."""
    return SpecError(f"{place}: {message}", hint=hint)


def located(error: ExpressionError, filename: str, line: int) -> ExpressionError:
    """*error*, which names its path, with the file and the line before it."""
    found = ExpressionError(f"{Place(filename, line)}: {error.message}", hint=error.hint)
    found.expression, found.where = error.expression, error.where
    return found


@frozen
class Node:
    """One value of a document: text, None, nodes by name, or a list of nodes."""

    value: str | Mapping[str, Node] | tuple[Node, ...] | None = field(repr=False)
    line: int

    @property
    def names(self) -> Mapping[str, Node]:
        """The nodes by name; none where this is no mapping."""
        return self.value if isinstance(self.value, Mapping) else {}

    @property
    def items(self) -> tuple[Node, ...]:
        """The nodes of a list; none where this is no list."""
        return self.value if isinstance(self.value, tuple) else ()

    @property
    def text(self) -> str:
        """The text; empty where this is no text."""
        return self.value if isinstance(self.value, str) else ""

    def plain(self) -> object:
        """The same without lines, in dicts and lists."""
        match self.value:
            case str() | None:
                return self.value
            case tuple():
                return [item.plain() for item in self.value]
            case _:
                return {name: node.plain() for name, node in self.value.items()}

    def lines(self, path: str) -> dict[str, int]:
        """The line of this, and of all below it, by path."""
        found = {path: self.line}
        for name, node in self.names.items():
            found |= node.lines(f"{path}.{name}".lstrip("."))
        for at, node in enumerate(self.items):
            found |= node.lines(f"{path}[{at}]")
        return found


def read_document(text: str, filename: str = "") -> Node:
    """Read *text*; aliases, tags and a name given twice are errors.

    Raises `SpecError` with the line, and quotes nothing of the text but names.
    """
    # Imported here for those who read YAML alone.
    import yaml

    if len(text) > _LARGEST:
        raise SpecError(f"{filename or 'the text'}: is larger than {_LARGEST >> 20} MB")
    try:
        _no_aliases(text, filename)
        root = yaml.compose(text, yaml.SafeLoader)
    except SpecError:
        raise
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else 1
        raise fault(Place(filename, line), f"is no YAML: {_problem(error)}") from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise fault(Place(filename, 1), "is no YAML, or is nested too deeply") from None
    if root is None:
        raise fault(Place(filename, 1), "there is nothing in it")
    return _node(root, Place(filename, 1), _DEEPEST)


def _problem(error: yaml.MarkedYAMLError) -> str:
    """What is wrong; a problem that quotes the text is cut off before it."""
    said = ", ".join(filter(None, (error.context, error.problem)))
    return said.partition("'")[0].strip().removesuffix("but found").rstrip(", ")


def _no_aliases(text: str, filename: str) -> None:
    import yaml

    if "*" not in text:
        return
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            line = event.start_mark.line + 1 if event.start_mark is not None else 1
            raise fault(Place(filename, line), "aliases are not read; write the value again")


def _node(node: yaml.Node, place: Place, depth: int) -> Node:
    import yaml

    place = Place(place.filename, node.start_mark.line + 1, place.path)
    if not depth:
        raise fault(place, "is nested too deeply")
    if node.tag not in _TAGS:
        raise fault(place, "has a tag, and tags are not read")
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Node] = {}
        for key, value in cast("list[tuple[yaml.Node, yaml.Node]]", node.value):
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode) or key.tag not in _TAGS:
                raise fault(Place(place.filename, line, place.path), "a name must be text")
            name = str(key.value)
            if name in found:
                raise fault(place.below(name, line), "is given twice")
            found[name] = _node(value, place.below(name, line), depth - 1)
        return Node(found, place.line)
    if isinstance(node, yaml.SequenceNode):
        items = enumerate(cast("list[yaml.Node]", node.value))
        return Node(
            tuple(
                _node(item, Place(place.filename, 1, f"{place.path}[{at}]"), depth - 1)
                for at, item in items
            ),
            place.line,
        )
    empty = node.tag.endswith(":null")
    return Node(None if empty else str(cast("object", node.value)), place.line)

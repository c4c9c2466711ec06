"""YAML from outside: one document, no larger than it looks. Imported lazily: PyYAML is an extra."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import yaml

__all__ = ["YamlError", "read_yaml"]

_REPEATED: Final = 100_000
"""How many values aliases may repeat: each of them, in the one that repeats it, and so on."""


class YamlError(ValueError):
    """It is none; *line* is where, 0 when that is not known. Quotes nothing, neither do causes."""

    def __init__(self, line: int) -> None:
        super().__init__("not YAML")
        self.line = line


def read_yaml(data: bytes) -> object:
    """The value of the document *data*, None for an empty one. Raises `YamlError`."""
    try:
        return _read(data)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark is not None else 0
    # Outside of `except`: PyYAML's error quotes the line, which may hold a token.
    raise YamlError(line)


def _read(data: bytes) -> object:
    loader: Any = yaml.SafeLoader(data)
    try:
        node: yaml.Node | None = loader.get_single_node()
        if node is None:
            return None
        sizes: dict[int, int] = {}
        if _size(node, sizes) > len(sizes) + _REPEATED:
            raise ValueError("aliases make far more of it than stands there")
        value: object = loader.construct_document(node)
        return value
    finally:
        loader.dispose()


def _size(node: yaml.Node, sizes: dict[int, int]) -> int:
    """How many values there are in *node*, those of an alias each time that it stands there."""
    if id(node) not in sizes:
        sizes[id(node)] = 1  # while it is counted: it may hold itself
        sizes[id(node)] += sum(_size(one, sizes) for one in _inside(node))
    return sizes[id(node)]


def _inside(node: yaml.Node) -> Iterator[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        yield from node.value
    elif isinstance(node, yaml.MappingNode):
        for pair in node.value:
            yield from pair

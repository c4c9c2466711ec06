"""What ``docker buildx inspect`` says of a builder, read into values. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from attrs import field, frozen

from ...errors import InvalidReferenceError
from ...oci import Platform

__all__ = ["Inspection", "Node", "parse_inspection", "version_of"]


@frozen(kw_only=True)
class Node:
    """One node of a builder, as it answered (or did not: *error*)."""

    name: str
    endpoint: str = ""
    status: str = ""
    error: str = ""
    buildkit: str = ""
    platforms: tuple[Platform, ...] = ()
    flags: str = ""
    labels: Mapping[str, str] = field(factory=dict[str, str])


@frozen(kw_only=True)
class Inspection:
    """A builder: its driver, and its nodes. *error* is why it could not be asked."""

    name: str
    driver: str
    error: str = ""
    nodes: tuple[Node, ...] = ()

    @property
    def platforms(self) -> tuple[Platform, ...]:
        """What the nodes can execute RUN for, each once, the first node's first."""
        return tuple(dict.fromkeys(p for node in self.nodes for p in node.platforms))

    @property
    def buildkit(self) -> str:
        """The oldest version among the nodes: what all of them can do; empty when unknown."""
        known = [node.buildkit for node in self.nodes if version_of(node.buildkit)]
        return min(known, key=version_of, default="")

    @property
    def running(self) -> bool:
        """Whether a node answered."""
        return any(node.status == "running" for node in self.nodes)

    @property
    def trouble(self) -> str:
        """The first error, of the builder or of a node."""
        return self.error or next((node.error for node in self.nodes if node.error), "")


def version_of(text: str) -> tuple[int, ...]:
    """``v0.29.1+ds1`` → ``(0, 29, 1)``; empty when *text* is no version or says 0.0.0."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    numbers = tuple(int(part) for part in found.groups(default="0")) if found else ()
    return numbers if any(numbers) else ()


def parse_inspection(text: str) -> Inspection:
    """Read the table that ``buildx inspect`` prints; what it does not know it leaves alone."""
    head, *blocks = _blocks(text)
    return Inspection(
        name=head.get("Name", ""),
        driver=head.get("Driver", ""),
        error=head.get("Error", ""),
        nodes=tuple(_node(block) for block in blocks),
    )


def _blocks(text: str) -> Iterator[dict[str, str]]:
    """The builder's fields, then each node's; labels are fields called ``label:name``."""
    block: dict[str, str] = {}
    section = ""
    for line in text.splitlines():
        name, colon, value = line.strip().partition(":")
        if not colon:
            continue
        if line[:1].isspace():
            if section == "Labels":
                label, _, value = line.strip().partition(": ")
                block[f"label:{label.rstrip(':')}"] = value.strip()
            continue
        section = name
        if name == "Name" and "Name" in block:
            yield block
            block = {}
        block.setdefault(name, value.strip())
    yield block


def _node(block: Mapping[str, str]) -> Node:
    words = (word.strip().rstrip("*") for word in block.get("Platforms", "").split(","))
    return Node(
        name=block.get("Name", ""),
        endpoint=block.get("Endpoint", ""),
        status=block.get("Status", ""),
        error=block.get("Error", ""),
        buildkit=block.get("BuildKit version", "") or block.get("Buildkit", ""),
        platforms=tuple(dict.fromkeys(p for word in words for p in _platforms(word))),
        flags=block.get("BuildKit daemon flags", "") or block.get("Flags", ""),
        labels={
            name.removeprefix("label:"): value
            for name, value in block.items()
            if name.startswith("label:")
        },
    )


def _platforms(word: str) -> Iterator[Platform]:
    """One word of the list; ``linux/amd64 (+3)`` and what is no platform are passed over."""
    try:
        yield Platform.parse(word.partition(" ")[0])
    except InvalidReferenceError:
        return

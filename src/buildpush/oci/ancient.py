"""What ``docker save`` wrote before docker 1.10: layers with a parent each, and no manifest.

Follows docker's image specification v1: ``repositories`` maps names to the topmost layer, and each
layer's ``json`` names its parent. The config that today's images have is made of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from attrs import frozen
from pydantic import TypeAdapter, ValidationError

from ..errors import NotFoundError, SpecError
from . import Digest

__all__ = ["AncientChain", "AncientImage", "names_in"]

_DEEPEST: Final = 1000
_ID: Final = re.compile(r"[0-9a-f]{64}")
_OF_LAYERS: Final = ("id", "parent", "Size", "parent_id", "layer_id", "throwaway")


@frozen(kw_only=True)
class AncientImage:
    """An image by its names and the id of its topmost layer."""

    path: Path
    names: tuple[str, ...]
    top: str

    def chain(self, files: Mapping[str, bytes]) -> AncientChain:
        """Its layers, base first; *files* are the archive's ``ID/json``."""
        links: list[_Link] = []
        wanted = self.top
        while wanted:
            if len(links) == _DEEPEST:
                raise SpecError(f"{self.path}: its layers have more than {_DEEPEST} parents")
            if f"{wanted}/json" not in files:
                raise NotFoundError(f"{self.path} has no '{wanted}/json', which a layer names")
            said = self._said(wanted, files[f"{wanted}/json"])
            links.append(_Link(id=wanted, said=said))
            wanted = self._id(said.get("parent") or "")
        return AncientChain(links=tuple(reversed(links)))

    def _said(self, layer: str, data: bytes) -> Mapping[str, Any]:
        try:
            return TypeAdapter(dict[str, Any]).validate_json(data)
        except ValidationError:
            raise SpecError(f"{self.path}: its {layer}/json is damaged") from None

    def _id(self, value: object) -> str:
        if value and not (isinstance(value, str) and _ID.fullmatch(value)):
            raise SpecError(f"{self.path}: a layer's parent is not the id of a layer")
        return cast("str", value)


@frozen(kw_only=True)
class _Link:
    id: str
    said: Mapping[str, Any]


@frozen(kw_only=True)
class AncientChain:
    """The layers of an image, base first."""

    links: tuple[_Link, ...]

    def config(self, diff_ids: Sequence[Digest]) -> bytes:
        """The image's config, the same bytes every time; the topmost layer says how to run it."""
        top = self.links[-1].said
        made = {key: value for key, value in top.items() if key not in _OF_LAYERS}
        made.setdefault("architecture", "amd64")
        made.setdefault("os", "linux")
        made["history"] = [_history(link.said) for link in self.links]
        made["rootfs"] = {"type": "layers", "diff_ids": [str(digest) for digest in diff_ids]}
        return json.dumps(made, sort_keys=True, separators=(",", ":")).encode()


def _history(said: Mapping[str, Any]) -> dict[str, str]:
    ran = said.get("container_config")
    command = cast("dict[str, object]", ran).get("Cmd") if isinstance(ran, dict) else None
    words = [str(word) for word in cast("list[object]", command)] if command else []
    found = {
        "created": said.get("created"),
        "author": said.get("author"),
        "created_by": " ".join(words),
        "comment": said.get("comment"),
    }
    return {key: value for key, value in found.items() if isinstance(value, str) and value}


def names_in(path: Path, repositories: bytes) -> tuple[AncientImage, ...]:
    """The images that the file ``repositories`` lists; raises `SpecError` when it is damaged."""
    try:
        tags = TypeAdapter(dict[str, dict[str, str]]).validate_json(repositories)
    except ValidationError:
        raise SpecError(f"{path} is no docker archive: its repositories is damaged") from None
    names: dict[str, list[str]] = {}
    for name, tops in tags.items():
        for tag, top in tops.items():
            if not _ID.fullmatch(top):
                raise SpecError(f"{path}: its repositories names what is not the id of a layer")
            names.setdefault(top, []).append(f"{name}:{tag}")
    return tuple(
        AncientImage(path=path, names=tuple(said), top=top) for top, said in names.items()
    )

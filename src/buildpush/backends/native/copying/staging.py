"""The layer that COPY is about to write, over the image it goes on top of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Final, NamedTuple

from attrs import define, field

from ....errors import BuildError
from ....oci.tar import OPAQUE, Entry
from ..tree import NO_XATTRS, Node

__all__ = ["Body", "Planned", "Staging", "content_key", "whole_seconds"]

_DEPTH_FIRST: Final = str.maketrans({"/": "\0"})
"""Sorts a folder before what is in it, and that before the folder's later siblings."""


def whole_seconds(time_ns: int) -> int:
    """Cut *time_ns* to a second, as BuildKit's layers do: finer times cost a PAX header each."""
    return time_ns // 1_000_000_000 * 1_000_000_000


class Body(NamedTuple):
    """Where a file's content comes from: *name* in the feed of that number.

    *position* orders the bodies of a feed that streams; it is -1 where any order will do.
    """

    feed: int
    name: str
    position: int = -1


class Planned(NamedTuple):
    """An entry of the layer. Entries with the same *twin* are names of one file.

    A file with *missing* as its digest has one that nobody has computed yet.
    """

    entry: Entry
    body: Body | None = None
    sha256: str = ""
    twin: Hashable = None


@define(eq=False)
class Staging:
    """What has been placed so far. *get* looks into the image below."""

    get: Callable[[str], Node | None]
    items: dict[str, Planned] = field(factory=dict[str, Planned])
    _gone: set[str] = field(factory=set[str])

    def look(self, path: str) -> Entry | Node | None:
        """What is at *path* now; symlinks are not followed."""
        item = self.items.get(path)
        if item is not None:
            return item.entry
        return None if self._gone and self._is_gone(path) else self.get(path)

    def put(self, item: Planned) -> None:
        """Place *item*, whose folder must be there."""
        self.items[item.entry.name] = item

    def remove(self, path: str) -> None:
        """Delete *path* and all below it, as a file of another kind takes its place."""
        found = self.look(path)
        if found is None:
            return
        self.items.pop(path, None)
        if found.kind == "dir":
            for below in [name for name in self.items if name.startswith(f"{path}/")]:
                del self.items[below]
        if self.get(path) is not None:
            self._gone.add(path)

    def make_folders(
        self, path: str, *, mode: int = 0o755, owner: tuple[int, int], mtime_ns: int
    ) -> None:
        """``mkdir -p``; *path* has no symlinks left in it.

        Raises `BuildError` when something that is no folder is in the way.
        """
        found = self.look(path)
        if found is not None and found.kind == "dir":
            return
        if found is not None:
            raise BuildError(f"mkdir /{path}: not a directory")
        parent = path.rpartition("/")[0]
        self.make_folders(parent, mode=mode, owner=owner, mtime_ns=mtime_ns)
        self.put(Planned(Entry(path, "dir", mode, *owner, 0, whole_seconds(mtime_ns))))

    def finish(self) -> list[Planned]:
        """Every entry of the layer, sorted, with the folders they are in.

        Folders that exist keep what they are: a layer that left them out would leave their mode
        and owner to whoever unpacks it.
        """
        items = dict(self.items)
        for path in self.items:
            self._add_parents(path, items)
        for path in self._gone:
            item, below = items.get(path), self.get(path)
            if item and below and item.entry.kind == below.kind == "dir":
                items[f"{path}/{OPAQUE}"] = Planned(Entry(f"{path}/{OPAQUE}", "file", 0o600))
        items.pop("", None)
        return _link_twins(items[path] for path in sorted(items, key=_depth_first))

    def _add_parents(self, path: str, items: dict[str, Planned]) -> None:
        folder = path.rpartition("/")[0]
        while folder and folder not in items:
            node = self.get(folder)
            if node is not None:
                time_ns = whole_seconds(node.mtime_ns)
                items[folder] = Planned(
                    Entry(folder, "dir", node.mode, node.uid, node.gid, 0, time_ns)
                )
            folder = folder.rpartition("/")[0]

    def _is_gone(self, path: str) -> bool:
        while path:
            if path in self._gone:
                return True
            path = path.rpartition("/")[0]
        return False


def _depth_first(path: str) -> str:
    return path.translate(_DEPTH_FIRST)


def _link_twins(items: Iterable[Planned]) -> list[Planned]:
    """The first name of a file carries it; the others become hard links to that name."""
    first: dict[Hashable, str] = {}
    out: list[Planned] = []
    for item in items:
        if item.twin is not None:
            name = item.entry.name
            known = first.setdefault(item.twin, name)
            if known != name:
                entry = item.entry._replace(kind="hardlink", link=known, size=0, xattrs=NO_XATTRS)
                out.append(Planned(entry, sha256=item.sha256))
                continue
        out.append(item)
    return out


def content_key(items: Iterable[Planned], extra: Mapping[str, str]) -> str:
    """A hex sha256 over names, kinds, modes, owners, contents, links and attributes.

    Not over times, inodes or anything of this machine. *extra* are further facts by name.
    """
    digest = hashlib.sha256()
    for item in items:
        e = item.entry
        fields = [e.name, e.kind, f"{e.mode:o}", f"{e.uid}:{e.gid}", item.sha256, e.link]
        if e.kind in ("char", "block"):
            fields.append(f"{e.major}:{e.minor}")
        fields += [f"{key}={e.xattrs[key].hex()}" for key in sorted(e.xattrs)]
        digest.update("\0".join([*fields, "", ""]).encode("utf-8", "surrogateescape"))
    for key in sorted(extra):
        digest.update(f"\0{key}\0{extra[key]}\0".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()

"""What an image contains, as an index of paths: how COPY knows its target without unpacking it.

A layer is indexed once, from its tar; the indexes are kept and stacked into a `Tree`, which
applies whiteouts and hard links as the OCI image-spec ("layer.md") says. Paths are relative to
the image's root, without leading or trailing slash; the root itself is the empty string.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, BinaryIO, Final, NamedTuple, Protocol, Self

from attrs import define, field, frozen

from ...errors import BuildError
from ...oci.tar import OPAQUE, WHITEOUT, Entry, Kind, read

__all__ = ["LayerIndex", "Linked", "Node", "Tree", "clean", "index_layer", "resolve"]

NO_XATTRS: Final[Mapping[str, bytes]] = MappingProxyType({})
_VERSION: Final = 1
_CHUNK: Final = 1 << 20
_MOST_LINKS: Final = 255
_COMMON: Final = 10
"""How many fields of a node every row of a stored index has."""
_MARKER: Final = WHITEOUT + WHITEOUT


class Node(NamedTuple):
    """One path of an image or of a build context.

    *size* is in bytes, *sha256* the hex digest of a regular file's content ("" where nobody has
    asked yet), *link* a symlink's text. Names with the same *inode* (0 or more) are one file: in
    a layer it is the number of the tar entry that holds the content.
    """

    path: str
    kind: Kind
    mode: int = 0o755
    uid: int = 0
    gid: int = 0
    size: int = 0
    sha256: str = ""
    link: str = ""
    mtime_ns: int = 0
    inode: int = -1
    xattrs: Mapping[str, bytes] = NO_XATTRS
    major: int = 0
    minor: int = 0


class Linked(Protocol):
    """What `resolve` needs to know about a path: a `Node` or an `Entry` is one."""

    @property
    def kind(self) -> Kind:
        """What the path is."""
        ...

    @property
    def link(self) -> str:
        """Where it points, when it is a symlink."""
        ...


_ROOT: Final = Node("", "dir")


def clean(path: str) -> str:
    """Normalise *path* lexically to the form of this module; ``..`` stops at the root."""
    return posixpath.normpath("/" + path).lstrip("/")


def resolve(get: Callable[[str], Linked | None], path: str, *, follow_last: bool = True) -> str:
    """Follow the symlinks in *path*, never leaving the root; what is missing stays as written.

    A link's text is joined lexically, as continuity's ``fs.RootPath`` (what BuildKit uses) does.
    Raises `BuildError` after 255 links.
    """
    done, todo, links = "", clean(path).split("/"), 0
    while todo:
        name = todo.pop(0)
        here = f"{done}/{name}" if done else name
        node = get(here) if here and (todo or follow_last) else None
        if node is None or node.kind != "symlink":
            done = here
            continue
        links += 1
        if links > _MOST_LINKS:
            raise BuildError(f"too many levels of symbolic links: /{clean(path)}")
        target = node.link if node.link.startswith("/") else f"{done}/{node.link}"
        done, todo = "", [part for part in [*clean(target).split("/"), *todo] if part]
    return done


@frozen(kw_only=True)
class LayerIndex:
    """What one layer adds and removes. *opaques* are folders that hide all below them.

    A node of kind ``hardlink`` links to a path that only the layers below know.
    """

    nodes: tuple[Node, ...] = ()
    whiteouts: tuple[str, ...] = ()
    opaques: tuple[str, ...] = ()

    def dump(self) -> bytes:
        """The index as bytes for `load`: compressed JSON."""
        data = {
            "version": _VERSION,
            "whiteouts": self.whiteouts,
            "opaques": self.opaques,
            "nodes": [_row(node) for node in self.nodes],
        }
        return zlib.compress(json.dumps(data, separators=(",", ":")).encode(), 1)

    @classmethod
    def load(cls, data: bytes) -> Self:
        """Read what `dump` wrote; raises `ValueError` for anything else."""
        try:
            found = json.loads(zlib.decompress(data))
            if found["version"] != _VERSION:
                raise ValueError("a layer index of another version")
            return cls(
                nodes=tuple(_node(row) for row in found["nodes"]),
                whiteouts=tuple(map(str, found["whiteouts"])),
                opaques=tuple(map(str, found["opaques"])),
            )
        except (zlib.error, LookupError, TypeError, AttributeError) as error:
            raise ValueError("the bytes are not a layer index") from error


def _row(node: Node) -> list[object]:
    """*node* as JSON values, the rare ones left out when unset."""
    if not (node.xattrs or node.major or node.minor):
        return [*node[:_COMMON]]
    xattrs = {key: value.hex() for key, value in node.xattrs.items()}
    return [*node[:_COMMON], xattrs, node.major, node.minor]


def _node(row: list[Any]) -> Node:
    if len(row) == _COMMON:
        return Node(*row)
    xattrs = {key: bytes.fromhex(value) for key, value in row[_COMMON].items()}
    return Node._make([*row[:_COMMON], xattrs, *row[_COMMON + 1 :]])


def index_layer(stream: BinaryIO, check: Callable[[], None] = lambda: None) -> LayerIndex:
    """Index an uncompressed layer: every entry's facts, and every file's content hashed.

    *check* is called for every entry and every MiB: it may raise to stop. Raises
    `oci.tar.TarError` (a `ValueError`) for bytes that are no tar.
    """
    found = _Indexing()
    for number, (entry, body) in enumerate(read(stream)):
        check()
        found.add(entry, number, body, check)
    return LayerIndex(
        nodes=tuple(found.nodes.values()),
        whiteouts=tuple(found.whiteouts),
        opaques=tuple(found.opaques),
    )


def hash_body(body: BinaryIO, check: Callable[[], None] = lambda: None) -> str:
    """The hex sha256 of what is left of *body*, read a MiB at a time."""
    digest = hashlib.sha256()
    while chunk := body.read(_CHUNK):
        digest.update(chunk)
        check()
    return digest.hexdigest()


@define
class _Indexing:
    """The layer as extracting it up to an entry would leave it."""

    nodes: dict[str, Node] = field(factory=dict[str, Node])
    whiteouts: dict[str, None] = field(factory=dict[str, None])
    opaques: dict[str, None] = field(factory=dict[str, None])
    _folders: dict[str, str] = field(factory=dict[str, str])
    _parents: set[str] = field(factory=set[str])

    def add(self, entry: Entry, number: int, body: BinaryIO, check: Callable[[], None]) -> None:
        """Apply one entry of the tar."""
        folder, _, name = entry.name.rpartition("/")
        folder = self._folder(folder)
        path = f"{folder}/{name}" if folder else name
        if name.startswith(_MARKER):
            if name == OPAQUE:
                self.opaques[folder] = None
        elif name.startswith(WHITEOUT):
            gone = name[len(WHITEOUT) :]
            self.whiteouts[f"{folder}/{gone}" if folder else gone] = None
        else:
            self._put(path, entry, number, body, check)

    def _put(
        self, path: str, entry: Entry, number: int, body: BinaryIO, check: Callable[[], None]
    ) -> None:
        old = self.nodes.pop(path, None)
        if entry.kind != "dir" and path in self._parents:
            self._empty(path)
        self._join(path)
        if entry.kind == "symlink" or (old is not None and old.kind == "symlink"):
            self._folders.clear()
        if entry.kind == "hardlink":
            other = self.nodes.get(entry.link)
            if other is not None:
                self.nodes[path] = other._replace(path=path)
                return
        digest = hash_body(body, check) if entry.kind == "file" else ""
        self.nodes[path] = Node(
            path,
            entry.kind,
            entry.mode,
            entry.uid,
            entry.gid,
            entry.size,
            digest,
            entry.link,
            entry.mtime_ns,
            number if entry.kind != "dir" else -1,
            entry.xattrs,
            entry.major,
            entry.minor,
        )

    def _empty(self, path: str) -> None:
        """Drop what is below *path*, which stops being a folder."""
        for below in [name for name in self.nodes if name.startswith(f"{path}/")]:
            del self.nodes[below]
        self._parents = {name for name in self._parents if not f"{name}/".startswith(f"{path}/")}

    def _join(self, path: str) -> None:
        """Note the folders *path* is in; a file of that name gives way."""
        folder = path.rpartition("/")[0]
        while folder and folder not in self._parents:
            self._parents.add(folder)
            node = self.nodes.get(folder)
            if node is not None and node.kind != "dir":
                del self.nodes[folder]
            folder = folder.rpartition("/")[0]

    def _folder(self, folder: str) -> str:
        """Where *folder* leads to, when a symlink of this very layer stands in the way."""
        known = self._folders.get(folder)
        if known is None:
            known = self._folders[folder] = resolve(self.nodes.get, folder)
        return known


class _Stack(NamedTuple):
    """A tree's state: its nodes, whose layer each is, names by folder, number of layers."""

    nodes: dict[str, Node]
    layers: dict[str, int]
    below: dict[str, set[str]]
    depth: int


class Tree:
    """The merged view of a stack of layers. Never changed: `plus` makes another."""

    def __init__(self, indexes: Iterable[LayerIndex] = (), *, on: _Stack | None = None) -> None:
        stack = on or _Stack({"": _ROOT}, {}, {}, 0)
        self._nodes, self._layers, self._below, self._depth = stack
        self._owned: set[str] = set()
        for index in indexes:
            self._apply(index)

    @classmethod
    def of(cls, indexes: Iterable[LayerIndex]) -> Tree:
        """Stack *indexes*, the lowest layer first."""
        return cls(indexes)

    def plus(self, *indexes: LayerIndex) -> Tree:
        """A tree with more layers on top; costs a copy of three dictionaries."""
        copy = _Stack(dict(self._nodes), dict(self._layers), dict(self._below), self._depth)
        return Tree(indexes, on=copy)

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, path: str) -> Node | None:
        """What is at *path*; symlinks are not followed."""
        return self._nodes.get(path)

    def children(self, path: str) -> list[Node]:
        """What is directly in the folder *path*, by name."""
        prefix = f"{path}/" if path else ""
        return [self._nodes[prefix + name] for name in sorted(self._below.get(path, ()))]

    def inode(self, path: str) -> int:
        """A number that only names of one and the same file share; -1 for folders.

        Numbers grow in the order in which streaming the layers, lowest first, meets the contents.
        """
        node = self._nodes[path]
        return (self._layers.get(path, 0) << 40) + node.inode if node.inode >= 0 else -1

    def layer_of(self, path: str) -> int:
        """Which layer, counted from 0, holds the content of *path*."""
        return self._layers[path]

    def resolve(self, path: str, follow_last: bool = True) -> str:
        """Follow symlinks inside the image; see `resolve`."""
        return resolve(self._nodes.get, path, follow_last=follow_last)

    def walk(self, prefix: str = "") -> Iterator[Node]:
        """Everything from *prefix* down, itself included, folders before what is in them."""
        todo = [self._nodes[prefix]] if prefix in self._nodes else []
        while todo:
            node = todo.pop()
            yield node
            if node.path in self._below:
                todo.extend(reversed(self.children(node.path)))

    # -- stacking ------------------------------------------------------------------------

    def _apply(self, index: LayerIndex) -> None:
        self._owned.clear()
        for path in index.whiteouts:
            self._remove(path)
        for path in index.opaques:
            prefix = f"{path}/" if path else ""
            for name in tuple(self._below.get(path, ())):
                self._remove(prefix + name)
        for node in index.nodes:
            self._put(node, self._depth)
        self._depth += 1

    def _put(self, node: Node, layer: int) -> None:
        path = node.path
        if node.kind == "hardlink":
            source = self._nodes.get(node.link)
            if source is None:
                raise BuildError(f"a layer links /{path} to /{node.link}, which is not there")
            node, layer = source._replace(path=path), self._layers[source.path]
        old = self._nodes.get(path)
        if old is None:
            self._join(path, layer)
        elif old.kind == "dir" and node.kind != "dir" and path:
            self._remove(path)
            self._join(path, layer)
        self._nodes[path] = node
        self._layers[path] = layer

    def _join(self, path: str, layer: int) -> None:
        """Enter *path* in its folder, which is made (as extracting would) when missing."""
        folder, _, name = path.rpartition("/")
        parent = self._nodes.get(folder)
        if parent is None or parent.kind != "dir":
            self._put(Node(folder, "dir"), layer)
        self._names(folder).add(name)

    def _names(self, folder: str) -> set[str]:
        """The names in *folder*, safe to change: other trees may share the old set."""
        if folder not in self._owned:
            self._below[folder] = set(self._below.get(folder, ()))
            self._owned.add(folder)
        return self._below[folder]

    def _remove(self, path: str) -> None:
        if path not in self._nodes or not path:
            return
        folder, _, name = path.rpartition("/")
        self._names(folder).discard(name)
        todo = [path]
        while todo:
            gone = todo.pop()
            todo.extend(f"{gone}/{below}" for below in self._below.pop(gone, ()))
            self._owned.discard(gone)
            self._nodes.pop(gone, None)
            self._layers.pop(gone, None)

"""Where COPY takes files from: the protocol, and the sources that are not the build context."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from difflib import get_close_matches
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from attrs import define, field, frozen

from ....errors import BuildError
from ....oci.tar import read
from ..tree import Node, Tree, hash_body, resolve

__all__ = ["FilesSource", "ImageSource", "InlineFile", "Listing", "Source", "read_file"]

_LARGEST_USER_FILE: Final = 10 << 20


class Listing(Protocol):
    """Paths and facts, read only. `Tree` is one."""

    def get(self, path: str) -> Node | None:
        """What is at *path*, symlinks not followed; "" is the root."""
        ...

    def children(self, path: str) -> list[Node]:
        """What is directly in the folder *path*, by name."""
        ...

    def inode(self, path: str) -> int:
        """A number that only hard links of one file share, or -1."""
        ...


class Source(Protocol):
    """Files to copy from.

    *streamed* sources hand over bodies cheaply only when asked for them in order of `inode`.
    """

    @property
    def listing(self) -> Listing:
        """What there is."""
        ...

    @property
    def streamed(self) -> bool:
        """Whether bodies should be asked for in the order of their inodes."""
        ...

    def digests(self, paths: Sequence[str], check: Callable[[], None]) -> Mapping[str, str]:
        """The hex sha256 of each of the files *paths*."""
        ...

    def bodies(
        self, paths: Sequence[str], check: Callable[[], None], /
    ) -> Iterator[BinaryIO | bytes]:
        """The contents of *paths*, in that order; each valid until the next is asked for."""
        ...

    def why_missing(self, path: str) -> str:
        """A hint for somebody who named *path*, which is not there."""
        ...


def similar(listing: Listing, path: str) -> str:
    """A hint naming what is spelt almost like *path* in its folder; "" when nothing is."""
    folder, _, name = resolve(listing.get, path, follow_last=False).rpartition("/")
    node = listing.get(folder)
    if node is None or node.kind != "dir":
        return ""
    names = [child.path.rpartition("/")[2] for child in listing.children(folder)]
    close = get_close_matches(name, names, n=3, cutoff=0.7)
    prefix = f"/{folder}" if folder else ""
    return f"did you mean {' or '.join(f'{prefix}/{found}' for found in close)}?" if close else ""


def read_file(source: Source, path: str) -> bytes | None:
    """A small file's content, symlinks followed inside the source; None when there is none.

    Raises `BuildError` for a file over 10 MiB.
    """
    real = resolve(source.listing.get, path)
    node = source.listing.get(real)
    if node is None or node.kind != "file":
        return None
    if node.size > _LARGEST_USER_FILE:
        raise BuildError(f"{path} is larger than {_LARGEST_USER_FILE} bytes")
    with ExitStack() as stack:
        bodies = source.bodies([real], lambda: None)
        close = getattr(bodies, "close", None)
        if close is not None:
            stack.callback(close)
        body = next(iter(bodies))
        return body if isinstance(body, bytes) else body.read()


@define(eq=False)
class ImageSource:
    """The files of an image or stage: ``COPY --from``.

    *open_layer* opens the uncompressed tar of the layer with that number, counted from 0; it is
    called only for layers that hold wanted content, lowest first.
    """

    tree: Tree
    open_layer: Callable[[int], AbstractContextManager[BinaryIO]]
    streamed: bool = field(default=True, init=False)

    @property
    def listing(self) -> Listing:
        """The image's tree."""
        return self.tree

    def digests(self, paths: Sequence[str], check: Callable[[], None]) -> Mapping[str, str]:
        """What the layers' indexes say."""
        del check
        return {path: _node(self.tree, path).sha256 for path in paths}

    def bodies(
        self, paths: Sequence[str], check: Callable[[], None]
    ) -> Iterator[BinaryIO | bytes]:
        """Stream each layer once for every ascending run of inodes in *paths*."""
        wanted = [(self.tree.layer_of(path), _node(self.tree, path).inode) for path in paths]
        at = 0
        while at < len(wanted):
            stop = at + 1
            while (
                stop < len(wanted)
                and wanted[at][0] == wanted[stop][0]
                and (wanted[stop - 1][1] < wanted[stop][1])
            ):
                stop += 1
            yield from self._run(wanted[at][0], [n for _, n in wanted[at:stop]], check)
            at = stop

    def _run(
        self, layer: int, numbers: Sequence[int], check: Callable[[], None]
    ) -> Iterator[BinaryIO]:
        """The bodies of the entries *numbers* (ascending) of one layer, read no further."""
        with self.open_layer(layer) as stream:
            entries = enumerate(read(stream))
            for wanted in numbers:
                for number, (_, body) in entries:
                    check()
                    if number == wanted:
                        yield body
                        break
                else:
                    raise BuildError(
                        f"layer {layer} has fewer entries than its index says",
                        hint="clear the local store: one of its entries is damaged",
                    )

    def why_missing(self, path: str) -> str:
        """Similar names."""
        return similar(self.tree, path)


def _node(listing: Listing, path: str) -> Node:
    node = listing.get(path)
    assert node is not None, "only paths of the listing are asked for"
    return node


@frozen(kw_only=True)
class InlineFile:
    """A file that is not in any folder of the user's: bytes, or a downloaded file."""

    content: bytes | Path
    mode: int = 0o644
    mtime_ns: int = 0


class FilesSource:
    """Named files side by side: here-documents (mode 0644) and downloads of ADD (mode 0600)."""

    streamed: bool = False

    def __init__(self, files: Mapping[str, InlineFile]) -> None:
        self._files = {name.strip("/"): file for name, file in files.items()}
        self._nodes = {
            name: Node(name, "file", file.mode, size=_size(file), mtime_ns=file.mtime_ns)
            for name, file in self._files.items()
        }

    @property
    def listing(self) -> Listing:
        """The source itself."""
        return self

    def get(self, path: str) -> Node | None:
        """The file called *path*."""
        return self._nodes.get(path, None if path else Node("", "dir"))

    def children(self, path: str) -> list[Node]:
        """Every file, for the root."""
        return [] if path else [self._nodes[name] for name in sorted(self._nodes)]

    def inode(self, path: str) -> int:
        """No two of them are one file."""
        del path
        return -1

    def digests(self, paths: Sequence[str], check: Callable[[], None]) -> Mapping[str, str]:
        """Hash the contents."""
        found: dict[str, str] = {}
        for path in paths:
            content = self._files[path].content
            if isinstance(content, bytes):
                found[path] = hashlib.sha256(content).hexdigest()
            else:
                with content.open("rb") as body:
                    found[path] = hash_body(body, check)
        return found

    def bodies(
        self, paths: Sequence[str], check: Callable[[], None]
    ) -> Iterator[BinaryIO | bytes]:
        """The contents, one after the other."""
        for path in paths:
            check()
            content = self._files[path].content
            if isinstance(content, bytes):
                yield content
            else:
                with content.open("rb") as body:
                    yield body

    def why_missing(self, path: str) -> str:
        """Similar names."""
        return similar(self, path)


def _size(file: InlineFile) -> int:
    return len(file.content) if isinstance(file.content, bytes) else file.content.stat().st_size

"""COPY, ADD and WORKDIR: what goes into the layer, from where, and the key of it all.

`plan_copy` decides without touching a root file system; `write_copy` streams the plan into a
layer. The semantics are BuildKit's file operations', which the Dockerfile reference describes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import BinaryIO, Protocol

from attrs import define, field

from ....oci.layer import LayerWriter
from ....oci.tar import WHITEOUT, Entry
from ....runtime import CancelToken
from ..tree import LayerIndex, Node, Tree, resolve
from .archive import Archive
from .jobs import CopyRequest, Jobs, Part, destination_of
from .sources import Source
from .staging import Planned, Staging, content_key

__all__ = [
    "CopyPlan",
    "CopyRequest",
    "Part",
    "destination_of",
    "plan_copy",
    "plan_mkdir",
    "write_copy",
]


def _nothing() -> None:
    """The check of somebody who never cancels."""


class Feed(Protocol):
    """Gives bodies by name: a `Source` or an `Archive`."""

    def bodies(
        self, names: Sequence[str], check: Callable[[], None], /
    ) -> Iterator[BinaryIO | bytes]:
        """The contents in the order of *names*."""
        ...


@define(eq=False)
class CopyPlan:
    """What a layer will hold. *key* is the same for the same content on every machine."""

    key: str
    feeds: tuple[Feed, ...]
    _stage: Callable[[], Sequence[Planned]] = field(repr=False)
    _items: tuple[Planned, ...] | None = field(default=None, init=False, repr=False)

    @property
    def items(self) -> tuple[Planned, ...]:
        """The entries in the order they are written; worked out when first asked for."""
        if self._items is None:
            self._items = tuple(_in_order(self._stage()))
        return self._items

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The layer's entries in order; none when there is nothing to do."""
        return tuple(item.entry for item in self.items)

    def index(self) -> LayerIndex | None:
        """The index of the layer, as indexing it would give; None where digests are missing."""
        known: dict[str, Node] = {}
        for number, (entry, body, sha256, _) in enumerate(self.items):
            name = entry.name
            if name.rpartition("/")[2].startswith(WHITEOUT) or (body is not None and not sha256):
                return None
            if entry.kind == "hardlink":
                known[name] = known[entry.link]._replace(path=name)
                continue
            inode = -1 if entry.kind == "dir" else number
            facts = (*entry[1:6], sha256, entry.link, entry.mtime_ns)
            known[name] = Node(name, *facts, inode, entry.xattrs, entry.major, entry.minor)
        return LayerIndex(nodes=tuple(known.values()))


def plan_copy(
    request: CopyRequest,
    source: Source,
    target: Tree,
    *,
    also: Sequence[Part] = (),
    check: Callable[[], None] = _nothing,
) -> CopyPlan:
    """Resolve *request*'s sources in *source* and its destination in *target*.

    *also* is copied after that. *check* is called often and may raise to stop. Archives that are
    to be unpacked are only hashed; they are read when the plan's entries are asked for. Raises
    `BuildError`: a source that is not there, files and folders that do not go together, a bad
    mode or pattern, a file that cannot be read.
    """
    jobs = Jobs(request, Tree() if request.independent else target, check)
    for text in request.sources:
        jobs.add(source, text)
    for number, part in enumerate(also, 1):
        jobs.add_part(part, number)
    sources = (source, *(part.source for part in also))
    staged = _hashed(jobs.stage(len(sources), extract=False), sources, check)
    archives = jobs.archives()
    facts = {
        f"archive {number}": _archive_fact(archive, request, check)
        for number, archive in enumerate(archives)
    }
    key = content_key(staged, facts)
    if not archives:
        return CopyPlan(key, sources, lambda: staged)

    def extracted() -> list[Planned]:
        return jobs.stage(len(sources), extract=True).finish()

    return CopyPlan(key, (*sources, *archives), extracted)


def _archive_fact(archive: Archive, request: CopyRequest, check: Callable[[], None]) -> str:
    digest = archive.source.digests([archive.path], check)[archive.path]
    where = destination_of(request.workdir, request.destination)
    return f"{digest} {request.chown} {where}"


def _hashed(
    staging: Staging, sources: Sequence[Source], check: Callable[[], None]
) -> list[Planned]:
    """The staged entries, every file with its digest."""
    staged = staging.finish()
    missing: list[dict[str, None]] = [{} for _ in sources]
    for item in staged:
        if item.body is not None and not item.sha256:
            missing[item.body.feed][item.body.name] = None
    known: list[Mapping[str, str]] = [
        source.digests([*names], check) if names else {}
        for source, names in zip(sources, missing, strict=True)
    ]
    return [
        Planned(item.entry, item.body, known[item.body.feed][item.body.name], item.twin)
        if item.body is not None and not item.sha256
        else item
        for item in staged
    ]


def _in_order(items: Sequence[Planned]) -> Iterator[Planned]:
    """Sorted, but what streams comes later in its stream's order, and links to that last."""
    streamed: list[tuple[int, int, int, Planned]] = []
    late: set[str] = set()
    asked: dict[tuple[int, int], int] = {}
    for item in items:
        if item.body is not None and item.body.position >= 0:
            place = (item.body.feed, item.body.position)
            # A body that is wanted twice takes a second pass over its stream.
            turn = asked[place] = asked.get(place, -1) + 1
            streamed.append((item.body.feed, turn, item.body.position, item))
            late.add(item.entry.name)
    links: list[Planned] = []
    for item in items:
        if item.entry.kind == "hardlink" and item.entry.link in late:
            links.append(item)
        elif item.entry.name not in late:
            yield item
    yield from (row[3] for row in sorted(streamed, key=lambda row: row[:3]))
    yield from links


def plan_mkdir(
    path: str,
    target: Tree,
    uid: int,
    gid: int,
    mode: int = 0o755,
    *,
    created_ns: int = 0,
) -> CopyPlan:
    """``mkdir -p`` of the absolute *path* in *target*; a plan without entries when it is there.

    Raises `BuildError` when something that is no folder is in the way.
    """
    staging = Staging(target.get)
    staging.make_folders(
        resolve(staging.look, path), mode=mode, owner=(uid, gid), mtime_ns=created_ns
    )
    items = staging.finish()
    return CopyPlan(content_key(items, {}), (), lambda: items)


def write_copy(plan: CopyPlan, source: Source, writer: LayerWriter, cancel: CancelToken) -> None:
    """Write *plan*, which was made from *source*, into *writer*; the caller finishes it.

    One pass over every source, no file held whole. Raises `BuildError` for a file that changed
    since it was planned, and the reason when cancelled.
    """
    feeds = (source, *plan.feeds[1:])
    wanted: list[list[str]] = [[] for _ in feeds]
    for item in plan.items:
        if item.body is not None:
            wanted[item.body.feed].append(item.body.name)
    bodies = [feed.bodies(names, cancel.check) for feed, names in zip(feeds, wanted, strict=True)]
    add, check = writer.add, cancel.check
    for entry, body, _, _ in plan.items:
        if body is None:
            check()
            add(entry)
        else:
            add(entry, next(bodies[body.feed]))
    for rest in bodies:
        # A source looks for changes once its last body has been read.
        next(rest, None)

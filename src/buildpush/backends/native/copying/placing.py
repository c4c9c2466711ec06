"""Where COPY puts what: BuildKit's copy (``fsutil/copy``), carried out on paths alone."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from attrs import define, field, frozen

from ....errors import BuildError
from ....oci.tar import Entry
from ..tree import NO_XATTRS, Node, clean, resolve
from .globs import compile_glob, split_wildcards
from .modes import Mode
from .sources import Listing, Source
from .staging import Body, Planned, Staging, whole_seconds

__all__ = ["Matcher", "Placing", "Rulebook", "expand"]

CAPABILITY: Final = "security.capability"
"""The one extended attribute that BuildKit's layers carry."""


class Matcher(Protocol):
    """Patterns as in .dockerignore: `dockerfile.ignore.IgnoreRules` is one."""

    def excludes(self, path: str, /) -> bool:
        """Whether the patterns match *path*, or a folder it is in."""
        ...

    def may_include_under(self, directory: str, /) -> bool:
        """Whether an exception may match something in the matched folder *directory*."""
        ...


@frozen(kw_only=True)
class Rulebook:
    """How files are copied. Times are nanoseconds.

    *include* are ``--parents``' patterns, and *reaches* says whether they could match inside a
    folder; *contents* copies what is in a folder rather than the folder; *follow* follows a
    source that is itself a symlink.
    """

    owner: tuple[int, int] | None = None
    mode: Mode | None = None
    created_ns: int = 0
    exclude: Matcher | None = None
    include: Matcher | None = None
    reaches: Callable[[str], bool] = lambda _: True
    contents: bool = True
    follow: bool = True

    @property
    def folder_mode(self) -> int:
        """The mode of folders that are made on the way to the destination."""
        octal = self.mode.octal if self.mode else None
        return 0o755 if octal is None else octal & 0o777


@define
class _Frame:
    """A folder that is being copied; *made* once it is in the layer."""

    node: Node
    target: str
    children: Iterator[Node]
    made: bool


@define(eq=False)
class Placing:
    """Copies from *source*, whose bodies are those of *feed*, into *staging*.

    Hard links are kept among what has the same number of *run*: BuildKit's unit is one source.
    """

    staging: Staging
    feed: int
    source: Source
    rules: Rulebook
    run: int
    _listing: Listing = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._listing = self.source.listing

    def place(self, path: str, destination: str) -> None:
        """Copy the one source *path* to *destination*, absolute and as `destination_of` made it.

        Raises `BuildError` when *path* is not there or the two do not go together.
        """
        self._make(self._ensured(destination))
        target = resolve(self.staging.look, destination)
        real = self._real(path)
        node = self._listing.get(real)
        if node is None:
            raise BuildError(f'"/{path}": not found', hint=self.source.why_missing(path))
        found = self.staging.look(target)
        is_folder = node.kind == "dir"
        inside = found is not None and (
            not self.rules.contents if is_folder else found.kind == "dir"
        )
        if inside:
            target = clean(f"{target}/{posixpath.basename(path)}")
        whole = self.rules.contents and is_folder and found is None
        self._make(target if whole else posixpath.dirname(target))
        if is_folder:
            self._copy_folder(node, target)
        else:
            self._copy_file(node, target)

    def _real(self, path: str) -> str:
        return resolve(self._listing.get, path, follow_last=self.rules.follow)

    def _ensured(self, destination: str) -> str:
        """The folder that must exist before anything is copied."""
        folder, name = posixpath.split(destination)
        wanted = folder if name not in ("", ".") else destination
        return resolve(self.staging.look, wanted)

    def _make(self, path: str) -> None:
        self.staging.make_folders(
            path,
            mode=self.rules.folder_mode,
            owner=self.rules.owner or (0, 0),
            mtime_ns=self.rules.created_ns,
        )

    # -- files and folders ---------------------------------------------------------------

    def _copy_folder(self, node: Node, target: str) -> None:
        """Copy the tree under *node*; *target* itself keeps mode and owner when it exists."""
        found = self.staging.look(target)
        if found is None:
            self._put_folder(node, target)
        elif found.kind != "dir":
            raise BuildError(f"cannot copy to non-directory: /{target}")
        elif target:
            time_ns = whole_seconds(node.mtime_ns)
            kept = Entry(target, "dir", found.mode, found.uid, found.gid, 0, time_ns)
            self.staging.put(Planned(kept))
        stack = [_Frame(node, target, iter(self._listing.children(node.path)), made=True)]
        top = len(node.path) + 1 if node.path else 0
        while stack:
            child = next(stack[-1].children, None)
            if child is None:
                stack.pop()
            else:
                self._copy_child(child, child.path[top:], stack)

    def _copy_child(self, child: Node, relative: str, stack: list[_Frame]) -> None:
        """Copy what is at *relative* in the source's folder, and enter it if it is a folder."""
        rules = self.rules
        included = rules.include is None or rules.include.excludes(relative)
        excluded = rules.exclude is not None and rules.exclude.excludes(relative)
        wanted = included and not excluded
        target = f"{stack[-1].target}/{child.path.rpartition('/')[2]}".lstrip("/")
        if wanted and not stack[-1].made:
            self._make_pending(stack)
        if child.kind != "dir":
            if wanted:
                self._copy_file(child, target)
            return
        if wanted:
            self._merge_folder(child, target)
        elif not self._reaches(relative, included, excluded):
            return
        children = iter(self._listing.children(child.path))
        stack.append(_Frame(child, target, children, made=wanted))

    def _reaches(self, relative: str, included: bool, excluded: bool) -> bool:
        """Whether something in a folder that is not wanted itself may be."""
        if excluded:
            exclude = self.rules.exclude
            return exclude is not None and exclude.may_include_under(relative)
        return included or self.rules.reaches(relative)

    def _merge_folder(self, node: Node, target: str) -> None:
        """A folder below the copied one takes the source's mode and owner even if it exists."""
        found = self.staging.look(target)
        if found is not None and found.kind != "dir":
            raise BuildError(f"cannot copy to non-directory: /{target}")
        self._put_folder(node, target)

    def _make_pending(self, stack: list[_Frame]) -> None:
        """Make the folders on the way to an included file, which no pattern named."""
        for frame in stack:
            if frame.made:
                continue
            found = self.staging.look(frame.target)
            if found is None:
                self._put_folder(frame.node, frame.target)
            elif found.kind != "dir":
                raise BuildError(f"cannot copy to non-directory: /{frame.target}")
            else:
                owner, time_ns = (found.uid, found.gid), whole_seconds(found.mtime_ns)
                kept = Entry(frame.target, "dir", frame.node.mode, *owner, 0, time_ns)
                self.staging.put(Planned(kept))
            frame.made = True

    def _put_folder(self, node: Node, target: str) -> None:
        mode = self.rules.mode.apply(node.mode, is_dir=True) if self.rules.mode else node.mode
        uid, gid = self.rules.owner or (node.uid, node.gid)
        time_ns = whole_seconds(node.mtime_ns)
        self.staging.put(Planned(Entry(target, "dir", mode, uid, gid, 0, time_ns)))

    def _copy_file(self, node: Node, target: str) -> None:
        """Replace what is at *target*; a symlink there is replaced, not followed."""
        found = self.staging.look(target)
        if found is not None and found.kind == "dir":
            raise BuildError(f"cannot replace to directory /{target} with file")
        rules = self.rules
        kind, mode = node.kind, node.mode
        if kind == "symlink":
            mode = 0o777
        elif rules.mode is not None:
            mode = rules.mode.apply(mode, is_dir=False)
        uid, gid = rules.owner or (node.uid, node.gid)
        xattrs = node.xattrs
        if xattrs:
            kept = xattrs.get(CAPABILITY) if kind == "file" else None
            xattrs = {CAPABILITY: kept} if kept else NO_XATTRS
        entry = Entry(
            target,
            kind,
            mode,
            uid,
            gid,
            node.size if kind == "file" else 0,
            whole_seconds(node.mtime_ns),
            node.link,
            node.major,
            node.minor,
            xattrs,
        )
        inode = self._listing.inode(node.path) if kind == "file" else -1
        body, twin = None, None
        if kind == "file":
            body = Body(self.feed, node.path, inode if self.source.streamed else -1)
            twin = (self.feed, self.run, inode) if inode >= 0 else None
        self.staging.put(Planned(entry, body, node.sha256, twin))


def expand(listing: Listing, path: str, *, follow: bool = True) -> list[str]:
    """The paths that the source *path* (clean) names: itself, or what its wildcards match.

    A matched folder is not searched further; symlinks before the wildcard are followed, those
    that are matched are not yet. Raises `BuildError` when the folder to search is not there or
    the pattern is malformed.
    """
    base, parts = split_wildcards(path)
    if not parts:
        return [path]
    folder = resolve(listing.get, base, follow_last=follow)
    node = listing.get(folder)
    if node is None:
        raise BuildError(f'"/{base}": not found')
    try:
        patterns = [compile_glob(part) for part in parts]
    except ValueError as error:
        raise BuildError(f'"/{path}": {error}') from error
    found = [node]
    for pattern in patterns:
        found = [
            child
            for parent in found
            if parent.kind == "dir"
            for child in listing.children(parent.path)
            if pattern.fullmatch(child.path.rpartition("/")[2])
        ]
    return [child.path for child in found]

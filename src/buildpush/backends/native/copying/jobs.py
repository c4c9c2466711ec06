"""What a COPY or ADD asks for: its sources found, its destination spelt out, its staging."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from attrs import define, evolve, field, frozen

from ....dockerfile.ignore import IgnoreRules
from ....errors import BuildError
from ..tree import Tree, clean, resolve
from .archive import Archive, is_archive, unpack
from .globs import has_wildcards, may_hold
from .modes import parse_mode
from .placing import Placing, Rulebook, expand
from .sources import Source
from .staging import Staging

__all__ = ["CopyRequest", "Jobs", "Part", "destination_of"]

_PIVOT: Final = "/./"


@frozen(kw_only=True)
class CopyRequest:
    """A COPY or ADD whose variables are expanded and whose owner is numeric.

    *sources* are paths in the source, wildcards included. *chmod* is octal or symbolic, "" when
    unset; *unpack* extracts local archives (what ADD does by default); *created_ns* is the time
    of folders made on the way, in nanoseconds.
    """

    sources: tuple[str, ...]
    destination: str
    workdir: str = "/"
    chown: tuple[int, int] | None = None
    chmod: str = ""
    exclude: tuple[str, ...] = ()
    parents: bool = False
    link: bool = False
    unpack: bool = False
    created_ns: int = 0

    @property
    def independent(self) -> bool:
        """Whether the layer does not depend on the image below: ``--link`` without ``--chmod``."""
        return self.link and not self.chmod


@frozen(kw_only=True)
class Part:
    """More to copy in the same instruction: here-documents, downloads, a git checkout.

    *paths* are taken literally, symlinks among them are copied as such, and a folder goes into an
    existing destination's place. Archives are unpacked when *unpack*.
    """

    source: Source
    paths: tuple[str, ...]
    unpack: bool = False


def destination_of(workdir: str, destination: str) -> str:
    """The absolute destination. A slash (or ``/.``) at its end, which says folder, is kept."""
    if destination in ("", "."):
        destination = "./"
    whole = "/" + clean(f"{workdir}/{destination}" if destination[:1] != "/" else destination)
    if destination.endswith("/."):
        return f"{whole.rstrip('/')}/."
    return f"{whole.rstrip('/')}/" if destination.endswith("/") else whole


@define
class _Job:
    """One thing to copy: *path* in *source*, whose bodies are those of *feed*."""

    source: Source
    feed: int
    path: str
    literal: bool = False
    archive: bool = False
    include: str = ""


@define(eq=False)
class Jobs:
    """What one instruction copies, in order; *target* is what it is copied onto."""

    request: CopyRequest
    target: Tree
    check: Callable[[], None]
    _jobs: list[_Job] = field(factory=list[_Job], init=False)

    def add(self, source: Source, text: str) -> None:
        """Find what *text* names in *source*, the instruction's own; wildcards may find nothing.

        Raises `BuildError` when a path that is spelt out is not there.
        """
        include = ""
        if self.request.parents:
            folder, pivot, rest = text.partition(_PIVOT)
            text, include = (folder, clean(rest)) if pivot else ("/", clean(text))
        path = clean(text)
        wild = has_wildcards(path)
        if include and not wild and not has_wildcards(include):
            wanted = clean(f"{path}/{include}")
            if source.listing.get(wanted) is None:
                raise _missing(source, wanted, text)
        for found in expand(source.listing, path) if wild else [path]:
            real = resolve(source.listing.get, found)
            if source.listing.get(real) is None:
                raise _missing(source, found, text)
            archive = self.request.unpack and is_archive(source, real)
            self._jobs.append(
                _Job(source, 0, real if archive else found, include=include, archive=archive)
            )

    def add_part(self, part: Part, feed: int) -> None:
        """Copy *part* too; its bodies are those of *feed*."""
        for text in part.paths:
            path = clean(text)
            archive = part.unpack and is_archive(part.source, path)
            self._jobs.append(_Job(part.source, feed, path, literal=True, archive=archive))

    def archives(self) -> list[Archive]:
        """Those of the jobs that are archives to unpack, in order."""
        return [Archive(source=job.source, path=job.path) for job in self._jobs if job.archive]

    def stage(self, sources: int, *, extract: bool) -> Staging:
        """Put everything in its place.

        The feeds of archives are numbered from *sources* on. Without *extract* archives only get
        their folder: enough for a key, and their contents stay unread.
        """
        request = self.request
        staging = Staging(self.target.get)
        destination = destination_of(request.workdir, request.destination)
        rules = self._rules()
        feed = sources
        for number, job in enumerate(self._jobs):
            self.check()
            if not job.archive:
                own = self._rules_for(job, rules)
                Placing(staging, job.feed, job.source, own, number).place(job.path, destination)
                continue
            owner, created_ns = request.chown, request.created_ns
            root = resolve(staging.look, destination)
            staging.make_folders(root, owner=owner or (0, 0), mtime_ns=created_ns)
            if extract:
                archive = Archive(source=job.source, path=job.path)
                with archive.entries(self.check) as entries:
                    unpack(
                        entries, staging, root=root, feed=feed, owner=owner, created_ns=created_ns
                    )
            feed += 1
        return staging

    def _rules(self) -> Rulebook:
        request = self.request
        return Rulebook(
            owner=request.chown,
            mode=parse_mode(request.chmod) if request.chmod else None,
            created_ns=request.created_ns,
            exclude=_exclusions(request.exclude),
        )

    def _rules_for(self, job: _Job, rules: Rulebook) -> Rulebook:
        if job.literal:
            return evolve(rules, contents=False, follow=False)
        if not job.include:
            return rules
        try:
            include = IgnoreRules((job.include,))
            may_hold(job.include, "x")
        except ValueError as error:
            raise BuildError(f'"/{job.include}": {error}') from error
        return evolve(rules, include=include, reaches=partial(may_hold, job.include))


def _exclusions(patterns: Sequence[str]) -> IgnoreRules | None:
    """What ``--exclude`` leaves out: unlike in a .dockerignore, ``#`` begins no comment.

    A pattern with a slash in front matches nothing, as paths are relative to what is copied.
    """
    relative = [text for text in patterns if not text.removeprefix("!").startswith("/")]
    lines = [f"./{text}" if text.startswith("#") else text for text in relative]
    return IgnoreRules.parse("\n".join(lines), filename="--exclude") if lines else None


def _missing(source: Source, path: str, text: str) -> BuildError:
    """The error about *path*, written as *text*, which is not in *source*."""
    depth = 0
    for part in text.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0:
            return BuildError(
                f"forbidden path outside the build context: {text}",
                hint="a source cannot climb out of its context: choose a wider context",
            )
    return BuildError(f'"/{path}": not found', hint=source.why_missing(path))

"""The lines of a Dockerfile that an executor would skip, or carry out with another result."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from attrs import define, field, frozen

from ....dockerfile.features import remote_kind
from ....dockerfile.instructions import (
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Healthcheck,
    Instruction,
    Label,
    Lines,
    Mount,
    OnBuild,
    Run,
    User,
    Volume,
    Workdir,
)
from ....dockerfile.resolution import ResolvedStage
from ....dockerfile.words import expand_word
from ....oci import Platform
from ....plan import BuildRequest
from .flavors import Executor, Flavor, Version, newer
from .handover import resolution

__all__ = ["READS_TWICE", "Wrong", "reads_again", "wrongs"]

_MOUNTS: Final[dict[str, Version | None]] = {
    "cache": (1, 25, 6),
    "secret": (1, 26, 3),
    "bind": (1, 27, 3),
    "tmpfs": None,
    "ssh": None,
}
READS_TWICE: Final[Version] = (1, 25, 1)
"""Since when a LABEL is expanded once more than it should be; 1.25.0 and the others do not."""
_SYMBOLIC: Final[Version] = (1, 28, 0)
_ROOT_KEPT: Final[Version] = (1, 28, 0)
_GROUPS: Final[Version] = (1, 28, 1)
_EXPANDS: Final[Version] = (1, 28, 1)
_AS_ROOT: Final[Version] = (1, 25, 2)
_PLATFORM_ARGS: Final[Version] = (1, 25, 3)
_ARG_OVER_ENV: Final[Version] = (1, 27, 3)
_SQUASHES: Final[Version] = (1, 25, 4)
_OF_TARGET: Final = re.compile(r"TARGET(?:PLATFORM|OS|ARCH|VARIANT)")
_AUTOMATIC: Final = re.compile(r"(?:TARGET|BUILD)(?:PLATFORM|OS|ARCH|VARIANT)|TARGETSTAGE")
_VARIABLE: Final = re.compile(rf"\$\{{?({_AUTOMATIC.pattern})\b")
_UNKNOWN: Final = (b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd")
_OCTAL: Final = re.compile(r"0*([0-7]{1,3})")
_OWN: Final = PurePosixPath("/kaniko")
_MOUNTED: Final = ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf")
_ELSEWHERE: Final = "let another backend build it"


@frozen(kw_only=True)
class Wrong:
    """What goes wrong, on which lines, and what would mend it."""

    what: str
    lines: Lines
    hint: str = _ELSEWHERE


def wrongs(
    request: BuildRequest, executor: Executor, platform: Platform | None, own: Platform | None
) -> Iterator[Wrong]:
    """What *executor* does wrongly of *request* for *platform*, by the order of the lines.

    *own* is the platform that it runs on, None where that is *platform* itself.
    """
    seen = resolution(request, platform, own)
    walks: dict[int, _Walk] = {}
    for index in seen.needed:
        stage = seen.stages[index]
        parent = walks.get(stage.base.stage) if stage.base.stage is not None else None
        walk = walks[index] = _Walk(request, executor, platform)
        if parent is not None:
            walk.user, walk.workdir = parent.user, parent.workdir
            walk.variables, walk.commanded = parent.variables, parent.commanded
        if stage.platform != seen.platform:
            yield Wrong(
                what=f"kaniko takes no heed of --platform: the stage would be for {seen.platform}"
                f", not {stage.platform}",
                lines=stage.stage.base.lines,
            )
        walk.arguments = seen.arguments
        yield from walk.base(stage)
        for instruction in stage.instructions:
            yield from walk.of(instruction)
        yield from walk.whole(stage)


@define(eq=False)
class _Walk:
    """One stage, instruction by instruction."""

    request: BuildRequest
    executor: Executor
    platform: Platform | None
    user: str = field(default="", init=False)
    workdir: PurePosixPath = field(default=PurePosixPath("/"), init=False)
    volumes: tuple[str, ...] = field(default=(), init=False)
    variables: frozenset[str] = field(default=frozenset(), init=False)
    commanded: bool = field(default=False, init=False)
    arguments: Mapping[str, str] = field(factory=dict[str, str], init=False)

    def base(self, stage: ResolvedStage) -> Iterator[Wrong]:
        found = _VARIABLE.search(stage.stage.base.image)
        if found and self.platform is None and found[1] not in self.request.build_args:
            yield Wrong(
                what=f"kaniko does not know {found[1]} in FROM",
                lines=stage.stage.base.lines,
                hint="say for which platforms the step builds",
            )

    def whole(self, stage: ResolvedStage) -> Iterator[Wrong]:
        """What is wrong with a stage as a whole, once all of its instructions were seen."""
        stages = {origin.lines for origin in stage.sources if origin.stage is not None}
        entry = next((i for i in stage.instructions if isinstance(i, Entrypoint)), None)
        commands = any(isinstance(i, Cmd) for i in stage.instructions)
        if entry is not None and not commands and self.commanded:
            if self.executor.has(_SQUASHES):
                yield Wrong(
                    what=f"{self.executor} keeps the CMD of the stage before, which ENTRYPOINT"
                    " resets",
                    lines=entry.lines,
                    hint="write CMD [] before it",
                )
            self.commanded = False
        self.commanded = self.commanded or commands
        for copy in stage.instructions:
            whole = isinstance(copy, Copy) and any(map(_is_root, copy.sources))
            if whole and copy.lines in stages:
                yield Wrong(
                    what="kaniko cannot copy the whole of another stage: it would copy its own"
                    " /proc",
                    lines=copy.lines,
                    hint="name the folders that are needed",
                )

    def of(self, instruction: Instruction) -> Iterator[Wrong]:
        match instruction:
            case Run():
                yield from self._run(instruction)
            case Copy():
                yield from self._copying(instruction)
            case Add():
                yield from self._copying(instruction)
                yield from self._archives(instruction)
            case User(user=user):
                self.user = user
            case Workdir(path=path):
                self.workdir = self.workdir / path
                yield from self._place(path, "WORKDIR", instruction.lines)
            case Volume(paths=paths):
                self.volumes += paths
            case Env(pairs=pairs):
                self.variables |= {name for name, _ in pairs}
            case Arg():
                yield from self._arg(instruction)
            case Label():
                yield from self._label(instruction)
            case Healthcheck(start_interval=interval) if interval:
                yield Wrong(
                    what="kaniko forgets HEALTHCHECK --start-interval", lines=instruction.lines
                )
            case OnBuild(instruction=Healthcheck(start_interval=interval)) if interval:
                yield Wrong(
                    what="kaniko forgets HEALTHCHECK --start-interval", lines=instruction.lines
                )
            case _:
                pass

    def _needs(self, what: str, lines: Lines, since: Version | None) -> Iterator[Wrong]:
        """*what* goes wrong unless the executor is the fork's *since*; None for all of them."""
        if not self.executor.has(since):
            hint = _ELSEWHERE if since is None else f"use {newer(since)}, or another backend"
            yield Wrong(what=f"{self.executor} {what}", lines=lines, hint=hint)

    def _run(self, run: Run) -> Iterator[Wrong]:
        for mount in run.mounts:
            yield from self._mount(mount, run.lines)
        name, _, group = self.user.partition(":")
        if group and not (group == name and name.isdecimal()):
            yield from self._needs(
                f"runs this as {name} without the group {group}", run.lines, _GROUPS
            )
        said = " ".join([*run.command, *(h.content for h in run.heredocs)])
        for volume in self.volumes:
            path = str(self.workdir / volume)
            within = str(self.workdir) == path or str(self.workdir).startswith(f"{path}/")
            if path != "/" and (within or _names(path, said)):
                yield Wrong(
                    what=f"kaniko loses what RUN writes below {volume} after VOLUME says so",
                    lines=run.lines,
                    hint=f"move VOLUME {volume} behind this line",
                )

    def _mount(self, mount: Mount, lines: Lines) -> Iterator[Wrong]:
        kind = mount.type or "bind"
        if kind not in _MOUNTS:
            return  # a variable: it is a mount that the planner has seen
        yield from self._needs(f"takes no heed of --mount=type={kind}", lines, _MOUNTS[kind])
        if mount.get("from"):
            yield from self._needs(f"cannot mount from {mount.get('from')}", lines, None)
        if kind == "cache" and mount.flag("ro", "readonly"):
            yield from self._needs("cannot mount a cache for reading only", lines, None)
        target = mount.get("target", "dst", "destination")
        if target and target[0] not in "/$" and str(self.workdir) != "/":
            yield from self._needs(
                f"mounts {target} below /, not below {self.workdir}", lines, None
            )

    def _copying(self, instruction: Copy | Add) -> Iterator[Wrong]:
        name = type(instruction).__name__.upper()
        yield from self._place(instruction.destination, name, instruction.lines)
        if instruction.chmod and "$" not in instruction.chmod:
            what = f"cannot do --chmod={instruction.chmod}"
            if _OCTAL.fullmatch(instruction.chmod) is None:
                yield from self._needs(what, instruction.lines, _SYMBOLIC)
        for heredoc in instruction.heredocs:
            if heredoc.expand and "$" in heredoc.content:
                yield from self._needs(
                    f"expands no variables in <<{heredoc.name}", instruction.lines, _EXPANDS
                )
        if isinstance(instruction, Copy) and instruction.from_stage:
            return
        yield from self._from_context(instruction)

    def _from_context(self, instruction: Copy | Add) -> Iterator[Wrong]:
        root = self.user.partition(":")[0] in ("", "0", "root")
        ours = self.executor.flavor is Flavor.OSSCONTAINERTOOLS
        if ours and not root and not instruction.chown:
            yield from self._needs(
                f"copies as {self.user}, not as root", instruction.lines, _AS_ROOT
            )
        heredocs = {heredoc.name for heredoc in instruction.heredocs}
        for source in instruction.sources:
            if source in heredocs or remote_kind(source):
                continue
            if ".." in PurePosixPath(source).parts:
                yield Wrong(
                    what=f"kaniko leaves the build context for {source}",
                    lines=instruction.lines,
                    hint="name it as seen from the context's root",
                )
            for path in self._found(source):
                if path.is_symlink():
                    shown = path.relative_to(self.request.context)
                    yield Wrong(
                        what=f"kaniko copies the link {shown}, not what it points to",
                        lines=instruction.lines,
                        hint="name what it points to",
                    )

    def _archives(self, add: Add) -> Iterator[Wrong]:
        for source in add.sources:
            packed = [path for path in self._found(source) if path.is_file() and _is_archive(path)]
            if any(map(_has_root, packed)):
                yield from self._needs(
                    f"gives {add.destination} the mode and owner of ./ in {source}",
                    add.lines,
                    _ROOT_KEPT,
                )
            if any(map(_is_unknown, packed)):
                yield Wrong(
                    what=f"kaniko unpacks gzip and bzip2 only, not {source}",
                    lines=add.lines,
                    hint="pack it with gzip, or COPY it and unpack it in a RUN",
                )
            if packed and add.chown:
                yield Wrong(
                    what=f"kaniko gives what is in {source} to the owners in it, not to"
                    f" {add.chown}",
                    lines=add.lines,
                    hint="unpack it in a RUN",
                )

    def _found(self, source: str) -> tuple[Path, ...]:
        """What *source* names in the context: the paths themselves, not what is below them."""
        name = source.strip("/")
        if not name or "$" in name or ".." in PurePosixPath(name).parts:
            return ()
        context = self.request.context
        if not any(character in name for character in "*?["):
            return (context / name,)
        try:
            return tuple(sorted(context.glob(name)))
        except (ValueError, OSError):
            return ()

    def _place(self, path: str, name: str, lines: Lines) -> Iterator[Wrong]:
        """What lies in the way of writing to *path*."""
        if "$" in path:
            return
        place = self.workdir / path
        if place == _OWN or _OWN in place.parents:
            yield Wrong(
                what=f"{name}: /kaniko is the executor's own, never the image's", lines=lines
            )
        if str(place) in _MOUNTED:
            yield Wrong(what=f"{name}: kaniko never takes {place} into the image", lines=lines)

    def _label(self, instruction: Label) -> Iterator[Wrong]:
        if not self.executor.has(READS_TWICE):
            return
        for name, value in instruction.pairs:
            if reads_again(value, self.request.dockerfile.escape):
                yield Wrong(
                    what=f"{self.executor} takes quotes, escapes and variables out of the label"
                    f" {name} twice",
                    lines=instruction.lines,
                    hint="set it with the step's labels",
                )

    def _arg(self, instruction: Arg) -> Iterator[Wrong]:
        for name, default in instruction.args:
            known = self.platform is not None and _OF_TARGET.fullmatch(name)
            given = known or default is not None or name in self.request.build_args
            if name in self.variables and (given or name in self.arguments):
                yield from self._needs(
                    f"lets the ENV {name} win over this ARG", instruction.lines, _ARG_OVER_ENV
                )
            if not given and _AUTOMATIC.fullmatch(name):
                what = f"leaves {name} empty"
                for wrong in self._needs(what, instruction.lines, _PLATFORM_ARGS):
                    target = _OF_TARGET.fullmatch(name)
                    said = "say for which platforms the step builds" if target else wrong.hint
                    yield Wrong(what=wrong.what, lines=wrong.lines, hint=said)


def reads_again(value: str, escape: str) -> bool:
    """Whether *value*, once expanded, still has what expanding would take out of it."""
    try:
        once = expand_word(value, {}, escape=escape)
    except ValueError:
        return False
    return any(character in once for character in ('"', "'", "$", "\\"))


def _is_archive(path: Path) -> bool:
    """Whether ADD unpacks *path*: by its first bytes, as BuildKit and kaniko decide."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError:
        return False
    packed = head.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00", b"\x28\xb5\x2f\xfd"))
    return packed or head[257:262] == b"ustar"


def _is_unknown(path: Path) -> bool:
    """Whether the archive *path* is packed in a way that every kaniko fails at."""
    with path.open("rb") as file:
        return file.read(6).startswith(_UNKNOWN)


def _is_root(source: str) -> bool:
    """Whether *source* names everything there is."""
    return str(PurePosixPath("/", source)) in ("/", "/*")


def _names(path: str, text: str) -> bool:
    """Whether *text* names *path* or something below it."""
    return re.search(rf"(?<![\w./-]){re.escape(path)}(?![\w.-])", text) is not None


def _has_root(path: Path) -> bool:
    """Whether the archive *path* begins with its own folder, as ``tar -C folder .`` writes it."""
    import tarfile

    try:
        with tarfile.open(path) as archive:
            first = archive.next()
    except (tarfile.TarError, OSError, EOFError, ValueError):
        return False
    return first is not None and first.name in (".", "./", "")

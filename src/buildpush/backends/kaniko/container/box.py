"""One container from its making to its removal: what goes in, how it ends, what comes out."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from attrs import define, evolve, field

from ....dockerfile.ignore import IgnoreRules
from ....errors import BackendUnavailableError, BuildError, PlanError
from ....runtime.process import Completed
from ...engine.command import Translator, converse
from ...engine.context import Context
from ..runner import Command, Ending, Execution
from .creation import (
    OUT,
    ROOT,
    Shape,
    compressed,
    environment_of,
    handed_over,
    options,
    places,
    told,
)
from .desk import Desk, last_words
from .private import write_private

__all__ = ["Box", "is_as_sent"]

_USUAL: Final = 0o755
"""The mode that BuildKit gives the root of a context."""
_DIGEST_LIMIT: Final = 4096
_STATE: Final = "{{.State.Status}} {{.State.ExitCode}}"
_OUT_OF_MEMORY: Final = " {{.State.OOMKilled}}"
_LEAST: Final = 2
_CREATED: Final = ("created", "configured", "initialized")


@define(eq=False, kw_only=True)
class Box:
    """A container for one execution; *folder* is a private one for what is shared with it."""

    desk: Desk
    execution: Execution
    shape: Shape
    folder: Path
    context: Context = field(init=False)

    def __attrs_post_init__(self) -> None:
        request = self.execution.request
        rules = IgnoreRules.read(request.context, request.dockerfile_path)
        # Who is not root can give files to nobody else.
        owner = request.run_as_user or 0
        self.context = Context(folder=request.context, rules=rules, owner=owner, root=True)

    def work(self, translator: Translator, *, may_mount: bool) -> Ending:
        """Make the container, run it to its end, take what it left, and remove it."""
        with self._made(may_mount=may_mount) as (shape, command):
            done = self._start(shape, command, translator)
            return self._ending(shape, done)

    # -- making --------------------------------------------------------------------------------

    @contextmanager
    def _made(self, *, may_mount: bool) -> Generator[tuple[Shape, Command]]:
        """A container that is ready to be started, gone when the block ends."""
        engine = self.desk.engine
        mounting = may_mount and engine.near and not engine.mounts
        if self.execution.request.run_as_user is not None:
            mounting = False  # another user can read nothing that is ours alone
        if not mounting and engine.kind == "nerdctl":
            raise BackendUnavailableError(
                f"nerdctl cannot copy into a container, and nothing can be mounted: {engine.mounts}"
            )
        shape = self._mounted() if mounting else self.shape
        try:
            command = self._make(shape)
            if command is None:
                # The engine does not see our folders: it is in another container, or a machine.
                shape = self.shape
                command = self._make(shape)
            if command is None:
                raise BackendUnavailableError("nothing was to be mounted, and was not found")
            if shape.private is None:
                self._hand_over(shape)
            yield shape, command
        finally:
            self._remove(shape)

    def _mounted(self) -> Shape:
        private, out = self.folder / "private", self.folder / "out"
        write_private(private, self.execution.files)
        layout = out / "layout"
        # Made beforehand, so that everything in them can be removed by whoever we are.
        for path in (layout / "blobs" / "sha256",) if self.shape.layout else (out,):
            path.mkdir(parents=True)
        return evolve(self.shape, private=private, out=out, context=self._shared_context())

    def _shared_context(self) -> Path | None:
        """The context where it can be mounted as it is; else it is streamed."""
        engine, environment = self.desk.engine, self.desk.run.environment
        # Root in a container of a rootless engine is who called it.
        root = (environment.uid, environment.gid) if engine.rootless else (0, 0)
        usable = engine.here and is_as_sent(self.context, root=root)
        return self.context.folder if usable else None

    def _make(self, shape: Shape) -> Command | None:
        """Create the container; None where the engine does not find the folders to mount."""
        execution, desk = self.execution, self.desk
        command = told(execution, places(shape))
        if desk.engine.kind == "nerdctl":
            return command  # made and started at once: it cannot attach to stdin afterwards
        words = options(shape, execution.image, command, execution.request, desk.engine.kind)
        done = desk.ask("create", *words, more=environment_of(command, execution.request))
        if done.exit_code == 0:
            for line in done.evidence.tail:
                desk.run.warn(f"{desk.engine.kind}: {line.removeprefix('WARNING: ')}")
            desk.run.cancel.check()
            return command
        desk.run.cancel.check()
        said = last_words(done)
        if shape.private is not None and any(
            str(path) in said for path in (shape.private, shape.out, shape.context) if path
        ):
            return None
        raise PlanError(
            f"{desk.engine.name} does not make the container: {said}", evidence=(done.evidence,)
        )

    def _hand_over(self, shape: Shape) -> None:
        owner = self.execution.request.run_as_user or 0
        files = self.execution.files
        pieces = handed_over(files, owner=owner, layout=shape.layout)
        target = f"{shape.name}:{ROOT.parent}"
        done = self.desk.do("cp", "-", target, pieces=pieces)
        if done.exit_code != 0:
            raise BackendUnavailableError(
                f"{self.desk.engine.name} does not take the build's files: {last_words(done)}",
                evidence=(done.evidence,),
            )

    # -- running -------------------------------------------------------------------------------

    def _start(self, shape: Shape, command: Command, translator: Translator) -> Completed:
        desk, execution = self.desk, self.execution
        variables = desk.variables
        if desk.engine.kind == "nerdctl":
            words = options(shape, execution.image, command, execution.request, desk.engine.kind)
            argv = desk.engine.command("run", *words)
            variables = {**variables, **environment_of(command, execution.request)}
        else:
            attach = ("--attach",) if shape.context else ("--attach", "--interactive")
            argv = desk.engine.command("start", *attach, shape.name)
        if shape.context is not None:
            return converse(argv, translator, run=desk.run, env=variables)
        with closing(self._stream()) as pieces:
            return converse(argv, translator, run=desk.run, env=variables, stdin=pieces)

    def _stream(self) -> Generator[bytes]:
        """The context, as the executor reads it."""
        title = self.execution.title(f"send build context {self.context.folder}")
        with self.desk.run.task(self.execution.title("context"), title) as task:
            pieces = task.counting(self.context.stream(), self.context.size())
            yield from compressed(pieces, near=self.desk.engine.near)

    # -- ending --------------------------------------------------------------------------------

    def _ending(self, shape: Shape, done: Completed) -> Ending:
        desk, request = self.desk, self.execution.request
        status, code, killed = self._state(shape, done)
        if status in _CREATED:
            raise BackendUnavailableError(
                f"{desk.engine.name} does not start the container: {last_words(done)}",
                evidence=(done.evidence,),
            )
        if status not in ("exited", "stopped", "dead"):
            raise BackendUnavailableError(
                f"{desk.engine.name} broke off while the container was {status}:"
                f" {last_words(done)}",
                evidence=(done.evidence,),
            )
        digest = self._take(shape) if code == 0 else ""
        argv = tuple(desk.run.redact(word) for word in self._argv(shape))
        if code and killed:
            limit = request.limits.memory
            return Ending(exit_code=code, argv=argv, cause="out of memory", limit=limit)
        return Ending(exit_code=code, argv=argv, digest=digest)

    def _argv(self, shape: Shape) -> tuple[str, ...]:
        execution, engine = self.execution, self.desk.engine
        command = told(execution, places(shape))
        words = options(shape, execution.image, command, execution.request, engine.kind)
        return engine.command("run", *words)

    def _state(self, shape: Shape, done: Completed) -> tuple[str, int, bool]:
        """Status, exit code, and whether memory ran out; it is the engine that knows."""
        form = _STATE if self.desk.engine.kind == "nerdctl" else _STATE + _OUT_OF_MEMORY
        asked = self.desk.ask("container", "inspect", "--format", form, shape.name)
        words = asked.stdout.decode("utf-8", "replace").split()
        if asked.exit_code != 0 or len(words) < _LEAST:
            raise BackendUnavailableError(
                f"the container was taken away while it ran: {last_words(asked)}",
                evidence=(done.evidence,),
                hint="did somebody remove it, or stop the engine?",
            )
        return words[0], int(words[1]), words[2:] == ["true"]

    def _take(self, shape: Shape) -> str:
        """Bring what the executor left to its place; the digest that it wrote."""
        out = self.folder / "out"
        if shape.out is None:
            out.mkdir(exist_ok=True)
            done = self.desk.do("cp", f"{shape.name}:{OUT}/.", str(out))
            if done.exit_code != 0:
                raise BackendUnavailableError(
                    f"{self.desk.engine.name} does not give out what was built:"
                    f" {last_words(done)}",
                    evidence=(done.evidence,),
                )
        _check(out)
        if self.execution.layout is not None:
            _put(out / "layout", self.execution.layout)
        digest = out / "digest"
        if not digest.is_file():
            return ""
        with digest.open("rb") as file:
            return file.read(_DIGEST_LIMIT).decode("utf-8", "replace").strip()

    def _remove(self, shape: Shape) -> None:
        """Remove the container; trouble is told, for why the block ended is more important."""
        desk = self.desk
        try:
            gone = desk.remove(shape.name)
        except BackendUnavailableError:
            gone = False
        if not gone:
            desk.run.warn(
                f"container {shape.name} of {desk.engine.name} could not be removed:"
                f" {desk.engine.kind} rm --force {shape.name}"
            )


def is_as_sent(context: Context, *, root: tuple[int, int]) -> bool:
    """Whether *context*'s folder is just as the executor would unpack it from a tar.

    Nothing is ignored, and everything belongs to *root*, since COPY keeps a file's owner. COPY of
    the whole context has the mode of its folder, with older executors.
    """
    status = context.folder.stat()
    if context.rules.patterns or stat.S_IMODE(status.st_mode) != _USUAL:
        return False
    return all((found.st_uid, found.st_gid) == root for found in _all(context.folder))


def _all(folder: Path) -> Iterator[os.stat_result]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False):
                yield from _all(Path(entry.path))


def _check(out: Path) -> None:
    """Refuse what no executor leaves: RUN was root in there, and could have made anything."""
    for path in out.rglob("*"):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise BuildError(f"the build has put something else in the image's place: {path.name}")


def _put(source: Path, target: Path) -> None:
    if target.is_dir():
        target.rmdir()
    try:
        source.rename(target)
    except OSError:
        shutil.move(source, target)  # to another file system

"""Runs the executor right here, where here is kaniko's own container; and nowhere else."""

from __future__ import annotations

import fcntl
import importlib
import os
import shlex
import shutil
import signal
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp
from typing import Final

from attrs import define, field

from ....dockerfile.ignore import IgnoreRules
from ....errors import BackendUnavailableError
from ....oci import Platform
from ....plan import Feature
from ....runtime import Environment, Run
from ....runtime.environment import make_private
from ....runtime.platforms import runnable
from ...engine.command import Translator, converse, question
from ...engine.context import Context
from ..container.box import is_as_sent
from ..container.creation import STREAM, compressed, told
from ..container.private import write_private
from ..container.watching import Memory
from ..executor.flavors import saying
from ..runner import Command, Ending, Execution, Found, Places
from .inside import Inside

__all__ = ["LocalRunner"]

_CLEANUP: Final = "--cleanup"
_SECONDS: Final = 15.0
_DECIDED: Final = "the container that this is has been made already"
_FIXED: Final = (
    Feature.RUN_NETWORK,
    Feature.NAMED_NETWORK,
    Feature.ADD_HOSTS,
    Feature.SHM_SIZE,
    Feature.ULIMITS,
    Feature.CGROUP_PARENT,
    Feature.RESOURCES,
    Feature.RUN_AS_USER,
)
# What the executor keeps in its folder, by its versions.
_KEPT: Final = (
    "Dockerfile",
    "bases",
    "buildcontext",
    "deps",
    "layers",
    "secrets",
    "stages",
    "swap",
)
# What is loaded only when it is needed, from shared libraries that will be gone by then.
_LATER: Final = (
    "ssl",
    "hashlib",
    "zlib",
    "ctypes",
    "encodings.idna",
    "httpx",
    "tenacity",
    "isal.isal_zlib",
    "isal.igzip",
    "pydantic",
    "buildpush.backends.engine.exported",
    "buildpush.oci.archive",
    "buildpush.registry.client",
    "buildpush.registry.push",
)


@define(kw_only=True)
class LocalRunner:
    """Runs kaniko's executor in the container that this process is in.

    The executor empties that container's file system as it builds, so everything that Python
    needs must lie below /kaniko or on volumes, and one build runs at a time. Raises
    `BackendUnavailableError` anywhere else, without having started anything.
    """

    _root: Path = field(default=Path("/"), alias="_root", repr=False)

    def probe(self, image: str, *, ask_version: bool) -> Found:  # noqa: ARG002
        """See that this is kaniko's container; *image* is the one that we are in."""
        environment = Environment.current()
        inside = self._inside(environment)
        version = ""
        if ask_version:
            version = saying(*(_said(inside, word, environment) for word in ("version", "--help")))
        return Found(
            features=frozenset({Feature.EXPORT_LAYOUT, Feature.PUSH_DIRECTLY}),
            notes=dict.fromkeys(_FIXED, _DECIDED),
            version=version,
            platforms=runnable(Platform.host()),
            remarks=("it empties the file system of the container that this is",),
        )

    def execute(self, execution: Execution, translator: Translator, run: Run) -> Ending:
        """Run the executor to its end, and let it clean up after itself.

        Raises `BackendUnavailableError` where it may not be run, where another build runs, and
        where one has been broken off: what it left would be part of the next image.
        """
        inside = self._inside(run.environment)
        ours = {"the build context": execution.request.context, "the run's folder": run.workdir}
        inside.check_safe(ours)
        for name in _LATER:
            with suppress(ImportError):
                importlib.import_module(name)
        with _alone(inside) as home:
            private = Path(mkdtemp(prefix="private-", dir=home))
            try:
                write_private(private / "files", execution.files)
                return _Build(execution=execution, inside=inside, run=run, private=private).work(
                    translator
                )
            finally:
                shutil.rmtree(private, ignore_errors=True)

    def preview(self, execution: Execution) -> str:
        """The executor's command line."""
        home = PurePosixPath("/kaniko/buildpush")
        command = told(
            execution,
            Places(
                context=f"dir://{execution.request.context}",
                private=home / "private",
                digest=home / "digest",
                layout=home / "layout" if execution.layout else None,
            ),
        )
        values = [f"{name}={shlex.quote(value)}" for name, value in command.variables.items()]
        words = shlex.join(("/kaniko/executor", *command.words, _CLEANUP))
        text = " ".join((*values, words))
        return f"# in {home}/private: {', '.join(sorted(execution.files))}\n{text}"

    def _inside(self, environment: Environment) -> Inside:
        inside = Inside(environment=environment, root=self._root)
        inside.check()
        return inside


@define(eq=False, kw_only=True)
class _Build:
    """One run of the executor; *private* is a folder that it spares."""

    execution: Execution
    inside: Inside
    run: Run
    private: Path

    def work(self, translator: Translator) -> Ending:
        context, whole = self._context()
        layout = self.execution.layout
        if layout is not None:
            layout.mkdir(parents=True, exist_ok=True)
        digest = self.private / "digest"
        command = told(
            self.execution,
            Places(
                context=f"dir://{context.folder}" if whole else STREAM,
                private=PurePosixPath(self.private / "files"),
                digest=PurePosixPath(digest),
                layout=PurePosixPath(layout) if layout is not None else None,
            ),
        )
        argv = (str(self.inside.executor), *command.words, _CLEANUP)
        memory = Memory.now()
        code = self._run(argv, command, translator, None if whole else context)
        written = digest.read_text("utf-8", "replace").strip() if digest.is_file() else ""
        shown = tuple(self.run.redact(word) for word in argv)
        if code and memory.ran_out():
            return Ending(exit_code=code, argv=shown, cause="out of memory", limit=memory.limit())
        return Ending(exit_code=code, argv=shown, digest=written)

    def _context(self) -> tuple[Context, bool]:
        """The context, and whether it can be used as it is."""
        request = self.execution.request
        rules = IgnoreRules.read(request.context, request.dockerfile_path)
        context = Context(folder=request.context, rules=rules, root=True)
        return context, is_as_sent(context, root=(0, 0))

    def _run(
        self, argv: tuple[str, ...], command: Command, translator: Translator, sent: Context | None
    ) -> int:
        variables = {**self._usual(), **self.run.environment.variables, **command.variables}
        with _ending_all(self.run):
            if sent is None:
                return converse(argv, translator, run=self.run, env=variables).exit_code
            with closing(self._stream(sent)) as pieces:
                done = converse(argv, translator, run=self.run, env=variables, stdin=pieces)
            return done.exit_code

    def _usual(self) -> dict[str, str]:
        """What the executor's image says, where this is one that was made of it."""
        return {"USER": "root", "SSL_CERT_DIR": str(self.inside.kaniko / "ssl" / "certs")}

    def _stream(self, context: Context) -> Generator[bytes]:
        with self.run.task("context", f"send build context {context.folder}") as task:
            pieces = task.counting(context.stream(), context.size())
            yield from compressed(pieces, near=True)


@contextmanager
def _alone(inside: Inside) -> Generator[Path]:
    """A folder of ours below /kaniko, while nobody else builds here and all is as it should be."""
    home = inside.kaniko / "buildpush"
    make_private(home)
    unclean = home / "unclean"
    with (home / "lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BackendUnavailableError(
                "another build is under way in this container, and kaniko has only one root folder",
                hint="wait for its end, or give each build a container of its own",
            ) from error
        if unclean.exists():
            raise BackendUnavailableError(
                "the last build in this container did not come to its end, and has left its files",
                hint="start a new container",
            )
        unclean.touch()
        _tidy(inside.kaniko)
        yield home
        _tidy(inside.kaniko)
        unclean.unlink()


def _tidy(kaniko: Path) -> None:
    """Remove what a build leaves in the executor's folder, which it would find again."""
    for path in kaniko.iterdir():
        if path.name in _KEPT or path.name.isdecimal():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@contextmanager
def _ending_all(run: Run) -> Generator[None]:
    """See that a cancel ends what RUN has started, too, which is in no process group of ours."""
    sessions: set[int] = set()

    def look() -> None:
        me = os.getpid()
        sessions.update(one for _, parent, one in _processes() if parent == me)

    undo = run.cancel.on_cancel(look)
    try:
        yield
    finally:
        undo()
        for process, _, session in _processes():
            if session in sessions - {os.getsid(0)}:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)


def _processes() -> Iterator[tuple[int, int, int]]:
    """Every process: its id, its parent's, its session's."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError):
            _, parent, _, session = entry.read_text().rpartition(")")[2].split()[:4]
            yield int(entry.parent.name), int(parent), int(session)


def _said(inside: Inside, word: str, environment: Environment) -> str:
    """What the executor prints when it is told just *word*."""
    done = question((str(inside.executor), word), environment=environment, timeout=_SECONDS)
    return done.stdout.decode("utf-8", "replace")

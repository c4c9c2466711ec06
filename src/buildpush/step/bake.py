"""Bake files as steps: buildx resolves the file, `spec.bake` reads what it says.

buildx needs no daemon for that. It is given a client configuration of its own, since it writes
into the one it finds.
"""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final, Literal, TypedDict, TypeVar

from attrs import define, evolve, field, frozen

from ..auth import Keychain
from ..backends import Backend
from ..backends.engine.command import question
from ..backends.engine.folder import buildx_plugin
from ..errors import BackendUnavailableError, Evidence, SourceEvidence, SpecError
from ..oci import ImageReference, Platform
from ..runtime import CancelToken, Environment
from ..runtime.host import host_faults
from ..runtime.process import Completed
from ..runtime.workdir import workdir
from ..spec.bake import BakeStep, parse_bake
from ..spec.bakefields import Surroundings

__all__ = ["BakeArguments", "Request", "steps"]

T = TypeVar("T")

_SECONDS: Final = 60.0
_TARGET: Final = re.compile(r"[A-Za-z0-9_.*?!^\[\]-]+")
_PLACE: Final = re.compile(r"(?P<file>.+?):(?P<first>\d+),\d+-(?:(?P<last>\d+),)?\d+: ")


class BakeArguments(TypedDict, total=False):
    """The settings a bake file has no word for; each wins over what the file says."""

    backend: str | Backend
    auth: Keychain | Sequence[Keychain]
    push: bool
    delivery: Literal["auto", "layout", "direct"]
    caching: bool
    remote_cache_repo: str | ImageReference | None
    reproducible: bool | Literal["strict"]
    compression: Literal["gzip", "zstd", "none", "uncompressed"]
    compression_level: int | None
    mirrors: str | Sequence[str] | Mapping[str, str]
    insecure: str | Iterable[str]
    retries: int
    timeout: str | float | None
    quiet: bool


@frozen(kw_only=True)
class Request:
    """Which targets of which bake files, with what overridden; *variables* are for the files."""

    files: tuple[str, ...] = ()
    targets: tuple[str, ...] = ("default",)
    overrides: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(factory=dict[str, str], repr=False)
    cwd: Path = Path()

    def argv(self, buildx: Path) -> tuple[str, ...]:
        """The command that resolves the files."""
        for target in self.targets:
            if not _TARGET.fullmatch(target):
                raise SpecError(
                    f"not the name of a target: {target!r}",
                    hint="bake files that are elsewhere have to be cloned or downloaded first",
                )
        for file in self.files:
            if file in ("", "-") or "://" in file.removeprefix("cwd://"):
                raise SpecError(f"a bake file is a file of this machine, not {file!r}")
        return (
            *(str(buildx), "bake", "--print", "--progress=quiet"),
            *(f"--file={file}" for file in self.files),
            *(f"--set={override}" for override in self.overrides),
            *("--", *self.targets),
        )


def steps(
    request: Request,
    make: Callable[[Mapping[str, object]], T],
    settings: Mapping[str, object],
    *,
    cancel: CancelToken | None = None,
) -> Mapping[str, T]:
    """What *make* makes of each step's settings, by name, in an order in which they can run.

    Raises `SpecError` for a bake file that is wrong, in buildx's own words, or that asks for
    something a step has not, and `BackendUnavailableError` where buildx is not installed.
    """
    environment = Environment.current()
    cwd = environment.cwd / request.cwd
    if not cwd.is_dir():
        raise SpecError(f"cwd: no such folder: {request.cwd}")
    with host_faults(environment), ExitStack() as stack:
        folder = stack.enter_context(workdir(environment.temporary, environment.uid))
        resolved = parse_bake(_resolve(evolve(request, cwd=cwd), folder, environment, cancel))
        push = settings.get("push")
        found = resolved.steps(
            Surroundings(
                cwd=cwd,
                folder=folder,
                host=Platform.host(),
                variables=request.variables,
                known=frozenset(environment.variables),
            ),
            push=push if isinstance(push, bool) else None,
        )
        extra = {name: value for name, value in settings.items() if name != "push"}
        made = {step.name: _make(step, make, extra, folder) for step in found}
        if resolved.needs_folder:
            keeper = _Keeper()
            weakref.finalize(keeper, stack.pop_all().close)
            for step in made.values():
                # The folder is needed for as long as any of the steps is. Not a field, since it
                # is no setting: it neither shows nor counts when steps are compared.
                object.__setattr__(step, "_keeper", keeper)
        return made


@define(eq=False)
class _Keeper:
    """Whoever holds it, keeps the folder; the last one to let go removes it."""


def _make(
    step: BakeStep,
    make: Callable[[Mapping[str, object]], T],
    extra: Mapping[str, object],
    folder: Path,
) -> T:
    settings = {**step.settings, **extra}
    if step.inline:
        path = folder / "dockerfiles" / step.target / "Dockerfile"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(step.inline)
        settings["dockerfile"] = path
    try:
        return make(settings)
    except SpecError as error:
        raise SpecError(f"target {step.target!r}: {error.message}", hint=error.hint) from None


def _resolve(
    request: Request, folder: Path, environment: Environment, cancel: CancelToken | None
) -> bytes:
    """What ``buildx bake --print`` prints."""
    buildx = buildx_plugin(environment)
    if buildx is None:
        raise BackendUnavailableError(
            "bake files are read by docker buildx, which is not installed",
            hint="install docker-buildx-plugin from Docker's packages, or docker-buildx from your"
            " distribution's; no daemon is needed",
        )
    client = folder / "client"
    client.mkdir(mode=0o700)
    own = {"DOCKER_CONFIG": str(client), "BUILDX_CONFIG": str(client / "buildx")}
    done = question(
        request.argv(buildx),
        environment=environment,
        env={**environment.variables, **request.variables, **own},
        cwd=request.cwd,
        timeout=_SECONDS,
        cancel=cancel,
    )
    if done.exit_code != 0:
        raise _broken(done, request.cwd)
    return done.stdout


def _broken(done: Completed, cwd: Path) -> SpecError:
    """Say it in the words of buildx, with the lines of the bake file that they are about."""
    said = [line for line in done.evidence.tail if line.startswith("ERROR: ")]
    if not said:
        return SpecError("buildx could not resolve the bake file", evidence=(done.evidence,))
    text = said[-1].removeprefix("ERROR: ")
    place = _PLACE.match(text)
    evidence: Evidence = done.evidence
    if place is not None:
        try:
            evidence = SourceEvidence(
                filename=place["file"],
                first_line=int(place["first"]),
                last_line=int(place["last"] or place["first"]),
                text=(cwd / place["file"]).read_text("utf-8", "replace"),
            )
        except OSError:
            evidence = done.evidence  # the command's own output shows the lines, too
    return SpecError(text, evidence=(evidence,))

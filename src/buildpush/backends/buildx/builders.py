"""Builders that exist for one run: created, booted, and removed whatever happens.

buildx's own commands do it, in the run's private folder, so that the user's list of builders is
never touched; each is bounded in time, because what removes a builder runs after a cancel too.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Final, Literal

from attrs import evolve, field, frozen

from ...errors import (
    BackendUnavailableError,
    BuildpushError,
    CommandEvidence,
    SpecError,
)
from ...events import Stream
from ...oci import Platform
from ...plan.wants import looks_secret
from ...runtime import CancelToken, Run, Task
from ...runtime.process import TAIL_LINES, run_command
from ..buildkit.argv import csv_record
from ..buildkit.inspection import parse_inspection
from ..engine.api import EngineApi
from ..engine.command import question
from ..engine.endpoints import Endpoint
from ..engine.folder import passwords
from .abandoned import new_name, remove_container
from .diagnosis import explain_boot

__all__ = ["Builder", "Driver", "Toolbox", "created"]

Driver = Literal["docker", "docker-container", "kubernetes", "remote"]
Option = str | int | bool | PurePath

_REMOVAL_SECONDS: Final = 5.0
_CREATION_SECONDS: Final = 30.0
_REMOTE: Final = ("tcp", "unix", "ssh", "docker-container", "kube-pod")
_FILES: Final = ("cacert", "cert", "key")
# Without them BuildKit drops what a step prints after 2 MiB, and with it the error.
_UNLIMITED_LOGS: Final = {
    "env.BUILDKIT_STEP_LOG_MAX_SIZE": "-1",
    "env.BUILDKIT_STEP_LOG_MAX_SPEED": "-1",
}


def _texts(options: Mapping[str, Option]) -> Mapping[str, str]:
    """Options as buildx wants them: true and false in lower case, paths and numbers as text."""
    return {
        name: str(value).lower() if isinstance(value, bool) else str(value)
        for name, value in options.items()
    }


@frozen(kw_only=True)
class Builder:
    """A builder to be created for each run, and removed at its end.

    *driver* is ``docker-container`` (a container of the docker engine), ``kubernetes`` (a pod) or
    ``remote`` (a BuildKit that runs somewhere); ``docker``, the engine's own BuildKit, needs no
    creating. *endpoint* is where: a docker context or engine's address for docker-container,
    ``tcp://host:port``, ``unix:///path`` or ``ssh://user@host`` for remote. *options* are the
    driver's (``image``, ``network``, ``memory``, ``namespace``, ``cacert``…), numbers, booleans
    and paths as such. *platforms* are those it shall say it builds for, *buildkitd_config* a
    ``buildkitd.toml`` and *buildkitd_flags* the daemon's flags, where the driver starts one.

    Raises `SpecError` when these do not fit the driver.
    """

    driver: Driver = "docker-container"
    endpoint: str = ""
    options: Mapping[str, str] = field(factory=dict[str, str], converter=_texts, repr=False)
    platforms: tuple[Platform, ...] = ()
    buildkitd_config: Path | None = None
    buildkitd_flags: tuple[str, ...] = ()

    def __attrs_post_init__(self) -> None:
        """Refuse what buildx would refuse later, or what it would look for in the wrong place."""
        if self.driver == "docker" and (self.options or self.buildkitd_config):
            raise SpecError(
                "a builder of the driver docker is the engine's own BuildKit: it has no options",
                hint="choose driver='docker-container' to have a BuildKit with options",
            )
        if self.driver == "remote":
            self._check_remote()
        for name, value in self.options.items():
            if not name or "=" in name:
                raise SpecError(f"no driver option can be called {name!r}")
            if "\0" in value:
                raise SpecError(f"driver option {name}: it has a null byte in it")

    def _check_remote(self) -> None:
        kind = self.endpoint.partition("://")[0]
        if "://" not in self.endpoint or kind not in _REMOTE:
            raise SpecError(
                f"a remote builder needs the address of a BuildKit, not {self.endpoint!r}",
                hint="tcp://host:port, unix:///path/of/buildkitd.sock or ssh://user@host",
            )
        if self.buildkitd_config or self.buildkitd_flags:
            raise SpecError(
                "a remote BuildKit is running already: it has its own configuration",
                hint="leave buildkitd_config and buildkitd_flags out",
            )
        for name in _FILES:
            path = self.options.get(name)
            if path and not Path(path).is_absolute():
                raise SpecError(
                    f"driver option {name}: {path} must be absolute",
                    hint="use Path(…).absolute()",
                )
            if path and not Path(path).is_file():
                raise SpecError(f"driver option {name}: no such file: {path}")
        if self.options.get("cert") and not self.options.get("key"):
            raise SpecError("driver option cert: its key is missing", hint="give key as well")

    def argv(self, name: str, version: tuple[int, ...]) -> tuple[str, ...]:
        """The arguments of buildx (of *version*) that create this builder as *name*."""
        options = dict(self.options)
        if self.driver == "docker-container":
            options = {**_UNLIMITED_LOGS, **options}
        config = "--buildkitd-config" if version >= (0, 13) else "--config"
        parts = ["create", f"--name={name}", f"--driver={self.driver}"]
        parts += [f"--driver-opt={csv_record({key: v})}" for key, v in options.items()]
        if self.platforms:
            parts.append(f"--platform={','.join(map(str, self.platforms))}")
        if self.buildkitd_config is not None:
            parts.append(f"{config}={self.buildkitd_config}")
        if self.buildkitd_flags:
            parts.append(f"--buildkitd-flags={' '.join(self.buildkitd_flags)}")
        if self.endpoint:
            parts.append(self.endpoint)
        return tuple(parts)


@frozen(kw_only=True)
class Toolbox:
    """What it takes to speak to buildx: the plugin, its version, and the variables for it."""

    plugin: Path
    version: tuple[int, ...] = ()
    variables: Mapping[str, str] = field(repr=False)
    endpoint: Endpoint | None = None


@contextmanager
def created(builder: Builder, tools: Toolbox, run: Run) -> Generator[str]:
    """Create and boot *builder*; its name. It is gone when the block ends, however it ends.

    Raises `BackendUnavailableError` when it cannot be created or does not start, in words, with
    what to do about it.
    """
    name = new_name()
    _learn_secrets(builder, run)
    try:
        with run.task(f"builder {name}", f"create builder {name} ({builder.driver})") as task:
            argv = (str(tools.plugin), *builder.argv(name, tools.version))
            done = question(
                argv,
                environment=run.environment,
                env=tools.variables,
                timeout=_CREATION_SECONDS,
                cancel=run.cancel,
            )
            if done.exit_code:
                raise explain_boot(builder.driver, builder.options, _redacted(done.evidence, run))
            _boot(name, builder, tools, run, task)
        yield name
    finally:
        _remove(name, builder, tools, run)


def _learn_secrets(builder: Builder, run: Run) -> None:
    """Options set variables of a BuildKit: proxies with passwords, keys of caches."""
    for secret in passwords(dict(builder.options)):
        run.redact.learn(secret)
    for name, value in builder.options.items():
        if looks_secret(name.removeprefix("env.")):
            run.redact.learn(value)


def _redacted(evidence: CommandEvidence, run: Run) -> CommandEvidence:
    return evolve(
        evidence,
        argv=tuple(map(run.redact, evidence.argv)),
        tail=tuple(map(run.redact, evidence.tail)),
    )


def _boot(name: str, builder: Builder, tools: Toolbox, run: Run, task: Task) -> None:
    """Start the builder, its progress being the task's log; nothing to do for a remote one.

    buildx ends well for nodes that it could not reach, too: their error is in its table. The table
    shows driver options as they are, so it goes into no log.
    """
    table: list[str] = []
    said: deque[str] = deque(maxlen=TAIL_LINES)

    def on_line(stream: Stream, line: str) -> None:
        if stream == "stdout":
            table.append(line)
        elif line.strip():
            said.append(line)
            task.log(stream, line)

    argv = (str(tools.plugin), "inspect", "--bootstrap", name)
    done = run_command(argv, run=run, env=tools.variables, on_line=on_line)
    inspected = parse_inspection("\n".join(table))
    if done.exit_code or (inspected.trouble and not inspected.running):
        tail = tuple(said) or (f"Error: {run.redact(inspected.trouble)}",)
        evidence = evolve(done.evidence, tail=tail)
        raise explain_boot(builder.driver, builder.options, evidence)


def _remove(name: str, builder: Builder, tools: Toolbox, run: Run) -> None:
    """Remove the builder with its container and volume, in bounded time; warn where that fails."""
    argv = (str(tools.plugin), "rm", "--force", name)
    trouble = ""
    try:
        done = question(
            argv, environment=run.environment, env=tools.variables, timeout=_REMOVAL_SECONDS
        )
        trouble = "; ".join(done.evidence.tail[-2:]) if done.exit_code else ""
    except BackendUnavailableError as error:
        trouble = error.message
    if trouble and builder.driver == "docker-container" and tools.endpoint is not None:
        trouble = _remove_container(name, tools.endpoint)
    if trouble and "no builder" not in trouble:
        run.warn(f"builder {name} could not be removed: {trouble}")


def _remove_container(name: str, endpoint: Endpoint) -> str:
    """Remove what buildx would have, by the engine itself; empty, or why it could not be done."""
    try:
        with EngineApi(endpoint, cancel=CancelToken(), timeout=_REMOVAL_SECONDS) as api:
            remove_container(name, api)
    except BuildpushError as error:
        return error.message
    return ""

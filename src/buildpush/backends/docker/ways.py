"""How this installation builds: the daemon, and the best of three ways that is there.

BuildKit inside the daemon needs a client that speaks its protocol: the buildx plugin, or the
docker CLI of the years 2018 to 2022. Without either there is the classic builder, which needs
nothing but the Engine API.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Final

from attrs import frozen

from ...errors import BackendUnavailableError
from ...oci import Platform
from ...runtime import CancelToken, Environment
from ...runtime.platforms import runnable
from ..buildkit.argv import FIRST_CLIENT, Client
from ..buildkit.asking import inspect_engine, is_here
from ..engine.api import EngineApi, EngineInfo, EngineVersion
from ..engine.command import ask_all, question
from ..engine.endpoints import Endpoint, current
from ..engine.folder import buildx_plugin

__all__ = ["Setup", "Way", "examine", "numbers"]

_FIRST_BUILDKIT: Final = (1, 39)
_OWN_CLIENT: Final = ((18, 9), (23,))
"""The docker CLIs that have a BuildKit client of their own: from, and before."""
_SECONDS: Final = 30.0
_NUMBERS: Final = re.compile(r"v?(\d+(?:\.\d+)+)")


class Way(Enum):
    """How an image is built; the value is how the probe calls it."""

    PLUGIN = "BuildKit, through buildx"
    CLI = "BuildKit, through the docker CLI's own client"
    CLASSIC = "the classic builder"


@frozen(kw_only=True)
class Setup:
    """One daemon as it is, and how it is to be asked.

    *program* is the plugin or the CLI, *client* its version; *why* says why the way is no better.
    *emulated* are the platforms that its BuildKit executes RUN for besides its own.
    """

    endpoint: Endpoint
    version: EngineVersion
    info: EngineInfo
    way: Way
    program: Path | None = None
    client: tuple[int, ...] = ()
    why: str = ""
    emulated: tuple[Platform, ...] = ()

    @property
    def platform(self) -> Platform:
        """What the daemon builds for when nobody says."""
        return Platform.of(self.version.os, self.version.arch)

    @property
    def buildkit_client(self) -> Client:
        """The client as its arguments are made for it."""
        if self.way is Way.CLI:
            return FIRST_CLIENT
        return Client(buildx=self.client, store=self.info.containerd_store)


def examine(environment: Environment, *, context: str, host: str) -> Setup:
    """Ask the daemon that *context* or *host* names, or the docker CLI would, what there is.

    Raises `BackendUnavailableError` when none answers, or it builds no images for Linux.
    """
    endpoint = current(environment, context=context, host=host)
    plugin = buildx_plugin(environment)
    with EngineApi(endpoint, cancel=CancelToken(), environment=environment) as api:
        # The first request opens the connection; what can be asked beside it, is.
        answers = ask_all(api.version, api.info, lambda: _plugin_version(plugin, environment))
    version, info, client = answers
    if isinstance(version, BackendUnavailableError):
        raise version
    if isinstance(info, BackendUnavailableError):
        raise info
    assert isinstance(version, EngineVersion) and isinstance(info, EngineInfo)
    if version.os != "linux":
        raise BackendUnavailableError(
            f"the docker engine at {endpoint.host} makes images for {version.os}, not for Linux",
            hint="switch it to Linux containers",
        )
    way, program, known, why = _way(
        version, plugin, client if isinstance(client, tuple) else (), environment
    )
    return Setup(
        endpoint=endpoint,
        version=version,
        info=info,
        way=way,
        program=program,
        client=known,
        why=why,
        emulated=_emulated(way, program, environment, endpoint, version, info),
    )


def _way(
    version: EngineVersion,
    plugin: Path | None,
    client: tuple[int, ...],
    environment: Environment,
) -> tuple[Way, Path | None, tuple[int, ...], str]:
    if version.podman:
        return Way.CLASSIC, None, (), "podman answers, and has no BuildKit"
    if numbers(version.api) < _FIRST_BUILDKIT:
        return Way.CLASSIC, None, (), f"docker {version.version} is older than its BuildKit"
    if plugin is not None and client:
        return Way.PLUGIN, plugin, client, ""
    for candidate in _clients(environment):
        known = _cli_version(candidate, environment)
        if _OWN_CLIENT[0] <= known < _OWN_CLIENT[1]:
            return Way.CLI, candidate, known, "no buildx plugin is installed"
    broken = f"{plugin} does not work" if plugin is not None else "no buildx plugin is installed"
    return Way.CLASSIC, None, (), f"{broken}, nor a docker CLI with a BuildKit client of its own"


def _emulated(
    way: Way,
    program: Path | None,
    environment: Environment,
    endpoint: Endpoint,
    version: EngineVersion,
    info: EngineInfo,
) -> tuple[Platform, ...]:
    """What BuildKit says where buildx can ask it, else what this kernel does when it is the same."""
    match way:
        case Way.PLUGIN:
            assert program is not None
            return inspect_engine(program, endpoint, version, info, environment).platforms
        case Way.CLI:
            own = Platform.of(version.os, version.arch)
            return runnable(own) if is_here(endpoint, info) else ()
        case Way.CLASSIC:
            return ()


def _clients(environment: Environment) -> Iterator[Path]:
    """Every ``docker`` in PATH, once."""
    seen: set[Path] = set()
    for folder in environment.variables.get("PATH", os.defpath).split(os.pathsep):
        candidate = Path(folder or ".") / "docker"
        if os.access(candidate, os.X_OK) and candidate.is_file():
            real = candidate.resolve()
            if real not in seen:
                seen.add(real)
                yield candidate


def _plugin_version(plugin: Path | None, environment: Environment) -> tuple[int, ...]:
    if plugin is None:
        return ()
    done = question([str(plugin), "version"], environment=environment, timeout=_SECONDS)
    return numbers(done.stdout.decode("utf-8", "replace")) if done.exit_code == 0 else ()


def _cli_version(program: Path, environment: Environment) -> tuple[int, ...]:
    """The version of a docker CLI; nothing for what only calls itself docker."""
    try:
        done = question([str(program), "--version"], environment=environment, timeout=_SECONDS)
    except BackendUnavailableError:
        return ()
    said = done.stdout.decode("utf-8", "replace")
    return numbers(said) if said.startswith("Docker version") else ()


def numbers(text: str) -> tuple[int, ...]:
    """The first version in *text*, to be compared; empty where there is none."""
    found = _NUMBERS.search(text)
    return tuple(int(part) for part in found[1].split(".")) if found else ()

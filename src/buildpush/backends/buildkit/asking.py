"""Asking buildx what the BuildKit inside a docker engine is, and keeping the answer."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from attrs import evolve

from ...events import ignore
from ...oci import Platform
from ...runtime import CancelToken, Environment, Run
from ...runtime.platforms import emulators, runnable
from ..engine.api import EngineInfo, EngineVersion
from ..engine.command import question
from ..engine.endpoints import Endpoint
from ..engine.folder import ClientFolder, client_folder
from .answers import Answers, identity
from .inspection import Inspection, parse_inspection

__all__ = ["PATIENCE", "inspect_engine", "is_here", "probe_folder"]

PATIENCE: Final = 30.0
"""Seconds for a program, which a loaded machine can keep from answering for long."""

_KEPT: Final = 600.0
_EMPTY: Final = '{"auths": {}}'


def inspect_engine(
    plugin: Path,
    endpoint: Endpoint,
    engine: EngineVersion,
    info: EngineInfo,
    environment: Environment,
) -> Inspection:
    """What *plugin* says of the engine's own BuildKit, which finds by trial what it can execute.

    That changes with the engine, and with the emulators of its kernel: where those are seen the
    answer is kept until they change, otherwise for ten minutes. And BuildKit forgets none that is
    gone, so what this kernel does not execute is left out where it is the engine's, too.
    """
    known = emulators() if is_here(endpoint, info) else ""
    asked = f"{identity(plugin)} {endpoint.host} {engine.version} {known}"

    def ask() -> str:
        """The plugin's table; empty when there is none to be kept."""
        with probe_folder(environment, endpoint) as folder:
            done = question(
                (str(plugin), "inspect", endpoint.context or "default"),
                environment=environment,
                env=folder.variables,
                timeout=PATIENCE,
            )
        table = done.stdout.decode("utf-8", "replace")
        return table if not done.exit_code and parse_inspection(table).running else ""

    kept = Answers.of(environment).get(f"inspect {asked}", ask, seconds=None if known else _KEPT)
    found = parse_inspection(kept)
    return _without_gone(found, Platform.of(engine.os, engine.arch)) if known else found


def _without_gone(found: Inspection, own: Platform) -> Inspection:
    possible = {platform.architecture for platform in runnable(own)}
    nodes = (
        evolve(node, platforms=tuple(p for p in node.platforms if p.architecture in possible))
        for node in found.nodes
    )
    return evolve(found, nodes=tuple(nodes))


def is_here(endpoint: Endpoint, info: EngineInfo) -> bool:
    """Whether the engine has this machine's kernel, so that both execute the same programs."""
    return endpoint.host.startswith("unix://") and info.kernel == os.uname().release


@contextmanager
def probe_folder(environment: Environment, endpoint: Endpoint | None) -> Generator[ClientFolder]:
    """A configuration to ask questions with, since buildx writes into it even to look."""
    with TemporaryDirectory(prefix="buildpush-probe-", dir=environment.temporary) as folder:
        run = Run(workdir=Path(folder), cancel=CancelToken(), sink=ignore, environment=environment)
        with client_folder(run, config=_EMPTY, endpoint=endpoint) as client:
            yield client

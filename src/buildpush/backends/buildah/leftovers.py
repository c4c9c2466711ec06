"""What a buildah that was killed leaves behind, found by our mark, and its removal.

A buildah that ends by itself, or is asked to end, removes its working containers. One that was
killed leaves a working container with its mount and, under an OCI runtime, what ran in it. Those
of earlier runs are known by a mark that is no longer there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from ...errors import BackendUnavailableError
from ...runtime import Environment
from ..engine.command import question
from .argv import MARK
from .probing import Buildah

__all__ = ["SCRATCH", "remove_leftovers"]

SCRATCH: Final = "buildah-scratch"
"""The name of the folder for buildah's temporary files, by which the runtime's state is known."""

_SECONDS: Final = 8.0
_MARKED: Final = re.compile(rf"id={re.escape(MARK)},src=([^\",\\]+)")
_BUNDLE: Final = re.compile(rf'"(?:bundle=)?([^"=]*/{SCRATCH}/[^"]*)"')
_STATES: Final = {"runc": "state.json", "crun": "config.json"}


def remove_leftovers(
    buildah: Buildah,
    environment: Environment,
    *,
    variables: Mapping[str, str] | None = None,
    mark: Path | None = None,
    scratch: Path | None = None,
    states: Path = Path("/run"),
) -> tuple[str, ...]:
    """Remove working containers with *mark*, and those whose mark has gone; their ids.

    *scratch* is the folder for buildah's temporary files in which this run's were made, *states* is the folder where OCI runtimes keep theirs. What cannot be removed now is left for
    the next run.
    """
    if buildah.isolation != "chroot":
        for runtime, container in _running(states, scratch):
            with suppress(BackendUnavailableError):
                question(
                    (runtime, "delete", "--force", container),
                    environment=environment,
                    timeout=_SECONDS,
                )
    removed: list[str] = []
    for container in _working(buildah, mark):
        with suppress(BackendUnavailableError):
            done = question(
                buildah.command("rm", container),
                environment=environment,
                env=variables,
                timeout=_SECONDS,
            )
            if done.exit_code == 0:
                removed.append(container)
    return tuple(removed)


def _working(buildah: Buildah, mark: Path | None) -> Iterator[str]:
    """The ids of working containers that are ours and nobody's any more."""
    folder = buildah.graph_root / f"{buildah.driver}-containers"
    for state in folder.glob("*/userdata/buildah.json"):
        with suppress(OSError):
            match = _MARKED.search(state.read_text("utf-8", "replace"))
            if match and (Path(match[1]) == mark or not Path(match[1]).exists()):
                yield state.parent.parent.name


def _running(states: Path, scratch: Path | None) -> Iterator[tuple[str, str]]:
    """Runtime and id of containers that no buildah looks after any more."""
    for runtime, name in _STATES.items():
        for state in (states / runtime).glob(f"buildah-*/{name}"):
            with suppress(OSError):
                match = _BUNDLE.search(state.read_text("utf-8", "replace"))
                if match is None:
                    continue
                place = next(p for p in Path(match[1]).parents if p.name == SCRATCH)
                if place == scratch or not place.exists():
                    yield runtime, state.parent.name

"""Builders of runs that were killed: by their names the next run knows them, and removes them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, cast

from ...errors import BuildpushError, NotFoundError
from ...runtime import Run
from ..engine.api import EngineApi
from ..engine.endpoints import Endpoint

__all__ = ["new_name", "remove_abandoned", "remove_container"]

_PREFIX: Final = "buildpush-"
_CONTAINER: Final = "buildx_buildkit_"
_SECONDS: Final = 5.0
_PROCESSES: Final = (Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid"))
_NAME: Final = re.compile(rf"/{_CONTAINER}({_PREFIX}([0-9a-f]{{8}})-(\d+)-[0-9a-f]+)0")


def new_name() -> str:
    """A name that no other builder has, and by which it is known whose builder it is."""
    home = _home()
    owner = f"{home}-{os.getpid()}-" if home else ""
    return f"{_PREFIX}{owner}{secrets.token_hex(4)}"


def remove_abandoned(endpoint: Endpoint, run: Run) -> None:
    """Remove the containers of builders whose process, one of this machine's, is no more.

    Tells what it has removed; an engine that does not like to be asked is left in peace.
    """
    try:
        with EngineApi(
            endpoint, cancel=run.cancel, timeout=_SECONDS, environment=run.environment
        ) as api:
            for name in _abandoned(api):
                remove_container(name, api)
                run.warn(f"builder {name} was left behind by a run that was killed: removed it")
    except BuildpushError:
        run.cancel.check()


def remove_container(name: str, api: EngineApi) -> None:
    """Remove the container and the volume of the builder *name*, where they are."""
    container = f"{_CONTAINER}{name}0"
    for place in (f"/containers/{container}", f"/volumes/{container}_state"):
        with suppress(NotFoundError):
            api.call("DELETE", place, params={"force": "true"})


def _abandoned(api: EngineApi) -> Iterator[str]:
    filters = json.dumps({"name": [f"{_CONTAINER}{_PREFIX}"]})
    answer = api.call("GET", "/containers/json", params={"all": "true", "filters": filters})
    home = _home()
    for container in cast("Sequence[Mapping[str, Sequence[str]]]", json.loads(answer)):
        for name in container.get("Names", ()):
            found = _NAME.fullmatch(name)
            if found and home and found[2] == home and not _lives(int(found[3])):
                yield found[1]


def _home() -> str:
    """Which machine and which of its process namespaces this is; empty when it cannot be told."""
    boot, processes = _PROCESSES
    try:
        text = f"{boot.read_text()}{processes.stat().st_ino}"
    except OSError:
        return ""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True

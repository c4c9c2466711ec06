"""The user's builders, read from buildx's own files: which is current, and what it is driven by.

Nothing is started and nothing is written: buildx itself writes into its folder when it looks.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, TypeVar

from attrs import field, frozen

from ...errors import BackendUnavailableError
from ...runtime import Environment
from ..engine.endpoints import Endpoint, docker_folder
from .wire import CurrentFile, InstanceFile, parse

__all__ = ["DOCKER", "Instance", "builder_folder", "find", "names"]

DOCKER: Final = "docker"
"""The driver of the builder that every docker context is by itself."""

_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9._-]*")
W = TypeVar("W", CurrentFile, InstanceFile)


@frozen(kw_only=True)
class Instance:
    """A builder that somebody created: its *driver*, the *endpoints* of its nodes.

    *options* are the driver's, of the first node.
    """

    name: str
    driver: str
    endpoints: tuple[str, ...] = ()
    options: Mapping[str, str] = field(factory=dict[str, str], repr=False)


def builder_folder(environment: Environment) -> Path:
    """Where buildx keeps its builders: BUILDX_CONFIG, else ``buildx`` in docker's folder."""
    chosen = environment.variables.get("BUILDX_CONFIG")
    return environment.cwd / chosen if chosen else docker_folder(environment) / "buildx"


def find(environment: Environment, name: str) -> Instance | None:
    """The builder called *name*; None when nobody created one of that name.

    Raises `BackendUnavailableError` when its file cannot be understood.
    """
    if not _NAME.fullmatch(name):
        return None
    path = builder_folder(environment) / "instances" / name.lower()
    found = _read(path, InstanceFile)
    if found is None:
        return None
    return Instance(
        name=found.name or name,
        driver=found.driver,
        endpoints=tuple(node.endpoint for node in found.nodes),
        options=found.nodes[0].options if found.nodes else {},
    )


def current(environment: Environment, endpoint: Endpoint | None) -> Instance | None:
    """The builder that ``docker buildx use`` chose, for *endpoint* or for all; None for none.

    Follows buildx's ``store.Txn.Current``: the file ``current`` holds for every endpoint or for
    the one it names, ``defaults`` remembers what was chosen for each.
    """
    folder = builder_folder(environment)
    key = (endpoint.context or endpoint.host) if endpoint else ""
    chosen = _read(folder / "current", CurrentFile)
    if chosen is not None and chosen.name:
        if chosen.everywhere and (found := find(environment, chosen.name)):
            return found
        if chosen.key == key:
            return find(environment, chosen.name)
    default = folder / "defaults" / hashlib.sha256(key.encode()).hexdigest()
    try:
        name = default.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None
    return find(environment, name)


def names(environment: Environment) -> tuple[str, ...]:
    """The names of every builder that somebody created."""
    try:
        return tuple(sorted(p.name for p in (builder_folder(environment) / "instances").iterdir()))
    except OSError:
        return ()


def _read(path: Path, model: type[W]) -> W | None:
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BackendUnavailableError(
            f"{path} cannot be read: {error.strerror}",
            hint="make it readable for this user, or set BUILDX_CONFIG to another folder",
        ) from error
    if not data.strip():
        return None
    found = parse(data, model)
    if found is None:
        raise BackendUnavailableError(
            f"{path} is not a file that buildx wrote",
            hint="docker buildx rm the builder and create it again",
        )
    return found

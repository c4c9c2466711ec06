"""A step of Harness's YAML as a step of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from ..auth import Keychain, PullOnly
from ..auth.connectors import Connectors, DockerConnector, find_connector
from ..errors import ExpressionError, SpecError
from ..oci import ImageReference
from ..runtime import Environment
from ..spec.expressions import Context
from ..spec.harness import (
    HarnessFile,
    HarnessSettings,
    HarnessStep,
    read_harness,
    settings_of,
    wrong,
)
from .drone import not_a_step, without_caches
from .drone import step_of as plugin_step
from .variables import read_plugin

__all__ = ["arguments_of", "made_of", "one_step", "read_file", "surroundings"]

S = TypeVar("S")

_LARGEST: Final = 4 << 20


def read_file(source: str | Path) -> HarnessFile:
    """The steps of a file, or of a text with more than one line.

    Raises `SpecError` for a file that cannot be read, and for what stands in it.
    """
    if isinstance(source, str) and "\n" in source:
        return read_harness(source)
    try:
        data = (Environment.current().cwd / source).read_bytes()
        if len(data) > _LARGEST:
            raise SpecError(f"{source}: is larger than {_LARGEST >> 20} MB")
        return read_harness(data.decode(), filename=str(source))
    except UnicodeDecodeError:
        raise SpecError(f"{source}: is not text in UTF-8") from None
    except (OSError, ValueError) as error:
        if isinstance(error, SpecError):
            raise
        reason = error.strerror if isinstance(error, OSError) else "is no path"
        raise SpecError(f"{source}: cannot be read: {reason}") from None


def one_step(
    step: HarnessStep,
    make: Callable[[Mapping[str, object]], S],
    context: Context,
    connectors: Connectors | None,
    overrides: Mapping[str, object],
) -> S:
    """The step that *make* makes of *step*; *overrides* win.

    Raises `SpecError` with the line for whatever is wrong.
    """
    return made_of(step, settings_of(step, context), make, connectors, overrides)


def made_of(
    step: HarnessStep,
    asked: HarnessSettings,
    make: Callable[[Mapping[str, object]], S],
    connectors: Connectors | None,
    overrides: Mapping[str, object],
) -> S:
    """`one_step`, of what the step has been found to ask for."""
    if not step.plugin:
        settings = arguments_of(step, asked, connectors, overrides)
        return _at(step, asked, lambda: make(settings))
    plugin, variables = read_plugin(
        {**surroundings(), **asked.variables}, step.plugin, "compatible"
    )
    if why := not_a_step(plugin):
        raise SpecError(f"{step.place}: {why}", hint="run it with run_harness, or run_plugin")
    return _at(
        step,
        asked,
        lambda: plugin_step(
            plugin, variables, make, {"hidden": asked.hidden, **asked.settings, **overrides}
        ),
    )


def surroundings() -> dict[str, str]:
    """The variables of this process, without those of a plugin that it may be run by itself."""
    variables = Environment.current().variables
    return {name: value for name, value in variables.items() if not name.startswith("PLUGIN_")}


def arguments_of(
    step: HarnessStep,
    asked: HarnessSettings,
    connectors: Connectors | None,
    overrides: Mapping[str, object],
) -> dict[str, object]:
    """The settings for a step of ours: those of *asked*, with who logs in.

    Without *connectors*, the machine's own credentials are used, and a remark says so. Raises
    `SpecError` with the line for a connector that is not there.
    """
    return _at(step, asked, lambda: _arguments(asked, connectors, overrides))


def _arguments(
    asked: HarnessSettings, connectors: Connectors | None, overrides: Mapping[str, object]
) -> dict[str, object]:
    settings: dict[str, Any] = {**asked.settings, "hidden": asked.hidden}
    remarks: list[str] = []
    logins: list[object] = []
    if connectors is None:
        wanted = ", ".join(filter(None, (asked.connector, *asked.bases)))
        if wanted:
            remarks.append(f"{wanted}: no connectors were given, this machine's logins are used")
    else:
        pushing = _connector(connectors, "connectorRef", asked.connector)
        of_bases = (_connector(connectors, "baseImageConnectorRefs", each) for each in asked.bases)
        logins += (*map(PullOnly, of_bases), pushing)
        if isinstance(pushing, DockerConnector):
            settings["repo"] = _below(str(settings["repo"]), pushing.prefix, remarks)
    backend = overrides.get("backend")
    remarks += without_caches(settings, backend)
    # An object of a backend is somebody's own choice; the names of others run no container.
    of_container = [name for name in ("resources", "runAsUser") if settings.get(name)]
    if of_container and (backend is None or isinstance(backend, str)) and backend != "kaniko":
        remarks.append(f"{', '.join(of_container)}: left out: they are of Harness's own container")
        for name in of_container:
            del settings[name]
    settings["auth"] = (overrides.get("auth", ()), *logins)
    for secret in asked.hidden:
        remarks = [remark.replace(secret, "***") for remark in remarks]
    settings["remarks"] = remarks
    return {**settings, **{name: value for name, value in overrides.items() if name != "auth"}}


def _connector(connectors: Connectors, key: str, name: str) -> Keychain:
    try:
        return find_connector(connectors, name)
    except SpecError as error:
        fault = SpecError(f"{key}: {error.message}", hint=error.hint)
    raise fault


def _below(repo: str, prefix: str, remarks: list[str]) -> str:
    """*repo* with the connector's registry before it, where it has no host of its own."""
    host = prefix.partition("/")[0]
    if host == "docker.io" or repo.startswith(f"{host}/") or not repo:
        return repo
    try:
        own = ImageReference.parse(repo).repository.host
    except SpecError:
        return repo
    if own != "docker.io" or repo.startswith(("docker.io/", "index.docker.io/")):
        remarks.append(f"repo: is not of the connector's registry, {host}")
        return repo
    remarks.append(f"repo: taken to be below the connector's {prefix}")
    return f"{prefix}/{repo.removeprefix(prefix.partition('/')[2] + '/')}"


def _at(step: HarnessStep, asked: HarnessSettings, work: Callable[[], S]) -> S:
    """What *work* returns; its errors have the line."""
    try:
        return work()
    except ExpressionError:
        raise
    except SpecError as error:
        fault = wrong(asked, step, error)
    raise fault

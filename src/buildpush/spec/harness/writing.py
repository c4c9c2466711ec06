"""A step as Harness's YAML."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ...errors import SpecError
from ..quantities import DEFAULT_TIMEOUT
from ..values import FromEnv
from .steps import IDENTIFIER

if TYPE_CHECKING:
    from ..settings import StepSpec

__all__ = ["write_harness"]

# What a step of ours says, and Harness says elsewhere: by a connector, or not at all.
_ELSEWHERE: Final = frozenset(
    {
        "repo",
        "tags",
        "timeout",
        "secrets",
        "backend",
        "auth",
        "remarks",
        "hidden",
        "quiet",
        "skip_preflight",
        "connector_ref",
        "env_docker_secrets",
        "file_docker_secrets",
    }
)
_KEYS: Final[Mapping[str, Callable[[StepSpec], object]]] = {
    "registryRef": lambda step: step.registry_ref,
    "baseImageConnectorRefs": lambda step: list(step.base_image_connector_refs),
    "dockerfile": lambda step: str(step.dockerfile),
    "context": lambda step: str(step.context),
    "target": lambda step: step.target,
    "labels": lambda step: dict(step.labels),
    "buildArgs": lambda step: dict(step.build_args),
    "optimize": lambda step: step.optimize,
    "caching": lambda step: step.caching,
    "cacheFrom": lambda step: [str(each) for each in step.cache_from],
    "cacheTo": lambda step: str(step.cache_to[0]) if len(step.cache_to) == 1 else None,
    "remoteCacheRepo": lambda step: str(step.remote_cache_repo),
    "runAsUser": lambda step: step.run_as_user,
    "resources": lambda step: step.resources.model_dump(exclude_none=True, exclude_defaults=True),
}
_FLAGS: Final[Mapping[str, tuple[str, Callable[[StepSpec], str]]]] = {
    "push": ("PLUGIN_NO_PUSH", lambda step: "false" if step.push else "true"),
    "no_cache": ("PLUGIN_NO_CACHE", lambda step: str(step.no_cache).lower()),
    "platforms": ("PLUGIN_PLATFORM", lambda step: ",".join(map(str, step.platforms))),
}


def write_harness(step: StepSpec, *, connector: str, identifier: str, name: str = "") -> str:
    """*step* as YAML of the type BuildAndPushDockerRegistry, with what it sets and nothing else.

    What a key is missing for, and a plugin's flag is not, is one of ``envVariables``. Raises
    `SpecError` for an identifier that is none, for settings that Harness has no word for, and for
    a step with values that must not be shown.
    """
    # Imported here for those who write YAML alone.
    import yaml

    if not IDENTIFIER.fullmatch(identifier):
        raise SpecError("identifier: expected letters, digits and _, 128 at most")
    spec: dict[str, object] = {
        "connectorRef": connector,
        "repo": str(step.repo),
        "tags": list(step.tags),
    }
    given = step.model_fields_set
    lost = given - _ELSEWHERE - _FLAGS.keys()
    for key, value in _KEYS.items():
        setting = re.sub("[A-Z]", lambda match: f"_{match[0].lower()}", key)
        if setting in given and (found := value(step)) is not None:
            spec[key] = found
            lost -= {setting}
    spec |= _secrets(step)
    flags = {name: value(step) for setting, (name, value) in _FLAGS.items() if setting in given}
    if flags:
        spec["envVariables"] = flags
    if lost:
        raise SpecError(f"Harness has no key for: {', '.join(sorted(lost))}")
    node: dict[str, object] = {
        "identifier": identifier,
        "name": name or identifier,
        "type": "BuildAndPushDockerRegistry",
        "spec": spec,
    }
    if step.timeout is not None and step.timeout != DEFAULT_TIMEOUT:
        node["timeout"] = _duration(step.timeout)
    text = str(yaml.safe_dump({"step": node}, sort_keys=False, allow_unicode=True, width=1000))
    if step.veiled(text) != text:
        raise SpecError(
            "the step has the value of a secret in it, which would be written out",
            hint="write the file with an expression instead: <+secrets.getValue(…)>",
        )
    return text


def _secrets(step: StepSpec) -> dict[str, object]:
    variables: dict[str, str] = {}
    files: dict[str, str] = {}
    for key, source in step.secrets.items():
        match source:
            case FromEnv(name=name):
                variables[key] = name
            case Path():
                files[key] = str(source)
            case _:
                raise SpecError(f"secrets.{key}: Harness takes variables and files, no values")
    found = {"envDockerSecrets": variables, "fileDockerSecrets": files}
    return {key: value for key, value in found.items() if value}


def _duration(seconds: float) -> str:
    """Whole minutes where it is some, else seconds: at least ten, as Harness wants it."""
    whole = max(round(seconds), 10)
    return f"{whole // 60}m" if whole % 60 == 0 else f"{whole}s"

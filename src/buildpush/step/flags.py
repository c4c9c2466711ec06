"""The flags of Harness's plugin containers that a step has in ``env_variables``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

from attrs import evolve

from ..errors import SpecError
from ..runtime import Environment
from ..spec.drone import PluginSettings, translate
from ..spec.drone.flags import flags_of
from .drone import backend_of, keychains, left, not_a_step

__all__ = ["read_flags", "with_flags"]

_PROGRAMS: Final = ("docker", "kaniko", "buildx")
_MERGED: Final = ("build_args", "labels", "secrets")


def with_flags(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings *given*, with what their ``env_variables`` mean to the plugins.

    A flag wins over a setting, as it does there. Raises `SpecError` for flags that are wrong,
    and where they ask for something other than one build.
    """
    settings = dict(given)
    variables = settings.pop("env_variables", None) or settings.pop("envVariables", None)
    if not isinstance(variables, Mapping):
        return dict(given)
    asked = read_flags(cast("Mapping[str, object]", variables), settings)
    if why := not_a_step(asked):
        raise SpecError(f"env_variables: {why}", hint="a step is one build")
    for name, value in asked.settings.items():
        camel = "".join(part.title() if at else part for at, part in enumerate(name.split("_")))
        key = camel if camel in settings else name
        before = settings.get(key)
        if name in _MERGED and isinstance(before, Mapping):
            settings[key] = {**before, **cast("Mapping[str, object]", value)}
        else:
            settings[key] = value
    logins = keychains(asked, Environment.current().variables)
    if logins:
        settings["auth"] = (*logins, settings.get("auth", ()))
    wanted = settings.get("backend")
    settings["backend"] = backend_of(asked, wanted)
    said = (*map(str, asked.findings), *left(asked, wanted))
    settings["remarks"] = (*settings.get("remarks", ()), *said)
    return settings


def read_flags(variables: Mapping[str, object], settings: Mapping[str, Any]) -> PluginSettings:
    """What *variables* ask of the plugin that knows most of them, and nothing of its defaults."""
    flags = {name: str(value) for name, value in variables.items()}
    tags = settings.get("tags", "latest")
    own = {
        "PLUGIN_REPO": str(settings.get("repo", "")),
        "PLUGIN_TAGS": tags if isinstance(tags, str) else ",".join(map(str, tags)),
    }
    known = {name: _variables(name) for name in _PROGRAMS}
    program = max(_PROGRAMS, key=lambda name: len(known[name] & flags.keys()))
    now = datetime.now(UTC).astimezone()
    asked = translate({**own, **flags}, program, now=now, mode="compatible")
    plain = translate(own, program, now=now, mode="compatible")
    changed = {
        name: value
        for name, value in asked.settings.items()
        if name not in plain.settings or plain.settings[name] != value
    }
    unread = sorted(
        name for name in flags if not name.startswith("PLUGIN_") and name not in known[program]
    )
    said = [each for each in asked.findings if each not in plain.findings]
    return evolve(
        asked,
        settings=changed,
        findings=(*said, *_unread(unread)),
        kaniko={
            name: value for name, value in asked.kaniko.items() if plain.kaniko.get(name) != value
        },
        builder={} if asked.builder == plain.builder else asked.builder,
    )


def _unread(names: Sequence[str]) -> list[Any]:
    from ..spec.drone import Finding

    text = "no plugin reads it; flags are written PLUGIN_ and their name in capitals"
    return [Finding(kind="unknown", variable=name, text=text) for name in names]


def _variables(program: str) -> frozenset[str]:
    return frozenset(name for flag in flags_of(program) for name in flag.variables)

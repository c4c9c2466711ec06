"""A step's keys in Harness as settings of ours, its expressions resolved."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, cast

from attrs import field, frozen

from ...errors import ExpressionError, SpecError
from ..expressions import Context, resolve_tree
from ..expressions.context import SecretNamed
from .document import Node, Place, fault, located
from .steps import HarnessStep

__all__ = ["HarnessSettings", "context_of", "settings_of", "wrong"]

_EVERYWHERE: Final = frozenset(
    {
        "connectorRef",
        "tags",
        "baseImageConnectorRefs",
        "optimize",
        "dockerfile",
        "context",
        "labels",
        "buildArgs",
        "target",
        "caching",
        "cacheFrom",
        "cacheTo",
        "envVariables",
        "envDockerSecrets",
        "fileDockerSecrets",
        "runAsUser",
        "resources",
    }
)
_GOOGLE: Final = frozenset({"host", "projectID", "imageName", "remoteCacheImage"})
# type -> the keys it has besides those of every type, and those that are required
_OWN: Final[Mapping[str, tuple[frozenset[str], Sequence[str]]]] = {
    "BuildAndPushDockerRegistry": (
        frozenset({"registryRef", "repo", "remoteCacheRepo"}),
        ("repo", "tags"),
    ),
    "BuildAndPushECR": (
        frozenset({"account", "region", "imageName", "remoteCacheImage"}),
        ("connectorRef", "account", "region", "imageName", "tags"),
    ),
    "BuildAndPushGCR": (_GOOGLE, ("connectorRef", "host", "projectID", "imageName", "tags")),
    "BuildAndPushGAR": (_GOOGLE, ("connectorRef", "host", "projectID", "imageName", "tags")),
    "BuildAndPushACR": (
        frozenset({"repository", "subscriptionId", "remoteCacheImage"}),
        ("connectorRef", "repository", "tags"),
    ),
}
_PLUGIN: Final = frozenset(
    {
        "connectorRef",
        "image",
        "settings",
        "privileged",
        "reports",
        "entrypoint",
        "envVariables",
        "imagePullPolicy",
        "runAsUser",
        "resources",
        "uses",
    }
)
# Keys that say where the image goes, or who logs in: not settings of a step by themselves.
_PLACING: Final = frozenset(
    {
        "account",
        "region",
        "host",
        "projectID",
        "imageName",
        "repository",
        "subscriptionId",
        "connectorRef",
        "registryRef",
        "baseImageConnectorRefs",
    }
)


@frozen(kw_only=True)
class HarnessSettings:
    """What a step asks for: *settings*, by Harness's names, and the *variables* of a plugin.

    *connector* is who pushes, *bases* who pulls base images; *hidden* are the values of secrets
    that went in.
    """

    settings: Mapping[str, object] = field(factory=dict[str, object], repr=False)
    variables: Mapping[str, str] = field(factory=dict[str, str], repr=False)
    connector: str = ""
    bases: tuple[str, ...] = ()
    hidden: tuple[str, ...] = field(default=(), repr=False)


def settings_of(step: HarnessStep, context: Context) -> HarnessSettings:
    """What *step* asks for, with the values of *context*, and of the file itself.

    Raises `SpecError` for unknown keys and for keys that are missing, and `ExpressionError`,
    each with the line.
    """
    _check_keys(step)
    scope, unsolved = context_of(step, context)
    where = step.where.path
    tree = {
        name: node.plain()
        for name, node in step.spec.names.items()
        if node.value is not None and name not in ("image", "reports", "entrypoint", "uses")
    }
    try:
        resolved = resolve_tree(tree, scope, where=where)
    except ExpressionError as error:
        for name, reason in unsolved.items():
            if f"nothing is called {name}," in error.message:
                raise _located(reason, step) from None
        raise _located(error, step) from None
    values = cast("dict[str, object]", resolved.value)
    timed: dict[str, object] = {}
    if (timeout := step.node.names.get("timeout")) and timeout.text:
        timed["timeout"] = _timeout(step, timeout, scope)
    if step.plugin:
        return HarnessSettings(
            settings=timed,
            variables=_variables(values, step),
            hidden=resolved.secrets,
        )
    for name in (*_PLACING, "repo"):
        several = name == "baseImageConnectorRefs" and isinstance(values.get(name), list)
        if isinstance(values.get(name), Mapping | list) and not several:
            raise fault(step.where.below(name, step.spec.names[name].line), "expected text")
    settings = {name: value for name, value in values.items() if name not in _PLACING}
    settings["repo"] = _repository(step.type, values)
    settings["tags"] = _tags(values.get("tags"))
    return HarnessSettings(
        settings={**settings, **timed},
        connector=_text(values.get("registryRef") or values.get("connectorRef")),
        bases=tuple(_texts(values.get("baseImageConnectorRefs"))),
        hidden=resolved.secrets,
    )


def _located(error: ExpressionError, step: HarnessStep) -> ExpressionError:
    """*error* with the line of what it is about, in the step or around it."""
    lines: dict[str, int] = {}
    for each in step.above:
        lines |= each.node.lines(each.place.path)
    lines |= step.node.lines(step.place.path)
    return located(error, step.place.filename, lines.get(error.where, step.place.line))


def context_of(
    step: HarnessStep, context: Context
) -> tuple[Context, Mapping[str, ExpressionError]]:
    """*context*, with what the file itself says of pipeline, stage and step behind its values.

    The errors are those of variables that have no value; whoever names one should see its.
    """
    unsolved: dict[str, ExpressionError] = {}
    scope = context
    for each in step.above:
        own: dict[str, object] = {}
        for key in ("identifier", "name"):
            if (node := each.node.names.get(key)) and node.text:
                own[key] = node.text
        scope = scope.behind({each.kind: own})
        for name, value, place in _declared(each.node, each.place):
            full = f"{each.kind}.variables.{name}"
            try:
                found = value if isinstance(value, SecretNamed) else _one(value, scope, place)
            except ExpressionError as error:
                unsolved[full] = error
                continue
            scope = scope.behind({full: found})
    own = {"identifier": step.identifier, "name": step.name}
    return scope.behind({"step": own}), unsolved


def _one(value: object, scope: Context, place: str) -> object:
    return resolve_tree(value, scope, where=place).value


def _declared(node: Node, place: Place) -> Iterator[tuple[str, object, str]]:
    """The variables of a pipeline or a stage: name, value and path."""
    declared = node.names.get("variables")
    for at, each in enumerate(declared.items if declared else ()):
        names = each.names
        if "name" not in names or "value" not in names:
            continue
        value: object = names["value"].plain()
        if "type" in names and names["type"].text == "Secret":
            value = SecretNamed(str(value))
        yield names["name"].text, value, f"{place.path}.variables[{at}].value"


def _check_keys(step: HarnessStep) -> None:
    required: Sequence[str]
    if step.plugin:
        own, required = _PLUGIN, ("image", "settings")
    else:
        own, required = _OWN[step.type]
    known = own if step.plugin else _EVERYWHERE | own
    names = step.spec.names
    for name, node in names.items():
        if name not in known:
            raise fault(
                step.where.below(name, node.line),
                f"a step of type {step.type} has no such key",
                f"it has: {', '.join(sorted(known))}",
            )
    missing = [name for name in required if name not in names or names[name].value is None]
    if step.type == "BuildAndPushDockerRegistry" and not names.keys() & {
        "connectorRef",
        "registryRef",
    }:
        missing.append("connectorRef or registryRef")
    if missing:
        raise fault(step.where, f"required: {', '.join(missing)}")


def _repository(kind: str, values: Mapping[str, object]) -> str:
    """The repository with its host, as the runner gives it to the plugin."""
    image = _text(values.get("imageName"))
    match kind:
        case "BuildAndPushECR":
            host = f"{_text(values['account'])}.dkr.ecr.{_text(values['region'])}.amazonaws.com"
            return f"{host}/{image.removeprefix(f'{host}/')}"
        case "BuildAndPushGCR" | "BuildAndPushGAR":
            host = _text(values["host"]).removeprefix("https://").rstrip("/")
            registry = f"{host}/{_text(values['projectID']).strip('/')}"
            return f"{registry}/{image.removeprefix(f'{registry}/')}"
        case "BuildAndPushACR":
            return _text(values["repository"]).removeprefix("https://")
        case _:
            return _text(values["repo"])


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None else json.dumps(value)


def _texts(value: object) -> Iterator[str]:
    """Texts of a list, or of one text with commas."""
    if isinstance(value, list | tuple):
        yield from map(_text, cast("Sequence[object]", value))
    elif value is not None:
        yield from (part.strip() for part in _text(value).split(",") if part.strip())


def _tags(value: object) -> list[str]:
    """A list may be one text, with commas, as an expression gives it."""
    return [tag for each in _texts(value) for tag in _texts(each)]


def _timeout(step: HarnessStep, node: Node, scope: Context) -> str:
    place = step.place.below("timeout", node.line)
    try:
        return _text(resolve_tree(node.text, scope, where=place.path).value)
    except ExpressionError as error:
        raise _located(error, step) from None


def _variables(values: Mapping[str, object], step: HarnessStep) -> dict[str, str]:
    """The environment that a runner gives a plugin: ``PLUGIN_`` and the name in capitals."""
    settings = values.get("settings")
    if not isinstance(settings, Mapping):
        line = step.spec.names["settings"].line
        raise fault(step.where.below("settings", line), "expected a mapping")
    found: dict[str, str] = {}
    for name, value in cast("Mapping[str, object]", settings).items():
        if value is not None:
            found[f"PLUGIN_{name.upper().replace('-', '_')}"] = _word(value)
    extra = values.get("envVariables")
    if isinstance(extra, Mapping):
        given = cast("Mapping[str, object]", extra)
        found |= {name: _word(value) for name, value in given.items() if value is not None}
    return found


def _word(value: object) -> str:
    """A setting's value in a variable, as Drone writes it: a list with commas, a mapping in JSON."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        items = cast("Sequence[object]", value)
        if all(not isinstance(item, list | Mapping) for item in items):
            return ",".join(map(_word, items))
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, ensure_ascii=False)
    return str(value)


def wrong(asked: HarnessSettings, step: HarnessStep, error: SpecError) -> SpecError:
    """*error* of wrong settings with the lines of those that it names, and without secrets."""
    for secret in sorted(asked.hidden, key=len, reverse=True):
        if secret.lower() in f"{error.message} {error.hint}".lower():
            # Not quoted in any form: a suggestion may have changed it.
            names = ", ".join(re.findall(r"(?:^|; )([A-Za-z_.0-9]+): ", error.message))
            error = SpecError(f"{names or 'a setting'}: has a secret in it, and is wrong")
            break
    for path, line in sorted(
        step.spec.lines(step.where.path).items(), key=lambda pair: -len(pair[0])
    ):
        name = path.removeprefix(f"{step.where.path}.")
        if name != path and f"{name}:" in error.message:
            return SpecError(f"{Place(step.place.filename, line)}: {error}", hint=error.hint)
    return SpecError(f"{step.place}: {error}", hint=error.hint)

"""What can be told of an object by its schema alone: kubernetes-validate, strict.

The messages are those of the real server (1.36.2), which decodes strictly where it is asked to:
a field that does not exist is refused with ``fieldValidation=Strict`` and else only warned of; a
value of the wrong type is refused always. What a schema cannot know is in `validation`.
"""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final

from attrs import field, frozen

from .kinds import Kind
from .refusals import Refusal

VERSION: Final = "1.36"
_LOCK: Final = threading.Lock()
_GO: Final = {
    "string": "string",
    "integer": "int32",
    "boolean": "bool",
    "array": "[]string",
    "object": "map",
}


@frozen(kw_only=True)
class Faults:
    """*unknown* fields as paths, values of a *wrong* type as sentences, fields that are *missing*."""

    unknown: tuple[tuple[str | int, ...], ...] = ()
    wrong: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    told: tuple[str, ...] = field(default=())

    def __bool__(self) -> bool:
        return bool(self.unknown or self.wrong or self.missing)


@functools.cache
def _validator(name: str) -> Any:
    """kubernetes_validate.validate() reads 1.6 MB of schemas each time; this keeps them."""
    import jsonschema
    from kubernetes_validate import utils
    from referencing import Registry, Resource

    version = [v for v in utils.all_versions() if utils.major_minor(v) == VERSION][-1]
    folder = f"kubernetes-json-schema/v{version}-local-strict"
    schema = utils.schema_contents(f"{folder}/{name}.json", VERSION)
    definitions = _definitions(folder)
    registry = definitions @ (Resource.from_contents(schema) @ Registry())
    return jsonschema.validators.Draft202012Validator(schema, registry=registry)


@functools.cache
def _definitions(folder: str) -> Any:
    from kubernetes_validate import utils
    from referencing import Resource

    return Resource.from_contents(utils.schema_contents(f"{folder}/_definitions.json", VERSION))


_FINE: Final[set[str]] = set()
"""Shapes of objects in which nothing was found: a thousand Jobs are looked at once."""


def _shape(value: Any, key: str = "") -> Any:
    """*value* without what a schema does not look at: the text in its strings."""
    if isinstance(value, dict):
        return {name: _shape(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [_shape(inner) for inner in value]
    return "" if isinstance(value, str) and key not in ("kind", "apiVersion") else value


def check(kind: Kind, made: dict[str, Any]) -> Faults:
    """What kubernetes-validate finds in *made*, in its strict mode."""
    shape = f"{kind.dotted} {json.dumps(_shape(made), sort_keys=True)}"
    if shape in _FINE:
        return Faults()
    found = _check(kind, made)
    if not found.told:
        _FINE.add(shape)
    return found


def _check(kind: Kind, made: dict[str, Any]) -> Faults:
    short = kind.group.split(".")[0]
    name = f"{kind.kind.lower()}-{short + '-' if short else ''}v1"
    with _LOCK:
        validator = _validator(name)
    unknown: list[tuple[str | int, ...]] = []
    wrong: list[str] = []
    missing: list[str] = []
    told: list[str] = []
    for error in validator.iter_errors(made):
        told.append(f"{error.json_path}: {error.message}")
        for leaf in _leaves(error):
            path = tuple(leaf.absolute_path)
            if leaf.validator == "additionalProperties":
                allowed = leaf.schema.get("properties", {})
                unknown += [(*path, key) for key in leaf.instance if key not in allowed]
            elif leaf.validator == "required":
                missing.append(_dotted((*path, leaf.message.split("'")[1])))
            elif leaf.validator == "type":
                wrong.append(_cannot(path, leaf.instance, leaf.validator_value))
    return Faults(
        unknown=tuple(sorted(set(unknown), key=str)),
        wrong=tuple(wrong),
        missing=tuple(missing),
        told=tuple(told),
    )


def _leaves(error: Any) -> Iterator[Any]:
    if error.context and error.validator in ("anyOf", "allOf"):
        for inner in error.context:
            yield from _leaves(inner)
    else:
        yield error


def _dotted(path: Sequence[str | int]) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _cannot(path: Sequence[str | int], found: object, wanted: str | list[str]) -> str:
    words = [wanted] if isinstance(wanted, str) else list(wanted)
    to = next((w for w in words if w != "null"), "string")
    given = {bool: "bool", int: "number", float: "number", str: "string", list: "array"}
    shown = given.get(type(found), "object")
    names = ".".join(str(step) for step in path if isinstance(step, str))
    return f"json: cannot unmarshal {shown} into Go struct field {names} of type {_GO.get(to, to)}"


def decode(kind: Kind, made: dict[str, Any], how: str) -> tuple[dict[str, Any], list[str], Faults]:
    """*made* without fields that do not exist, and the warnings about them.

    *how* is the query's ``fieldValidation``. Raises a 400 as the server's decoder does.
    """
    faults = check(kind, made)
    if faults.wrong:
        raise _undecodable(kind, faults.wrong[0])
    said = [f'unknown field "{_dotted(path)}"' for path in faults.unknown]
    if said and how == "Strict":
        raise _undecodable(kind, f"strict decoding error: {', '.join(said)}")
    for path in faults.unknown:
        at: Any = made
        for step in path[:-1]:
            at = at[step]
        at.pop(path[-1], None)
    return made, [] if how == "Ignore" else said, faults


def _undecodable(kind: Kind, why: str) -> Refusal:
    return Refusal(400, f'{kind.kind} in version "v1" cannot be handled as a {kind.kind}: {why}')

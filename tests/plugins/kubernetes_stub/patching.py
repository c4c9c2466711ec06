"""PATCH: merge patches, JSON patches, and as much of strategic merges as metadata needs."""

from __future__ import annotations

import json
from typing import Any

from .refusals import Refusal

_KEYS = {"ownerReferences": "uid", "containers": "name", "volumes": "name", "env": "name"}


def apply(content_type: str, body: bytes, found: dict[str, Any]) -> dict[str, Any]:
    """*found*, changed as *body* says in the language of *content_type*."""
    kind = content_type.partition(";")[0].strip()
    try:
        patch = json.loads(body)
    except ValueError as error:
        raise Refusal(400, f"error decoding patch: {error}") from error
    match kind:
        case "application/merge-patch+json":
            return _merge(found, patch, strategic=False)
        case "application/strategic-merge-patch+json" | "application/apply-patch+yaml":
            return _merge(found, patch, strategic=True)
        case "application/json-patch+json":
            for step in patch:
                _step(found, step)
            return found
        case _:
            raise Refusal(415, "415: Unsupported Media Type")


def _merge(found: Any, patch: Any, *, strategic: bool) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(found) if isinstance(found, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif strategic and isinstance(value, list) and key in _KEYS:
            merged[key] = _merge_list(merged.get(key) or [], value, _KEYS[key])
        elif strategic and key == "finalizers":
            merged[key] = list(dict.fromkeys([*(merged.get(key) or ()), *value]))
        else:
            merged[key] = _merge(merged.get(key), value, strategic=strategic)
    return merged


def _merge_list(found: list[Any], patch: list[Any], by: str) -> list[Any]:
    merged = {entry[by]: entry for entry in found}
    for entry in patch:
        if entry.get("$patch") == "delete":
            merged.pop(entry[by], None)
        else:
            merged[entry[by]] = _merge(merged.get(entry[by]), entry, strategic=True)
    return list(merged.values())


def _step(found: Any, step: dict[str, Any]) -> None:
    path = [p.replace("~1", "/").replace("~0", "~") for p in step["path"].split("/")[1:]]
    at = found
    for part in path[:-1]:
        at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
    last = path[-1]
    match step["op"]:
        case "add" | "replace" if isinstance(at, list):
            if last == "-":
                at.append(step["value"])
            elif step["op"] == "add":
                at.insert(int(last), step["value"])
            else:
                at[int(last)] = step["value"]
        case "add" | "replace":
            at[last] = step["value"]
        case "remove" if isinstance(at, list):
            at.pop(int(last))
        case "remove":
            at.pop(last, None)
        case "test":
            if at.get(last) != step["value"]:
                raise Refusal(422, f"the server rejected our request: testing path {step['path']}")
        case other:
            raise Refusal(400, f"unexpected kind of operation: {other}")

"""Which rows of the fit table a spec asks for, each with the value to show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, cast

from attrs import frozen

from ..oci import Platform
from ..spec import Cache, ResourceAmounts, ResourceSettings, StepSpec

__all__ = ["Want", "looks_secret", "shown", "wants"]

HIDDEN: Final = "***"
_SECRET = re.compile(
    r"(?:^|[^a-z])(?:[a-z]*token|passwd|[a-z]*password|[a-z]*secrets?|(?:api|access|private)?keys?"
    r"|credentials?)(?:$|[^a-z])",
    re.IGNORECASE,
)
_LOGIN = re.compile(r"(?<=:)//[^/@\s]+@")


@frozen
class Want:
    """A setting that was asked for: its name, its value in words, its row in the table."""

    setting: str
    value: str
    row: str


def wants(spec: StepSpec, *, host: Platform) -> Iterator[Want]:
    """What *spec* asks for: the settings that differ from their defaults, and the essentials."""
    for name, field in StepSpec.model_fields.items():
        value: object = getattr(spec, name)
        if name in ("repo", "tags") or value != field.get_default(call_default_factory=True):
            for row in _rows(spec, name, host):
                yield Want(name, _value(name, value), row)


def _rows(spec: StepSpec, name: str, host: Platform) -> Iterator[str]:
    match name:
        case "platforms":
            yield from _platform_rows(spec.platforms, host)
        case "network" if spec.network == "none":
            yield "network: none"
        case "network" if spec.network not in ("default", "none", "host"):
            yield "network: by name"
        case "reproducible" if spec.reproducible == "strict":
            yield "reproducible: strict"
        case "cache_from":
            yield from _cache_rows(name, spec.cache_from)
        case "cache_to":
            yield from _cache_rows(name, spec.cache_to)
        case "resources":
            kinds = {"": spec.resources.limits, ": requests": spec.resources.requests}
            yield from (f"{name}{k}" for k, v in kinds.items() if v != ResourceAmounts())
        case "build_contexts":
            layouts = (v.startswith("oci-layout:") for v in spec.build_contexts.values())
            yield from (name, "build_contexts: layouts") if any(layouts) else (name,)
        case "outputs":
            yield from sorted(
                {f"{name}: local" if o.type == "local" else name for o in spec.outputs}
            )
        case _:
            yield name


def _platform_rows(platforms: tuple[Platform, ...], host: Platform) -> Iterator[str]:
    if platforms == (host,):
        yield "platforms"
    if any(platform != host for platform in platforms):
        yield "platforms: foreign"
    if len(platforms) > 1:
        yield "platforms: several"


def _cache_rows(name: str, caches: Iterable[Cache]) -> Iterator[str]:
    kinds = {"" if cache.type == "registry" else ": elsewhere" for cache in caches}
    for kind in sorted(kinds):
        yield f"{name}{kind}"


def _value(name: str, value: object) -> str:
    """Show *value*, unless it could hold a secret: then only its names."""
    match name, value:
        case (("secrets" | "ssh" | "env_variables"), Mapping()):
            return ", ".join(cast("Mapping[str, object]", value))
        case "hidden", tuple():
            return f"{len(cast('tuple[object, ...]', value))} values"
        case _:
            return shown(value)


def shown(value: object) -> str:
    """A value in words: items joined by commas, pairs as ``name=value``."""
    match value:
        case bool():
            return "yes" if value else "no"
        case None:
            return "none"
        case float():
            return f"{value:g}"
        case ResourceSettings():
            return shown(value.model_dump(exclude_none=True))
        case Mapping():
            pairs = cast("Mapping[str, object]", value).items()
            return ", ".join(
                f"{key}={HIDDEN if looks_secret(key) else shown(item)}" for key, item in pairs
            )
        case list() | tuple():
            return ", ".join(map(shown, cast("tuple[object, ...]", value)))
        case frozenset():
            return ", ".join(sorted(map(shown, cast("frozenset[object]", value))))
        case _:
            return _LOGIN.sub(f"//{HIDDEN}@", str(value))


def looks_secret(name: str) -> bool:
    """Whether a name reads like that of a secret: one of its words is token or key."""
    return bool(_SECRET.search(name))

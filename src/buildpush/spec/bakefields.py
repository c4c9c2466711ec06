"""The fields of a bake target, one by one: from what buildx prints to values of settings.

Every function raises ValueError saying what a step cannot do; the caller names target and field.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from attrs import field, frozen
from pydantic import SecretStr

from ..oci import Platform
from .readers import read_cache
from .texts import fields as csv_fields
from .values import Cache, FromEnv, Output, SecretSource

__all__ = ["LINK", "Outputs", "Surroundings"]

LINK: Final = "target:"
_HERE: Final = "cwd://"
_OWN: Final = frozenset({"network.host", "security.insecure"})
_ELSEWHERE: Final = re.compile(r"[a-z][a-z0-9+.-]*://|git@|github\.com/|target:|-$")
_TRUE: Final = frozenset({"1", "t", "true"})
_SILENT: Final[Mapping[str, frozenset[str]]] = {
    # What a step does anyway, or what only concerns an engine's own store.
    "oci-mediatypes": frozenset({"true"}),
    "force-compression": frozenset({"false"}),
    "store": frozenset({"true", "false"}),
    "unpack": frozenset({"true", "false"}),
    "push-by-digest": frozenset({"false"}),
    "platform-split": frozenset({"false"}),
}

Entry = str | Mapping[str, Any]


def _copy(mapping: Mapping[str, str]) -> Mapping[str, str]:
    return dict(mapping)


@frozen(kw_only=True)
class Surroundings:
    """Where a bake file is read.

    Relative paths begin at *cwd*, as they do for buildx; *folder* is where targets leave the
    images that others build on; *host* is what the platform ``local`` means. *variables* are
    values that win over the environment's, of which *known* are the names; *link_tags* are the
    tags of linked targets' images.
    """

    cwd: Path
    folder: Path
    host: Platform
    variables: Mapping[str, str] = field(factory=dict[str, str], converter=_copy, repr=False)
    known: frozenset[str] = frozenset()
    link_tags: Mapping[str, str] = field(factory=dict[str, str], converter=_copy)

    def path(self, text: str) -> Path:
        """A path as buildx understands it, absolute."""
        return self.cwd / text.removeprefix(_HERE)

    def link(self, target: str) -> Path:
        """Where the image of a linked target is kept, as an OCI layout."""
        return self.folder / "images" / target


@frozen(kw_only=True)
class Outputs:
    """What a target's outputs come to: whether it is pushed, names, files, and the layers' form."""

    push: bool = True
    names: tuple[str, ...] = ()
    files: tuple[Output, ...] = ()
    form: Mapping[str, str] = field(factory=dict[str, str], converter=_copy)
    needs_epoch: bool = False


def unescaped(text: str) -> str:
    """Undo buildx's escapes, which let what it prints be read as a bake file again."""
    return text.replace("$${", "${").replace("%%{", "%{")


def plain(mapping: Mapping[str, str | None]) -> dict[str, str]:
    """The pairs that have a value; null is buildx's way to take a pair back."""
    return {name: unescaped(text) for name, text in mapping.items() if text is not None}


def path_component(name: str) -> str:
    """A target's name as the name of an image."""
    return re.sub("[^a-z0-9]+", "-", name.lower()).strip("-") or "target"


def context(text: str, around: Surroundings) -> Path:
    """The build context: a folder of this machine."""
    local = text.removeprefix(_HERE)
    if _ELSEWHERE.match(local):
        raise ValueError(f"{_shape(text)} is not a folder: clone or download it first")
    return around.path(text)


def named_contexts(mapping: Mapping[str, str], around: Surroundings) -> Mapping[str, object]:
    """Named contexts; folders and layouts become absolute, links to targets become layouts."""
    found: dict[str, str] = {}
    for name, text in mapping.items():
        scheme, mark, rest = text.partition("://")
        if text.startswith(LINK):
            target = text.removeprefix(LINK)
            found[name] = f"oci-layout://{around.link(target)}:{around.link_tags[target]}"
        elif mark and scheme == "oci-layout":
            found[name] = f"oci-layout://{around.cwd / rest}"
        elif scheme == "cwd" or not _ELSEWHERE.match(text):
            found[name] = str(around.path(text))
        else:
            found[name] = text
    return {"build_contexts": found}


def dockerfile(text: str, context_text: str, around: Surroundings) -> Mapping[str, object]:
    """The Dockerfile: in the build context, unless its path is absolute or of the caller's."""
    if text.startswith(_HERE):
        return {"dockerfile": around.path(text)}
    if _ELSEWHERE.match(text):
        raise ValueError(f"{_shape(text)} is not a file: download it first")
    return {"dockerfile": around.path(context_text) / text}


def build_args(mapping: Mapping[str, str | None]) -> Mapping[str, object]:
    """Build args; SOURCE_DATE_EPOCH, which BuildKit takes as one, is a setting of its own."""
    args = plain(mapping)
    epoch = args.pop("SOURCE_DATE_EPOCH", "")
    return {"build_args": args, "source_date_epoch": epoch}


def image_annotations(items: Iterable[str]) -> Mapping[str, str]:
    """Annotations, once for each level that their prefix lists."""
    found: dict[str, str] = {}
    for item in items:
        name, equals, value = unescaped(item).partition("=")
        if not equals:
            raise ValueError(f"expected name=value, not {item!r}")
        levels, colon, bare = name.partition(":")
        listed = colon and "," in levels and "/" not in levels.partition("[")[0]
        for full in [f"{level}:{bare}" for level in levels.split(",")] if listed else [name]:
            found[full] = value
    return found


def platforms(items: Iterable[str], around: Surroundings) -> tuple[str, ...]:
    """Platforms; ``local`` is this machine's."""
    return tuple(str(around.host) if item == "local" else item for item in items)


def caches(entries: Iterable[Entry], around: Surroundings) -> tuple[Cache, ...]:
    """Caches; trouble with one fails the build only where ``ignore-error=false`` says so."""
    found: list[Cache] = []
    for entry in entries:
        given = _pairs(entry, bare="ref")
        ignored = given.pop("ignore-error", "true").lower()
        if ignored not in _TRUE:
            given["required"] = "true"
        if given.get("type") == "local":
            given |= {k: str(around.path(given[k])) for k in ("src", "dest") if k in given}
        found.append(read_cache(given))
    return tuple(found)


def secrets(entries: Iterable[Entry], around: Surroundings) -> Mapping[str, SecretSource]:
    """Secrets by id: a file, or a variable; with neither, the variable or file of that name."""
    found: dict[str, SecretSource] = {}
    for entry in entries:
        given = _pairs(entry, bare="id")
        kind, name = given.pop("type", ""), given.pop("id", "")
        file = given.pop("src", "") or given.pop("source", "")
        variable = given.pop("env", "")
        _nothing_left(given)
        if kind == "env" and not variable:
            file, variable = "", file
        if not file and not variable:
            here = name in around.known or name in around.variables
            file, variable = ("", name) if here else (name, "")
        if file:
            found[name] = around.path(file)
        elif variable in around.variables:
            found[name] = SecretStr(around.variables[variable])
        else:
            found[name] = FromEnv(variable)
    return found


def ssh(entries: Iterable[Entry], around: Surroundings) -> Mapping[str, object]:
    """SSH agents by id; without a path, the agent of SSH_AUTH_SOCK."""
    found: dict[str, object] = {}
    for entry in entries:
        if isinstance(entry, str):
            name, _, listed = entry.partition("=")
            paths = [path for path in listed.split(",") if path]
        else:
            name, paths = str(entry.get("id", "")), [str(p) for p in entry.get("paths") or ()]
        if len(paths) > 1:
            raise ValueError(f"{name} has {len(paths)} keys: a step takes one, or an agent")
        found[name or "default"] = around.path(paths[0]) if paths else FromEnv("SSH_AUTH_SOCK")
    return found


def hosts(mapping: Mapping[str, str | None]) -> Mapping[str, str]:
    """Host names with their address."""
    for name, text in mapping.items():
        if "," in (text or ""):
            raise ValueError(f"{name} has several addresses: a step takes one")
    return plain(mapping)


def entitlements(items: Iterable[str]) -> Mapping[str, object]:
    """Nothing: a backend asks for what the Dockerfile and the network setting need."""
    for item in items:
        if item not in _OWN:
            raise ValueError(f"a step cannot ask for {item}")
    return {}


def call(text: str) -> Mapping[str, object]:
    """Nothing: a step builds."""
    if text not in ("", "build"):
        raise ValueError(f"a step builds, and does not {text}")
    return {}


def attestations(entries: Iterable[Entry]) -> Mapping[str, object]:
    """Provenance and SBOM, unless disabled."""
    found: dict[str, object] = {}
    for entry in entries:
        given = _pairs(entry, bare="type")
        kind, off = given.pop("type", ""), given.pop("disabled", "false").lower() in _TRUE
        if off:
            continue
        if kind == "provenance":
            # Without a mode, BuildKit records all it knows.
            found["provenance"] = given.pop("mode", "max")
        elif kind == "sbom":
            generator = given.pop("generator", "")
            found["sbom"] = f"generator={generator}" if generator else True
        else:
            raise ValueError(f"unknown type {kind!r}: expected provenance or sbom")
        _nothing_left(given)
    return found


def outputs(entries: Iterable[Entry], around: Surroundings) -> Outputs:
    """What the outputs come to. Without any, the image is pushed: that is what a step is for."""
    pushes: list[bool] = []
    names: list[str] = []
    files: list[Output] = []
    form: dict[str, str] = {}
    needs_epoch = False
    for entry in entries:
        given = _output(entry)
        kind = given.pop("type", "")
        needs_epoch |= given.pop("rewrite-timestamp", "false").lower() in _TRUE
        names += [name for name in given.pop("name", "").split(",") if name]
        for key in ("compression", "compression-level"):
            if key in given:
                setting = key.replace("-", "_")
                if form.setdefault(setting, given[key]) != given.pop(key):
                    raise ValueError(f"two values of {key}: a step has one")
        if kind in ("image", "registry"):
            asked = given.pop("push", "true" if kind == "registry" else "false")
            pushes.append(asked.lower() in _TRUE)
        elif kind != "cacheonly":
            files.append(_file(kind, given, around))
        _nothing_left({k: v for k, v in given.items() if v.lower() not in _SILENT.get(k, ())})
        pushes.append(False)
    return Outputs(
        push=any(pushes) or not pushes,
        names=tuple(dict.fromkeys(names)),
        files=tuple(files),
        form=form,
        needs_epoch=needs_epoch,
    )


def _output(entry: Entry) -> dict[str, str]:
    if isinstance(entry, str) and "=" not in entry:
        return {"type": "local", "dest": entry}
    return _pairs(entry, bare="type")


def _file(kind: str, given: dict[str, str], around: Surroundings) -> Output:
    """A file or folder that gets the image; takes what it understands out of *given*."""
    place = given.pop("dest", "")
    folder = given.pop("tar", "true").lower() not in _TRUE
    if kind not in ("oci", "docker", "local"):
        raise ValueError(f"a step cannot write type={kind}: use oci, docker, local or image")
    if place in ("", "-"):
        where = (
            "into an engine's store" if kind == "docker" and not place else "to standard output"
        )
        raise ValueError(f"type={kind} without dest goes {where}: a step writes to dest=PATH")
    path = around.path(place)
    match kind:
        case "oci":
            if (path.suffix == ".tar") is folder:
                raise ValueError(
                    "type=oci: a step writes a file when dest ends in .tar, and else a folder"
                )
            return Output(type="oci", destination=path)
        case "docker":
            if folder:
                raise ValueError("type=docker: a step writes an archive, not a folder")
            return Output(type="docker", destination=path)
        case _:
            return Output(type="local", destination=path)


def _pairs(entry: Entry, *, bare: str) -> dict[str, str]:
    """One entry as texts by key: newer versions print objects, older ones ``key=value,…``."""
    if isinstance(entry, str):
        return csv_fields(entry) if "=" in entry else {bare: entry}
    return {
        key: str(item).lower() if isinstance(item, bool) else str(item)
        for key, item in entry.items()
    }


def _nothing_left(given: Mapping[str, str]) -> None:
    if given:
        raise ValueError(f"a step has nothing like {', '.join(sorted(given))}")


def _shape(text: str) -> str:
    """What a place looks like, without what may be a login."""
    scheme, mark, _ = text.partition("://")
    return f"{scheme}://…" if mark else repr(text.partition("@")[0])

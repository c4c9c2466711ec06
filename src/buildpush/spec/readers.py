"""From one setting's text or mapping to its value: references, caches, outputs, limits, secrets.

Every function raises ValueError (often `InvalidReferenceError`) saying what was expected.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Final, cast

from pydantic import SecretStr

from ..errors import InvalidReferenceError
from ..oci import Digest, ImageReference, Platform, Repository
from .texts import fields, kind_of, listed, plain_text, splitter
from .values import Cache, FromEnv, Output, SecretSource, SshSource, Ulimit

CACHE_TYPES: Final = ("registry", "inline", "local", "gha", "s3", "azblob")
OUTPUT_TYPES: Final = ("oci", "docker", "local")
_CREDENTIALS: Final = frozenset(
    {"access_key_id", "ghtoken", "secret_access_key", "session_token", "token"}
)
_LIMITS: Final = re.compile(
    "core|cpu|data|fsize|locks|memlock|msgqueue|nice|nofile|nproc|rss|rtprio|rttime|sigpending"
    "|stack"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_HOST = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::[0-9]+)?")
_LEVEL = re.compile(r"(index|manifest)(?:\[([^\]]*)\])?")


def read_repository(value: object) -> Repository:
    """A repository without tag or digest."""
    if isinstance(value, Repository):
        return value
    text = plain_text(value)
    reference = ImageReference.parse(text)
    if reference.digest is not None:
        raise InvalidReferenceError(
            f"a repository has no digest: {text!r}", hint="give only the name"
        )
    if ":" in text.rpartition("/")[2]:
        raise InvalidReferenceError(
            f"a repository has no tag: {text!r}", hint=f"put the tag in tags: {reference.tag}"
        )
    return reference.repository


def read_reference(value: object) -> ImageReference:
    """An image reference, as ``docker pull`` reads it."""
    return value if isinstance(value, ImageReference) else ImageReference.parse(plain_text(value))


def read_destination(value: object) -> ImageReference:
    """A repository, which is to get every tag, or a reference with the one tag it is to get."""
    if isinstance(value, Repository):
        return ImageReference(repository=value)
    reference = read_reference(value)
    if reference.digest is not None:
        raise InvalidReferenceError(
            f"a destination has no digest: {str(reference)!r}", hint="name it by tag"
        )
    bare = isinstance(value, str) and ":" not in value.rpartition("/")[2]
    return ImageReference(repository=reference.repository) if bare else reference


def read_digest(value: object) -> Digest:
    """``sha256:`` and 64 hexadecimal digits."""
    return value if isinstance(value, Digest) else Digest(plain_text(value))


def read_tag(value: object) -> str:
    """One tag, as the distribution-spec writes it."""
    text = plain_text(value)
    if not _TAG.fullmatch(text):
        raise ValueError(
            f"bad tag {text!r}: expected letters, digits, '_', '.' and '-' (not '.' or '-' first),"
            " at most 128"
        )
    return text


def read_platform(value: object) -> Platform:
    """``os/arch[/variant]``."""
    return value if isinstance(value, Platform) else Platform.parse(plain_text(value))


def read_path(value: object) -> Path:
    """A file or folder on this machine; what would have to be fetched is refused."""
    if isinstance(value, Path):
        return value
    text = plain_text(value)
    if text in ("", "-") or "://" in text or text.startswith("git@"):
        raise ValueError("expected a path on this machine: fetch or clone what is elsewhere first")
    return Path(text)


def read_cache(value: object) -> Cache:
    """``type=registry,ref=…`` as text or mapping, or a bare reference: a registry cache."""
    if isinstance(value, Cache):
        _refuse_credentials(value.attributes)
        return value
    attributes = _attributes(value, bare="ref")
    kind = attributes.pop("type", "registry")
    required = attributes.pop("required", "false").lower() in ("", "1", "true")
    if kind not in CACHE_TYPES:
        raise ValueError(f"unknown cache type {kind!r}: expected one of {', '.join(CACHE_TYPES)}")
    if kind == "registry":
        if not attributes.get("ref"):
            raise ValueError("a registry cache needs ref=<image reference>")
        ImageReference.parse(attributes["ref"])
    _refuse_credentials(attributes)
    return Cache(type=kind, attributes=attributes, required=required)


def _refuse_credentials(attributes: Mapping[str, str]) -> None:
    held = sorted(name for name in attributes if name.lower() in _CREDENTIALS)
    if held:
        raise ValueError(
            f"{', '.join(held)} must not be in a setting: give it to the backend's environment"
        )


def read_output(value: object) -> Output:
    """``type=oci,dest=PATH`` as text or mapping; a bare path gets the image's files."""
    if isinstance(value, Output):
        return value
    attributes = _attributes(value, bare="dest")
    kind = attributes.pop("type", "local")
    places = [attributes.pop(key, "") for key in ("dest", "destination")]
    place = places[0] or places[1]
    if kind not in OUTPUT_TYPES:
        raise ValueError(f"unknown type {kind!r}: expected one of {', '.join(OUTPUT_TYPES)}")
    if attributes:
        raise ValueError(f"unknown key {min(attributes)!r}: expected type and dest")
    if place in ("", "-"):
        raise ValueError("expected dest=PATH")
    match kind:
        case "oci":
            return Output(type="oci", destination=Path(place))
        case "docker":
            return Output(type="docker", destination=Path(place))
        case _:
            return Output(type="local", destination=Path(place))


def _attributes(value: object, *, bare: str) -> dict[str, str]:
    match value:
        case Mapping():
            items = cast("Mapping[object, object]", value).items()
            return {plain_text(key).lower(): _attribute(item) for key, item in items}
        case Path():
            return {bare: str(value)}
        case _:
            text = plain_text(value)
    return fields(text) if "=" in text else {bare: text}


def _attribute(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case Path():
            return str(value)
        case _:
            return plain_text(value)


def read_ulimit(value: object) -> Ulimit:
    """``nofile=1024:2048`` or ``nofile=1024``; -1 is no limit."""
    if isinstance(value, Ulimit):
        return value
    name, equals, amounts = plain_text(value).partition("=")
    soft, _, hard = amounts.partition(":")
    try:
        limit = Ulimit(name=name, soft=int(soft), hard=int(hard or soft))
    except ValueError:
        limit = None
    if not equals or limit is None or min(limit.soft, limit.hard) < -1:
        raise ValueError("expected name=soft[:hard] such as nofile=1024:2048")
    if not _LIMITS.fullmatch(name):
        raise ValueError(f"unknown limit {name!r}: expected a name such as nofile or nproc")
    if limit.hard != -1 and not -1 < limit.soft <= limit.hard:
        raise ValueError(f"{name}: the soft limit is above the hard limit")
    return limit


def ulimit_items(value: object) -> object:
    """Turn ``{"nofile": 1024}``, ``{"nofile": "1024:2048"}`` and pairs into texts."""
    if not isinstance(value, Mapping):
        return value
    items = cast("Mapping[object, object]", value).items()
    return [f"{plain_text(name)}={_amounts(amounts)}" for name, amounts in items]


def _amounts(value: object) -> str:
    if isinstance(value, list | tuple):
        return ":".join(map(plain_text, cast("tuple[object, ...]", value)))
    return plain_text(value)


def host_items(value: object) -> object:
    """Turn ``name:address`` and ``name=address`` texts into a mapping."""
    if isinstance(value, str):
        value = value.splitlines()
    if not isinstance(value, list | tuple):
        return value
    found: dict[str, str] = {}
    for item in cast("tuple[object, ...]", value):
        parts = re.split("[:=]", plain_text(item), maxsplit=1)
        if len(parts) != 2:
            raise ValueError("expected name:address")
        found[parts[0]] = parts[1]
    return found


def read_address(value: object) -> str:
    """An IPv4 or IPv6 address (brackets allowed), or docker's ``host-gateway``."""
    text = plain_text(value)
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if bare != "host-gateway":
        try:
            ipaddress.ip_address(bare)
        except ValueError:
            raise ValueError(f"not an IP address: {text!r}") from None
    return bare


def read_host(value: object) -> str:
    """A registry host, with its port when it has one."""
    text = plain_text(value)
    if not _HOST.fullmatch(text):
        raise ValueError(f"expected a registry host such as localhost:5000, not {text!r}")
    return text


def read_mirror(value: object) -> str:
    """A registry host, and maybe a path below it."""
    text = plain_text(value)
    host, slash, path = text.partition("/")
    read_host(host)
    if slash:
        Repository.parse(f"{host}/{path}")
    return text


def mirror_items(value: object) -> object:
    """Mirrors by host, each one or several; text and lists hold ``HOST=MIRROR``."""
    if isinstance(value, Mapping):
        return {key: listed(item) for key, item in cast("Mapping[object, object]", value).items()}
    found: dict[str, list[str]] = {}
    for item in cast("Iterable[object]", splitter(value)):
        host, equals, mirror = plain_text(item).partition("=")
        if not equals:
            raise ValueError(f"expected HOST=MIRROR, not {item!r}")
        found.setdefault(host, []).append(mirror)
    return found


def read_network(value: object) -> str:
    """``default``, ``none``, ``host``, or the name of a network."""
    text = plain_text(value)
    if not _NAME.fullmatch(text):
        raise ValueError("expected default, none, host or the name of a network")
    return text


def read_name(value: object) -> str:
    """The name of a secret, a build arg, a stage: text that is not empty, without ``=``."""
    text = plain_text(value)
    if not text or "=" in text or "\0" in text or text != text.strip():
        raise ValueError("expected a name: not empty, without '=' or spaces around it")
    return text


def read_secret_id(value: object) -> str:
    """The id of a secret or SSH agent: it becomes a file's name, so it has no slash."""
    text = plain_text(value)
    if not _NAME.fullmatch(text):
        raise ValueError("expected an id of letters, digits, '_', '.' and '-'")
    return text


def read_secret(value: object) -> SecretSource:
    """A secret's source: text is the value itself; `Path` a file; `FromEnv` a variable.

    From YAML, ``{env: NAME}`` and ``{file: PATH}`` say the latter two.
    """
    match value:
        case SecretStr() | Path() | FromEnv():
            return value
        case str():
            return SecretStr(value)
        case Mapping():
            return _source(dict(cast("Mapping[object, object]", value)))
        case _:
            raise ValueError(f"expected text, SecretStr, Path or FromEnv, not {kind_of(value)}")


def _source(fields: dict[object, object]) -> Path | FromEnv:
    """Read ``{env: NAME}`` or ``{file: PATH}``."""
    match list(fields.items()):
        case [("env", str(name))] if name:
            return FromEnv(name)
        case [("file", (str() | Path()) as path)] if path:
            return Path(path)
        case _:
            raise ValueError("expected {env: NAME} or {file: PATH}")


def secret_items(value: object) -> object:
    """Turn docker's ``id=NAME,src=FILE`` and ``id=NAME,env=VARIABLE`` texts into a mapping."""
    if isinstance(value, str):
        value = value.splitlines()
    if not isinstance(value, list | tuple):
        return {} if value is None else value
    found: dict[str, SecretSource] = {}
    for item in cast("tuple[object, ...]", value):
        parts = fields(item) if isinstance(item, str) else {}
        name, file = parts.get("id", ""), parts.get("src") or parts.get("source")
        if not name or not parts.keys() <= {"id", "src", "source", "env", "type"}:
            raise ValueError("expected id=NAME,src=FILE or id=NAME,env=VARIABLE")
        found[name] = Path(file) if file else FromEnv(parts.get("env") or name)
    return found


def ssh_items(value: object) -> object:
    """Turn docker's ``default`` and ``id=PATH`` texts into a mapping."""
    if value is True:
        return {"default": True}
    if value is False or value is None:
        return {}
    if isinstance(value, str):
        value = value.splitlines()
    if not isinstance(value, list | tuple):
        return value
    found: dict[str, object] = {}
    for item in cast("tuple[object, ...]", value):
        name, _, path = plain_text(item).partition("=")
        found[name] = path or True
    return found


def read_ssh(value: object) -> SshSource:
    """An agent's socket or a key's file; true or empty for the agent in ``SSH_AUTH_SOCK``."""
    match value:
        case Path() | FromEnv():
            return value
        case Mapping():
            return _source(dict(cast("Mapping[object, object]", value)))
        case True | None | "":
            return FromEnv("SSH_AUTH_SOCK")
        case str():
            return Path(value)
        case _:
            raise ValueError(f"expected a path, not {kind_of(value)}")


def read_annotation_name(value: object) -> str:
    """An annotation's name, with docker's level prefix normalised.

    ``manifest:name`` is ``name``; ``index:name`` and ``manifest[linux/arm64]:name`` stay.
    """
    text = read_name(value)
    level, colon, name = text.partition(":")
    found = _LEVEL.fullmatch(level)
    if not colon or (found is None and "/" in level) or (found is None and "." in level):
        return text
    if found is None or not name:
        raise ValueError(
            f"unknown level {level!r}: expected index:, manifest: or manifest[platform]:"
        )
    if found[2] is None:
        return name if found[1] == "manifest" else text
    if found[1] == "index":
        raise ValueError("an index has no platform: write index:")
    return f"manifest[{Platform.parse(found[2])}]:{name}"


def read_provenance(value: object) -> str | None:
    """``min``, ``max``, ``mode=…``; true is ``min``, false and None are none."""
    match value:
        case None | False | "false" | "":
            return None
        case True | "true":
            return "min"
        case str() if value.removeprefix("mode=") in ("min", "max"):
            return value.removeprefix("mode=")
        case _:
            raise ValueError("expected min, max, true or false")


def read_sbom(value: object) -> bool | str:
    """True or false, or ``generator=IMAGE``: the scanner that makes the SBOM."""
    match value:
        case bool():
            return value
        case None | "" | "false":
            return False
        case "true":
            return True
        case str() if value.startswith("generator="):
            ImageReference.parse(value.removeprefix("generator="))
            return value
        case _:
            raise ValueError("expected true, false or generator=IMAGE")


def read_epoch(value: object) -> int | None:
    """Seconds since 1970 as a whole number or digits, or a `datetime` with a time zone."""
    match value:
        case None | "":
            return None
        case datetime() if value.tzinfo is not None:
            seconds = int(value.timestamp())
        case bool():
            raise ValueError("expected seconds since 1970, not true or false")
        case int():
            seconds = value
        case str() if value.isascii() and value.isdigit():
            seconds = int(value)
        case datetime():
            raise ValueError("expected a datetime with a time zone")
        case _:
            raise ValueError("expected seconds since 1970, or a datetime with a time zone")
    if seconds < 0:
        raise ValueError("expected seconds since 1970, not negative")
    return seconds

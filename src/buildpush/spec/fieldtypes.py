"""The types of the settings: what each accepts, and the one value it is kept as."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PlainValidator,
    model_validator,
)
from pydantic.alias_generators import to_camel

from ..oci import Digest, ImageReference, Platform, Repository
from .quantities import parse_cpu, parse_memory, parse_size, parse_timeout
from .readers import (
    host_items,
    mirror_items,
    read_address,
    read_annotation_name,
    read_cache,
    read_destination,
    read_digest,
    read_epoch,
    read_host,
    read_mirror,
    read_name,
    read_network,
    read_output,
    read_path,
    read_platform,
    read_provenance,
    read_reference,
    read_repository,
    read_sbom,
    read_secret,
    read_secret_id,
    read_ssh,
    read_tag,
    read_ulimit,
    secret_items,
    ssh_items,
    ulimit_items,
)
from .texts import listed, plain_text, splitter, text_items
from .values import Cache, FromEnv, Output, SecretSource, SshSource, Ulimit

T = TypeVar("T")


def _unique(items: tuple[T, ...]) -> tuple[T, ...]:
    """Drop repetitions, keep the order."""
    return tuple(dict.fromkeys(items))


def _read(read: Callable[[Any], object], *, given: Any = str) -> PlainValidator:
    return PlainValidator(read, json_schema_input_type=given)


def _optional(read: Callable[[object], object]) -> BeforeValidator:
    """Apply *read* to what is given; null and empty text are "not given"."""
    return BeforeValidator(lambda value: None if value in (None, "") else read(value))


def _show_source(source: object) -> object:
    match source:
        case Path():
            return {"file": str(source)}
        case FromEnv(name):
            return {"env": name}
        case _:
            return {"value": "**********"}  # not text: that would be read back as the secret


_as_text = PlainSerializer(str, return_type=str, when_used="json")
_as_source = PlainSerializer(_show_source, when_used="json")

_as_optional_text = PlainSerializer(
    lambda value: None if value is None else str(value), when_used="json"
)


def _digest(value: object) -> Digest | None:
    return None if value in (None, "") else read_digest(value)


Text = Annotated[str, BeforeValidator(plain_text)]
OptionalText = Annotated[str | None, _optional(plain_text)]
Name = Annotated[str, _read(read_name)]
Names = Annotated[tuple[Name, ...], BeforeValidator(splitter), AfterValidator(_unique)]
LocalPath = Annotated[Path, BeforeValidator(read_path)]

RepositoryName = Annotated[Repository, _read(read_repository), _as_text]
Reference = Annotated[ImageReference, _read(read_reference), _as_text]
Tag = Annotated[str, _read(read_tag)]
Tags = Annotated[
    tuple[Tag, ...],
    BeforeValidator(splitter),
    Field(min_length=1),
    AfterValidator(_unique),
]
PlatformName = Annotated[Platform, _read(read_platform), _as_text]
Platforms = Annotated[tuple[PlatformName, ...], BeforeValidator(splitter), AfterValidator(_unique)]

TextMap = Annotated[Mapping[Name, Text], BeforeValidator(text_items)]
Annotations = Annotated[
    Mapping[Annotated[str, _read(read_annotation_name)], Text],
    BeforeValidator(text_items),
]
SecretId = Annotated[str, _read(read_secret_id)]
Source = Annotated[SecretSource, _read(read_secret, given=str | Mapping[str, str]), _as_source]
Secrets = Annotated[Mapping[SecretId, Source], BeforeValidator(secret_items)]
SecretVariables = Annotated[Mapping[SecretId, Name], BeforeValidator(text_items)]
SecretFiles = Annotated[Mapping[SecretId, LocalPath], BeforeValidator(text_items)]
Agent = Annotated[SshSource, _read(read_ssh, given=str | bool), _as_source]
Agents = Annotated[Mapping[SecretId, Agent], BeforeValidator(ssh_items)]

Caches = Annotated[
    tuple[Annotated[Cache, _read(read_cache, given=str | Mapping[str, str]), _as_text], ...],
    BeforeValidator(
        lambda value: [value] if isinstance(value, Mapping | Cache) else listed(value)
    ),
]
Outputs = Annotated[
    tuple[Annotated[Output, _read(read_output, given=str | Mapping[str, str]), _as_text], ...],
    BeforeValidator(
        lambda value: [value] if isinstance(value, Mapping | Output | Path) else listed(value)
    ),
]
Ulimits = Annotated[
    tuple[Annotated[Ulimit, _read(read_ulimit), _as_text], ...],
    BeforeValidator(lambda value: listed(ulimit_items(value))),
]
Hosts = Annotated[Mapping[Name, Annotated[str, _read(read_address)]], BeforeValidator(host_items)]
Mirrors = Annotated[
    Mapping[Annotated[str, _read(read_host)], tuple[Annotated[str, _read(read_mirror)], ...]],
    BeforeValidator(mirror_items),
]
Destinations = Annotated[
    tuple[Annotated[ImageReference, _read(read_destination), _as_text], ...],
    BeforeValidator(splitter),
    AfterValidator(_unique),
]
DigestText = Annotated[
    Digest | None, PlainValidator(_digest, json_schema_input_type=str | None), _as_optional_text
]
RegistryHosts = Annotated[frozenset[Annotated[str, _read(read_host)]], BeforeValidator(splitter)]
Network = Annotated[str, _read(read_network)]
Memory = Annotated[int | None, _optional(parse_memory)]
Cpu = Annotated[float | None, _optional(parse_cpu)]
Size = Annotated[int | None, _optional(parse_size)]
Timeout = Annotated[float | None, BeforeValidator(parse_timeout)]
Provenance = Annotated[Literal["min", "max"] | None, BeforeValidator(read_provenance)]
Sbom = Annotated[bool | str, _read(read_sbom, given=bool | str)]
Epoch = Annotated[int | None, BeforeValidator(read_epoch)]
Compression = Annotated[
    Literal["gzip", "zstd", "none"],
    BeforeValidator(lambda value: "none" if value == "uncompressed" else value),
]


class ResourceAmounts(BaseModel):
    """Memory in bytes and CPU in whole CPUs; None where unset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    memory: Memory = None
    cpu: Cpu = None


class ResourceSettings(BaseModel):
    """What a build may use at most (*limits*), and what it is promised (*requests*)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    limits: ResourceAmounts = ResourceAmounts()
    requests: ResourceAmounts = ResourceAmounts()


class RegistrySettings(BaseModel):
    """How one registry is reached: PEM files, or *insecure* for plain HTTP and any certificate."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
    )

    ca: LocalPath | None = None
    certificate: LocalPath | None = None
    key: LocalPath | None = None
    insecure: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.key is not None and self.certificate is None:
            raise ValueError("key: a key needs its certificate")
        return self


Registries = Annotated[Mapping[Annotated[str, _read(read_host)], RegistrySettings], Field()]

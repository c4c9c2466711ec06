"""What other tools wrote: the docker CLI's files and the Engine API's answers, parsed at the door."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError

from ...errors import BackendUnavailableError


def _none_is_empty(value: object) -> object:
    """Go writes null for a list or map that is empty."""
    return () if value is None else value


def _none_is_no_map(value: object) -> object:
    return {} if value is None else value


_Texts = Annotated[tuple[str, ...], BeforeValidator(_none_is_empty)]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


W = TypeVar("W", bound=_Wire)


class ContextEndpoint(_Wire):
    """One endpoint of a docker context."""

    host: str = Field(default="", alias="Host")
    skip_tls_verify: bool = Field(default=False, alias="SkipTLSVerify")


class ContextMeta(_Wire):
    """``contexts/meta/<id>/meta.json``."""

    name: str = Field(default="", alias="Name")
    endpoints: dict[str, ContextEndpoint] = Field(default={}, alias="Endpoints")


class UserConfig(_Wire):
    """What of the user's config.json is not about credentials."""

    current_context: str | None = Field(default=None, alias="currentContext")
    plugin_folders: _Texts = Field(default=(), alias="cliPluginsExtraDirs")
    proxies: JsonValue = Field(default=None, repr=False)
    http_headers: JsonValue = Field(default=None, alias="HttpHeaders", repr=False)
    plugins: JsonValue = None
    features: JsonValue = None
    aliases: JsonValue = None
    experimental: JsonValue = None

    def kept(self) -> dict[str, object]:
        """The settings that a private config.json keeps, as config.json spells them."""
        return self.model_dump(by_alias=True, exclude_unset=True)


class Component(_Wire):
    """One part of an engine, as ``GET /version`` lists them."""

    name: str = Field(default="", alias="Name")


class Version(_Wire):
    """``GET /version``."""

    version: str = Field(default="", alias="Version")
    api: str = Field(default="", alias="ApiVersion")
    os: str = Field(default="linux", alias="Os")
    arch: str = Field(default="", alias="Arch")
    components: Annotated[tuple[Component, ...], BeforeValidator(_none_is_empty)] = Field(
        default=(), alias="Components"
    )


class IndexConfig(_Wire):
    """One registry of ``RegistryConfig.IndexConfigs``."""

    mirrors: _Texts = Field(default=(), alias="Mirrors")
    secure: bool = Field(default=True, alias="Secure")


class RegistryConfig(_Wire):
    """How the daemon treats registries."""

    mirrors: _Texts = Field(default=(), alias="Mirrors")
    cidrs: _Texts = Field(default=(), alias="InsecureRegistryCIDRs")
    indexes: Annotated[dict[str, IndexConfig], BeforeValidator(_none_is_no_map)] = Field(
        default={}, alias="IndexConfigs"
    )


class Info(_Wire):
    """``GET /info``."""

    driver: str = Field(default="", alias="Driver")
    driver_status: Annotated[tuple[tuple[str, ...], ...], BeforeValidator(_none_is_empty)] = Field(
        default=(), alias="DriverStatus"
    )
    security_options: _Texts = Field(default=(), alias="SecurityOptions")
    registries: RegistryConfig | None = Field(default=None, alias="RegistryConfig")
    experimental: bool = Field(default=False, alias="ExperimentalBuild")
    os_type: str = Field(default="linux", alias="OSType")
    architecture: str = Field(default="", alias="Architecture")
    kernel: str = Field(default="", alias="KernelVersion")
    cgroup_version: str = Field(default="", alias="CgroupVersion")
    warnings: _Texts = Field(default=(), alias="Warnings")

    def insecure(self) -> tuple[str, ...]:
        """The hosts and networks that the daemon speaks to without TLS or without checking it."""
        if self.registries is None:
            return ()
        hosts = (name for name, index in self.registries.indexes.items() if not index.secure)
        return (*sorted(hosts), *self.registries.cidrs)


class Said(_Wire):
    """The body of a refusal."""

    message: str = ""


def read_json(path: Path, model: type[W]) -> W | None:
    """What *path* holds, None when there is no such file.

    Raises `BackendUnavailableError` when it cannot be read or is not what it should be.
    """
    try:
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise BackendUnavailableError(
            f"{path} cannot be read: {error.strerror}",
            hint="make it readable for this user, or set DOCKER_CONFIG to another folder",
        ) from error
    try:
        return parse(data or b"{}", model, str(path))
    except BackendUnavailableError as error:
        error.hint = "mend the file, or move it away"
        raise


def parse(data: bytes, model: type[W], source: str) -> W:
    """*data* as a *model*. Raises `BackendUnavailableError`, which never quotes the data."""
    try:
        return model.model_validate(json.loads(data))
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise BackendUnavailableError(f"{source} is malformed: {place}: {first['msg']}") from None
    except (ValueError, RecursionError):
        # `from None`: the decoder's error carries the whole document.
        raise BackendUnavailableError(f"{source} is not JSON") from None

"""What comes from outside: kubeconfig files, exec plugins' answers, refusals, parsed at the door."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Annotated, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from .....errors import BackendUnavailableError
from .....runtime import Hidden
from .kinds import as_object

__all__ = [
    "ClusterEntry",
    "ContextEntry",
    "ExecCredential",
    "ExecEntry",
    "Kubeconfig",
    "Status",
    "UserEntry",
    "parse",
    "parse_json",
]

_Secret = Annotated[str, AfterValidator(Hidden)]


class _Wire(BaseModel):
    model_config = ConfigDict(
        extra="ignore", frozen=True, hide_input_in_errors=True, populate_by_name=True
    )

    @model_validator(mode="before")
    @classmethod
    def _absent(cls, value: object) -> object:
        """Go writes null for what is empty."""
        found = as_object(value)
        if found is None:
            return value
        return {key: one for key, one in found.items() if one is not None}


W = TypeVar("W", bound=BaseModel)


class Extension(_Wire):
    """Something that a tool has added to an entry."""

    name: str = ""
    extension: JsonValue = None


class ClusterEntry(_Wire):
    """How a cluster is reached."""

    server: str = ""
    server_name: str = Field(default="", alias="tls-server-name")
    skip_verify: bool = Field(default=False, alias="insecure-skip-tls-verify")
    ca_file: str = Field(default="", alias="certificate-authority")
    ca_data: str = Field(default="", alias="certificate-authority-data", repr=False)
    proxy: _Secret = Field(default="", alias="proxy-url", repr=False)
    disable_compression: bool = Field(default=False, alias="disable-compression")
    extensions: tuple[Extension, ...] = ()


class ContextEntry(_Wire):
    """Which cluster, as whom, in which namespace."""

    cluster: str = ""
    user: str = ""
    namespace: str = ""


class Variable(_Wire):
    """One environment variable of an exec plugin."""

    name: str
    value: _Secret = Field(default="", repr=False)


class ExecEntry(_Wire):
    """A program that knows the credential."""

    version: str = Field(default="", alias="apiVersion")
    command: str = ""
    args: tuple[str, ...] = Field(default=(), repr=False)
    env: tuple[Variable, ...] = Field(default=(), repr=False)
    hint: str = Field(default="", alias="installHint")
    tell_cluster: bool = Field(default=False, alias="provideClusterInfo")
    interactive: str = Field(default="", alias="interactiveMode")


class UserEntry(_Wire):
    """Who somebody is."""

    cert_file: str = Field(default="", alias="client-certificate")
    cert_data: str = Field(default="", alias="client-certificate-data", repr=False)
    key_file: str = Field(default="", alias="client-key")
    key_data: _Secret = Field(default="", alias="client-key-data", repr=False)
    token: _Secret = Field(default="", repr=False)
    token_file: str = Field(default="", alias="tokenFile")
    username: str = ""
    password: _Secret = Field(default="", repr=False)
    exec: ExecEntry | None = None
    auth_provider: JsonValue = Field(default=None, alias="auth-provider", repr=False)
    as_user: str = Field(default="", alias="as")
    as_uid: str = Field(default="", alias="as-uid")
    as_groups: tuple[str, ...] = Field(default=(), alias="as-groups")
    as_extra: dict[str, tuple[str, ...]] = Field(default={}, alias="as-user-extra")


class NamedCluster(_Wire):
    """An entry of ``clusters``."""

    name: str
    cluster: ClusterEntry = ClusterEntry()


class NamedContext(_Wire):
    """An entry of ``contexts``."""

    name: str
    context: ContextEntry = ContextEntry()


class NamedUser(_Wire):
    """An entry of ``users``."""

    name: str
    user: UserEntry = UserEntry()


class Kubeconfig(_Wire):
    """One kubeconfig file."""

    current: str = Field(default="", alias="current-context")
    clusters: tuple[NamedCluster, ...] = ()
    contexts: tuple[NamedContext, ...] = ()
    users: tuple[NamedUser, ...] = ()


class Granted(_Wire):
    """What an exec plugin grants."""

    token: _Secret = Field(default="", repr=False)
    cert: str = Field(default="", alias="clientCertificateData", repr=False)
    key: _Secret = Field(default="", alias="clientKeyData", repr=False)
    expires: datetime | None = Field(default=None, alias="expirationTimestamp")


class ExecCredential(_Wire):
    """What an exec plugin prints."""

    kind: str = ""
    version: str = Field(default="", alias="apiVersion")
    status: Granted | None = Field(default=None, repr=False)


class Cause(_Wire):
    """One of the reasons of a refusal."""

    reason: str = ""
    message: str = Field(default="", repr=False)
    field: str = ""


class Details(_Wire):
    """What a refusal is about."""

    name: str = ""
    kind: str = ""
    causes: tuple[Cause, ...] = ()
    seconds: float = Field(default=0, alias="retryAfterSeconds")


class Status(_Wire):
    """``Status``: how a request, or a command in a container, ended."""

    kind: str = ""
    status: str = ""
    reason: str = ""
    message: str = Field(default="", repr=False)
    code: int = 0
    details: Details = Details()


def parse(value: object, model: type[W], source: str) -> W:
    """*value* as a *model*. Raises `BackendUnavailableError`, which never quotes the value."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise BackendUnavailableError(f"{source} is malformed: {place}: {first['msg']}") from None


def parse_json(data: bytes, model: type[W], source: str) -> W:
    """The same for bytes of JSON."""
    try:
        value: object = json.loads(data)
    except (ValueError, RecursionError):
        # `from None`: the decoder's error carries the whole document.
        raise BackendUnavailableError(f"{source} is not JSON") from None
    return parse(value, model, source)

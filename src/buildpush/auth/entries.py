"""What stands in a docker config.json or a containers' auth.json, in every spelling of its keys.

Follows docker's config file and containers-auth.json(5).
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Final

from attrs import field, frozen
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import AuthError
from ..oci import Repository
from . import Credential, covers

__all__ = ["HUB", "HUB_KEY", "Entries", "Known", "auth_entry", "host_of", "prefix_of"]

HUB: Final = "docker.io"
HUB_KEY: Final = "https://index.docker.io/v1/"
_HUB_HOSTS: Final = frozenset({HUB, "index.docker.io", "registry-1.docker.io"})
_TOKEN_USER: Final = "<token>"  # noqa: S105 - docker's mark for an identity token, not a secret


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    auth: str | None = Field(default=None, repr=False)
    username: str | None = None
    password: str | None = Field(default=None, repr=False)
    identitytoken: str | None = Field(default=None, repr=False)
    registrytoken: str | None = Field(default=None, repr=False)


class _Config(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    auths: dict[str, _Entry | None] | None = None
    cred_helpers: dict[str, str] | None = Field(default=None, alias="credHelpers")
    creds_store: str | None = Field(default=None, alias="credsStore")


@frozen(kw_only=True)
class Known:
    """One entry of ``auths``: its key as it is written, the prefix that covers, what it holds.

    *credential* is None for an entry that is empty, as docker leaves it beside a credsStore.
    """

    key: str
    prefix: str
    credential: Credential | None = field(repr=False)

    @property
    def host(self) -> str:
        """The registry it is for."""
        return self.prefix.partition("/")[0]

    @property
    def rank(self) -> tuple[int, bool]:
        """How exact the key is; of two spellings of one, the plain one is the newer form."""
        return len(self.prefix), "://" not in self.key


@frozen(kw_only=True)
class Entries:
    """A parsed file: *helpers* are its credHelpers by host, *store* its credsStore."""

    known: tuple[Known, ...] = ()
    helpers: Mapping[str, str] = field(factory=dict[str, str])
    store: str = ""

    @classmethod
    def parse(cls, data: bytes, source: str) -> Entries:
        """Read a file's bytes; raises `AuthError` that names *source* and the place, no value."""
        try:
            config = _Config.model_validate(json.loads(data or b"{}"))
        except ValidationError as error:
            first = error.errors(include_input=False, include_context=False, include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "the document"
            raise AuthError(f"{source} is malformed: {place}: {first['msg']}") from None
        except (ValueError, RecursionError) as error:
            # `from None`: the decoder's error carries the whole file.
            where = (
                f" at line {error.lineno}, column {error.colno}"
                if isinstance(error, json.JSONDecodeError)
                else ""
            )
            raise AuthError(
                f"{source} is not JSON{where}", hint="was it quoted by a shell, or cut short?"
            ) from None
        known = tuple(
            Known(key=key, prefix=prefix_of(key), credential=_credential(entry, key, source))
            for key, entry in (config.auths or {}).items()
        )
        named = (config.cred_helpers or {}).items()
        return cls(
            known=known,
            helpers={prefix_of(key): name for key, name in named if name},
            store=config.creds_store or "",
        )

    def best(self, target: Repository) -> Known | None:
        """The entry with the longest key that covers *target* and holds a credential."""
        matches = (k for k in self.known if k.credential and covers(k.prefix, target))
        return max(matches, key=lambda k: k.rank, default=None)


def _credential(entry: _Entry | None, key: str, source: str) -> Credential | None:
    """What one entry holds; None when it is empty."""
    if entry is None:
        return None
    username, password = entry.username or "", entry.password or ""
    if entry.auth:
        try:
            pair = base64.b64decode(entry.auth, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise AuthError(f"{source} is malformed: auths.{key}.auth is not base64") from None
        username, colon, password = pair.partition(":")
        if not colon:
            raise AuthError(f"{source} is malformed: auths.{key}.auth is not user:password")
        password = password.rstrip("\0")
    identity = entry.identitytoken or ""
    if username == _TOKEN_USER:
        username, password, identity = "", "", identity or password
    registry = entry.registrytoken or ""
    if not (password or identity or registry):
        return None
    return Credential(
        username=username,
        password="" if identity else password,
        identity_token=identity,
        registry_token=registry,
        source=source,
    )


def prefix_of(key: str) -> str:
    """A key as a host and perhaps a path, whichever of docker's spellings it uses."""
    scheme, mark, rest = key.partition("://")
    host, _, path = (rest if mark else scheme).strip("/").partition("/")
    if mark or path in ("v1", "v2"):
        path = ""  # docker's own keys are URLs, of which it reads the host only
    host = host_of(host)
    return f"{host}/{path}" if path else host


def host_of(host: str) -> str:
    """One name for each registry: lower case, no default port, one of Docker Hub's names."""
    host = host.lower().removesuffix(":443")
    return HUB if host in _HUB_HOSTS else host


def auth_entry(credential: Credential) -> dict[str, str]:
    """*credential* as an entry of ``auths`` in a docker configuration."""
    if credential.registry_token:
        return {"registrytoken": credential.registry_token}
    if credential.identity_token:
        return {"identitytoken": credential.identity_token}
    pair = f"{credential.username}:{credential.password}"
    return {"auth": base64.b64encode(pair.encode()).decode()}

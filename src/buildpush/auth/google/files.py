"""Google's credential files, checked: those of `gcloud auth application-default login` and others.

Follows Google's "Application Default Credentials" and AIP-4110 to AIP-4117.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...errors import AuthError
from ...runtime import Environment

__all__ = [
    "AuthorizedUser",
    "CredentialFile",
    "ExternalAccount",
    "Impersonated",
    "OtherFile",
    "ServiceAccount",
    "parse_file",
    "read_key",
    "read_text",
    "usual_file",
]

_TOKEN_URI: Final = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address
_STS: Final = "https://sts.googleapis.com/v1/token"
_JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
VARIABLES: Final = ("GOOGLE_APPLICATION_CREDENTIALS", "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE")


class _File(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)


class ServiceAccount(_File):
    """A service account's key."""

    type: Literal["service_account"]
    client_email: str
    private_key: str = Field(repr=False)


class AuthorizedUser(_File):
    """A person who has logged in: a refresh token and the client it was given to."""

    type: Literal["authorized_user"]
    client_id: str
    client_secret: str = Field(repr=False)
    refresh_token: str = Field(repr=False)
    token_uri: str = _TOKEN_URI


class Format(_File):
    """How a token lies in a file or an answer: as it is, or in a field of JSON."""

    type: Literal["text", "json"] = "text"
    subject_token_field_name: str = ""


class Source(_File):
    """Where the token of another identity provider comes from."""

    file: str = ""
    url: str = ""
    headers: Mapping[str, str] = Field(default_factory=dict, repr=False)
    format: Format = Format()
    environment_id: str = ""

    @property
    def is_plain(self) -> bool:
        """Whether it takes no more than reading: AWS's signatures and programs take more."""
        return bool(self.file or self.url) and not self.environment_id


class _Lifetime(_File):
    token_lifetime_seconds: int = 3600


class ExternalAccount(_File):
    """Workload identity federation: another provider's token is traded for one of Google's."""

    type: Literal["external_account"]
    audience: str
    subject_token_type: str = _JWT
    token_url: str = _STS
    service_account_impersonation_url: str = ""
    service_account_impersonation: _Lifetime = _Lifetime()
    credential_source: Source
    client_id: str = ""
    client_secret: str = Field(default="", repr=False)
    workforce_pool_user_project: str = ""


class Impersonated(_File):
    """A service account that somebody else acts as."""

    type: Literal["impersonated_service_account"]
    service_account_impersonation_url: str
    delegates: tuple[str, ...] = ()
    source_credentials: Annotated[
        ServiceAccount | AuthorizedUser | ExternalAccount, Field(discriminator="type")
    ]


class OtherFile(_File):
    """A kind of credential file that is left to Google's own library."""

    type: str


CredentialFile: TypeAlias = (
    ServiceAccount | AuthorizedUser | ExternalAccount | Impersonated | OtherFile
)
_KNOWN: Final[Mapping[str, type[CredentialFile]]] = {
    "service_account": ServiceAccount,
    "authorized_user": AuthorizedUser,
    "external_account": ExternalAccount,
    "impersonated_service_account": Impersonated,
}


def parse_file(text: str, source: str) -> CredentialFile:
    """Read a credential file; *source* is how messages name it. Raises `AuthError`."""
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError):
        # `from None`: the decoder's error carries the whole file.
        raise AuthError(
            f"{source} is not JSON ({len(text)} characters)",
            hint="was it quoted by a shell, or cut short?",
        ) from None
    try:
        named = OtherFile.model_validate(document)
        return _KNOWN.get(named.type, OtherFile).model_validate(document)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise AuthError(
            f"{source} is no credential file of Google's: {place}: {first['msg']}",
            hint="a file with a client's web or installed secrets is another thing",
        ) from None


def read_key(text: str, source: str) -> str:
    """A service account's key as JSON, from JSON or its base64. Raises `AuthError`."""
    found = text.strip()
    if not found.startswith("{"):
        try:
            found = base64.b64decode("".join(found.split()), validate=True).decode().strip()
        except (binascii.Error, UnicodeDecodeError):
            raise AuthError(
                f"{source} is neither JSON nor its base64 ({len(found)} characters)"
            ) from None
    parsed = parse_file(found, source)
    if not isinstance(parsed, ServiceAccount):
        raise AuthError(
            f"{source} is not a service account's key, its type is {parsed.type!r}",
            hint="give it as a credential file instead",
        )
    return found


def read_text(path: Path, source: str) -> str:
    """What a credential file holds; raises `AuthError` when it cannot be read."""
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise AuthError(f"{source} is not text") from None
    except OSError as error:
        raise AuthError(f"{source} cannot be read: {error.strerror}") from error


def usual_file(environment: Environment) -> tuple[Path, str] | None:
    """The file that Google's tools would use here, and how it came to be that one; or None.

    A file that a variable names need not exist: that it does not is an error to be told.
    """
    variables = environment.variables
    for name in VARIABLES:
        if variables.get(name):
            return environment.cwd / variables[name], name
    folder = variables.get("CLOUDSDK_CONFIG") or environment.home / ".config" / "gcloud"
    path = Path(folder) / "application_default_credentials.json"
    return (path, "gcloud's application default credentials") if path.is_file() else None

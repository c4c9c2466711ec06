"""Microsoft Entra and a registry's own token service, asked: a token, and a login for it.

Follows Microsoft's "OAuth 2.0 client credentials flow" and Azure Container Registry's
"AAD-OAuth" description.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar
from urllib.parse import quote, urlsplit

from attrs import field, frozen
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...errors import AuthError
from ...http.bodies import sendable
from ...runtime import CancelToken, Environment, Hidden
from ..asking import FORM, JSON, Answered, ask, form, now
from ..keeping import Token, expiry_of
from .refusals import refusal, registry_refusal

__all__ = ["Azure", "Granted", "granted"]

_ASSERTION: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
# The end of a registry's name, where its cloud logs in, and whom a token must be for.
_CLOUDS: Final = {
    ".azurecr.cn": ("login.chinacloudapi.cn", "https://containerregistry.azure.cn"),
    ".azurecr.us": ("login.microsoftonline.us", "https://containerregistry.azure.us"),
    ".azurecr.io": ("login.microsoftonline.com", "https://containerregistry.azure.net"),
}
_FEDERATED: Final[Mapping[str, str]] = {
    ".azurecr.cn": "api://AzureADTokenExchangeChina",
    ".azurecr.us": "api://AzureADTokenExchangeUSGov",
    ".azurecr.io": "api://AzureADTokenExchange",
}
_DEFAULT_SECONDS: Final = 3600.0

M = TypeVar("M", bound=BaseModel)


class Granted(BaseModel):
    """A token as Entra and machines answer it; numbers may be text."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    access_token: str = Field(repr=False)
    expires_in: float | None = None
    expires_on: float | None = None


class _Exchanged(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    refresh_token: str = Field(repr=False)


@frozen(kw_only=True)
class Azure:
    """Who asks Azure, and for which registry: *host*.

    *audience* is whom tokens are to be for, when it is not the one of the registry's cloud.
    """

    host: str
    environment: Environment
    audience: str = ""
    clock: Callable[[], float] = now
    cancel: CancelToken | None = None
    _cloud: str = field(init=False)

    def __attrs_post_init__(self) -> None:
        ends = (end for end in _CLOUDS if self.host.removesuffix(":443").endswith(end))
        object.__setattr__(self, "_cloud", next(ends, ".azurecr.io"))

    @property
    def authority(self) -> str:
        """Where to log in: AZURE_AUTHORITY_HOST, or the authority of the registry's cloud."""
        chosen = self.environment.variables.get("AZURE_AUTHORITY_HOST", "").strip().rstrip("/")
        host = chosen or _CLOUDS[self._cloud][0]
        return host if "://" in host else f"https://{host}"

    @property
    def resource(self) -> str:
        """Whom a token is to be for."""
        return self.audience or _CLOUDS[self._cloud][1]

    @property
    def scope(self) -> str:
        """The resource as the second version of Entra's protocol writes it."""
        return f"{self.resource}/.default"

    @property
    def federated_audience(self) -> str:
        """Whom the token of another provider is to be for."""
        return _FEDERATED[self._cloud]

    def token(
        self, tenant: str, client: str, *, secret: str = "", assertion: str = "", who: str
    ) -> Token:
        """A token for an app that has a *secret*, or an *assertion*: another provider's token."""
        url = f"{self.authority}/{quote(tenant, safe='')}/oauth2/v2.0/token"
        about = f"asking {urlsplit(url).hostname} for a token"
        fields = {
            "grant_type": "client_credentials",
            "client_id": client,
            "scope": self.scope,
            "client_secret": secret,
            "client_assertion_type": _ASSERTION if assertion else "",
            "client_assertion": assertion,
        }
        answered = ask(
            "POST",
            url,
            about=about,
            environment=self.environment,
            headers={"Accept": JSON},
            body=form(fields),
            content_type=FORM,
            cancel=self.cancel,
        )
        if answered.status != 200:
            raise refusal(
                answered,
                about,
                who=who,
                secrets=(secret, assertion),
                audience=self.federated_audience,
            )
        return granted(answered, about, self.clock)

    def login(self, token: Token, tenant: str, source: str) -> Token:
        """Trade a *token* of Entra's for the registry's own refresh token."""
        about = f"asking {self.host} for a login"
        fields = {
            "grant_type": "access_token",
            "service": self.host,
            "tenant": tenant,
            "access_token": token.value,
        }
        answered = ask(
            "POST",
            f"https://{self.host}/oauth2/exchange",
            about=about,
            environment=self.environment,
            headers={"Accept": JSON},
            body=form(fields),
            content_type=FORM,
            cancel=self.cancel,
        )
        if answered.status != 200:
            raise registry_refusal(answered, self.host, source, token.value)
        value = _parse(_Exchanged, answered, about).refresh_token
        if not sendable(value):
            raise AuthError(f"{about}: the answer holds no token that can be sent")
        ends = expiry_of(value) or token.expires or self.clock() + _DEFAULT_SECONDS
        return Token(value=Hidden(value), expires=ends)


def granted(answered: Answered, about: str, clock: Callable[[], float]) -> Token:
    """The token in an answer; raises `AuthError` when there is none in it."""
    found = _parse(Granted, answered, about)
    if not sendable(found.access_token):
        raise AuthError(f"{about}: the answer holds no token that can be sent")
    ends = found.expires_on
    if found.expires_in is not None:
        ends = clock() + found.expires_in
    return Token(value=Hidden(found.access_token), expires=ends)


def _parse(kind: type[M], answered: Answered, about: str) -> M:
    try:
        return kind.model_validate_json(answered.data)
    except ValidationError:
        raise AuthError(
            f"{about}: the answer of {len(answered.data)} bytes holds no token",
            evidence=(answered.evidence,),
        ) from None

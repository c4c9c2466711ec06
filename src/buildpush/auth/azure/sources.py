"""Where a credential for Azure's registries may come from: one value for each way."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Protocol, runtime_checkable

from attrs import field, frozen

from ...errors import AuthError
from ...runtime import Hidden
from .. import Credential
from ..keeping import Token, expiry_of
from ..oidc import TokenSource, Wanted, as_token_source
from .exchange import Azure
from .library import by_certificate, by_default
from .machine import managed

__all__ = [
    "AzureIdentity",
    "AzureSource",
    "CertificatePrincipal",
    "EntraToken",
    "FederatedIdentity",
    "ManagedIdentity",
    "ServicePrincipal",
    "enter",
]

NOBODY: Final = "00000000-0000-0000-0000-000000000000"
"""The user that a registry's refresh token stands for."""


def _hidden(text: str) -> str:
    return Hidden(text.strip())


@runtime_checkable
class AzureSource(Protocol):
    """One way to a credential."""

    def credential(self, azure: Azure, /) -> Credential:
        """The credential; raises `AuthError` when there is none to be had."""
        ...


@frozen(kw_only=True)
class ServicePrincipal:
    """An app with a client secret.

    With its *tenant_id* the secret goes to Entra only, and the registry gets a token. Without one
    it is the password at the registry, as with `docker login`.
    """

    client_id: str
    client_secret: str = field(repr=False, converter=_hidden)
    tenant_id: str = ""

    def credential(self, azure: Azure, /) -> Credential:
        """A login for the app."""
        who = f"the service principal {self.client_id}"
        if not self.tenant_id:
            return Credential(username=self.client_id, password=self.client_secret, source=who)
        token = azure.token(self.tenant_id, self.client_id, secret=self.client_secret, who=who)
        return enter(azure, token, self.tenant_id, who)


@frozen(kw_only=True)
class CertificatePrincipal:
    """An app with a certificate and its key in one file, PEM or PKCS12; takes the extra ``azure``."""

    tenant_id: str
    client_id: str
    certificate: Path = field(converter=Path)
    password: str = field(default="", repr=False, converter=_hidden)

    def credential(self, azure: Azure, /) -> Credential:
        """A login for the app."""
        who = f"the service principal {self.client_id} with {self.certificate}"
        token = by_certificate(
            azure,
            self.tenant_id,
            self.client_id,
            path=self.certificate,
            password=self.password,
            who=who,
        )
        return enter(azure, token, self.tenant_id, who)


@frozen(kw_only=True)
class FederatedIdentity:
    """An app, or a user-assigned identity, that trusts the *token* of another provider.

    *token* is a source of OpenID Connect tokens, a `Path` that holds one, or one as text.
    """

    tenant_id: str
    client_id: str
    token: TokenSource = field(converter=as_token_source)

    def credential(self, azure: Azure, /) -> Credential:
        """A login for the app, whose secret is the token."""
        assertion = self.token.token(
            Wanted(
                audience=azure.federated_audience,
                environment=azure.environment,
                cancel=azure.cancel,
            )
        )
        who = f"the federated token for {self.client_id}"
        token = azure.token(self.tenant_id, self.client_id, assertion=assertion, who=who)
        return enter(azure, token, self.tenant_id, who)


@frozen(kw_only=True)
class ManagedIdentity:
    """The identity of this machine, or the user-assigned one with *client_id*."""

    client_id: str = ""

    def credential(self, azure: Azure, /) -> Credential:
        """A login for the identity; raises `AuthError` where there is none."""
        found = managed(azure, self.client_id, probe=False)
        if isinstance(found, str):
            raise AuthError(
                found, hint="is this a machine of Azure's, and has it been given that identity?"
            )
        return enter(azure, found, "", self.named)

    @property
    def named(self) -> str:
        """What messages call it."""
        return f"the managed identity {self.client_id}".rstrip()


@frozen
class EntraToken:
    """A token of Entra's that is at hand, as `az account get-access-token` gives it out."""

    text: str = field(repr=False, converter=_hidden)
    tenant_id: str = field(default="", kw_only=True)

    def credential(self, azure: Azure, /) -> Credential:
        """A login for whom the token is of."""
        if not self.text:
            raise AuthError("the token of Microsoft Entra is empty")
        token = Token(value=self.text, expires=expiry_of(self.text))
        return enter(azure, token, self.tenant_id, "a token of Microsoft Entra")


@frozen
class AzureIdentity:
    """Whoever azure-identity finds: `az login`, a developer's tools; takes the extra ``azure``.

    It reads this process's own variables, and may start Azure's command line.
    """

    def credential(self, azure: Azure, /) -> Credential:
        """A login for whom it finds."""
        return enter(azure, by_default(azure, "azure-identity"), "", "azure-identity")


def enter(azure: Azure, token: Token, tenant: str, source: str) -> Credential:
    """Trade a token of Entra's for the registry's own, which is an identity token."""
    given = azure.login(token, tenant, source)
    return Credential(
        username=NOBODY, identity_token=given.value, source=source, expires=given.expires
    )

"""Credentials for Azure Container Registry, without az."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from attrs import define, field

from ..oci import Repository
from ..runtime import CancelToken, Environment
from . import Access, Consulted, Credential
from .asking import now
from .azure.exchange import Azure
from .azure.machine import VARIABLES, managed
from .azure.sources import (
    AzureIdentity,
    AzureSource,
    CertificatePrincipal,
    EntraToken,
    FederatedIdentity,
    ManagedIdentity,
    ServicePrincipal,
    enter,
)
from .keeping import Keeping, Kept, Steps, explained
from .oidc import GithubOidc

__all__ = [
    "AzureIdentity",
    "AzureKeychain",
    "AzureSource",
    "CertificatePrincipal",
    "EntraToken",
    "FederatedIdentity",
    "ManagedIdentity",
    "ServicePrincipal",
]

_HOSTS: Final = re.compile(r"[a-z0-9-]+(?:\.[a-z0-9-]+)*\.azurecr\.(?:io|cn|us)")
_TENANT: Final = "AZURE_TENANT_ID"
_CLIENT: Final = "AZURE_CLIENT_ID"
_SECRET: Final = "AZURE_CLIENT_SECRET"  # noqa: S105 - a variable's name
_CERTIFICATE: Final = "AZURE_CLIENT_CERTIFICATE_PATH"
_CERTIFICATE_PASSWORD: Final = "AZURE_CLIENT_CERTIFICATE_PASSWORD"  # noqa: S105 - likewise
_TOKEN_FILE: Final = "AZURE_FEDERATED_TOKEN_FILE"  # noqa: S105 - likewise
_GITHUB: Final = "ACTIONS_ID_TOKEN_REQUEST_URL"
_READ: Final = (
    _TENANT,
    _CLIENT,
    _SECRET,
    _CERTIFICATE,
    _CERTIFICATE_PASSWORD,
    _TOKEN_FILE,
    _GITHUB,
    "AZURE_AUTHORITY_HOST",
    *VARIABLES,
)


@define(eq=False, kw_only=True)
class AzureKeychain(Keeping):
    """Logs in to ``*.azurecr.io``, ``.cn`` and ``.us``; knows no other host.

    With a *source*, that and nothing else is asked, and it must answer. Without one, in this
    order: the app of ``AZURE_CLIENT_ID`` and ``AZURE_TENANT_ID`` by its secret, its certificate,
    the token in ``AZURE_FEDERATED_TOKEN_FILE`` or GitHub's; this machine's managed identity.
    Logins are kept for each registry, and renewed before they end. *audience* is whom Entra's
    tokens are for, when it is not the one of the registry's cloud. *environment* is that of the
    process, read for each answer, unless one is given.
    """

    source: AzureSource | None = None
    audience: str = ""
    environment: Environment | None = field(default=None, repr=False)
    cancel: CancelToken | None = field(default=None, repr=False)
    clock: Callable[[], float] = field(default=now, repr=False)
    _kept: Kept = field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self._kept = Kept(self.clock)

    def resolve(
        self,
        repository: Repository,
        access: Access,  # noqa: ARG002 - one credential does both
    ) -> Credential | None:
        """The credential for one of Azure's registries; None for any other host.

        None, too, where no *source* was given and nothing is set up here. Raises `AuthError` when
        something is, and gives no login; `RegistryUnavailableError` when a server does not answer.
        """
        return self._look(repository.host, []) if is_azure(repository) else None

    def explain(
        self,
        repository: Repository,
        access: Access,  # noqa: ARG002 - one credential does both
    ) -> tuple[Consulted, ...]:
        """The sources that were asked, in order."""
        if not is_azure(repository):
            why = f"{repository.host} is no registry of Azure's"
            return (Consulted(source="AzureKeychain", outcome="skipped", why=why),)
        name = type(self.source).__name__ if self.source else "AzureKeychain"
        return explained(lambda steps: self._look(repository.host, steps), name)

    def _look(self, host: str, steps: Steps) -> Credential | None:
        environment = self.environment or Environment.current()
        azure = Azure(
            host=host.lower().removesuffix(":443"),
            environment=environment,
            audience=self.audience,
            clock=self.clock,
            cancel=self.cancel,
        )
        key = (azure.host, *(environment.variables.get(name, "") for name in _READ))
        return self._kept.look(key, lambda asked: self._ask(azure, asked), steps)

    def _ask(self, azure: Azure, asked: Steps) -> Credential | None:
        source = self.source or _app(azure.environment.variables, asked)
        if source is None:
            return _machine(azure, asked)
        credential = source.credential(azure)
        asked.append(Consulted(source=credential.source, outcome="hit", expected=True))
        return credential


def is_azure(repository: Repository) -> bool:
    """Whether a repository is in one of Azure's registries."""
    return _HOSTS.fullmatch(repository.host.lower().removesuffix(":443")) is not None


def _app(variables: Mapping[str, str], asked: Steps) -> AzureSource | None:
    """The app that the variables describe, in the order of Azure's own libraries."""
    tenant, client = variables.get(_TENANT, ""), variables.get(_CLIENT, "")
    lacking = [name for name in (_TENANT, _CLIENT) if not variables.get(name)]
    if lacking:
        why = f"{' and '.join(lacking)} {'is' if len(lacking) == 1 else 'are'} not set"
        asked.append(Consulted(source="an app in the environment", outcome="miss", why=why))
        return None
    if variables.get(_SECRET):
        return ServicePrincipal(
            tenant_id=tenant, client_id=client, client_secret=variables[_SECRET]
        )
    if variables.get(_CERTIFICATE):
        return CertificatePrincipal(
            tenant_id=tenant,
            client_id=client,
            certificate=Path(variables[_CERTIFICATE]),
            password=variables.get(_CERTIFICATE_PASSWORD, ""),
        )
    if variables.get(_TOKEN_FILE):
        return FederatedIdentity(
            tenant_id=tenant, client_id=client, token=Path(variables[_TOKEN_FILE])
        )
    if variables.get(_GITHUB):
        return FederatedIdentity(tenant_id=tenant, client_id=client, token=GithubOidc())
    why = f"none of {_SECRET}, {_CERTIFICATE}, {_TOKEN_FILE}, {_GITHUB} is set"
    asked.append(Consulted(source=f"the app {client}", outcome="miss", why=why))
    return None


def _machine(azure: Azure, asked: Steps) -> Credential | None:
    source = ManagedIdentity(client_id=azure.environment.variables.get(_CLIENT, ""))
    token = managed(azure, source.client_id, probe=True)
    if isinstance(token, str):
        asked.append(Consulted(source=source.named, outcome="miss", why=token))
        return None
    credential = enter(azure, token, "", source.named)
    asked.append(Consulted(source=source.named, outcome="hit"))
    return credential

"""Harness's connectors: who logs in, by the name that a step refers to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from attrs import field, frozen

from ..errors import SpecError
from ..oci import Repository
from . import Access, Consulted, Credential, Keychain, StaticKeychain
from .entries import HUB

__all__ = ["Connectors", "DockerConnector", "find_connector"]

Connectors = Mapping[str, Keychain]
"""Who logs in, by connector: a `DockerConnector`, or any other keychain.

A connector for AWS is an `EcrKeychain`, one for Google Cloud a `GoogleKeychain`, one for Azure an
`AzureKeychain`, each with the source of its credentials, or none for what the machine itself has.
"""

_SCOPES: Final = ("account.", "org.")
_HUB_HOSTS: Final = frozenset({HUB, "index.docker.io", "registry.hub.docker.com"})


@frozen(kw_only=True)
class DockerConnector:
    """A connector of type DockerRegistry: its *url*, and who logs in; anonymous without a user.

    The url may have a namespace (``https://ghcr.io/acme``), and a repository without a host
    is taken to be below it. The credential is for the whole host.
    """

    url: str = "https://index.docker.io/v2/"
    username: str = ""
    password: str = field(default="", repr=False)

    def __attrs_post_init__(self) -> None:
        if bool(self.username) != bool(self.password):
            raise SpecError("a connector needs a username and a password, or neither")

    @property
    def prefix(self) -> str:
        """The registry's host, with the namespace after it where there is one."""
        host, _, path = self.url.rpartition("//")[2].strip("/").partition("/")
        if host in _HUB_HOSTS:
            return HUB
        return f"{host}/{path}" if path and path not in ("v1", "v2") else host

    def resolve(self, repository: Repository, access: Access) -> Credential | None:
        """The user and the password, for repositories of this host."""
        inner = self._inner
        return inner.resolve(repository, access) if inner else None

    def explain(self, repository: Repository, access: Access) -> tuple[Consulted, ...]:
        """One line: whether there is a user, and the host is this one."""
        if inner := self._inner:
            return inner.explain(repository, access)
        why = f"the connector for {self.prefix} is anonymous"
        return (Consulted(source="a connector", outcome="miss", why=why),)

    @property
    def _inner(self) -> StaticKeychain | None:
        if not self.username:
            return None
        host = self.prefix.partition("/")[0]
        found = Credential(
            username=self.username, password=self.password, source=f"the connector for {host}"
        )
        return StaticKeychain(prefix=host, credential=found)


def find_connector(connectors: Connectors, reference: str) -> Keychain:
    """The connector that *reference* names, with its scope (``account.hub``) or without.

    Raises `SpecError` that lists the connectors there are.
    """
    for scope in ("", *_SCOPES):
        if reference.startswith(scope) and reference.removeprefix(scope) in connectors:
            return connectors[reference.removeprefix(scope)]
    raise SpecError(
        f"no connector is called {reference}",
        hint=f"there are: {', '.join(sorted(connectors)) or 'none'}",
    )

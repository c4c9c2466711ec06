"""Teach a run's redactor every credential that the run asks for."""

from __future__ import annotations

from attrs import field, frozen

from ..oci import Repository
from ..runtime import Redactor
from . import Access, Consulted, Credential, Keychain, trail

__all__ = ["Learnt"]


@frozen
class Learnt:
    """A keychain whose every answer the run's redactor knows, whoever asks it for what."""

    inner: Keychain
    redact: Redactor = field(repr=False)

    def resolve(self, repository: Repository, access: Access) -> Credential | None:
        """The inner keychain's answer."""
        found = self.inner.resolve(repository, access)
        if found is not None:
            for secret in (found.password, found.identity_token, found.registry_token):
                self.redact.learn(secret)
            if found.password:  # what its base64 is in a config.json
                self.redact.learn(f"{found.username}:{found.password}")
        return found

    def explain(self, repository: Repository, access: Access) -> tuple[Consulted, ...]:
        """The inner keychain's trail."""
        return trail(self.inner, repository, access)

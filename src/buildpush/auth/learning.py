"""Teach a run's redactor every credential that the run asks for."""

from __future__ import annotations

from collections.abc import Callable

from attrs import evolve, field, frozen

from ..oci import Repository
from ..runtime import CancelToken, Redactor
from . import Access, Consulted, Credential, Keychain, trail
from .bound import refused, within

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

    def within(self, warn: Callable[[str], None], cancel: CancelToken) -> Learnt:
        """The inner keychain as one run uses it."""
        return evolve(self, inner=within(self.inner, warn, cancel))

    def refused(self, credential: Credential) -> None:
        """Pass on that a registry refused *credential*."""
        refused(self.inner, credential)

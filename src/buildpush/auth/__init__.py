"""Who may touch which repository. One protocol, one value, and ways to combine them."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

from attrs import field, frozen

from ..oci import Repository

__all__ = ["Access", "Chain", "Credential", "Keychain", "PullOnly", "StaticKeychain"]

Access = Literal["pull", "push"]


def _hidden(value: str) -> str:
    return "'***'" if value else "''"


@frozen(kw_only=True)
class Credential:
    """A username with a password, or an identity token. Its repr hides every secret.

    An *identity_token* is traded for tokens at the registry's token service; a *registry_token*
    is such a token already, sent as it is.
    *source* says where it was found, for messages: ``~/.docker/config.json``, ``argument``.
    """

    username: str = ""
    password: str = field(default="", repr=_hidden)
    identity_token: str = field(default="", repr=_hidden)
    registry_token: str = field(default="", repr=_hidden)
    source: str = field(default="argument", eq=False)


@runtime_checkable
class Keychain(Protocol):
    """Finds the credential for one repository and one kind of access."""

    def resolve(self, repository: Repository, access: Access) -> Credential | None:
        """Return the credential, None to let the next keychain try, or raise `AuthError`.

        None means "I know nothing about this repository". A keychain that *should* know
        but cannot tell (a helper that crashed, a token that expired) must raise.
        """
        ...


@frozen
class Chain:
    """Asks each keychain in turn; the first answer wins."""

    keychains: tuple[Keychain, ...]

    def resolve(self, repository: Repository, access: Access) -> Credential | None:
        """The first credential any link offers, or None for anonymous."""
        for keychain in self.keychains:
            credential = keychain.resolve(repository, access)
            if credential is not None:
                return credential
        return None


@frozen(kw_only=True)
class StaticKeychain:
    """One credential for one repository prefix, optionally for one kind of access only.

    *prefix* is a registry host (``ghcr.io``), or a host and the beginning of a path in whole
    components (``ghcr.io/acme`` covers ``ghcr.io/acme/app``, not ``ghcr.io/acme-eu/app``).
    """

    prefix: str
    credential: Credential
    access: Access | None = None

    def resolve(self, repository: Repository, access: Access) -> Credential | None:
        """The credential when prefix (and access, if set) match."""
        if self.access not in (None, access):
            return None
        return self.credential if covers(self.prefix, repository) else None


def covers(prefix: str, repository: Repository) -> bool:
    """Whether *prefix*, a host or a host and leading path components, contains *repository*."""
    return f"{repository}/".startswith(f"{prefix.rstrip('/')}/")


@frozen
class PullOnly:
    """Answers for pulls, never for pushes: what a backend gets when buildpush pushes.

    *written* are repositories that the backend has to push to all the same: those of its caches.
    """

    inner: Keychain
    written: frozenset[Repository] = frozenset()

    def resolve(self, repository: Repository, access: Access) -> Credential | None:
        """The inner keychain's answer, for pulls and caches; nothing for other pushes."""
        if access == "pull" or repository in self.written:
            return self.inner.resolve(repository, access)
        return None

"""Who may touch which repository. One protocol, one value, and ways to combine them."""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

from attrs import field, frozen

from ..errors import AuthError, RegistryError
from ..oci import Repository

__all__ = [
    "Access",
    "Chain",
    "Consulted",
    "Credential",
    "Explaining",
    "Keychain",
    "PullOnly",
    "StaticKeychain",
    "trail",
]

Access = Literal["pull", "push"]


def _hidden(value: str) -> str:
    return "'***'" if value else "''"


@frozen(kw_only=True)
class Credential:
    """A username with a password, or an identity token. Its repr hides every secret.

    An *identity_token* is traded for tokens at the registry's token service; a *registry_token*
    is such a token already, sent as it is.
    *source* says where it was found, for messages: ``~/.docker/config.json``, ``argument``.
    *expires* is when it stops working, in seconds since 1970; None when nobody said.
    """

    username: str = ""
    password: str = field(default="", repr=_hidden)
    identity_token: str = field(default="", repr=_hidden)
    registry_token: str = field(default="", repr=_hidden)
    source: str = field(default="argument", eq=False)
    expires: float | None = field(default=None, eq=False)


@runtime_checkable
class Keychain(Protocol):
    """Finds the credential for one repository and one kind of access."""

    def resolve(self, repository: Repository, access: Access) -> Credential | None:
        """Return the credential, None to let the next keychain try, or raise `AuthError`.

        None means "I know nothing about this repository". A keychain that *should* know
        but cannot tell (a helper that crashed, a token that expired) must raise.
        """
        ...


@frozen(kw_only=True)
class Consulted:
    """One source that was asked for a credential, and what came of it. Holds no secret.

    *key* is what was looked up in it, empty when the source has no keys. A source that is
    *expected* to answer was set up for this very host: that it has nothing is worth an error
    before anything is pushed there anonymously.
    """

    source: str
    key: str = ""
    outcome: Literal["hit", "miss", "error", "skipped"]
    why: str = ""
    expected: bool = False

    def __str__(self) -> str:
        """One line, as errors show it."""
        place = f"{self.source}, {self.key}" if self.key else self.source
        return f"{place}: {self.outcome}{f' ({self.why})' if self.why else ''}"


@runtime_checkable
class Explaining(Protocol):
    """A keychain that can say how it came to its answer; beside `Keychain.resolve`."""

    def explain(self, repository: Repository, access: Access) -> tuple[Consulted, ...]:
        """What was asked, in order, ending with the answer that `resolve` gives.

        Raises no `AuthError` or `RegistryError`: those become the outcome ``error``.
        """
        ...


def trail(keychain: Keychain, repository: Repository, access: Access) -> tuple[Consulted, ...]:
    """Say where *keychain* looks for the credential of *repository*, and what it finds there.

    A keychain that explains nothing is one source, named for its class. Raises no `AuthError` or
    `RegistryError`, only the reason of a run that was cancelled.
    """
    if isinstance(keychain, Explaining):
        return keychain.explain(repository, access)
    name = type(keychain).__name__
    try:
        found = keychain.resolve(repository, access)
    except (AuthError, RegistryError) as error:
        return (Consulted(source=name, outcome="error", why=error.message, expected=True),)
    if found is None:
        return (Consulted(source=name, outcome="miss"),)
    return (Consulted(source=found.source, outcome="hit", why=f"by {name}"),)


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

    def explain(self, repository: Repository, access: Access) -> tuple[Consulted, ...]:
        """Each link's own trail, up to the first answer or error; later links were not asked."""
        asked: list[Consulted] = []
        for keychain in self.keychains:
            steps = trail(keychain, repository, access)
            asked.extend(steps)
            if steps and steps[-1].outcome in ("hit", "error"):
                break
        return tuple(asked)


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

    def explain(self, repository: Repository, access: Access) -> tuple[Consulted, ...]:
        """One line: whether the prefix and the access match."""
        outcome: Literal["hit", "miss"] = "miss"
        if not covers(self.prefix, repository):
            why = f"{self.prefix} does not cover {repository}"
        elif self.access not in (None, access):
            why = f"it is for {self.access} only"
        else:
            outcome, why = "hit", ""
        return (
            Consulted(
                source=self.credential.source,
                key=self.prefix,
                outcome=outcome,
                why=why,
                expected=self.prefix.partition("/")[0] == repository.host,
            ),
        )


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

    def explain(self, repository: Repository, access: Access) -> tuple[Consulted, ...]:
        """The inner keychain's trail, or one line that says that it was not asked."""
        if access == "pull" or repository in self.written:
            return trail(self.inner, repository, access)
        why = "what builds gets no credential for pushes that are not its own"
        return (Consulted(source="credentials for pushes", outcome="skipped", why=why),)

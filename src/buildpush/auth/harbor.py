"""Harbor, wherever it is: as a user or as a robot account.

Follows Harbor's "Create Project Robot Accounts" and "Create System Robot Accounts".
"""

from __future__ import annotations

from typing import Final

from attrs import field, frozen

from ..errors import AuthError
from ..oci import Repository
from ..runtime import Environment
from . import Access, Consulted, Credential
from .entries import host_of
from .logins import (
    Found,
    Login,
    explained,
    first_login,
    hide,
    host_in,
    miss,
    skipped,
    variables_of,
)

__all__ = ["HarborKeychain"]

_NAME: Final = "HarborKeychain"


@frozen(kw_only=True)
class HarborKeychain:
    """Logs in to one Harbor, and to nothing else.

    *host* is a host or a URL, by default that of ``HARBOR_URL``. *username* and *password* are by
    default what ``HARBOR_USERNAME`` and ``HARBOR_PASSWORD`` hold. A robot's user name has a
    dollar sign in it, ``robot$ci`` or ``robot$project+ci``: write it in single quotes in a shell.
    """

    host: str = field(default="", converter=host_in)
    username: str = ""
    password: str = field(default="", repr=False, converter=hide)
    environment: Environment | None = field(default=None, repr=False)

    def resolve(
        self,
        repository: Repository,
        access: Access,  # noqa: ARG002 - what a login may do is the registry's to say
    ) -> Credential | None:
        """The login for *repository*; None when it is not in this Harbor, or nothing is known.

        Raises `AuthError` for a password with half a user name, or without one.
        """
        return self._look(repository).credential

    def explain(
        self,
        repository: Repository,
        access: Access,  # noqa: ARG002 - as above
    ) -> tuple[Consulted, ...]:
        """One line: where the login is, or why there is none."""
        return explained(_NAME, lambda: self._look(repository))

    def _look(self, repository: Repository) -> Found:
        get = variables_of(self.environment).get
        harbor = self.host or host_in(get("HARBOR_URL", ""))
        if not harbor:
            return skipped(_NAME, "no host is given, and HARBOR_URL is not set")
        if host_of(repository.host) != harbor:
            return skipped(_NAME, f"{repository.host} is not {harbor}")
        login = Login(
            source="HarborKeychain(password=…)" if self.password else "HARBOR_PASSWORD",
            username=self.username or get("HARBOR_USERNAME", ""),
            password=self.password or get("HARBOR_PASSWORD", ""),
        )
        if login.password and _cut(login.username):
            raise AuthError(
                f"the user name for {harbor} is {login.username!r}: a robot's goes on behind a $",
                hint="did a shell read the $? Put the name in single quotes: 'robot$ci'",
            )
        return first_login(_NAME, harbor, login) or miss(
            _NAME,
            harbor,
            "HARBOR_PASSWORD is not set; a robot account of the project has one, for"
            " HARBOR_USERNAME and HARBOR_PASSWORD",
        )


def _cut(username: str) -> bool:
    """Whether a shell has taken ``$name`` out of ``robot$name`` or ``robot$project+name``."""
    return username in ("robot", "robot$") or username.startswith("robot+")

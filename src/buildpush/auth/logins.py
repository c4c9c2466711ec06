"""What the providers for one product share: hosts as people write them, and a trail of a search."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

from attrs import field, frozen

from ..errors import AuthError, RegistryError
from ..runtime import Environment, Hidden
from . import Consulted, Credential
from .entries import prefix_of
from .keeping import Found

__all__ = ["Login", "explained", "first_login", "hide", "hit", "host_in", "miss", "variables_of"]


def hide(value: str) -> str:
    """A secret as it is kept: without blanks around it, and unseen in every repr."""
    return Hidden(value.strip())


def variables_of(environment: Environment | None) -> Mapping[str, str]:
    """The variables of *environment*, by default of this process."""
    return (environment or Environment.current()).variables


def host_in(text: str) -> str:
    """The registry that *text* names, a host or a URL; empty for an empty text."""
    return prefix_of(text.strip()).partition("/")[0]


@frozen(kw_only=True)
class Login:
    """One place that may hold a user name and a password; either may be missing."""

    source: str
    username: str
    password: str = field(repr=False, converter=hide)


def first_login(name: str, key: str, *logins: Login) -> Found | None:
    """The first of *logins* that has a password, for the provider *name*; None without any.

    Raises `AuthError` for one that has no user name to go with it.
    """
    for login in logins:
        if not login.password:
            continue
        if not login.username:
            raise AuthError(
                f"{name}: {login.source} has a password and no user name for {key}",
                hint="set the user name beside it",
            )
        credential = Credential(
            username=login.username, password=login.password, source=login.source
        )
        return hit(credential, key)
    return None


def hit(credential: Credential, key: str) -> Found:
    """*credential*, found under *key*."""
    step = Consulted(source=credential.source, key=key, outcome="hit", expected=True)
    return Found(credential=credential, trail=(step,))


def miss(name: str, why: str, *, key: str = "", expected: bool = False) -> Found:
    """Nothing, and why; *expected* where the provider was set up for the host all the same."""
    outcome: Literal["miss"] = "miss"
    step = Consulted(source=name, key=key, outcome=outcome, why=why, expected=expected)
    return Found(credential=None, trail=(step,))


def explained(name: str, look: Callable[[], Found]) -> tuple[Consulted, ...]:
    """The trail of *look*; what it raises is its end."""
    try:
        return look().trail
    except (AuthError, RegistryError) as error:
        why = error.message
        return (Consulted(source=name, outcome="error", why=why, expected=True),)

"""What the providers for one product share: hosts as people write them, and a trail of a search."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

from attrs import field, frozen

from ..errors import AuthError, RegistryError
from ..runtime import Environment, Hidden
from . import Consulted, Credential
from .entries import prefix_of
from .keeping import Kept, Steps

__all__ = [
    "Found",
    "Login",
    "explained",
    "first_login",
    "hide",
    "hit",
    "host_in",
    "kept",
    "miss",
    "skipped",
    "variables_of",
]


@frozen(kw_only=True)
class Found:
    """What a search for a credential came to, and the way there."""

    credential: Credential | None
    trail: tuple[Consulted, ...] = ()


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


def miss(name: str, key: str, why: str) -> Found:
    """Nothing for *key*, a host that the provider is there for, and why."""
    step = Consulted(source=name, key=key, outcome="miss", why=why, expected=True)
    return Found(credential=None, trail=(step,))


def skipped(name: str, why: str) -> Found:
    """Nothing, for a host that is not the provider's."""
    return Found(credential=None, trail=(Consulted(source=name, outcome="skipped", why=why),))


def kept(answers: Kept, key: Hashable, find: Callable[[], Found]) -> Found:
    """What *answers* hold for *key*, or else what *find* finds, whose errors are not kept."""
    steps: Steps = []

    def ask(asked: Steps) -> Credential | None:
        found = find()
        asked.extend(found.trail)
        return found.credential

    credential = answers.look(key, ask, steps)
    return Found(credential=credential, trail=tuple(steps))


def explained(name: str, look: Callable[[], Found]) -> tuple[Consulted, ...]:
    """The trail of *look*; what it raises is its end."""
    try:
        return look().trail
    except (AuthError, RegistryError) as error:
        why = error.message
        return (Consulted(source=name, outcome="error", why=why, expected=True),)

"""Keys from wherever this process was given some: the order is that of AWS's own tools."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from attrs import field, frozen

from ...errors import AuthError, RegistryUnavailableError
from ..sigv4 import AwsKeys
from .calls import Aws, KeySource
from .machine import FULL, RELATIVE, ContainerKeys, InstanceKeys
from .profiles import NoProfileError, ProfileKeys
from .roles import WebIdentity

__all__ = ["AmbientKeys", "EnvironmentKeys", "NoKeysError"]

_ACCESS: Final = "AWS_ACCESS_KEY_ID"
_SECRET: Final = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 - a variable's name
_TOKEN: Final = "AWS_SESSION_TOKEN"  # noqa: S105
_ROLE: Final = "AWS_ROLE_ARN"
_IDENTITY: Final = "AWS_WEB_IDENTITY_TOKEN_FILE"


class NoKeysError(AuthError):
    """Nobody gave this process any keys."""


@frozen
class EnvironmentKeys:
    """The keys in ``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY``, ``AWS_SESSION_TOKEN``."""

    def keys(self, aws: Aws, /) -> AwsKeys:
        """Read them; raises `AuthError` when one of the first two is missing."""
        access, secret = aws.variables.get(_ACCESS, ""), aws.variables.get(_SECRET, "")
        if not access or not secret:
            missing = [name for name, value in ((_ACCESS, access), (_SECRET, secret)) if not value]
            raise AuthError(
                f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set",
                hint=f"set both {_ACCESS} and {_SECRET}",
            )
        token = aws.variables.get(_TOKEN, "")
        return AwsKeys(access_key=access, secret_key=secret, session_token=token, source=_ACCESS)


@frozen(kw_only=True)
class Look:
    """One place to look: its name, why it is left alone (empty when it is not), and its source."""

    name: str
    absent: str = ""
    source: KeySource = field(factory=EnvironmentKeys)


@frozen
class AmbientKeys:
    """The first of: environment, web identity, profile, container's role, instance's role.

    A place that was set up and does not work is an error: the next one would be another caller.
    """

    def keys(self, aws: Aws, /) -> AwsKeys:
        """Look in one place after the other; raises `AuthError` when there is nothing anywhere."""
        looked: list[str] = []
        for look in places(aws):
            if look.absent:
                looked.append(f"{look.name}: {look.absent}")
                continue
            try:
                return look.source.keys(aws)
            except NoProfileError as error:
                looked.append(f"{look.name}: {error.message}")
            except (AuthError, RegistryUnavailableError) as error:
                if not isinstance(look.source, InstanceKeys):
                    raise
                looked.append(f"{look.name}: {error.message}")
        raise NoKeysError(
            f"no keys of AWS were found ({'; '.join(looked)})",
            hint="set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_ROLE_ARN and"
            " AWS_WEB_IDENTITY_TOKEN_FILE, or give EcrKeychain its keys",
        )


def places(aws: Aws) -> Iterator[Look]:
    """Where keys may be, in the order they are looked for."""
    variables = aws.variables

    def absent(*names: str, all_: Callable[[Iterator[bool]], bool] = any) -> str:
        given = all_(bool(variables.get(name)) for name in names)
        return "" if given else "not set"

    yield Look(name=_ACCESS, absent=absent(_ACCESS, _SECRET))
    identity = absent(_ROLE, _IDENTITY, all_=all)
    role, path = variables.get(_ROLE, ""), variables.get(_IDENTITY, "")
    name = f"{_ROLE} with {_IDENTITY}"
    if identity:
        yield Look(name=name, absent=identity)
    else:
        session = variables.get("AWS_ROLE_SESSION_NAME", "")
        yield Look(name=name, source=WebIdentity(role=role, token=Path(path), session=session))
    yield Look(name="~/.aws", source=ProfileKeys())
    yield Look(name="the container's role", absent=absent(RELATIVE, FULL), source=ContainerKeys())
    yield Look(name="the instance's role", source=InstanceKeys())

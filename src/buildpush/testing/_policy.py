"""The rules of a `LocalRegistry`: who may do what where."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable, Mapping
from typing import Literal

from attrs import field, frozen

AuthKind = Literal["none", "basic", "token"]
Scope = tuple[str, str]
"""A repository and an action: ``pull``, ``push`` or ``delete``."""


@frozen(kw_only=True)
class Policy:
    """The rules.

    *permissions* map a user to (repository prefix in whole components, ``pull`` or ``push``);
    ``push`` includes deleting, an empty prefix is every repository. A user may do everything
    when *permissions* is None, and nothing when it is given and leaves the user out.
    """

    kind: AuthKind = "none"
    users: Mapping[str, str] = field(factory=dict[str, str], repr=False)
    permissions: Mapping[str, frozenset[Scope]] | None = None
    anonymous_pull: bool = False

    def allows(self, user: str, repository: str, action: str) -> bool:
        """Whether *user* ("" for anonymous) may do *action* in *repository*."""
        if self.kind == "none":
            return True
        if not user:
            return self.anonymous_pull and action == "pull"
        if self.permissions is None:
            return True
        wanted = "push" if action == "delete" else action
        return any(
            granted == wanted and (not prefix or f"{repository}/".startswith(f"{prefix}/"))
            for prefix, granted in self.permissions.get(user, frozenset())
        )

    def knows(self, user: str, password: str) -> bool:
        """Whether *password* is the user's."""
        expected = self.users.get(user)
        return expected is not None and hmac.compare_digest(expected.encode(), password.encode())

    def granted(self, user: str, asked: Iterable[str]) -> frozenset[Scope]:
        """What *user* gets of scopes like ``repository:app:pull,push``."""
        found: set[Scope] = set()
        for text in asked:
            kind, _, rest = text.partition(":")
            repository, _, actions = rest.rpartition(":")
            if kind != "repository":
                continue
            found |= {
                (repository, action)
                for action in actions.split(",")
                if self.allows(user, repository, action)
            }
        return frozenset(found)


def basic(value: str) -> tuple[str, str]:
    """The user and password of Basic credentials; two empty texts when they are not readable."""
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return user, password

"""Who may do what: users by token, certificate or not at all, and the rules that bind them."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterable, Mapping
from typing import Any, Final

from attrs import define, field, frozen

from .kinds import Kind
from .refusals import Refusal, forbidden

ANONYMOUS: Final = "system:anonymous"
ADMIN: Final = "kubernetes-admin"


@frozen(kw_only=True)
class Rule:
    """As in a Role; ``*`` is every verb, group or resource."""

    verbs: tuple[str, ...]
    resources: tuple[str, ...]
    groups: tuple[str, ...] = ("",)
    names: tuple[str, ...] = ()

    def allows(self, verb: str, group: str, resource: str, name: str) -> bool:
        """Whether it covers this."""
        return (
            bool({verb, "*"} & set(self.verbs))
            and bool({group, "*"} & set(self.groups))
            and bool({resource, "*"} & set(self.resources))
            and (not self.names or name in self.names)
        )

    def shown(self) -> dict[str, Any]:
        """As a rules review shows it."""
        names = {"resourceNames": list(self.names)} if self.names else {}
        return {
            "verbs": list(self.verbs),
            "apiGroups": list(self.groups),
            "resources": list(self.resources),
            **names,
        }


ALL: Final = (Rule(verbs=("*",), groups=("*",), resources=("*",)),)
REVIEWS: Final = Rule(
    verbs=("create",),
    groups=("authorization.k8s.io",),
    resources=("selfsubjectaccessreviews", "selfsubjectrulesreviews"),
)


@define(eq=False)
class Rights:
    """The users of one cluster; everybody else is refused.

    With *flattering* a review says yes to everything, as where rights are taken away after it.
    """

    flattering: bool = False
    _users: dict[str, tuple[str, tuple[Rule, ...]]] = field(factory=dict)
    _tokens: dict[str, str] = field(factory=dict)
    _lock: threading.Lock = field(factory=threading.Lock)

    def admin(self) -> str:
        """A token that may do everything."""
        return self.token(ADMIN, "", ALL)

    def account(self, namespace: str, name: str, rules: Iterable[Rule]) -> str:
        """A ServiceAccount's token, with *rules* in its namespace."""
        user = f"system:serviceaccount:{namespace}:{name}"
        return self.token(user, namespace, tuple(rules))

    def token(self, user: str, namespace: str, rules: tuple[Rule, ...]) -> str:
        """A token for *user*, whose *rules* hold in *namespace* (everywhere if empty)."""
        token = f"stub-{secrets.token_urlsafe(24)}"
        with self._lock:
            self._users[user] = (namespace, rules)
            self._tokens[token] = user
        return token

    def certificate(self, user: str, rules: tuple[Rule, ...] = ALL) -> None:
        """Let who shows a certificate for *user* do what *rules* allow."""
        self._users[user] = ("", rules)

    def revoke(self, token: str) -> None:
        """Have *token* expire."""
        with self._lock:
            self._tokens.pop(token, None)

    def who(self, headers: Mapping[str, str], certificate: str) -> str:
        """The user; a 401 for a token that is none."""
        kind, _, token = headers.get("authorization", "").partition(" ")
        if certificate in self._users:
            return certificate
        if not token:
            return ANONYMOUS
        user = self._tokens.get(token.strip()) if kind.lower() == "bearer" else None
        if user is None:
            raise Refusal(401, "Unauthorized")
        return user

    def rules(self, user: str, namespace: str) -> tuple[Rule, ...]:
        """What *user* may do in *namespace*."""
        where, rules = self._users.get(user, ("", ()))
        return (*rules, REVIEWS) if where in ("", namespace) else (REVIEWS,)

    def may(self, user: str, verb: str, group: str, resource: str, name: str, where: str) -> bool:
        """Whether *user* may do *verb* to *resource* (``pods/exec``) *where*."""
        return any(rule.allows(verb, group, resource, name) for rule in self.rules(user, where))

    def demand(
        self, user: str, verb: str, kind: Kind, part: str, *, name: str, namespace: str
    ) -> None:
        """Raise the 403 that names the verb, the resource and the namespace; or nothing."""
        resource = f"{kind.plural}/{part}" if part else kind.plural
        if self.may(user, verb, kind.group, resource, name, namespace):
            return
        where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        why = f'User "{user}" cannot {verb} resource "{resource}" in API group "{kind.group}" {where}'
        raise forbidden(kind, name, why)

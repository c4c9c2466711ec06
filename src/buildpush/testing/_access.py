"""The gate of a `LocalRegistry`: who asks, and whether they may."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, evolve, frozen

from ._dialect import Dialect
from ._messages import Incoming
from ._policy import Policy, Scope, basic
from ._refusals import Refusal, refuse
from ._tokens import SERVICE, Tokens


@frozen(kw_only=True)
class Identity:
    """Who asks, and what their token grants; *granted* is None where the policy alone decides."""

    user: str
    granted: frozenset[Scope] | None = None


@define(eq=False, kw_only=True)
class Gate:
    """Identifies callers, lets requests through or refuses them."""

    policy: Policy
    tokens: Tokens
    realm: str
    dialect: Dialect

    def identify(self, incoming: Incoming) -> Identity | None:
        """Who asks; None when what they present is wrong, expired, or of the wrong scheme."""
        scheme, _, value = incoming.headers.get("authorization", "").partition(" ")
        match self.policy.kind, scheme.lower():
            case "none", _:
                return Identity(user=basic(value)[0] if scheme.lower() == "basic" else "")
            case "basic", "":
                return Identity(user="")
            case "basic", "basic":
                return self._basic(value)
            case "token", "":
                return Identity(user="", granted=frozenset())
            case "token", "bearer":
                token = self.tokens.find(value)
                return None if token is None else Identity(user=token.user, granted=token.scopes)
            case "token", "basic" if self.dialect.after_bad_bearer == "basic":
                return self._basic(value)
            case _:
                return None

    def require(
        self, incoming: Incoming, identity: Identity | None, scopes: Iterable[Scope]
    ) -> None:
        """Let the request pass, or raise the 401 or 403 a registry would answer.

        Without *scopes* (``/v2/`` itself) anybody who is known may pass.
        """
        wanted = tuple(scopes)
        if identity is None:
            if self.dialect.bad_credentials == 403:
                raise refuse(403, "DENIED")
            raise self.challenge(incoming, wanted)
        policy = self.policy
        if not wanted and not identity.user and policy.kind != "none":
            # A token that carries no scope still proves that the caller went to the realm.
            raise self.challenge(incoming, wanted)
        for repository, action in wanted:
            if not policy.allows(identity.user, repository, action):
                if not identity.user:
                    raise self.challenge(incoming, wanted)
                raise refuse(403, "DENIED", detail=f"{action} in {repository}")
            if identity.granted is not None and (repository, action) not in identity.granted:
                if identity.user == "" and policy.anonymous_pull and not identity.granted:
                    raise self.challenge(incoming, wanted)
                raise self.challenge(incoming, wanted, error="insufficient_scope")

    def challenge(
        self, incoming: Incoming, scopes: Iterable[Scope], *, error: str = ""
    ) -> Refusal:
        """The 401 that says how to come back."""
        refusal = refuse(401, "UNAUTHORIZED")
        bearer = incoming.headers.get("authorization", "").lower().startswith("bearer ")
        basic_now = bearer and not error and self.dialect.after_bad_bearer == "basic"
        if self.policy.kind == "basic" or basic_now:
            return evolve(refusal, headers={"WWW-Authenticate": f'Basic realm="{SERVICE}"'})
        asked: dict[str, list[str]] = {}
        for repository, action in scopes:
            # A client that may push is going to look first, as Distribution assumes too.
            actions = ["pull", "push"] if action == "push" else [action]
            asked.setdefault(repository, []).extend(actions)
        text = " ".join(
            f"repository:{repository}:{','.join(dict.fromkeys(actions))}"
            for repository, actions in asked.items()
        )
        challenge = f'Bearer realm="{self.realm}",service="{SERVICE}"'
        challenge += f',scope="{text}"' if text else ""
        challenge += f',error="{error}"' if error else ""
        return evolve(refusal, headers={"WWW-Authenticate": challenge})

    def _basic(self, value: str) -> Identity | None:
        user, password = basic(value)
        return Identity(user=user) if self.policy.knows(user, password) else None

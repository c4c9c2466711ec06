"""Who may do what in a `LocalRegistry`: Basic credentials, and tokens as Distribution's."""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Final, Literal
from urllib.parse import parse_qs

from attrs import define, evolve, field, frozen

from ._refusals import Refusal, answer, nowhere, refuse
from ._server import Incoming, Response

AuthKind = Literal["none", "basic", "token"]
Scope = tuple[str, str]
"""A repository and an action: ``pull``, ``push`` or ``delete``."""

SERVICE: Final = "buildpush-local-registry"
_FORM_LIMIT: Final = 1 << 16


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


@frozen(kw_only=True)
class _Token:
    user: str
    scopes: frozenset[Scope]
    expires: float


@frozen(kw_only=True)
class Identity:
    """Who asks, and what their token grants; *granted* is None where the policy alone decides."""

    user: str
    granted: frozenset[Scope] | None = None


@define(eq=False, kw_only=True)
class Gate:
    """Identifies callers, issues tokens, lets requests through or refuses them."""

    policy: Policy
    realm: str
    lifetime: float
    clock: Callable[[], float]
    _tokens: dict[str, _Token] = field(factory=dict[str, _Token], init=False)
    _identities: dict[str, str] = field(factory=dict[str, str], init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def identify(self, incoming: Incoming) -> Identity | None:
        """Who asks; None when what they present is wrong, expired, or of the wrong scheme."""
        scheme, _, value = incoming.headers.get("authorization", "").partition(" ")
        match self.policy.kind, scheme.lower():
            case "none", _:
                return Identity(user=_basic(value)[0] if scheme.lower() == "basic" else "")
            case "basic", "":
                return Identity(user="")
            case "basic", "basic":
                user, password = _basic(value)
                return Identity(user=user) if self.policy.knows(user, password) else None
            case "token", "":
                return Identity(user="", granted=frozenset())
            case "token", "bearer":
                return self._bearer(value)
            case _:
                return None

    def require(self, identity: Identity | None, scopes: Iterable[Scope]) -> None:
        """Let the request pass, or raise the 401 or 403 a registry would answer.

        Without *scopes* (``/v2/`` itself) anybody who is known may pass.
        """
        wanted = tuple(scopes)
        if identity is None:
            raise self._challenge(wanted)
        policy = self.policy
        if not wanted and not identity.user and policy.kind != "none":
            # A token that carries no scope still proves that the caller went to the realm.
            raise self._challenge(wanted)
        for repository, action in wanted:
            if not policy.allows(identity.user, repository, action):
                if not identity.user:
                    raise self._challenge(wanted)
                raise refuse(403, "DENIED", detail=f"{action} in {repository}")
            if identity.granted is not None and (repository, action) not in identity.granted:
                if identity.user == "" and policy.anonymous_pull and not identity.granted:
                    raise self._challenge(wanted)
                raise self._challenge(wanted, error="insufficient_scope")

    def issue(self, incoming: Incoming) -> Response:
        """Answer the token endpoint: GET with Basic, POST as OAuth2 (Distribution's "Token")."""
        if self.policy.kind != "token":
            raise nowhere()
        if incoming.method == "POST":
            form = parse_qs((incoming.body.read(_FORM_LIMIT) or b"").decode("utf-8", "replace"))
            user = self._grant(form)
        elif incoming.method == "GET":
            form = parse_qs(incoming.query)
            user = self._login(incoming)
        else:
            raise refuse(405, "UNSUPPORTED")
        incoming.principal = user
        asked = " ".join(form.get("scope", ())).split()
        token = self._remember(user, _granted(self.policy, user, asked))
        document: dict[str, object] = {"token": token, "access_token": token}
        document["expires_in"] = int(self.lifetime)
        offline = form.get("offline_token") == ["true"] or form.get("access_type") == ["offline"]
        if user and offline:
            document["refresh_token"] = self.identity_token(user)
        return answer(200, document)

    def identity_token(self, user: str) -> str:
        """Make a refresh token for *user*."""
        token = secrets.token_urlsafe(24)
        with self._lock:
            self._identities[token] = user
        return token

    def expire_tokens(self) -> None:
        """Make every access token issued so far stale, as if its lifetime had passed."""
        with self._lock:
            self._tokens.clear()

    def _bearer(self, value: str) -> Identity | None:
        with self._lock:
            token = self._tokens.get(value)
        if token is None or token.expires <= self.clock():
            return None
        return Identity(user=token.user, granted=token.scopes)

    def _remember(self, user: str, scopes: frozenset[Scope]) -> str:
        text = secrets.token_urlsafe(24)
        token = _Token(user=user, scopes=scopes, expires=self.clock() + self.lifetime)
        with self._lock:
            self._tokens[text] = token
        return text

    def _login(self, incoming: Incoming) -> str:
        scheme, _, value = incoming.headers.get("authorization", "").partition(" ")
        if not scheme:
            return ""
        user, password = _basic(value)
        if scheme.lower() != "basic" or not self.policy.knows(user, password):
            raise refuse(401, "UNAUTHORIZED", WWW_Authenticate=f'Basic realm="{SERVICE}"')
        return user

    def _grant(self, form: Mapping[str, list[str]]) -> str:
        def one(name: str) -> str:
            return form.get(name, [""])[0]

        if one("grant_type") == "refresh_token":
            with self._lock:
                user = self._identities.get(one("refresh_token"))
            if user is None:
                raise refuse(401, "UNAUTHORIZED", detail="invalid_grant")
            return user
        if one("grant_type") == "password":
            if not self.policy.knows(one("username"), one("password")):
                raise refuse(401, "UNAUTHORIZED", detail="invalid_grant")
            return one("username")
        raise refuse(400, "UNSUPPORTED", detail="unsupported_grant_type")

    def _challenge(self, scopes: Iterable[Scope], *, error: str = "") -> Refusal:
        refusal = refuse(401, "UNAUTHORIZED")
        if self.policy.kind == "basic":
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


def _basic(value: str) -> tuple[str, str]:
    try:
        user, _, password = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return user, password


def _granted(policy: Policy, user: str, asked: Iterable[str]) -> frozenset[Scope]:
    found: set[Scope] = set()
    for text in asked:
        kind, _, rest = text.partition(":")
        repository, _, actions = rest.rpartition(":")
        if kind != "repository":
            continue
        found |= {
            (repository, action)
            for action in actions.split(",")
            if policy.allows(user, repository, action)
        }
    return frozenset(found)

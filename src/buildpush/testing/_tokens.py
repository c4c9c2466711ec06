"""The token endpoint of a `LocalRegistry`, as Distribution specifies it and as others bend it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import ssl
import threading
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Final, Literal
from urllib.parse import parse_qs

from attrs import define, field, frozen

from ._messages import Incoming, Response
from ._policy import Policy, Scope, basic
from ._refusals import answer, nowhere, refuse

SERVICE: Final = "buildpush-local-registry"
_FORM_LIMIT: Final = 1 << 16
_MANY: Final = 256

Login = Literal["basic", "password", "refresh_token"]
_ALL: Final[frozenset[Login]] = frozenset({"basic", "password", "refresh_token"})


@frozen(kw_only=True)
class TokenServer:
    """How the token endpoint behaves.

    *host*: "" serves it on the registry's own socket; a name of this machine's loopback address
    (``localhost``, ``127.0.0.2``) on a socket of its own under that name, with *tls* when given.
    *realm*: what challenges say instead of its true address. *jwt*: tokens say in the clear what
    they grant; otherwise they are opaque. *states_lifetime*: whether answers have ``expires_in``.
    *scopes*: of several scopes asked for at once ``many`` grants all that are allowed, ``first``
    only the first, and ``one`` refuses the request with 400. *logins*: the ways to log in that
    are known: GET with Basic, POST with a password, POST with a refresh token (which is all that
    is left with ``{"refresh_token"}``, as for ACR's identities).
    """

    host: str = ""
    tls: ssl.SSLContext | None = None
    realm: str = ""
    jwt: bool = False
    states_lifetime: bool = True
    scopes: Literal["many", "first", "one"] = "many"
    logins: AbstractSet[Login] = _ALL


@frozen(kw_only=True)
class Token:
    """Whose it is, what it grants, and until when by the registry's clock."""

    user: str
    scopes: frozenset[Scope]
    expires: float


@define(eq=False, kw_only=True)
class Tokens:
    """Issues tokens and knows them again."""

    policy: Policy
    server: TokenServer
    lifetime: float
    clock: Callable[[], float]
    bad_credentials: Literal[401, 403] = 401
    _key: bytes = field(factory=lambda: secrets.token_bytes(32), init=False)
    _tokens: dict[str, Token] = field(factory=dict[str, Token], init=False)
    _identities: dict[str, str] = field(factory=dict[str, str], init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def issue(self, incoming: Incoming) -> Response:
        """Answer a request for a token: GET with Basic or nothing, POST as OAuth2."""
        if self.policy.kind != "token":
            raise nowhere()
        if incoming.method == "POST" and self.server.logins - {"basic"}:
            form = parse_qs((incoming.body.read(_FORM_LIMIT) or b"").decode("utf-8", "replace"))
            user = self._grant(form)
        elif incoming.method == "GET":
            form = parse_qs(incoming.query)
            user = self._login(incoming)
        else:
            raise refuse(405, "UNSUPPORTED")
        incoming.principal = user
        token = self._remember(user, self._granted(user, form.get("scope", [])))
        document: dict[str, object] = {"token": token, "access_token": token}
        if self.server.states_lifetime:
            document["expires_in"] = int(self.lifetime)
        offline = form.get("offline_token") == ["true"] or form.get("access_type") == ["offline"]
        if user and offline:
            document["refresh_token"] = self.identity_token(user)
        return answer(200, document)

    def find(self, text: str) -> Token | None:
        """The token *text* stands for, None when it is unknown or has expired."""
        with self._lock:
            token = self._tokens.get(text)
        return None if token is None or token.expires <= self.clock() else token

    def identity_token(self, user: str) -> str:
        """The refresh token of *user*."""
        with self._lock:
            known = next((text for text, whose in self._identities.items() if whose == user), "")
            text = known or secrets.token_urlsafe(24)
            self._identities[text] = user
        return text

    def expire(self) -> None:
        """Make every access token issued so far stale, as if its lifetime had passed."""
        with self._lock:
            self._tokens.clear()

    def _remember(self, user: str, scopes: frozenset[Scope]) -> str:
        text = self._jwt(user, scopes) if self.server.jwt else secrets.token_urlsafe(24)
        now = self.clock()
        with self._lock:
            if len(self._tokens) >= _MANY:
                self._tokens = {t: k for t, k in self._tokens.items() if k.expires > now}
            self._tokens[text] = Token(user=user, scopes=scopes, expires=now + self.lifetime)
        return text

    def _granted(self, user: str, parameters: Iterable[str]) -> frozenset[Scope]:
        asked = " ".join(parameters).split()
        if len(asked) > 1 and self.server.scopes == "one":
            raise refuse(400, "UNSUPPORTED", detail="one scope at a time")
        if self.server.scopes == "first":
            asked = asked[:1]
        return self.policy.granted(user, asked)

    def _login(self, incoming: Incoming) -> str:
        scheme, _, value = incoming.headers.get("authorization", "").partition(" ")
        if not scheme:
            return ""
        user, password = basic(value)
        known = scheme.lower() == "basic" and "basic" in self.server.logins
        if not known or not self.policy.knows(user, password):
            if self.bad_credentials == 403:
                raise refuse(403, "DENIED")
            raise refuse(401, "UNAUTHORIZED", WWW_Authenticate=f'Basic realm="{SERVICE}"')
        return user

    def _grant(self, form: Mapping[str, list[str]]) -> str:
        def one(name: str) -> str:
            return form.get(name, [""])[0]

        grant = one("grant_type")
        if grant not in self.server.logins:
            raise refuse(400, "UNSUPPORTED", detail="unsupported_grant_type")
        if grant == "refresh_token":
            with self._lock:
                user = self._identities.get(one("refresh_token"))
        else:
            name = one("username")
            user = name if self.policy.knows(name, one("password")) else None
        if user is None:
            raise refuse(self.bad_credentials, "UNAUTHORIZED", detail="invalid_grant")
        return user

    def _jwt(self, user: str, scopes: frozenset[Scope]) -> str:
        now = int(datetime.now(UTC).timestamp())
        by_repository: dict[str, list[str]] = {}
        for repository, action in sorted(scopes):
            by_repository.setdefault(repository, []).append(action)
        claims = {
            "iss": SERVICE,
            "aud": SERVICE,
            "sub": user,
            "iat": now,
            "exp": now + int(self.lifetime),
            "jti": secrets.token_hex(8),
            "access": [
                {"type": "repository", "name": repository, "actions": actions}
                for repository, actions in by_repository.items()
            ],
        }
        text = f"{_part({'typ': 'JWT', 'alg': 'HS256'})}.{_part(claims)}"
        proof = hmac.new(self._key, text.encode(), hashlib.sha256).digest()
        return f"{text}.{_base64(proof)}"


def _part(document: Mapping[str, object]) -> str:
    return _base64(json.dumps(document, separators=(",", ":")).encode())


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

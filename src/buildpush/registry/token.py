"""Proving who we are: challenge → Basic or a bearer token, cached per scope and per account.

Follows the distribution project's token authentication and OAuth2 specifications.
"""

from __future__ import annotations

import base64
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlencode, urlsplit

from attrs import define, field, frozen

from ..auth import Access, Credential, Keychain
from ..errors import AuthError, RegistryError
from ..http.answers import safe_url
from ..http.bodies import sendable
from ..http.trust import Trust
from ..oci import Repository
from ..runtime import Hidden, Run
from .bodies import parse_grant
from .challenges import Challenge, parse_challenges
from .failures import failure, scope_of

if TYPE_CHECKING:
    from ..http.transport import Reply, Transport

_DEFAULT_SECONDS: Final = 60.0
_EARLY: Final = 0.8
_LIMIT: Final = 1 << 20


@frozen(kw_only=True)
class Want:
    """What a request is for: one kind of access to one repository, perhaps reading *also*."""

    repository: Repository
    access: Access
    also: Repository | None = None

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes a token needs, one per repository."""
        own = scope_of(self.repository, self.access)
        return (own,) if self.also is None else (own, scope_of(self.also, "pull"))


@frozen(kw_only=True)
class _Key:
    """What a token may be shared between: never two accounts, never pull and push."""

    realm: str
    service: str
    scopes: tuple[str, ...]
    access: Access
    principal: Credential | None = field(repr=False)


@define(eq=False)
class _Slot:
    """One token and the lock that makes fetching it happen once at a time."""

    lock: threading.Lock = field(factory=threading.Lock)
    token: str = field(default="", repr=False)
    until: float = float("-inf")


@define(eq=False, kw_only=True)
class Authorizer:
    """Answers challenges for one run. Thread-safe.

    Every secret and every token is taught to the run's redactor before it is used.
    """

    keychain: Keychain
    run: Run
    trust: Trust
    transport: Transport
    _challenges: dict[str, Challenge] = field(factory=dict[str, Challenge], init=False)
    _named: dict[Want, tuple[str, ...]] = field(factory=dict[Want, tuple[str, ...]], init=False)
    _resolved: dict[tuple[Repository, Access], Credential | None] = field(
        factory=dict[tuple[Repository, Access], Credential | None], init=False, repr=False
    )
    _slots: dict[_Key, _Slot] = field(factory=dict[_Key, _Slot], init=False, repr=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def credential(self, want: Want) -> Credential | None:
        """The keychain's credential for *want*, asked once; raises `AuthError` as it does."""
        key = (want.repository, want.access)
        with self._lock:
            if key in self._resolved:
                return self._resolved[key]
        found = self.keychain.resolve(want.repository, want.access)
        if found is not None:
            self._learn(found)
        with self._lock:
            return self._resolved.setdefault(key, found)

    def header(self, want: Want) -> str:
        """The Authorization header for *want*; empty while its registry has asked for none."""
        with self._lock:
            challenge = self._challenges.get(want.repository.host)
        return "" if challenge is None else self._prove(challenge, want)

    def answer(self, want: Want, reply: Reply, sent: str) -> str:
        """The header that answers a 401 to a request sent with *sent*.

        A token that was refused is forgotten and fetched again. Empty when there is nothing
        better to offer. Raises `AuthError` when the token service refuses.
        """
        challenge = self._choose(want, parse_challenges(reply.challenges), sent)
        if challenge is None:
            return ""
        self._require_safe(challenge, want)
        with self._lock:
            self._challenges[want.repository.host] = challenge
            named = challenge.parameters.get("scope", "").split()
            mine = {f"repository:{r.path}:" for r in (want.repository, want.also) if r}
            extra = tuple(s for s in named if s[: s.rfind(":") + 1] not in mine)
            if extra:
                self._named[want] = extra
        if sent:
            self._forget(challenge, want, sent)
        header = self._prove(challenge, want)
        return "" if header == sent else header

    def _choose(self, want: Want, offered: Iterable[Challenge], sent: str) -> Challenge | None:
        by_scheme = {c.scheme: c for c in reversed(tuple(offered))}
        bearer = by_scheme.get("bearer")
        if bearer is not None and bearer.parameters.get("realm"):
            return bearer
        if sent.startswith("Bearer "):
            # Harbor answers a stale bearer token with a Basic challenge: keep to the first one.
            with self._lock:
                known = self._challenges.get(want.repository.host)
            if known is not None and known.scheme == "bearer":
                return known
        return by_scheme.get("basic")

    def _forget(self, challenge: Challenge, want: Want, sent: str) -> None:
        """Drop what was refused: the token, and the credential, which may have been renewed."""
        with self._lock:
            self._resolved.pop((want.repository, want.access), None)
            slots = tuple(self._slots.values())
        if challenge.scheme == "bearer":
            for slot in slots:
                with slot.lock:
                    if sent == f"Bearer {slot.token}":
                        slot.token, slot.until = "", float("-inf")

    def _prove(self, challenge: Challenge, want: Want) -> str:
        credential = self.credential(want)
        if credential is not None and credential.registry_token:
            if not sendable(credential.registry_token):
                raise AuthError(
                    f"the registry token from {credential.source} holds characters that no"
                    " header can carry",
                    hint="is there a line break or a blank in it?",
                )
            return Hidden(f"Bearer {credential.registry_token}")
        if challenge.scheme == "basic":
            if credential is None or not (credential.username or credential.password):
                return ""
            return Hidden(f"Basic {_pair(credential)}")
        key = _Key(
            realm=challenge.parameters["realm"],
            service=challenge.parameters.get("service", ""),
            scopes=tuple(sorted({*want.scopes, *self._named.get(want, ())})),
            access=want.access,
            principal=credential,
        )
        with self._lock:
            slot = self._slots.setdefault(key, _Slot())
        with slot.lock:
            if self.run.clock() >= slot.until:
                began = self.run.clock()
                slot.token, seconds = self._fetch(key, want)
                slot.until = began + seconds * _EARLY
            return Hidden(f"Bearer {slot.token}")

    def _fetch(self, key: _Key, want: Want) -> tuple[str, float]:
        """Ask the token service; the token and how many seconds it lives."""
        from ..http.transport import Body

        about = f"asking {urlsplit(key.realm).hostname} for a token"
        credential, host = key.principal, want.repository.host
        if credential is not None and credential.identity_token:
            form = {
                "grant_type": "refresh_token",
                "service": key.service,
                "client_id": "buildpush",
                "scope": " ".join(key.scopes),
                "refresh_token": Hidden(credential.identity_token),
            }
            body = Body.of(urlencode(form).encode(), "application/x-www-form-urlencoded")
            exchange = self.transport.send("POST", key.realm, body=body, behalf=host)
        else:
            headers: dict[str, str] = {}
            if credential is not None:
                headers["Authorization"] = Hidden(f"Basic {_pair(credential)}")
            exchange = self.transport.send("GET", _token_url(key), headers=headers, behalf=host)
        with exchange as reply:
            if reply.status != 200:
                raise self._refused(reply, about, want, credential)
            return self._read(reply.read(_LIMIT), about)

    def _refused(
        self, reply: Reply, about: str, want: Want, credential: Credential | None
    ) -> Exception:
        error = failure(
            reply,
            about,
            repository=want.repository,
            access=want.access,
            credential=credential,
            redact=self.run.redact,
        )
        if reply.status in (400, 404, 405):
            # What OAuth2 token services answer to a refresh token they do not know is 400.
            refused = f"from {credential.source}" if credential else "of an anonymous caller"
            return AuthError(
                f"{about}: it refused the credential {refused} for {want.repository}"
                f" ({want.access}): HTTP {reply.status}",
                evidence=error.evidence,
                hint=error.hint or "is it expired, or meant for another registry or account?",
            )
        return error

    def _read(self, data: bytes, about: str) -> tuple[str, float]:
        grant = parse_grant(data)
        if grant is None:
            raise RegistryError(f"{about}: the answer holds no token")
        self.run.redact.learn(grant.token)
        return grant.token, grant.seconds if grant.seconds > 0 else _DEFAULT_SECONDS

    def _require_safe(self, challenge: Challenge, want: Want) -> None:
        """Refuse a realm that would carry credentials unencrypted, or to this machine itself."""
        realm = challenge.parameters.get("realm", "")
        if challenge.scheme != "bearer":
            return
        host = want.repository.host
        reason = self.trust.objection(realm, f"//{host}")
        if realm.startswith("http://") and not self.trust.allows(host):
            reason = "which is not encrypted"
        if not reason:
            return
        raise AuthError(
            f"{host} wants credentials sent to {safe_url(realm) if '://' in realm else realm!r},"
            f" {reason}",
            hint="the registry's token service must be an https:// address that others can reach",
        )

    def _learn(self, credential: Credential) -> None:
        for secret in (credential.password, credential.identity_token, credential.registry_token):
            self.run.redact.learn(secret)
        if credential.password:
            self.run.redact.learn(_pair(credential))


def _pair(credential: Credential) -> str:
    return base64.b64encode(f"{credential.username}:{credential.password}".encode()).decode()


def _token_url(key: _Key) -> str:
    pairs = [("service", key.service)] if key.service else []
    pairs += [("scope", scope) for scope in key.scopes]
    if key.principal is not None and key.principal.username:
        pairs.append(("account", key.principal.username))
    query = "&".join(f"{name}={quote(value, safe=':/,')}" for name, value in pairs)
    return f"{key.realm}{'&' if '?' in key.realm else '?'}{query}"

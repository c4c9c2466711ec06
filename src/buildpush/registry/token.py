"""Proving who we are: challenge → Basic or a bearer token, cached per scope and per account.

Follows the distribution project's token authentication specification.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from attrs import define, evolve, field, frozen

from ..auth import Access, Consulted, Credential, Keychain, trail
from ..auth.bound import refused
from ..errors import AuthError, CredentialEvidence, PermissionDeniedError
from ..http.answers import safe_url
from ..http.bodies import sendable
from ..http.trust import Trust
from ..oci import Repository
from ..runtime import Hidden, Run
from .bodies import Granted, parse_granted
from .challenges import Challenge, parse_challenges
from .failures import scope_of
from .issuing import Application, Issued, Issuer, basic, headers_of

if TYPE_CHECKING:
    from ..http.transport import Reply, Transport

_EARLY: Final = 0.8
_DUE: Final = 60.0
"""Seconds before a credential ends that its keychain is asked for a new one."""
_PATIENCE: Final = 2


def _wall() -> float:
    """Seconds since 1970, which expiries are told in."""
    return datetime.now(UTC).timestamp()


@frozen(kw_only=True)
class Want:
    """What a request is for: one kind of access to one repository, perhaps reading *also*.

    An *anonymous* one is made without a credential, whatever the keychain has; one that
    *deletes* asks for that permission, too.
    """

    repository: Repository
    access: Access
    also: Repository | None = None
    anonymous: bool = False
    deletes: bool = False

    @property
    def scopes(self) -> tuple[str, ...]:
        """The scopes a token needs, one per repository; its own comes first."""
        own = scope_of(self.repository, self.access) + (",delete" if self.deletes else "")
        return (own,) if self.also is None else (own, scope_of(self.also, "pull"))


@frozen(kw_only=True)
class _Key:
    """What a token may be shared between: never two accounts, never pull and push."""

    realm: str
    service: str
    scopes: frozenset[str]
    access: Access
    principal: Credential | None = field(repr=False)


@define(eq=False)
class _Slot:
    """One token and the lock that makes fetching it happen once at a time."""

    lock: threading.Lock = field(factory=threading.Lock)
    issued: Issued | None = None
    until: float = float("-inf")


@frozen(kw_only=True)
class _Heard:
    """A challenge, and the ``host:port`` it came from."""

    challenge: Challenge
    sender: str


_Subject = tuple[Repository, Access]


@define(eq=False, kw_only=True)
class Authorizer:
    """Answers challenges for one run. Thread-safe.

    Every secret and every token is taught to the run's redactor before it is used. *wall* is
    the time in seconds since 1970.
    """

    keychain: Keychain
    run: Run
    trust: Trust
    transport: Transport
    wall: Callable[[], float] = _wall
    _issuer: Issuer = field(init=False)
    _heard: dict[str, _Heard] = field(factory=dict[str, _Heard], init=False)
    _named: dict[Want, tuple[str, ...]] = field(factory=dict[Want, tuple[str, ...]], init=False)
    _resolved: dict[_Subject, Credential | None] = field(
        factory=dict[_Subject, Credential | None], init=False, repr=False
    )
    _trails: dict[_Subject, tuple[Consulted, ...]] = field(
        factory=dict[_Subject, tuple[Consulted, ...]], init=False
    )
    _slots: dict[_Key, _Slot] = field(factory=dict[_Key, _Slot], init=False, repr=False)
    _used: dict[Want, _Slot] = field(factory=dict[Want, _Slot], init=False, repr=False)
    _told: set[Credential] = field(factory=set[Credential], init=False, repr=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def __attrs_post_init__(self) -> None:
        self._issuer = Issuer(run=self.run, transport=self.transport)

    # --- whose credential ---

    def credential(self, want: Want) -> Credential | None:
        """The keychain's credential for *want*, asked for again when it is due.

        Raises `AuthError` as the keychain does, and when a push would be an anonymous one
        although a source of credentials is set up for that registry.
        """
        if want.anonymous:
            return None
        key = (want.repository, want.access)
        with self._lock:
            found = self._resolved.get(key)
            known = key in self._resolved
        if not known or self._is_due(found):
            found = self.keychain.resolve(want.repository, want.access)
            if found is not None:
                self._learn(found)
            with self._lock:
                self._resolved[key] = found
        if found is None:
            self._vouch(want)
        return found

    def known(self, want: Want) -> Credential | None:
        """The credential that was found for *want* so far; the keychain is not asked."""
        if want.anonymous:
            return None
        with self._lock:
            return self._resolved.get((want.repository, want.access))

    def _vouch(self, want: Want) -> None:
        """Raise `AuthError` when *want* is a push that no anonymous caller should make.

        That is one to a registry that a source of credentials is set up for, which has none for
        this repository.
        """
        if want.access != "push":
            return
        expected = [step for step in self._trail(want) if step.expected]
        if not expected or any(step.outcome == "hit" for step in expected):
            return
        raise AuthError(
            f"no credential was found for {want.repository} (push), and {expected[-1].source} is"
            f" set up for {want.repository.host}: nothing is pushed there anonymously",
            evidence=(self.account(want),),
            hint=f"log in to {want.repository.host} again, or give a credential for"
            f" {want.repository} with auth=",
        )

    def account(self, want: Want) -> CredentialEvidence:
        """Who asks for *want*: what an error may say of it."""
        with self._lock:
            slot = self._used.get(want)
        granted = self.granted(want)
        return CredentialEvidence(
            anonymous=self.known(want) is None,
            scope=" ".join(want.scopes) if slot is not None else "",
            granted=str(granted) if granted is not None else "",
            trail=tuple(self.run.redact(str(step)) for step in self._trail(want)),
        )

    def granted(self, want: Want) -> Granted | None:
        """What the token last used for *want* says it grants; None when nobody can read it."""
        credential = self.known(want)
        if credential is not None and credential.registry_token:
            return parse_granted(credential.registry_token)
        with self._lock:
            slot = self._used.get(want)
        issued = slot.issued if slot is not None else None
        return issued.granted if issued is not None else None

    def _trail(self, want: Want) -> tuple[Consulted, ...]:
        key = (want.repository, want.access)
        with self._lock:
            found = self._trails.get(key)
        if found is None:
            found = trail(self.keychain, want.repository, want.access)
            with self._lock:
                self._trails[key] = found
        return found

    def _is_due(self, credential: Credential | None) -> bool:
        ends = credential.expires if credential is not None else None
        return ends is not None and self.wall() >= ends - _DUE

    def _again(self, want: Want) -> Credential | None:
        """Ask the keychain once more: what it said was refused, and may have been renewed."""
        key = (want.repository, want.access)
        with self._lock:
            self._resolved.pop(key, None)
            self._trails.pop(key, None)
        return self.credential(want)

    def _tell(self, credential: Credential) -> None:
        """Tell the keychain that *credential* was refused, once for each there is."""
        with self._lock:
            told = credential in self._told
            self._told.add(credential)
        if not told:
            refused(self.keychain, credential)

    def _learn(self, credential: Credential) -> None:
        for secret in (credential.password, credential.identity_token, credential.registry_token):
            self.run.redact.learn(secret)
        if credential.password:
            self.run.redact.learn(basic(credential))

    # --- what to send ---

    def header(self, want: Want) -> str:
        """The Authorization header for *want*; empty while its registry has asked for none."""
        with self._lock:
            heard = self._heard.get(want.repository.host)
        return "" if heard is None else self._prove(heard, want)

    def answer(self, want: Want, reply: Reply, sent: str, refused: int) -> str:
        """The header that answers a 401 to a request sent with *sent*.

        *refused* counts the proofs that were refused in a row. A token that was refused is
        forgotten and fetched again. Empty when there is nothing better to offer. Raises
        `AuthError` when the token service refuses.
        """
        challenge = self._choose(want, parse_challenges(reply.challenges), sent, refused)
        if challenge is None:
            return ""
        heard = _Heard(challenge=challenge, sender=urlsplit(reply.url).netloc)
        self._require_safe(heard, want)
        with self._lock:
            self._heard[want.repository.host] = heard
            named = challenge.parameters.get("scope", "").split()
            mine = {f"repository:{r.path}:" for r in (want.repository, want.also) if r}
            extra = tuple(s for s in named if s[: s.rfind(":") + 1] not in mine)
            if extra:
                self._named[want] = extra
        if sent:
            self.forget(want, sent)
        header = self._prove(heard, want)
        return "" if header == sent else header

    def renewed(self, want: Want, sent: str) -> str:
        """The header for *want* after *sent* was refused for its age; empty when there is no other."""
        self.forget(want, sent)
        header = self.header(want)
        return "" if header == sent else header

    def forget(self, want: Want, sent: str = "") -> None:
        """Drop what was refused: the token, and the credential, which may have been renewed.

        Without *sent*, only the token last used for *want*.
        """
        with self._lock:
            used = self._used.get(want)
            slots = tuple(self._slots.values()) if sent else (used,) if used else ()
            subject = (want.repository, want.access)
            known = self._resolved.pop(subject, None) if sent else None
            if sent:
                self._trails.pop(subject, None)
        if known is not None and sent in headers_of(known):
            self._tell(known)
        for slot in slots:
            with slot.lock:
                if slot.issued and (not sent or sent == f"Bearer {slot.issued.token}"):
                    slot.until = float("-inf")

    def _choose(
        self, want: Want, offered: Iterable[Challenge], sent: str, refused: int
    ) -> Challenge | None:
        by_scheme = {c.scheme: c for c in reversed(tuple(offered))}
        bearer = by_scheme.get("bearer")
        if bearer is not None and bearer.parameters.get("realm"):
            return bearer if refused < _PATIENCE else None
        if sent.startswith("Bearer ") and refused < _PATIENCE:
            # Harbor answers a stale token with a Basic challenge: keep to the first one, with a
            # new token. Only when that is refused, too, it is taken at its word.
            with self._lock:
                heard = self._heard.get(want.repository.host)
            if heard is not None and heard.challenge.scheme == "bearer":
                return heard.challenge
        if sent.startswith("Basic ") and refused >= _PATIENCE:
            return None
        return by_scheme.get("basic")

    def _prove(self, heard: _Heard, want: Want) -> str:
        credential = self.credential(want)
        if credential is not None and credential.registry_token:
            if not sendable(credential.registry_token):
                raise AuthError(
                    f"the registry token from {credential.source} holds characters that no"
                    " header can carry",
                    hint="is there a line break or a blank in it?",
                )
            return Hidden(f"Bearer {credential.registry_token}")
        if heard.challenge.scheme == "basic":
            # An identity token without a password is for token services only.
            if credential is None or not (
                credential.password or (credential.username and not credential.identity_token)
            ):
                return ""
            return Hidden(f"Basic {basic(credential)}")
        try:
            return self._bearer(heard, want, credential)
        except AuthError as error:
            if credential is not None and not isinstance(error, PermissionDeniedError):
                self._tell(credential)
            renewed = self._again(want) if credential is not None else None
            if renewed is None or renewed == credential:
                raise self._accounted(error, want) from error.__cause__
        try:
            return self._bearer(heard, want, renewed)
        except AuthError as error:
            raise self._accounted(error, want) from error.__cause__

    def _accounted(self, error: AuthError, want: Want) -> AuthError:
        """*error* of a token service, with who asked and where the credential came from."""
        if not any(isinstance(piece, CredentialEvidence) for piece in error.evidence):
            error.evidence = (*error.evidence, self.account(want))
        return error

    def _bearer(self, heard: _Heard, want: Want, credential: Credential | None) -> str:
        parameters = heard.challenge.parameters
        with self._lock:
            scopes = tuple(dict.fromkeys((*want.scopes, *self._named.get(want, ()))))
        application = Application(
            realm=parameters["realm"],
            service=parameters.get("service", ""),
            scopes=scopes,
            principal=credential,
            repository=want.repository,
            access=want.access,
            sender=heard.sender,
        )
        key = _Key(
            realm=application.realm,
            service=application.service,
            scopes=frozenset(scopes),
            access=want.access,
            principal=credential,
        )
        with self._lock:
            slot = self._used[want] = self._slots.setdefault(key, _Slot())
        with slot.lock:
            if slot.issued is None or self.run.clock() >= slot.until:
                began = self.run.clock()
                slot.issued = self._issue(application)
                slot.until = began + slot.issued.seconds * _EARLY
            return Hidden(f"Bearer {slot.issued.token}")

    def _issue(self, application: Application) -> Issued:
        try:
            return self._issuer.issue(application)
        except AuthError:
            if len(application.scopes) == 1:
                raise
            # Some services know one scope only, or refuse all for one they do not grant.
            return self._issuer.issue(evolve(application, scopes=application.scopes[:1]))

    def _require_safe(self, heard: _Heard, want: Want) -> None:
        """Refuse a realm that would carry credentials unencrypted, or to this machine itself."""
        if heard.challenge.scheme != "bearer":
            return
        realm, host = heard.challenge.parameters.get("realm", ""), want.repository.host
        reason = self.trust.objection(realm, f"//{host}")
        if realm[:7].lower() == "http://" and not self.trust.allows(host):
            reason = "which is not encrypted"
        if not reason:
            return
        raise AuthError(
            f"{host} wants credentials sent to"
            f" {safe_url(realm)[:200] if '://' in realm else repr(realm[:200])}, {reason}",
            hint="the registry's token service must be an https:// address that others can reach",
        )

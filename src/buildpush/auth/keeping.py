"""Credentials of a cloud, held until shortly before they end, and what may be said of a refusal."""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
from collections.abc import Callable, Hashable
from typing import Final, TypeAlias, cast

from attrs import define, field, frozen

from ..errors import AuthError, RegistryError
from ..http.bodies import plain
from ..runtime import Redactor
from . import Consulted, Credential
from .asking import now
from .bound import Lent

__all__ = ["Keeping", "Kept", "Steps", "Token", "expiry_of", "explained", "words"]

Steps: TypeAlias = list[Consulted]

_EARLY: Final = 300.0
_SHARE: Final = 0.2
_ABSENT: Final = 60.0
_SAID: Final = 300
# JSON web tokens, and the access and refresh tokens of Google's.
_TOKENS: Final = re.compile(r"\b(?:eyJ|ya29\.|1//)[\w./=+-]+")


@frozen(kw_only=True)
class Token:
    """An access token and when it ends, in seconds since 1970; None when nobody said."""

    value: str = field(repr=False)
    expires: float | None = None


@frozen(kw_only=True)
class _Held:
    credential: Credential | None
    trail: tuple[Consulted, ...]
    until: float


@define(eq=False, repr=False)
class Kept:
    """Answers by key, each kept until shortly before its credential ends. Thread-safe.

    A credential is renewed five minutes early, or when a fifth of its life is left if that is
    less; one without an end is looked for each time. That there is none is believed for a minute.
    """

    clock: Callable[[], float] = now
    _held: dict[Hashable, _Held] = field(factory=dict[Hashable, _Held], init=False)
    _lock: threading.Lock = field(factory=threading.Lock, init=False)

    def look(
        self, key: Hashable, ask: Callable[[Steps], Credential | None], steps: Steps
    ) -> Credential | None:
        """What is held for *key*, or else what *ask* finds; its errors are not kept.

        *ask* is given a list for the sources it consults, which come to *steps*, also when it raises.
        """
        with self._lock:
            began = self.clock()
            held = self._held.get(key)
            if held is None or began >= held.until:
                asked: Steps = []
                try:
                    credential = ask(asked)
                except BaseException:
                    steps.extend(asked)
                    raise
                held = _Held(
                    credential=credential, trail=tuple(asked), until=_until(credential, began)
                )
                self._held[key] = held
        steps.extend(held.trail)
        return held.credential

    def drop(self, credential: Credential) -> None:
        """Forget *credential*: the next look asks for another."""
        with self._lock:
            for key in [k for k, held in self._held.items() if held.credential == credential]:
                del self._held[key]


class Keeping(Lent):
    """A keychain that keeps what a cloud gave, until it ends or is refused."""

    __slots__ = ()
    _kept: Kept

    def refused(self, credential: Credential) -> None:
        """Ask for another login: a registry refused *credential* before its time."""
        self._kept.drop(credential)


def explained(look: Callable[[Steps], object], name: str) -> tuple[Consulted, ...]:
    """The steps of a *look*, of which an error is the last, as *name*'s."""
    steps: Steps = []
    try:
        look(steps)
    except (AuthError, RegistryError) as error:
        steps.append(Consulted(source=name, outcome="error", why=error.message, expected=True))
    return tuple(steps)


def _until(credential: Credential | None, began: float) -> float:
    if credential is None:
        return began + _ABSENT
    expires = credential.expires
    if expires is None:
        return began
    return expires - min(_EARLY, (expires - began) * _SHARE)


def expiry_of(token: str) -> float | None:
    """When a JSON web token ends (RFC 7519, ``exp``); None when it is none, or does not say.

    Its signature is not looked at: whoever made the token will.
    """
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        padded = parts[1] + "=" * (-len(parts[1]) % 4)
        claims: object = json.loads(base64.urlsafe_b64decode(padded))
    except (binascii.Error, ValueError, RecursionError):
        return None
    if not isinstance(claims, dict):
        return None
    end = cast("dict[str, object]", claims).get("exp")
    if isinstance(end, bool) or not isinstance(end, int | float):
        return None
    try:
        return float(end)
    except OverflowError:  # JSON's integers have no end
        return None


def words(text: str, *secrets: str) -> str:
    """A server's own words, in one line and bounded, without *secrets* or what looks like a token."""
    redact = Redactor()
    for secret in secrets:
        redact.learn(secret)
    return _TOKENS.sub("***", plain(redact(text)))[:_SAID]

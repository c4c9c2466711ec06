"""Credentials of a cloud, held until shortly before they end, and what may be said of a refusal."""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
from collections.abc import Callable, Hashable
from typing import Final, cast

from attrs import define, field, frozen

from ..http.bodies import plain
from ..runtime import Redactor
from . import Consulted, Credential
from .asking import now

__all__ = ["Found", "Kept", "Token", "expiry_of", "words"]

_EARLY: Final = 300.0
_SHARE: Final = 0.2
_ABSENT: Final = 60.0
_SAID: Final = 300
_JWT: Final = re.compile(r"\beyJ[\w.=-]+")


@frozen(kw_only=True)
class Token:
    """An access token and when it ends, in seconds since 1970; None when nobody said."""

    value: str = field(repr=False)
    expires: float | None = None


@frozen(kw_only=True)
class Found:
    """What a search for a credential came to, and the way there."""

    credential: Credential | None
    trail: tuple[Consulted, ...] = ()


@frozen(kw_only=True)
class _Held:
    found: Found
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

    def get(self, key: Hashable, find: Callable[[], Found]) -> Found:
        """What is held for *key*, or else what *find* finds; its errors are not kept."""
        with self._lock:
            began = self.clock()
            held = self._held.get(key)
            if held is not None and began < held.until:
                return held.found
            found = find()
            self._held[key] = _Held(found=found, until=_until(found, began))
            return found


def _until(found: Found, began: float) -> float:
    if found.credential is None:
        return began + _ABSENT
    expires = found.credential.expires
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
    return float(end) if isinstance(end, int | float) and not isinstance(end, bool) else None


def words(text: str, *secrets: str) -> str:
    """A server's own words, in one line and bounded, without *secrets* or any JSON web token."""
    redact = Redactor()
    for secret in secrets:
        redact.learn(secret)
    return _JWT.sub("***", plain(redact(text)))[:_SAID]

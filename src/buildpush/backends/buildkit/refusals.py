"""A registry's refusal in an engine's words: which error it is."""

from __future__ import annotations

import re
from typing import Final

from ...errors import (
    AuthError,
    BuildError,
    BuildpushError,
    Evidence,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    RegistryError,
    RegistryUnavailableError,
)

__all__ = ["registry_error"]

_STATUS: Final = re.compile(r"\b([1-5]\d\d) [A-Z][a-z]+|\bstatus(?: code)?:? ?(\d{3})\b")
_Kind = tuple[type[BuildpushError], re.Pattern[str], str]


def _kind(error: type[BuildpushError], *words: str, hint: str) -> _Kind:
    return error, re.compile("|".join(words), re.IGNORECASE), hint


_LIMITED: Final = _kind(
    RateLimitedError,
    "toomanyrequests|too many requests",
    hint="wait, or give a credential: registries let known users do more",
)
_MISSING: Final = _kind(
    NotFoundError,
    "repository does not exist|name.?unknown|manifest.?unknown|not found",
    hint="is the name right? a registry may hide from strangers what exists: give a credential",
)
_DENIED: Final = _kind(
    PermissionDeniedError,
    "denied|forbidden|insufficient_scope",
    hint="ask for access for this user, or use another credential",
)
_UNKNOWN: Final = _kind(
    AuthError,
    "unauthorized|no basic auth credentials|authorization failed|authentication required",
    "failed to fetch (?:oauth|anonymous) token|incorrect username",
    hint="give a credential for this registry",
)
_AWAY: Final = _kind(
    RegistryUnavailableError,
    r"connection refused|no such host|timeout|connection reset|\beof\b|no route|broken pipe",
    "network is unreachable|tls|x509|http response to https|temporary failure|unavailable$",
    hint="is the registry reachable from where the builder runs?",
)
_BY_WORDS: Final = (_LIMITED, _MISSING, _DENIED, _UNKNOWN, _AWAY)
_BY_STATUS: Final = {401: _UNKNOWN, 403: _DENIED, 404: _MISSING, 429: _LIMITED}
_SERVER_ERRORS: Final = 500


def registry_error(
    subject: str,
    said: str,
    *,
    evidence: tuple[Evidence, ...] = (),
    otherwise: type[BuildpushError] = BuildError,
) -> BuildpushError:
    """The error for *subject*, because a registry or the way to it *said* something.

    It is of class *otherwise* when the words are not known, and no status is among them.
    """
    found = _find(said)
    if found is None:
        kind = RegistryError if _STATUS.search(said) else otherwise
        return kind(f"{subject}: {said}", evidence=evidence)
    error, _, hint = found
    if re.search(r"x509|tls: |HTTP response to HTTPS", said):
        hint = "the builder's own configuration decides which certificates and plain HTTP it takes"
    return error(f"{subject}: {said}", evidence=evidence, hint=hint)


def _find(said: str) -> _Kind | None:
    status = _STATUS.search(said)
    if status:
        number = int(status[1] or status[2])
        if number in _BY_STATUS:
            return _BY_STATUS[number]
        if number >= _SERVER_ERRORS:
            return _AWAY
    return next((kind for kind in _BY_WORDS if kind[1].search(said)), None)

"""What a daemon's complaint about a registry means: its words turned into our errors.

The daemon passes on what its registry client said, in one string, in-band and with status 200.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from ...errors import (
    AuthError,
    BuildpushError,
    Evidence,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    RegistryError,
    RegistryUnavailableError,
)

__all__ = ["explain", "refusal"]

# In this order: "pull access denied, repository does not exist" is first of all a denial.
_MEANINGS: Final[Mapping[type[RegistryError | AuthError], re.Pattern[str]]] = {
    RateLimitedError: re.compile(
        r"toomanyrequests|too many requests|rate limit|\b429\b", re.IGNORECASE
    ),
    PermissionDeniedError: re.compile(
        r"\bdenied\b(?!.*authorization failed: no basic)|\b403\b|forbidden|insufficient_scope",
        re.IGNORECASE,
    ),
    AuthError: re.compile(
        r"unauthorized|authentication required|no basic auth credentials|authorization failed"
        r"|incorrect username or password|\b401\b",
        re.IGNORECASE,
    ),
    NotFoundError: re.compile(
        r"manifest unknown|name unknown|manifest for .* not found|repository .* not found"
        r"|: not found$|\b404\b|no such image|tag does not exist|name_unknown",
        re.IGNORECASE,
    ),
    RegistryUnavailableError: re.compile(
        r"connection refused|connection reset|no such host|i/o timeout|deadline exceeded"
        r"|handshake timeout|timeout exceeded|\bEOF\b|broken pipe|network is unreachable"
        r"|no route to host|server misbehaving|x509:|tls: |server gave HTTP response"
        r"|client\.timeout|error from registry: unavailable|\b50[0234]\b|received unexpected HTTP status: 5|temporary failure",
        re.IGNORECASE,
    ),
}
_FINAL: Final = re.compile(r"x509:|tls: |server gave HTTP response|no such host", re.IGNORECASE)
_HINTS: Final[Mapping[type[RegistryError | AuthError], str]] = {
    RateLimitedError: "log in, or wait: the daemon's address has used up its quota",
    PermissionDeniedError: "does the account have access, and does the repository exist?",
    AuthError: "give a credential with auth=, or run docker login",
    NotFoundError: "check the name; some registries say so, too, when access is missing",
    RegistryUnavailableError: "the daemon's own network, proxy and registry settings count here",
}


class _FinalError(RegistryUnavailableError):
    """The daemon cannot use this registry, and trying again would not help."""

    retryable = False


def refusal(
    message: str, *, about: str, evidence: tuple[Evidence, ...] = ()
) -> BuildpushError | None:
    """The error for a complaint about a registry; None when it is about something else."""
    message = _said_once(message)
    for kind, pattern in _MEANINGS.items():
        if pattern.search(message):
            hint = _HINTS[kind]
            if kind is RegistryUnavailableError and _FINAL.search(message):
                return _FinalError(f"{about}: {message}", evidence=evidence, hint=hint)
            return kind(f"{about}: {message}", evidence=evidence, hint=hint)
    return None


def explain(message: str, *, about: str) -> BuildpushError:
    """The error for what a daemon says about a push or a pull, whatever it is."""
    return refusal(message, about=about) or RegistryError(f"{about}: {_said_once(message)}")


def _said_once(message: str) -> str:
    """One line of it: containerd says a registry's word and its details, which are often one."""
    lines: list[str] = []
    for line in filter(None, map(str.strip, message.splitlines())):
        if not any(line in earlier for earlier in lines):
            lines.append(line)
    return "; ".join(lines)

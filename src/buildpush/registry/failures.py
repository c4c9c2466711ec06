"""What a registry's refusal means: its status and error codes turned into our errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from attrs import frozen

from ..auth import Access, Credential
from ..errors import (
    AuthError,
    BuildpushError,
    CredentialEvidence,
    Evidence,
    HttpEvidence,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    RegistryError,
    RegistryUnavailableError,
)
from ..http.answers import Answer, evidence_of, retry_after
from ..oci import Repository
from .meanings import Meaning, meaning_of, says_expired

ACCOUNTED: Final = frozenset({401, 403, 429})
"""The answers whose errors say who asked."""
LONGEST_WAIT: Final = 120.0
"""Seconds of Retry-After that are waited for; a longer one is reported at once."""


class LongWaitError(RateLimitedError):
    """The registry wants a longer pause than a run should sit through."""

    retryable = False


class DoubtfulDenialError(PermissionDeniedError):
    """A denial of what was allowed a moment ago: some registries stumble that way."""

    retryable = True


@frozen(kw_only=True)
class Asked:
    """What was tried, of whom, with what, and what may be said of it.

    *about* says what was tried; *credential* is the one that was offered, None for anonymous.
    *account* is the evidence for that, *attempt* the number among tries of the same. A denial is
    *doubtful* when the registry took something of that kind before.
    """

    about: str
    repository: Repository
    access: Access
    credential: Credential | None
    redact: Callable[[str], str]
    account: CredentialEvidence | None = None
    attempt: int = 1
    doubtful: bool = False


def failure(answer: Answer, asked: Asked) -> BuildpushError:
    """The error for an answer nobody wanted."""
    said = evidence_of(answer, asked.redact, attempt=asked.attempt)
    proof: tuple[Evidence, ...] = (said,)
    if asked.account is not None and answer.status in ACCOUNTED:
        proof = (said, asked.account)
    told = _Told(
        asked=asked,
        proof=proof,
        summary=asked.redact(_summary(said)),
        meaning=meaning_of(answer.status, said.detail, asked.repository, asked.access),
    )
    lacks_scope = "insufficient_scope" in answer.header("www-authenticate")
    match answer.status:
        case 401 if asked.credential and lacks_scope:
            return _denied(told)
        case 401:
            return _unauthorized(told)
        case 403 if asked.credential and says_expired(said.detail):
            return _unauthorized(told)
        case 403:
            return _denied(told)
        case 404:
            return _not_found(told)
        case 429:
            return _limited(answer, told)
        case status if status >= 500 or status == 408:
            return RegistryUnavailableError(
                f"{asked.about}: {told.summary}", evidence=proof, hint=_hint(status)
            )
        case status:
            return RegistryError(
                f"{asked.about}: {told.summary}", evidence=proof, hint=_hint(status)
            )


def scope_of(repository: Repository, access: Access) -> str:
    """The token scope for one kind of access, as the distribution token spec writes it."""
    return f"repository:{repository.path}:{'pull,push' if access == 'push' else 'pull'}"


@frozen(kw_only=True)
class _Told:
    """An answer, understood."""

    asked: Asked
    proof: tuple[Evidence, ...]
    summary: str
    meaning: Meaning


def _denied(told: _Told) -> PermissionDeniedError:
    asked = told.asked
    kind = DoubtfulDenialError if asked.doubtful else PermissionDeniedError
    missing = f"; it lacks {told.meaning.missing}" if told.meaning.missing else ""
    scope = scope_of(asked.repository, asked.access)
    ask = f"ask for {asked.access} access to {asked.repository} (scope {scope})"
    return kind(
        f"{asked.about}: {_who(asked.credential)} may not {asked.access} {asked.repository}:"
        f" {told.summary}{missing}",
        evidence=told.proof,
        hint=f"{ask}; {told.meaning.hint}" if told.meaning.hint else ask,
    )


def _unauthorized(told: _Told) -> AuthError:
    asked = told.asked
    repository = asked.repository
    if asked.credential is None:
        return AuthError(
            f"{asked.about}: {repository.host} needs a login: no credential was found for"
            f" {repository} ({asked.access})",
            evidence=told.proof,
            hint=f"give a credential for {repository} with auth=, or run:"
            f" docker login {repository.host}",
        )
    hint = "is it expired, or meant for another registry or account?"
    return AuthError(
        f"{asked.about}: {repository.host} refused the credential from"
        f" {asked.credential.source} for {repository} ({asked.access})",
        evidence=told.proof,
        hint=f"{hint} {told.meaning.hint}".strip(),
    )


def _not_found(told: _Told) -> NotFoundError:
    asked = told.asked
    usual = (
        "check the name; some registries say so, too, when access is missing"
        if asked.access == "pull"
        else "check the name; some registries want the repository created first"
    )
    return NotFoundError(
        f"{asked.about}: {asked.repository.host} has no such thing: {told.summary}",
        evidence=told.proof,
        hint=told.meaning.hint or usual,
    )


def _who(credential: Credential | None) -> str:
    if credential is None:
        return "an anonymous caller"
    name = f"{credential.username!r}, " if credential.username else ""
    return f"the account ({name}from {credential.source})"


def _summary(evidence: HttpEvidence) -> str:
    codes = f" {', '.join(evidence.codes)}" if evidence.codes else ""
    detail = f": {evidence.detail[:300]}" if evidence.detail else ""
    return f"HTTP {evidence.status}{codes}{detail}"


def _hint(status: int) -> str:
    return {
        405: "is a repository key missing from the name, or is this not a registry? A proxy in"
        " front of one must tell it X-Forwarded-Proto and the host it is known by",
        413: "a proxy in front of the registry limits the size of uploads; raise its limit",
        415: "the registry does not take this kind of manifest (Docker or OCI)",
        507: "the registry's storage is full: free some, or raise its quota there",
    }.get(status, "")


def _limited(answer: Answer, told: _Told) -> RateLimitedError:
    seconds = retry_after(answer)
    kind = LongWaitError if seconds is not None and seconds > LONGEST_WAIT else RateLimitedError
    wait = f"; it asks for a pause of {seconds:.0f} s" if seconds is not None else ""
    credential = told.asked.credential
    error = kind(
        f"{told.asked.about}: the registry limits {_who(credential)}{wait}: {told.summary}",
        evidence=told.proof,
        hint="log in: anonymous callers have the smallest quota"
        if credential is None
        else "wait, or ask for a larger quota",
    )
    error.retry_after = seconds
    return error

"""What a registry's refusal means: its status and error codes turned into our errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ..auth import Access, Credential
from ..errors import (
    AuthError,
    BuildpushError,
    HttpEvidence,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    RegistryError,
    RegistryUnavailableError,
)
from ..http.answers import Answer, evidence_of, retry_after
from ..oci import Repository

LONGEST_WAIT: Final = 120.0
"""Seconds of Retry-After that are waited for; a longer one is reported at once."""


class LongWaitError(RateLimitedError):
    """The registry wants a longer pause than a run should sit through."""

    retryable = False


def failure(
    answer: Answer,
    about: str,
    *,
    repository: Repository,
    access: Access,
    credential: Credential | None,
    redact: Callable[[str], str],
) -> BuildpushError:
    """The error for an answer nobody wanted.

    *about* says what was tried; *credential* is the one that was offered, None for anonymous.
    """
    evidence = evidence_of(answer, redact)
    proof = (evidence,)
    summary = redact(_summary(evidence))
    match answer.status:
        case 401 if credential and "insufficient_scope" in answer.header("www-authenticate"):
            return _denied(about, repository, access, credential, proof, summary)
        case 401:
            return _unauthorized(about, repository, access, credential, proof)
        case 403:
            return _denied(about, repository, access, credential, proof, summary)
        case 404:
            return NotFoundError(
                f"{about}: {repository.host} has no such thing: {summary}",
                evidence=proof,
                hint="check the name; some registries say so, too, when access is missing"
                if access == "pull"
                else "check the name; some registries want the repository created first",
            )
        case 429:
            return _limited(answer, about, credential, proof, summary)
        case status if status >= 500 or status == 408:
            return RegistryUnavailableError(f"{about}: {summary}", evidence=proof)
        case status:
            return RegistryError(f"{about}: {summary}", evidence=proof, hint=_hint(status))


def scope_of(repository: Repository, access: Access) -> str:
    """The token scope for one kind of access, as the distribution token spec writes it."""
    return f"repository:{repository.path}:{'pull,push' if access == 'push' else 'pull'}"


def _denied(
    about: str,
    repository: Repository,
    access: Access,
    credential: Credential | None,
    proof: tuple[HttpEvidence, ...],
    summary: str,
) -> PermissionDeniedError:
    return PermissionDeniedError(
        f"{about}: {_who(credential)} may not {access} {repository}: {summary}",
        evidence=proof,
        hint=f"ask for {access} access to {repository} (scope {scope_of(repository, access)})",
    )


def _unauthorized(
    about: str,
    repository: Repository,
    access: Access,
    credential: Credential | None,
    proof: tuple[HttpEvidence, ...],
) -> AuthError:
    if credential is None:
        return AuthError(
            f"{about}: {repository.host} needs a login: no credential was found for"
            f" {repository} ({access})",
            evidence=proof,
            hint=f"give a credential for {repository} with auth=, or run:"
            f" docker login {repository.host}",
        )
    return AuthError(
        f"{about}: {repository.host} refused the credential from {credential.source}"
        f" for {repository} ({access})",
        evidence=proof,
        hint="is it expired, or meant for another registry or account?",
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
        405: "is a repository key missing from the name, or is this not a registry?",
        413: "a proxy in front of the registry limits the size of uploads; raise its limit",
        415: "the registry does not take this kind of manifest (Docker or OCI)",
    }.get(status, "")


def _limited(
    answer: Answer,
    about: str,
    credential: Credential | None,
    proof: tuple[HttpEvidence, ...],
    summary: str,
) -> RateLimitedError:
    seconds = retry_after(answer)
    kind = LongWaitError if seconds is not None and seconds > LONGEST_WAIT else RateLimitedError
    wait = f"; it asks for a pause of {seconds:.0f} s" if seconds is not None else ""
    error = kind(
        f"{about}: the registry limits {_who(credential)}{wait}: {summary}",
        evidence=proof,
        hint="log in: anonymous callers have the smallest quota"
        if credential is None
        else "wait, or ask for a larger quota",
    )
    error.retry_after = seconds
    return error

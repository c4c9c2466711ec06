"""What Google's token services mean by a refusal, and what to do about it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from attrs import frozen
from pydantic import BaseModel, ConfigDict, ValidationError

from ...errors import AuthError, PermissionDeniedError
from ..asking import Answered
from ..keeping import words

__all__ = ["refusal"]

_EXPIRED: Final = "the token is too old: give a source of tokens, which is asked for each exchange"
_AUDIENCE: Final = (
    "have the token made for the audience of the provider: {audience}; or add its audience to the"
    " provider's allowed audiences"
)
# What the words of a refusal tell, in the order they are looked for.
_HINTS: Final[Mapping[str, str]] = {
    r"invalid_rapt|reauth": "log in again: gcloud auth application-default login",
    r"expired or revoked|been revoked": "log in again: gcloud auth application-default login",
    r"stale|expired|not yet valid|issued in the future": _EXPIRED,
    r"audience in ID Token": _AUDIENCE,
    r"issuer": "is the token from the provider's own issuer (its iss claim)?",
    r"attribute condition": "the provider's attribute condition keeps this token out: look at the"
    " claims that it names (repository, ref, subject)",
    r"attribute mapping|google\.subject": "the provider's attribute mapping does not fit the"
    " token's claims",
    r"invalid_target": "are project number (not its id), pool and provider right, and not"
    " disabled or deleted?",
    r"invalid_client|unauthorized_client": "is the OAuth client of the credential file still"
    " there, and may it do this?",
    r"has not been used in project|SERVICE_DISABLED|is disabled": "enable the IAM Service Account"
    " Credentials API (iamcredentials.googleapis.com) in that project",
    r"getAccessToken": "grant the caller roles/iam.workloadIdentityUser on the service account"
    " (for other callers: roles/iam.serviceAccountTokenCreator)",
    r"invalid_scope": "the token service does not give this scope to this account",
    r"invalid_grant": "the token is not one that this provider takes: look at issuer, audience"
    " and expiry",
}
_NO_HINT: Final = ""


class _Detail(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    code: int = 0
    message: str = ""
    status: str = ""


class _Refused(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    error: str | _Detail = ""
    error_description: str = ""
    error_subtype: str = ""


@frozen
class _Said:
    code: str
    detail: str


def refusal(
    answered: Answered, about: str, *, who: str, secrets: tuple[str, ...], audience: str = ""
) -> AuthError:
    """The error for *answered*; *who* is whose proof was refused, *secrets* what it was made of.

    *audience* is the one that a token should have been made for.
    """
    said = _read(answered.data)
    detail = words(said.detail, *secrets)
    code = words(said.code, *secrets) or f"HTTP {answered.status}"
    hint = _hint(f"{said.code} {said.detail}").format(audience=audience or "its own")
    denied = answered.status == 403 or said.code == "PERMISSION_DENIED"
    kind = PermissionDeniedError if denied else AuthError
    return kind(
        f"{about}: {who} was refused: {code}{f': {detail}' if detail else ''}",
        evidence=(answered.evidence,),
        hint=hint,
    )


def _read(data: bytes) -> _Said:
    """The two forms of errors: OAuth's (RFC 6749, 5.2) and that of Google's APIs."""
    try:
        refused = _Refused.model_validate_json(data)
    except ValidationError:
        return _Said("", "")
    if isinstance(refused.error, str):
        code = " ".join(filter(None, (refused.error, refused.error_subtype)))
        return _Said(code, refused.error_description)
    return _Said(refused.error.status, refused.error.message)


def _hint(text: str) -> str:
    return next(
        (hint for clue, hint in _HINTS.items() if re.search(clue, text, re.IGNORECASE)), _NO_HINT
    )

"""What AWS means by its error codes, and what to do about each."""

from __future__ import annotations

import re
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

from attrs import evolve, field, frozen

from ...errors import (
    AuthError,
    BuildpushError,
    HttpEvidence,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
)

__all__ = ["Refusal", "refusal"]

_SKEW: Final = 240
_SAID: Final = 300
_DENIED: Final = frozenset({"AccessDenied", "AccessDeniedException", "UnauthorizedOperation"})
_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException"})
_UNKNOWN: Final = frozenset(
    {"InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "AuthFailure"}
)
_SIGNATURE: Final = frozenset(
    {"InvalidSignatureException", "SignatureDoesNotMatch", "IncompleteSignature"}
)
_LATE: Final = frozenset({"RequestExpired", "RequestTimeTooSkewed"})
_THROTTLED: Final = frozenset(
    {"Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException"}
)
_HINTS: Final = {
    "InvalidIdentityToken": "does the account know the token's issuer as an identity provider, and"
    " is the token's audience one of its?",
    "IDPRejectedClaim": "the identity provider says that the token is expired or revoked",
    "OptInRequired": "the account is not subscribed to the service, or the region is off",
    "RegionDisabledException": "switch STS on for this region in the account's settings, or set"
    " AWS_REGION to another",
    "SubscriptionRequiredException": "the account is new or suspended",
}
_TRUST: Final = (
    "does the role's trust policy name this caller (for a web identity: its issuer, audience and"
    " subject), and is an external id wanted?"
)


@frozen(kw_only=True)
class Refusal:
    """What AWS said to *action*, and to whose keys; *date* is the answer's own."""

    code: str
    message: str = field(repr=False)
    action: str
    source: str
    date: str


def refusal(
    said: Refusal, *, secrets: tuple[str, ...], evidence: HttpEvidence, clock: float
) -> BuildpushError:
    """The error for *said*; AWS's own words are in it only where they cannot hold a secret."""
    said = evolve(said, code=_code(said.code, secrets))
    keys = f"the keys from {said.source}" if said.source else "the OIDC token"
    proof = HttpEvidence(
        method=evidence.method,
        url=evidence.url,
        status=evidence.status,
        codes=(said.code,) if said.code else (),
    )
    signature = _of_signature(said, keys, proof, _behind(said.date, clock))
    if signature is not None:
        return signature
    words = _words(said.message, secrets)
    if said.code in _DENIED:
        return _denied(said, words, keys, proof)
    if said.code in _EXPIRED:
        return AuthError(
            f"AWS refuses {said.action}: {keys} {_have(keys)} expired",
            evidence=(proof,),
            hint="get fresh ones: keys of a session hold for hours only",
        )
    if said.code in _UNKNOWN:
        return AuthError(
            f"AWS refuses {said.action}: it does not know {keys}",
            evidence=(proof,),
            hint="were they deleted, are they of another partition, or do they lack their session"
            " token (AWS_SESSION_TOKEN)?",
        )
    if said.code in _THROTTLED:
        return RateLimitedError(f"AWS limits how often {said.action} is asked", evidence=(proof,))
    kind = NotFoundError if said.code == "RepositoryNotFoundException" else AuthError
    return kind(
        f"AWS refuses {said.action} with {said.code or f'HTTP {evidence.status}'}{words}",
        evidence=(proof,),
        hint=_HINTS.get(said.code.removesuffix("Exception"), _HINTS.get(said.code, "")),
    )


def _of_signature(
    said: Refusal, keys: str, proof: HttpEvidence, behind: float
) -> AuthError | None:
    """The error for a signature that AWS does not take: of a wrong clock, or a wrong key."""
    late = said.code in _LATE or (
        said.code in _SIGNATURE and re.search(r"expired|not yet current", said.message)
    )
    if late or (said.code in _SIGNATURE and abs(behind) > _SKEW):
        off = f"{abs(behind):.0f} s {'behind' if behind > 0 else 'ahead of'} AWS's"
        return AuthError(
            f"AWS refuses {said.action}: this machine's clock is {off}",
            evidence=(proof,),
            hint="set the clock: signatures hold for five minutes",
        )
    if said.code in _SIGNATURE:
        return AuthError(
            f"AWS refuses {said.action}: the secret key does not fit the access key ({keys})",
            evidence=(proof,),
            hint="was one of the two mistyped, cut, or rotated without the other?",
        )
    return None


def _denied(said: Refusal, words: str, keys: str, proof: HttpEvidence) -> PermissionDeniedError:
    """The error that names the missing permission."""
    needed = re.search(r"to perform:? ([\w-]+:\w+)", said.message)
    permission = needed[1] if needed else said.action
    role = permission.startswith("sts:Assume")
    return PermissionDeniedError(
        f"AWS does not let {keys} do {permission}{words}",
        evidence=(proof,),
        hint=_TRUST if role else f"allow {permission} in a policy of that user or role",
    )


def _have(keys: str) -> str:
    return "have" if keys.startswith("the keys") else "has"


def _behind(date: str, clock: float) -> float:
    """How many seconds *clock* is behind the server's date; 0 when that is not to be read."""
    try:
        there = parsedate_to_datetime(date)
    except (TypeError, ValueError):
        return 0.0
    return (there if there.tzinfo else there.replace(tzinfo=UTC)).timestamp() - clock


def _code(code: str, secrets: tuple[str, ...]) -> str:
    """AWS's word for its reason, empty when it is none, or repeats what it was sent."""
    plain = re.fullmatch(r"[A-Za-z.]{1,80}", code) and not any(s and s in code for s in secrets)
    return code if plain else ""


def _words(message: str, secrets: tuple[str, ...]) -> str:
    """AWS's first line, bounded, unless it repeats what it was sent."""
    line = message.strip().partition("\n")[0]
    if not line or any(secret and secret in message for secret in secrets):
        return ""
    printable = "".join(c for c in line if c.isprintable())
    return f": {printable[:_SAID]}"

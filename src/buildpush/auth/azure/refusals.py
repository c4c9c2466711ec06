"""What Microsoft Entra means by its AADSTS codes, and what to do about each."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from ...errors import AuthError, PermissionDeniedError
from ...http.bodies import parse_errors
from ..asking import Answered
from ..keeping import words

__all__ = ["machine_said", "refusal", "registry_refusal"]

_FEDERATED: Final = (
    "add a federated credential to the app with exactly the token's issuer, subject and audience"
)
_SECRET: Final = "make a new client secret, and give its value (not its id)"  # noqa: S105
_HINTS: Final[Mapping[str, str]] = {
    "7000215": _SECRET,
    "7000222": f"the client secret has expired: {_SECRET}",
    "7000112": "the app is disabled: enable it under Enterprise applications",
    "700016": "is the client id right, and is it an app of that tenant?",
    "90002": "is the tenant id right, and is it in this cloud (AZURE_AUTHORITY_HOST)?",
    "900023": "the tenant must be an id or a domain",
    "700021": "the assertion's issuer, subject or key is not what the app knows",
    "700024": "the federated token is too old, or the clock is wrong: give a source of tokens,"
    " which is asked for each exchange",
    "700027": "is the certificate one of the app's, and not expired?",
    "70021": _FEDERATED,
    "700211": f"no federated credential has the token's issuer: {_FEDERATED}",
    "700212": "no federated credential has the token's audience: have the token made for"
    " {audience}",
    "700213": f"no federated credential has the token's subject: {_FEDERATED}",
    "700238": "the federated token's audience is wrong: have it made for {audience}",
    "50013": "the federated token cannot be verified: is it one of the issuer that the app trusts?",
    "50027": "the federated token is no valid JSON web token",
    "65001": "an administrator of the tenant must consent to the app",
    "70011": "the audience for registries differs between clouds: give it as audience",
    "500011": "the tenant does not know Azure Container Registry under this audience: is it the"
    " right cloud?",
    "530003": "a conditional access policy keeps this caller out",
    "53003": "a conditional access policy keeps this caller out",
}
_BY_ERROR: Final[Mapping[str, str]] = {
    "invalid_client": "are client id and secret those of one app, and is the secret still valid?",
    "unauthorized_client": "is the client id right, and is it an app of that tenant?",
    "consent_required": "an administrator of the tenant must consent to the app",
    "invalid_resource": "is it the right cloud (AZURE_AUTHORITY_HOST)?",
    "interaction_required": "a conditional access policy keeps this caller out",
}


class _Refused(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True)

    error: str = ""
    error_description: str = ""


def refusal(
    answered: Answered, about: str, *, who: str, secrets: tuple[str, ...], audience: str
) -> AuthError:
    """The error for an answer of Entra's; *who* is whose proof was refused.

    *secrets* are what it was made of; *audience* is what a federated token should be made for.
    """
    said = _read(answered.data)
    detail = words(_sentence(said.error_description), *secrets)
    code = words(said.error, *secrets) or f"HTTP {answered.status}"
    number = re.match(r"AADSTS(\d+)", said.error_description)
    hint = _HINTS.get(number[1] if number else "", "") or _BY_ERROR.get(said.error, "")
    return AuthError(
        f"{about}: {who} was refused: {code}{f': {detail}' if detail else ''}",
        evidence=(answered.evidence,),
        hint=hint.format(audience=audience),
    )


def registry_refusal(answered: Answered, host: str, source: str, *secrets: str) -> AuthError:
    """The error for a registry that gives nothing for a token of Entra's."""
    codes, detail = parse_errors(answered.data)
    listed = ", ".join(words(code, *secrets) for code in codes) or f"HTTP {answered.status}"
    said = f"{listed}: {words(detail, *secrets)}" if codes and detail else listed
    denied = answered.status == 403 or "DENIED" in codes
    kind = PermissionDeniedError if denied else AuthError
    hint = (
        "does the registry's network let this machine in? Look at its firewall, and at the"
        " proxies on the way"
        if denied
        else "grant that identity a role on the registry (AcrPush or AcrPull), in the registry's"
        " own tenant"
    )
    return kind(
        f"asking {host} for a login: it refused {source}: {said}",
        evidence=(answered.evidence,),
        hint=hint,
    )


def machine_said(answered: Answered, *secrets: str) -> str:
    """What the endpoint of a managed identity gives as its reason, in one line."""
    said = _read(answered.data)
    detail = words(said.error_description, *secrets) or words(said.error, *secrets)
    return f"HTTP {answered.status}{f': {detail}' if detail else ''}"


def _read(data: bytes) -> _Refused:
    try:
        return _Refused.model_validate_json(data)
    except ValidationError:
        return _Refused()


def _sentence(text: str) -> str:
    """Entra's words without the ids and the time that follow them."""
    return re.split(r"\s*(?:Trace ID|Correlation ID|Timestamp):", text, maxsplit=1)[0]

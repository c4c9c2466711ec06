"""What `AzureKeychain` says when Entra, or a registry, refuses."""

from pathlib import Path

import pytest
from stand_in_azure import CLIENT, REGISTRY, TENANT, AzureStandIn, jwt
from stand_in_internet import Answer, Internet

from buildpush import Repository
from buildpush.auth.acr import AzureKeychain, FederatedIdentity, ServicePrincipal
from buildpush.errors import (
    AuthError,
    PermissionDeniedError,
    RateLimitedError,
    RegistryUnavailableError,
)

ACR = Repository(REGISTRY, "app")
ENTRA = "login.microsoftonline.com"


@pytest.fixture
def azure(internet: Internet) -> AzureStandIn:
    return AzureStandIn(internet)


def keychain(internet: Internet, home: Path) -> AzureKeychain:
    return AzureKeychain(
        source=ServicePrincipal(
            client_id=CLIENT, client_secret="client-secret-canary", tenant_id=TENANT
        ),
        environment=internet.environment(home),
    )


def entra(error: str, code: int, words: str, status: int = 401) -> Answer:
    """A refusal in the form of Entra's."""
    text = f"AADSTS{code}: {words} Trace ID: 0f-1 Correlation ID: 0f-2 Timestamp: 2026-01-01"
    return Answer(
        status,
        {"error": error, "error_description": text, "error_codes": [code], "trace_id": "0f-1"},
    )


@pytest.mark.parametrize(
    ("refused", "hint"),
    [
        (entra("invalid_client", 7000215, "Invalid client secret provided."), "(not its id)"),
        (entra("invalid_client", 7000222, "The secret keys are expired."), "has expired"),
        (entra("unauthorized_client", 700016, "Application not found."), "an app of that tenant"),
        (entra("invalid_request", 90002, "Tenant not found.", 400), "AZURE_AUTHORITY_HOST"),
        (entra("consent_required", 65001, "No consent.", 400), "must consent to the app"),
        (entra("invalid_client", 99999999, "Something new."), "client id and secret"),
        (Answer(400, b"<html>no JSON</html>"), ""),
    ],
)
def test_a_refused_app_says_what_to_change(
    refused: Answer, hint: str, azure: AzureStandIn, internet: Internet, tmp_path: Path
) -> None:
    """Entra's code and its sentence, without the ids that follow it."""
    azure.refusals[ENTRA] = refused

    with pytest.raises(AuthError) as caught:
        keychain(internet, tmp_path).resolve(ACR, "push")

    assert azure.complaints == []
    assert f"the service principal {CLIENT} was refused" in str(caught.value)
    assert "Trace ID" not in caught.value.report()
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("code", "words", "hint"),
    [
        (700024, "Client assertion is not within its valid time range.", "too old"),
        (700213, "No matching federated identity record for subject 'repo:a/b'.", "subject"),
        (700211, "No matching federated identity record for issuer 'x'.", "issuer"),
        (
            700212,
            "No matching federated identity record for audience 'x'.",
            "made for api://AzureADTokenExchange",
        ),
    ],
)
def test_a_refused_federated_token_says_what_does_not_match(
    code: int, words: str, hint: str, azure: AzureStandIn, internet: Internet, tmp_path: Path
) -> None:
    """Its time, its subject, its issuer, or its audience."""
    azure.assertion = jwt("assertion", 1)
    azure.refusals[ENTRA] = entra("invalid_request", code, f"{words} {azure.assertion}", 400)
    source = FederatedIdentity(tenant_id=TENANT, client_id=CLIENT, token=azure.assertion)

    with pytest.raises(AuthError, match=f"AADSTS{code}") as caught:
        AzureKeychain(source=source, environment=internet.environment(tmp_path)).resolve(
            ACR, "push"
        )

    assert azure.complaints == []
    assert hint in caught.value.hint
    assert azure.assertion not in caught.value.report()


def test_a_registry_that_does_not_know_the_identity_names_the_role(
    azure: AzureStandIn, internet: Internet, tmp_path: Path
) -> None:
    """Logged in to Azure, and yet nobody to this registry."""
    azure.refusals[REGISTRY] = Answer(
        401, {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
    )

    with pytest.raises(AuthError, match="UNAUTHORIZED: authentication required") as caught:
        keychain(internet, tmp_path).resolve(ACR, "push")

    assert "AcrPush" in caught.value.hint


def test_a_registry_whose_firewall_keeps_us_out_says_so(
    azure: AzureStandIn, internet: Internet, tmp_path: Path
) -> None:
    """A 403 from the exchange is the network's doing."""
    azure.refusals[REGISTRY] = Answer(
        403,
        {"errors": [{"code": "DENIED", "message": "client with IP '10.0.0.1' is not allowed"}]},
    )

    with pytest.raises(PermissionDeniedError, match=r"10\.0\.0\.1") as caught:
        keychain(internet, tmp_path).resolve(ACR, "push")

    assert "firewall" in caught.value.hint


def test_a_registry_that_answers_no_token_is_not_quoted(
    azure: AzureStandIn, internet: Internet, tmp_path: Path
) -> None:
    """Whatever it is, it may be a secret."""
    azure.refusals[REGISTRY] = Answer(200, {"token": "stray-canary"})

    with pytest.raises(AuthError, match="holds no token") as caught:
        keychain(internet, tmp_path).resolve(ACR, "push")

    assert "canary" not in caught.value.report()


def test_entra_that_limits_or_fails_can_be_asked_later(
    azure: AzureStandIn, internet: Internet, tmp_path: Path
) -> None:
    """Neither is about the credential."""
    chain = keychain(internet, tmp_path)

    azure.refusals[ENTRA] = Answer(503)
    with pytest.raises(RegistryUnavailableError, match="HTTP 503"):
        chain.resolve(ACR, "push")
    azure.refusals[ENTRA] = Answer(429, b"", {"Retry-After": "120"})
    with pytest.raises(RateLimitedError, match="a pause of 120 s") as limited:
        chain.resolve(ACR, "push")

    assert limited.value.retry_after == 120
    assert len(internet.asked) == 3 + 1

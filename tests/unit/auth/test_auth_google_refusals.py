"""What `GoogleKeychain` says when Google, or what it was given, gives no token."""

from pathlib import Path

import pytest
from stand_in_google import (
    ACCOUNT,
    AUDIENCE,
    GoogleStandIn,
    authorized_user,
    external_account,
    workload_identity,
    write,
)
from stand_in_internet import Answer, Internet

from buildpush import Repository
from buildpush.auth.gar import GoogleKeychain, KeyFile
from buildpush.errors import AuthError, PermissionDeniedError, RegistryUnavailableError

GAR = Repository("europe-west1-docker.pkg.dev", "acme-prod/images/app")


@pytest.mark.parametrize(
    ("status", "error", "hint"),
    [
        (
            400,
            {"error": "invalid_grant", "error_description": "ID Token issued at 1 is stale."},
            "the token is too old",
        ),
        (
            400,
            {
                "error": "invalid_grant",
                "error_description": "The audience in ID Token [x] does not match the expected"
                " audience https:{AUDIENCE}.",
            },
            f"made for the audience of the provider: https:{AUDIENCE}",
        ),
        (
            400,
            {"error": "invalid_grant", "error_description": "The issuer in ID Token x does not…"},
            "its iss claim",
        ),
        (
            401,
            {
                "error": "unauthorized_client",
                "error_description": "The given credential is rejected by the attribute condition.",
            },
            "attribute condition keeps this token out",
        ),
        (
            400,
            {"error": "invalid_target", "error_description": "…"},
            "project number (not its id)",
        ),
        (400, b"<html>no JSON</html>", ""),
    ],
)
def test_a_refused_federation_says_what_to_change(
    status: int,
    error: object,
    hint: str,
    google: GoogleStandIn,
    internet: Internet,
    tmp_path: Path,
) -> None:
    """Google's words, and the setting they are about."""
    google.refusals["sts.googleapis.com"] = Answer(status, error)
    keychain = GoogleKeychain(
        source=workload_identity(), environment=internet.environment(tmp_path)
    )

    with pytest.raises(AuthError) as caught:
        keychain.resolve(GAR, "push")

    assert google.complaints == []
    assert "sts.googleapis.com" in str(caught.value)
    assert "the token from TextToken was refused" in str(caught.value)
    assert hint in caught.value.hint


def test_an_impersonation_that_is_not_granted_names_the_role(
    google: GoogleStandIn, internet: Internet, tmp_path: Path
) -> None:
    """A 403 from IAM is a missing role, and which one is known."""
    message = "Permission 'iam.serviceAccounts.getAccessToken' denied on resource (or it may not)."
    google.refusals["iamcredentials.googleapis.com"] = Answer(
        403, {"error": {"code": 403, "message": message, "status": "PERMISSION_DENIED"}}
    )
    keychain = GoogleKeychain(
        source=workload_identity(), environment=internet.environment(tmp_path)
    )

    with pytest.raises(PermissionDeniedError, match="getAccessToken") as caught:
        keychain.resolve(GAR, "push")

    assert ACCOUNT in str(caught.value)
    assert "roles/iam.workloadIdentityUser" in caught.value.hint


def test_a_login_that_was_revoked_asks_to_log_in_again(
    google: GoogleStandIn, internet: Internet, tmp_path: Path
) -> None:
    """Logins of people end."""
    google.subject, google.client = "1//refresh-canary", ("id.apps", "client-secret-canary")
    google.refusals["oauth2.googleapis.com"] = Answer(
        400,
        {"error": "invalid_grant", "error_description": "Token has been expired or revoked."},
    )
    path = write(tmp_path / "adc.json", authorized_user(google))
    keychain = GoogleKeychain(source=KeyFile(path), environment=internet.environment(tmp_path))

    with pytest.raises(AuthError, match="expired or revoked") as caught:
        keychain.resolve(GAR, "push")

    assert "gcloud auth application-default login" in caught.value.hint


def test_a_token_service_that_is_down_is_not_the_callers_fault(
    google: GoogleStandIn, internet: Internet, tmp_path: Path
) -> None:
    """It is asked three times, and then said to be unavailable."""
    google.refusals["sts.googleapis.com"] = Answer(503)
    keychain = GoogleKeychain(
        source=workload_identity(), environment=internet.environment(tmp_path)
    )

    with pytest.raises(RegistryUnavailableError, match=r"sts\.googleapis\.com.*HTTP 503"):
        keychain.resolve(GAR, "push")

    assert len(internet.asked) == 3


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is not JSON"),
        ({"type": "authorized_user"}, "client_id: Field required"),
        ({"installed": {}}, "type: Field required"),
        ({"type": "gdch_service_account"}, "of a kind that is not known here"),
    ],
)
def test_a_credential_file_that_cannot_be_used_is_named(
    content: object, said: str, internet: Internet, tmp_path: Path
) -> None:
    """The file and what is wrong with it, not what it holds."""
    path = write(tmp_path / "adc.json", content)
    environment = internet.environment(tmp_path, GOOGLE_APPLICATION_CREDENTIALS=str(path))

    with pytest.raises(AuthError, match=said) as caught:
        GoogleKeychain(environment=environment).resolve(GAR, "push")

    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("token", "said"),
    [("", "holds no token"), ("[]", "holds no token"), ('{"value": 7}', "holds no token")],
)
def test_a_federated_token_that_is_none_is_not_sent(
    token: str, said: str, google: GoogleStandIn, internet: Internet, tmp_path: Path
) -> None:
    """The file that should hold it is named."""
    shape = {"type": "json", "subject_token_field_name": "value"}
    held = write(tmp_path / "token", token)
    path = write(tmp_path / "wif.json", external_account(file=str(held), format=shape))
    keychain = GoogleKeychain(source=KeyFile(path), environment=internet.environment(tmp_path))

    with pytest.raises(AuthError, match=said) as caught:
        keychain.resolve(GAR, "push")

    assert str(held) in str(caught.value)
    assert internet.asked == []


def test_an_address_that_gives_no_federated_token_is_named(
    google: GoogleStandIn, internet: Internet, tmp_path: Path
) -> None:
    """A job without the permission for identity tokens gets a refusal there."""
    internet.servers["pipelines.example.com"] = lambda _: Answer(403, b"no")
    source = external_account(url="https://pipelines.example.com/token?key=query-canary")
    path = write(tmp_path / "wif.json", source)
    keychain = GoogleKeychain(source=KeyFile(path), environment=internet.environment(tmp_path))

    with pytest.raises(AuthError, match="HTTP 403") as caught:
        keychain.resolve(GAR, "push")

    assert "id-token: write" in caught.value.hint
    assert "canary" not in caught.value.report()


def test_a_credential_file_that_is_named_must_exist(internet: Internet, tmp_path: Path) -> None:
    """A variable that leads nowhere is not the same as none."""
    environment = internet.environment(tmp_path, GOOGLE_APPLICATION_CREDENTIALS="missing.json")

    with pytest.raises(AuthError, match=r"missing\.json cannot be read: No such file"):
        GoogleKeychain(environment=environment).resolve(GAR, "push")

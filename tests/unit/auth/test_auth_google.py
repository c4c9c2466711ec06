"""`GoogleKeychain` against a stand-in for Google's token services, on real sockets."""

import base64
import json
import time
from pathlib import Path

import pytest
from stand_in_google import (
    ACCOUNT,
    AUDIENCE,
    IMPERSONATION,
    JWT,
    GoogleStandIn,
    authorized_user,
    external_account,
    workload_identity,
    write,
)
from stand_in_internet import Answer, Asked, Internet

from buildpush import Repository
from buildpush.auth import trail
from buildpush.auth.gar import (
    AccessToken,
    GoogleAuth,
    GoogleKeychain,
    JsonKey,
    KeyFile,
)
from buildpush.auth.oidc import GithubOidc, TextToken
from buildpush.errors import AuthError

GAR = Repository("europe-west1-docker.pkg.dev", "acme-prod/images/app")
KEY = json.dumps(
    {
        "type": "service_account",
        "project_id": "acme-prod",
        "private_key": "-----BEGIN PRIVATE KEY-----\nkey-canary\n-----END PRIVATE KEY-----\n",
        "client_email": ACCOUNT,
        "token_uri": "https://oauth2.googleapis.com/token",
    }
)


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("europe-west1-docker.pkg.dev", True),
        ("us-docker.pkg.dev", True),
        ("docker.pkg.dev", True),
        ("gcr.io", True),
        ("eu.gcr.io", True),
        ("EU.gcr.io", True),
        ("europe-python.pkg.dev", False),
        ("evil-docker.pkg.dev.example.com", False),
        ("notgcr.io", False),
        ("ghcr.io", False),
    ],
)
def test_both_families_of_googles_registries_are_known(host: str, known: bool) -> None:
    """Artifact Registry's hosts and Container Registry's, and nobody else's."""
    keychain = GoogleKeychain(source=AccessToken("ya29.token"))

    found = keychain.resolve(Repository(host, "acme/app"), "push")

    assert known == (found is not None)


@pytest.mark.parametrize("text", [KEY, base64.b64encode(KEY.encode()).decode(), f" {KEY}\n"])
def test_a_service_accounts_key_is_a_password(text: str) -> None:
    """As JSON or as its base64, with nobody asked."""
    found = GoogleKeychain(source=JsonKey(text)).resolve(GAR, "push")

    assert found is not None
    assert (found.username, found.password, found.expires) == ("_json_key", KEY, None)


@pytest.mark.parametrize(
    "text", ["{", "?" * 40, json.dumps({"type": "authorized_user", "refresh_token": "1//canary"})]
)
def test_what_is_no_key_is_said_without_being_shown(text: str) -> None:
    """Half a key is a secret, too."""
    with pytest.raises(AuthError) as caught:
        GoogleKeychain(source=JsonKey(text)).resolve(GAR, "push")

    assert "JSON key" in str(caught.value)
    assert "canary" not in caught.value.report()


@pytest.mark.parametrize("name", ["CLOUDSDK_AUTH_ACCESS_TOKEN", "GOOGLE_OAUTH_ACCESS_TOKEN"])
def test_an_access_token_in_a_variable_is_taken(
    name: str, internet: Internet, tmp_path: Path
) -> None:
    """User oauth2accesstoken, as `docker login` would have it."""
    keychain = GoogleKeychain(environment=internet.environment(tmp_path, **{name: " ya29.a \n"}))

    found = keychain.resolve(GAR, "push")

    assert found is not None
    assert ("oauth2accesstoken", "ya29.a", name) == (found.username, found.password, found.source)


def test_a_credential_file_with_a_key_is_a_password(internet: Internet, tmp_path: Path) -> None:
    """GOOGLE_APPLICATION_CREDENTIALS that names a service account's key."""
    path = write(tmp_path / "key.json", KEY)
    environment = internet.environment(tmp_path, GOOGLE_APPLICATION_CREDENTIALS=str(path))

    found = GoogleKeychain(environment=environment).resolve(GAR, "push")

    assert found is not None
    assert (found.username, found.password) == ("_json_key", KEY)
    assert found.source == f"GOOGLE_APPLICATION_CREDENTIALS, {path}"


def test_a_workload_identity_file_is_all_it_takes(
    google: GoogleStandIn, internet: Internet, tmp_path: Path
) -> None:
    """The file that google-github-actions/auth writes: no gcloud, no helper, no key."""
    write(tmp_path / "token", f"{JWT}\n")
    path = write(tmp_path / "wif.json", external_account(file=str(tmp_path / "token")))
    environment = internet.environment(tmp_path, GOOGLE_APPLICATION_CREDENTIALS=str(path))

    found = GoogleKeychain(environment=environment).resolve(GAR, "push")

    assert google.complaints == []
    assert found is not None
    assert ("oauth2accesstoken", google.impersonated) == (found.username, found.password)
    assert [a.host for a in internet.asked] == [
        "sts.googleapis.com",
        "iamcredentials.googleapis.com",
    ]
    assert found.expires == pytest.approx(time.time() + 3600, abs=60)


def test_a_federated_token_can_be_asked_for_at_an_address(
    google: GoogleStandIn, internet: Internet, tmp_path: Path
) -> None:
    """With headers, and out of JSON: GitHub's own address for identity tokens is such a one."""

    def tokens(asked: Asked) -> Answer:
        assert asked.query == {"audience": "me"}
        return Answer(
            200 if asked.headers["authorization"] == "Bearer r1" else 401, {"value": JWT}
        )

    internet.servers["pipelines.example.com"] = tokens
    source = external_account(
        url="https://pipelines.example.com/token?audience=me",
        headers={"Authorization": "Bearer r1"},
        format={"type": "json", "subject_token_field_name": "value"},
    )
    path = write(tmp_path / "wif.json", source)

    found = GoogleKeychain(
        source=KeyFile(path), environment=internet.environment(tmp_path)
    ).resolve(GAR, "push")

    assert google.complaints == []
    assert found is not None
    assert found.password == google.impersonated


@pytest.mark.parametrize("client", [("", ""), ("id", "client-secret-canary")])
def test_a_pool_of_people_names_its_project_or_its_client(
    client: tuple[str, str], google: GoogleStandIn, internet: Internet, tmp_path: Path
) -> None:
    """Workforce identity federation; with an OAuth client, that tells the project."""
    google.client, google.project = client, "" if client[0] else "42"
    write(tmp_path / "token", JWT)
    source = {
        **external_account(file=str(tmp_path / "token")),
        "workforce_pool_user_project": "42",
        "client_id": client[0],
        "client_secret": client[1],
    }
    path = write(tmp_path / "wif.json", source)
    keychain = GoogleKeychain(source=KeyFile(path), environment=internet.environment(tmp_path))

    found = keychain.resolve(GAR, "push")

    assert google.complaints == []
    assert found is not None
    assert found.password == google.impersonated


def test_a_federated_identity_may_push_without_a_service_account(
    google: GoogleStandIn, internet: Internet, tmp_path: Path
) -> None:
    """Where the roles are its own."""
    google.acting = False
    keychain = GoogleKeychain(
        source=workload_identity(service_account=""), environment=internet.environment(tmp_path)
    )

    found = keychain.resolve(GAR, "push")

    assert google.complaints == []
    assert found is not None
    assert found.password == google.federated


def test_workload_identity_needs_no_file_when_its_settings_are_given(
    google: GoogleStandIn, internet: Internet, tmp_path: Path
) -> None:
    """Project number, pool, provider, service account and a source of tokens: GitHub's, here."""

    def github(asked: Asked) -> Answer:
        assert asked.query == {"v": "1", "audience": f"https:{AUDIENCE}"}
        return Answer(200, {"value": JWT})

    internet.servers["actions.example.com"] = github
    environment = internet.environment(
        tmp_path,
        ACTIONS_ID_TOKEN_REQUEST_URL="https://actions.example.com/token?v=1",
        ACTIONS_ID_TOKEN_REQUEST_TOKEN="r1",
    )
    keychain = GoogleKeychain(source=workload_identity(GithubOidc()), environment=environment)

    found = keychain.resolve(GAR, "push")

    assert google.complaints == []
    assert found is not None
    assert found.password == google.impersonated
    assert ACCOUNT in found.source


def test_gclouds_login_is_taken_from_its_usual_place(
    google: GoogleStandIn, internet: Internet, tmp_path: Path
) -> None:
    """`gcloud auth application-default login` leaves a refresh token; gcloud is not needed."""
    google.subject, google.client = "1//refresh-canary", ("id.apps", "client-secret-canary")
    folder = tmp_path / ".config" / "gcloud"
    folder.mkdir(parents=True)
    write(folder / "application_default_credentials.json", authorized_user(google))

    found = GoogleKeychain(environment=internet.environment(tmp_path)).resolve(GAR, "push")

    assert google.complaints == []
    assert found is not None
    assert found.password == google.refreshed


def test_a_person_may_act_as_a_service_account(
    google: GoogleStandIn, internet: Internet, tmp_path: Path
) -> None:
    """`gcloud auth application-default login --impersonate-service-account` writes such a file."""
    google.subject, google.client = "1//refresh-canary", ("id.apps", "client-secret-canary")
    google.delegates = ("projects/-/serviceAccounts/between@acme",)
    path = write(
        tmp_path / "adc.json",
        {
            "type": "impersonated_service_account",
            "service_account_impersonation_url": IMPERSONATION,
            "delegates": google.delegates,
            "source_credentials": authorized_user(google),
        },
    )

    found = GoogleKeychain(
        source=KeyFile(path), environment=internet.environment(tmp_path)
    ).resolve(GAR, "push")

    assert google.complaints == []
    assert found is not None
    assert found.password == google.impersonated


def test_the_trail_tells_every_place_that_was_looked_in(
    internet: Internet, tmp_path: Path
) -> None:
    """In order, with the reason each had nothing."""
    environment = internet.environment(tmp_path, GCE_METADATA_HOST="127.0.0.1:1")

    told = trail(GoogleKeychain(environment=environment), GAR, "push")

    assert [(step.source, step.outcome) for step in told] == [
        ("CLOUDSDK_AUTH_ACCESS_TOKEN", "miss"),
        ("GOOGLE_OAUTH_ACCESS_TOKEN", "miss"),
        ("credential file", "miss"),
        ("Google's metadata server", "miss"),
    ]
    assert "127.0.0.1:1" in told[-1].why


def test_the_trail_of_a_source_that_fails_ends_with_its_error(
    internet: Internet, tmp_path: Path
) -> None:
    """And that of a keychain for other hosts says so."""
    keychain = GoogleKeychain(
        source=KeyFile("none.json"), environment=internet.environment(tmp_path)
    )

    [failed] = trail(keychain, GAR, "push")
    [foreign] = trail(keychain, Repository("ghcr.io", "acme/app"), "push")

    assert (failed.source, failed.outcome, failed.expected) == ("KeyFile", "error", True)
    assert (foreign.source, foreign.outcome) == ("GoogleKeychain", "skipped")


def test_without_googles_library_its_files_say_what_to_install(
    internet: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that take signatures or programs need the extra."""
    monkeypatch.setitem(__import__("sys").modules, "google.auth.exceptions", None)
    path = write(tmp_path / "wif.json", external_account(executable={"command": "/bin/token"}))
    environment = internet.environment(tmp_path, GOOGLE_APPLICATION_CREDENTIALS=str(path))

    for keychain in (
        GoogleKeychain(environment=environment),
        GoogleKeychain(source=GoogleAuth(), environment=environment),
    ):
        with pytest.raises(AuthError, match="which is not installed") as caught:
            keychain.resolve(GAR, "push")

        assert "buildpush[gcp]" in caught.value.hint


def test_no_secret_is_in_a_repr() -> None:
    """Keychains are printed by debuggers and test runners."""
    shown = repr(
        [
            GoogleKeychain(source=JsonKey(KEY)),
            GoogleKeychain(source=AccessToken("ya29.canary")),
            GoogleKeychain(source=workload_identity(TextToken(JWT))),
        ]
    )

    assert "canary" not in shown
    assert JWT not in shown

"""The clouds' own libraries: they and we ask in the same form.

They come with the extras ``gcp`` and ``azure``: ``nox -s interop``. The stand-ins, which refuse
what is not documented, take the libraries' requests as they take ours: that is what tells that
they are true to life.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from extras import needs_library
from stand_in_azure import CLIENT, REGISTRY, TENANT, AzureStandIn
from stand_in_google import (
    ACCOUNT,
    IMPERSONATION,
    JWT,
    GoogleStandIn,
    authorized_user,
    external_account,
    write,
)
from stand_in_internet import Answer, Asked, Internet

from buildpush import Repository
from buildpush.auth.acr import AzureKeychain, CertificatePrincipal
from buildpush.auth.asking import now
from buildpush.auth.gar import GoogleAuth, GoogleKeychain, KeyFile
from buildpush.auth.google.exchange import Google
from buildpush.auth.google.library import borrow
from buildpush.errors import AuthError

GAR = Repository("europe-west1-docker.pkg.dev", "acme/images/app")
ACR = Repository(REGISTRY, "app")

needs_google = needs_library("google.auth")
needs_azure = needs_library("azure.identity")


def rsa_key() -> tuple[str, str]:
    """A private key and a certificate of it, both PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "app")])
    today = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(today - timedelta(days=1))
        .not_valid_after(today + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private.decode(), certificate.public_bytes(pem).decode()


@needs_google
def test_googles_library_federates_in_the_same_form(
    google: GoogleStandIn, internet: Internet, tmp_path: Path
) -> None:
    """The same file by google-auth and by us: the same two requests."""
    token = write(tmp_path / "token", JWT)
    info = external_account(file=str(token))
    environment = internet.environment(tmp_path)

    borrowed = borrow(Google(environment=environment), info, "wif.json")
    path = write(tmp_path / "wif.json", info)
    ours = GoogleKeychain(source=KeyFile(path), environment=environment).resolve(GAR, "push")

    assert google.complaints == []
    assert ours is not None
    assert borrowed.value == ours.password
    assert borrowed.expires is not None
    assert ours.expires == pytest.approx(borrowed.expires, abs=30)
    theirs, mine = internet.asked[:2], internet.asked[2:]
    assert [a.form for a in theirs[:1]] == [a.form for a in mine[:1]]


@needs_google
def test_googles_library_refreshes_in_the_same_form(
    google: GoogleStandIn, internet: Internet, tmp_path: Path
) -> None:
    """A person's login, through google-auth's own source of credentials."""
    google.subject, google.client = "1//refresh", ("id", "secret")
    info = {
        "type": "impersonated_service_account",
        "service_account_impersonation_url": IMPERSONATION,
        "source_credentials": authorized_user(google),
    }

    borrowed = borrow(Google(environment=internet.environment(tmp_path)), info, "adc.json")

    assert google.complaints == []
    assert borrowed.value == google.impersonated


@needs_google
@pytest.mark.parametrize("impersonating", [False, True])
def test_a_signed_assertion_is_left_to_googles_library(
    impersonating: bool, google: GoogleStandIn, internet: Internet, tmp_path: Path
) -> None:
    """A service account's key that is traded for a token: RFC 7523, signed with RS256."""
    private, _ = rsa_key()
    key: dict[str, object] = {
        "type": "service_account",
        "private_key": private,
        "private_key_id": "1",
        "client_email": ACCOUNT,
        "token_uri": "https://oauth2.googleapis.com/token",
    }

    def tokens(asked: Asked) -> Answer:
        assert asked.form["grant_type"] == "urn:ietf:params:oauth:grant-type:jwt-bearer"
        assert asked.form["assertion"].count(".") == 2
        return Answer(200, {"access_token": google.refreshed, "expires_in": 3599})

    internet.servers["oauth2.googleapis.com"] = tokens
    info = {
        "type": "impersonated_service_account",
        "service_account_impersonation_url": IMPERSONATION,
        "source_credentials": key,
    }
    path = write(tmp_path / "key.json", info if impersonating else key)
    environment = internet.environment(tmp_path, GOOGLE_APPLICATION_CREDENTIALS=str(path))
    source = KeyFile(path) if impersonating else GoogleAuth()

    found = GoogleKeychain(source=source, environment=environment).resolve(GAR, "push")

    assert google.complaints == []
    assert found is not None
    assert found.password == (google.impersonated if impersonating else google.refreshed)
    assert private.splitlines()[1] not in repr(found)


@needs_google
def test_what_googles_library_says_is_not_quoted_with_secrets(
    google: GoogleStandIn, internet: Internet, tmp_path: Path
) -> None:
    """Its errors hold whole answers."""
    google.subject, google.client = "1//refresh-canary", ("id", "secret-canary")
    internet.servers["oauth2.googleapis.com"] = lambda asked: Answer(
        400, {"error": "invalid_grant", "error_description": asked.body.decode()}
    )
    google.internet.asked.clear()

    with pytest.raises(AuthError, match=r"google-auth gets no token from adc\.json") as caught:
        borrow(
            Google(environment=internet.environment(tmp_path)), authorized_file(google), "adc.json"
        )

    assert "canary" not in caught.value.report()
    assert caught.value.__cause__ is None


def authorized_file(google: GoogleStandIn) -> dict[str, object]:
    """A file whose source of credentials google-auth has to refresh."""
    return {
        "type": "impersonated_service_account",
        "service_account_impersonation_url": IMPERSONATION,
        "source_credentials": authorized_user(google),
    }


def of_this_process(internet: Internet, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have libraries that read this process's variables reach the played Internet."""
    for name, value in internet.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(internet.certificates))


def discovering(azure: AzureStandIn) -> None:
    """Add what Microsoft's library asks before it asks for a token."""
    play = azure.internet.servers[azure.authority]
    base = f"https://{azure.authority}/{TENANT}"

    def entra(asked: Asked) -> Answer:
        if asked.path.endswith("/.well-known/openid-configuration"):
            found = {
                "token_endpoint": f"{base}/oauth2/v2.0/token",
                "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
                "issuer": f"{base}/v2.0",
            }
            return Answer(200, found, {"Content-Type": "application/json"})
        if asked.path == "/common/discovery/instance":
            return Answer(200, {"tenant_discovery_endpoint": "", "metadata": []})
        answer = play(asked)
        return Answer(answer.status, answer.body, {"Content-Type": "application/json"})

    azure.internet.servers[azure.authority] = entra


@needs_azure
def test_microsofts_library_asks_entra_in_the_same_form(
    internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in takes its fields, less those that only tell about the library."""
    from azure.identity import ClientSecretCredential

    azure = AzureStandIn(internet, ends=now() + 9000)
    seen: list[dict[str, str]] = []
    play = internet.servers[azure.authority]

    def lean(asked: Asked) -> Answer:
        telling = ("client_info", "claims", "x-client")
        fields = {n: v for n, v in asked.form.items() if not n.startswith(telling)}
        seen.append(fields)
        return play(asked_with(asked, fields))

    internet.servers[azure.authority] = lean
    discovering(azure)
    of_this_process(internet, monkeypatch)

    with ClientSecretCredential(TENANT, CLIENT, azure.secret) as credential:
        found = credential.get_token("https://containerregistry.azure.net/.default")

    assert azure.complaints == []
    assert found.token == azure.entra
    assert len(seen) == 1


def asked_with(asked: Asked, fields: dict[str, str]) -> Asked:
    """*asked* with another form."""
    from urllib.parse import urlencode

    from attrs import evolve

    kind = asked.headers["content-type"].partition(";")[0]
    headers = {**asked.headers, "content-type": kind}
    return evolve(asked, body=urlencode(fields).encode(), headers=headers)


@needs_azure
def test_a_certificate_logs_in_through_microsofts_library(
    internet: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its assertion is signed there, and the registry's exchange is ours."""
    azure = AzureStandIn(internet, ends=now() + 9000)

    def entra(asked: Asked) -> Answer:
        assert asked.form["client_assertion"].count(".") == 2
        return Answer(
            200, {"access_token": azure.entra, "expires_in": 3599, "token_type": "Bearer"}
        )

    internet.servers[azure.authority] = entra
    discovering(azure)
    of_this_process(internet, monkeypatch)
    path = write(tmp_path / "app.pem", "".join(rsa_key()))
    source = CertificatePrincipal(tenant_id=TENANT, client_id=CLIENT, certificate=path)

    found = AzureKeychain(source=source, environment=internet.environment(tmp_path)).resolve(
        ACR, "push"
    )

    assert azure.complaints == []
    assert found is not None
    assert found.identity_token == azure.refresh


@needs_azure
def test_what_microsofts_library_says_is_told(internet: Internet, tmp_path: Path) -> None:
    """A certificate that is none."""
    path = write(tmp_path / "app.pem", "nothing-canary")
    source = CertificatePrincipal(tenant_id=TENANT, client_id=CLIENT, certificate=path)
    keychain = AzureKeychain(source=source, environment=internet.environment(tmp_path))

    with pytest.raises(AuthError, match="azure-identity gets no token for") as caught:
        keychain.resolve(ACR, "push")

    assert "canary" not in caught.value.report()

"""`AzureKeychain` against a stand-in for Microsoft Entra and a registry, on real sockets."""

from pathlib import Path

import pytest
from stand_in_azure import CLIENT, MANIFEST, REGISTRY, TENANT, AzureStandIn, jwt
from stand_in_google import write
from stand_in_internet import Answer, Asked, Internet

from buildpush import ImageReference, Repository
from buildpush.auth import trail
from buildpush.auth.acr import (
    AzureIdentity,
    AzureKeychain,
    CertificatePrincipal,
    EntraToken,
    FederatedIdentity,
    ManagedIdentity,
    ServicePrincipal,
)
from buildpush.auth.azure import machine
from buildpush.auth.oidc import GithubOidc
from buildpush.errors import AuthError
from buildpush.registry.client import RegistryClient
from buildpush.runtime import CancelToken, Run

ACR = Repository(REGISTRY, "app")
NOBODY = "00000000-0000-0000-0000-000000000000"
ASSERTION = jwt("assertion", 10_000)
APP = {"AZURE_TENANT_ID": TENANT, "AZURE_CLIENT_ID": CLIENT}


@pytest.fixture
def azure(internet: Internet) -> AzureStandIn:
    return AzureStandIn(internet)


def principal(secret: str = "client-secret-canary", tenant: str = TENANT) -> ServicePrincipal:
    return ServicePrincipal(client_id=CLIENT, client_secret=secret, tenant_id=tenant)


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("acme.azurecr.io", True),
        ("acme.azurecr.cn", True),
        ("acme.azurecr.us", True),
        ("acme.eastus.data.azurecr.io", True),
        ("Acme.azurecr.io", True),
        ("azurecr.io", False),
        ("acme.azurecr.io.example.com", False),
        ("mcr.microsoft.com", False),
    ],
)
def test_azures_registries_are_known_in_every_cloud(host: str, known: bool) -> None:
    """And no other host is sent a secret."""
    keychain = AzureKeychain(source=principal(tenant=""))

    found = keychain.resolve(Repository(host, "app"), "push")

    assert known == (found is not None)


def test_a_service_principal_without_a_tenant_is_a_user_with_a_password() -> None:
    """As `docker login` has it; nobody is asked."""
    found = AzureKeychain(source=principal(tenant="")).resolve(ACR, "push")

    assert found is not None
    assert (found.username, found.password) == (CLIENT, "client-secret-canary")


def test_a_service_principals_secret_goes_to_entra_and_not_to_the_registry(
    azure: AzureStandIn, internet: Internet, tmp_path: Path
) -> None:
    """The registry gets a token, and gives its own refresh token for it."""
    environment = internet.environment(tmp_path, **APP, AZURE_CLIENT_SECRET=azure.secret)

    found = AzureKeychain(environment=environment).resolve(ACR, "push")

    assert azure.complaints == []
    assert found is not None
    assert (found.username, found.password, found.identity_token) == (NOBODY, "", azure.refresh)
    assert found.expires == azure.ends
    assert [a.host for a in internet.asked] == ["login.microsoftonline.com", REGISTRY]


def test_an_entra_token_becomes_a_refresh_token_becomes_an_access_token(
    azure: AzureStandIn, internet: Internet, tmp_path: Path
) -> None:
    """From /oauth2/exchange to /oauth2/token, each in a POST, and never a Basic header."""
    environment = internet.environment(tmp_path)
    azure.tenant = ""
    keychain = AzureKeychain(source=EntraToken(azure.entra), environment=environment)
    run = Run(workdir=tmp_path, cancel=CancelToken(), sink=lambda _: None, environment=environment)

    with RegistryClient(keychain, run) as client:
        fetched = client.get_manifest(ImageReference.parse(f"{REGISTRY}/app:1"))

    assert azure.complaints == []
    assert fetched.data == MANIFEST
    assert [(a.method, a.path) for a in internet.asked] == [
        ("GET", "/v2/app/manifests/1"),
        ("POST", "/oauth2/exchange"),
        ("POST", "/oauth2/token"),
        ("GET", "/v2/app/manifests/1"),
    ]


def test_a_pod_of_azure_logs_in_with_its_mounted_token(
    azure: AzureStandIn, internet: Internet, tmp_path: Path
) -> None:
    """Workload identity: the variables that its webhook sets are all there is."""
    azure.assertion = ASSERTION
    token = write(tmp_path / "azure-identity-token", ASSERTION)
    environment = internet.environment(
        tmp_path,
        **APP,
        AZURE_FEDERATED_TOKEN_FILE=str(token),
        AZURE_AUTHORITY_HOST="https://login.microsoftonline.com/",
    )

    found = AzureKeychain(environment=environment).resolve(ACR, "push")

    assert azure.complaints == []
    assert found is not None
    assert found.identity_token == azure.refresh


def test_a_job_of_github_logs_in_without_a_secret(
    azure: AzureStandIn, internet: Internet, tmp_path: Path
) -> None:
    """Its token is made for Entra's audience."""
    azure.assertion = ASSERTION

    def github(asked: Asked) -> Answer:
        assert asked.query == {"audience": "api://AzureADTokenExchange"}
        return Answer(200, {"value": ASSERTION})

    internet.servers["actions.example.com"] = github
    environment = internet.environment(
        tmp_path,
        **APP,
        ACTIONS_ID_TOKEN_REQUEST_URL="https://actions.example.com/token",
        ACTIONS_ID_TOKEN_REQUEST_TOKEN="r1",
    )
    explicit = FederatedIdentity(tenant_id=TENANT, client_id=CLIENT, token=GithubOidc())

    ambient = AzureKeychain(environment=environment).resolve(ACR, "push")
    chosen = AzureKeychain(source=explicit, environment=environment).resolve(ACR, "push")

    assert azure.complaints == []
    assert ambient == chosen
    assert chosen is not None


@pytest.mark.parametrize("identity", ["", CLIENT])
def test_a_virtual_machine_logs_in_with_its_identity(
    identity: str, azure: AzureStandIn, internet: Internet, tmp_path: Path
) -> None:
    """Its own, or one of those it was given; the metadata server is asked without the proxy."""
    azure.identity, azure.tenant = identity, ""
    environment = internet.environment(
        tmp_path,
        AZURE_POD_IDENTITY_AUTHORITY_HOST=f"http://{internet.near}",
        HTTP_PROXY="http://127.0.0.1:1",
        AZURE_CLIENT_ID=identity,
    )

    found = AzureKeychain(environment=environment).resolve(ACR, "push")

    assert azure.complaints == []
    assert found is not None
    assert found.identity_token == azure.refresh


def test_an_app_service_logs_in_with_its_identity(
    azure: AzureStandIn, internet: Internet, tmp_path: Path
) -> None:
    """Its endpoint wants a header that only the app knows."""
    azure.header, azure.tenant = "identity-header-canary", ""
    environment = internet.environment(
        tmp_path,
        IDENTITY_ENDPOINT=f"http://{internet.near}/msi/token",
        IDENTITY_HEADER=azure.header,
    )

    found = AzureKeychain(source=ManagedIdentity(), environment=environment).resolve(ACR, "push")

    assert azure.complaints == []
    assert found is not None
    assert found.identity_token == azure.refresh


def arc(azure: AzureStandIn, internet: Internet, home: Path, key: Path) -> AzureKeychain:
    azure.arc, azure.tenant = key, ""
    endpoint = f"http://{internet.near}/metadata/identity/oauth2/token"
    environment = internet.environment(
        home, IDENTITY_ENDPOINT=endpoint, IMDS_ENDPOINT=f"http://{internet.near}"
    )
    return AzureKeychain(source=ManagedIdentity(), environment=environment)


def test_a_machine_of_azure_arc_proves_that_it_can_read_its_key(
    azure: AzureStandIn, internet: Internet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A challenge names a file, whose content is the proof."""
    monkeypatch.setattr(machine, "ARC_KEYS", tmp_path)
    keychain = arc(azure, internet, tmp_path, write(tmp_path / "one.key", "arc-key-canary"))

    found = keychain.resolve(ACR, "push")

    assert azure.complaints == []
    assert found is not None
    assert found.identity_token == azure.refresh


def test_a_challenge_cannot_make_us_send_any_other_file(
    azure: AzureStandIn, internet: Internet, tmp_path: Path
) -> None:
    """Keys are in one folder, and end in .key."""
    keychain = arc(azure, internet, tmp_path, write(tmp_path / "id_rsa.key", "private-canary"))

    with pytest.raises(AuthError, match=f"names no key file in {machine.ARC_KEYS}"):
        keychain.resolve(ACR, "push")

    assert len(internet.asked) == 1


@pytest.mark.parametrize(
    ("cloud", "authority", "resource", "audience"),
    [
        (
            "acme.azurecr.cn",
            "login.chinacloudapi.cn",
            "https://containerregistry.azure.cn",
            "api://AzureADTokenExchangeChina",
        ),
        (
            "acme.azurecr.us",
            "login.microsoftonline.us",
            "https://containerregistry.azure.us",
            "api://AzureADTokenExchangeUSGov",
        ),
    ],
)
def test_other_clouds_have_their_own_places_to_log_in(
    cloud: str,
    authority: str,
    resource: str,
    audience: str,
    azure: AzureStandIn,
    internet: Internet,
    tmp_path: Path,
) -> None:
    """The registry's name tells which."""
    azure.host, azure.authority, azure.resource, azure.assertion = (
        *(cloud, authority, resource),
        ASSERTION,
    )
    azure.place()

    def github(asked: Asked) -> Answer:
        assert asked.query == {"audience": audience}
        return Answer(200, {"value": ASSERTION})

    internet.servers["actions.example.com"] = github
    environment = internet.environment(
        tmp_path,
        **APP,
        ACTIONS_ID_TOKEN_REQUEST_URL="https://actions.example.com/token",
        ACTIONS_ID_TOKEN_REQUEST_TOKEN="r1",
    )

    found = AzureKeychain(environment=environment).resolve(Repository(cloud, "app"), "push")

    assert azure.complaints == []
    assert found is not None


def test_where_to_log_in_and_for_whom_can_be_said(
    azure: AzureStandIn, internet: Internet, tmp_path: Path
) -> None:
    """Private clouds, and registries that take tokens of the resource manager."""
    azure.authority, azure.resource = "login.example.com", "https://management.azure.com"
    azure.place()
    environment = internet.environment(tmp_path, AZURE_AUTHORITY_HOST="login.example.com")
    keychain = AzureKeychain(
        source=principal(), audience="https://management.azure.com", environment=environment
    )

    found = keychain.resolve(ACR, "push")

    assert azure.complaints == []
    assert found is not None


def test_a_login_is_kept_for_its_registry_and_renewed_before_it_ends(
    azure: AzureStandIn, internet: Internet, tmp_path: Path
) -> None:
    """Refresh tokens live for three hours, builds may take longer."""
    clock = [azure.ends - 10_800]
    keychain = AzureKeychain(
        source=principal(), environment=internet.environment(tmp_path), clock=lambda: clock[0]
    )

    first = keychain.resolve(ACR, "pull")
    again = keychain.resolve(Repository(REGISTRY, "other"), "push")
    clock[0] = azure.ends - 250
    azure.ends += 10_800
    fresh = keychain.resolve(ACR, "push")

    assert first is again
    assert fresh is not None
    assert fresh.expires == azure.ends
    assert len(internet.asked) == 4


def test_nothing_is_said_where_nothing_is_set_up(internet: Internet, tmp_path: Path) -> None:
    """The next keychain is asked; the trail tells what was missing."""
    environment = internet.environment(
        tmp_path, AZURE_CLIENT_ID=CLIENT, AZURE_POD_IDENTITY_AUTHORITY_HOST="http://127.0.0.1:1"
    )
    keychain = AzureKeychain(environment=environment)

    told = trail(keychain, ACR, "push")

    assert keychain.resolve(ACR, "push") is None
    assert [(step.source, step.outcome) for step in told] == [
        ("an app in the environment", "miss"),
        (f"the managed identity {CLIENT}", "miss"),
    ]
    assert told[0].why == "AZURE_TENANT_ID is not set"
    assert "127.0.0.1:1" in told[1].why


def test_a_machine_that_was_to_have_an_identity_and_has_none_is_an_error(
    azure: AzureStandIn, internet: Internet, tmp_path: Path
) -> None:
    """With the reason that its metadata server gives."""
    azure.refusals["near"] = Answer(
        400, {"error": "invalid_request", "error_description": "Identity not found"}
    )
    environment = internet.environment(
        tmp_path, AZURE_POD_IDENTITY_AUTHORITY_HOST=f"http://{internet.near}"
    )

    with pytest.raises(AuthError, match="HTTP 400: Identity not found"):
        AzureKeychain(source=ManagedIdentity(), environment=environment).resolve(ACR, "push")

    assert AzureKeychain(environment=environment).resolve(ACR, "push") is None


def test_whatever_else_answers_at_the_metadata_address_is_nothing(
    internet: Internet, tmp_path: Path
) -> None:
    """Other clouds, and captive portals, answer there, too."""
    internet.servers["near"] = lambda _: Answer(200, b"<html>please log in</html>")
    environment = internet.environment(
        tmp_path, AZURE_POD_IDENTITY_AUTHORITY_HOST=f"http://{internet.near}"
    )

    assert AzureKeychain(environment=environment).resolve(ACR, "push") is None
    with pytest.raises(AuthError, match="holds no token"):
        AzureKeychain(source=ManagedIdentity(), environment=environment).resolve(ACR, "push")


@pytest.mark.parametrize(
    "source",
    [
        AzureIdentity(),
        CertificatePrincipal(tenant_id=TENANT, client_id=CLIENT, certificate=Path("app.pem")),
    ],
    ids=lambda source: type(source).__name__,
)
def test_without_azures_library_its_logins_say_what_to_install(
    source: AzureIdentity | CertificatePrincipal,
    internet: Internet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Certificates and people's logins need the extra."""
    monkeypatch.setitem(__import__("sys").modules, "azure.identity", None)
    keychain = AzureKeychain(source=source, environment=internet.environment(tmp_path))

    with pytest.raises(AuthError, match="which is not installed") as caught:
        keychain.resolve(ACR, "push")

    assert "buildpush[azure]" in caught.value.hint


def test_no_secret_of_azures_is_in_a_repr() -> None:
    """Keychains are printed by debuggers and test runners."""
    shown = repr(
        [
            AzureKeychain(source=principal()),
            AzureKeychain(source=EntraToken(ASSERTION)),
            AzureKeychain(
                source=FederatedIdentity(tenant_id=TENANT, client_id=CLIENT, token=ASSERTION)
            ),
        ]
    )

    assert "canary" not in shown
    assert ASSERTION not in shown

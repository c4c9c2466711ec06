"""The token servers that LocalRegistry can play, and its certificates."""

from __future__ import annotations

import base64
import hashlib
import json
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from buildpush.testing import Dialect, LocalRegistry, PrivateCa, TokenServer

Opener = Callable[[LocalRegistry], httpx.Client]

USERS = {"ci": "pw"}
PUSH = "repository:app:pull,push"
PULL = "repository:base:pull"


def ask(http: httpx.Client, *scopes: str, password: str = "pw") -> httpx.Response:
    return http.get("/token", params={"scope": list(scopes)}, auth=("ci", password))


def may(http: httpx.Client, token: str, method: str, path: str) -> int:
    return http.request(method, path, headers={"Authorization": f"Bearer {token}"}).status_code


def test_a_token_may_say_what_it_grants(open_client: Opener) -> None:
    """As a JWT, which is good at the registry too."""
    with LocalRegistry(auth="token", users=USERS, tokens=TokenServer(jwt=True)) as registry:
        http = open_client(registry)

        token = ask(http, PUSH).json()["token"]

        part = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
        granted = {"type": "repository", "name": "app", "actions": ["pull", "push"]}
        assert claims["access"] == [granted]
        assert (claims["sub"], claims["exp"] - claims["iat"]) == ("ci", 300)
        assert may(http, token, "POST", "/v2/app/blobs/uploads/") == 202


def test_an_opaque_token_says_nothing(open_client: Opener) -> None:
    """And its lifetime may be left unsaid."""
    tokens = TokenServer(states_lifetime=False)
    with LocalRegistry(auth="token", users=USERS, tokens=tokens) as registry:
        answer = ask(open_client(registry), PUSH).json()

        assert "." not in answer["token"]
        assert "expires_in" not in answer


@pytest.mark.parametrize(("scopes", "pull"), [("many", 404), ("first", 401), ("one", None)])
def test_a_server_may_know_one_scope_only(
    open_client: Opener, scopes: str, pull: int | None
) -> None:
    """It grants the first of several, or refuses them all."""
    tokens = TokenServer(scopes=scopes)  # type: ignore[arg-type]
    with LocalRegistry(auth="token", users=USERS, tokens=tokens) as registry:
        http = open_client(registry)

        several, one = ask(http, PUSH, PULL), ask(http, PULL)

        assert one.status_code == 200
        assert several.status_code == (400 if pull is None else 200)
        if pull is not None:
            token = several.json()["token"]
            assert may(http, token, "POST", "/v2/app/blobs/uploads/") == 202
            assert may(http, token, "GET", "/v2/base/tags/list") == pull


def test_only_refresh_tokens_may_be_taken(open_client: Opener) -> None:
    """As by ACR for identities: no password, however it is sent."""
    tokens = TokenServer(logins={"refresh_token"})
    with LocalRegistry(auth="token", users=USERS, tokens=tokens) as registry:
        http = open_client(registry)
        identity = {"grant_type": "refresh_token", "refresh_token": registry.identity_token("ci")}
        password = {"grant_type": "password", "username": "ci", "password": "pw"}

        refreshed = http.post("/token", data={**identity, "scope": PUSH})

        assert refreshed.status_code == 200
        assert http.post("/token", data=password).status_code == 400
        assert ask(http, PUSH).status_code == 401
        assert may(http, refreshed.json()["access_token"], "POST", "/v2/app/blobs/uploads/") == 202


def test_only_basic_may_be_taken(open_client: Opener) -> None:
    """A server without OAuth2 has no POST."""
    tokens = TokenServer(logins={"basic"})
    with LocalRegistry(auth="token", users=USERS, tokens=tokens) as registry:
        http = open_client(registry)

        assert http.post("/token", data={"grant_type": "password"}).status_code == 405
        assert ask(http, PUSH).status_code == 200


def test_the_token_server_may_be_elsewhere(open_client: Opener) -> None:
    """On another host and port; the registry's own socket has none then."""
    tokens = TokenServer(host="localhost")
    with LocalRegistry(auth="token", users=USERS, tokens=tokens) as registry:
        http = open_client(registry)

        challenge = http.get("/v2/").headers["www-authenticate"]
        there = http.get(registry.token_url, params={"scope": PUSH}, auth=("ci", "pw"))

        assert f'realm="{registry.token_url}"' in challenge
        assert registry.token_url.startswith("http://localhost:")
        assert may(http, there.json()["token"], "POST", "/v2/app/blobs/uploads/") == 202
        assert http.get("/token").status_code == 404
        assert http.get(registry.token_url.replace("/token", "/v2/")).status_code == 404


def test_a_token_server_is_never_on_another_machine() -> None:
    """Only loopback addresses are listened on."""
    with pytest.raises(ValueError, match="loopback"):
        LocalRegistry(auth="token", tokens=TokenServer(host="0.0.0.0")).__enter__()


def test_the_challenge_may_name_any_realm(open_client: Opener) -> None:
    """To see what a client lets itself be sent to."""
    realm = "http://169.254.169.254/token"
    with LocalRegistry(auth="token", tokens=TokenServer(realm=realm)) as registry:
        answer = open_client(registry).get("/v2/")

        assert f'realm="{realm}"' in answer.headers["www-authenticate"]


def test_a_bad_token_may_be_answered_with_basic(open_client: Opener) -> None:
    """As by Harbor, which takes Basic too; without a token the challenge is the usual one."""
    dialect = Dialect(after_bad_bearer="basic")
    with LocalRegistry(auth="token", users=USERS, dialect=dialect) as registry:
        http = open_client(registry)

        bad = http.get("/v2/", headers={"Authorization": "Bearer stale"})

        assert bad.headers["www-authenticate"].startswith("Basic ")
        assert http.get("/v2/").headers["www-authenticate"].startswith("Bearer ")
        assert http.get("/v2/", auth=("ci", "pw")).status_code == 200


@pytest.mark.parametrize("auth", ["basic", "token"])
@pytest.mark.parametrize("status", [401, 403])
def test_bad_credentials_spoil_a_public_pull(open_client: Opener, auth: str, status: int) -> None:
    """What everybody may read is refused to who logs in wrongly."""
    with LocalRegistry(
        auth=auth,  # type: ignore[arg-type]
        users=USERS,
        anonymous_pull=True,
        dialect=Dialect(bad_credentials=status),  # type: ignore[arg-type]
    ) as registry:
        registry.add_manifest("app", b"{}", "application/x", tag="1")
        http = open_client(registry)
        path = "/token" if auth == "token" else "/v2/app/manifests/1"

        anonymous, wrong = http.get(path), http.get(path, auth=("ci", "old"))

        assert (anonymous.status_code, wrong.status_code) == (200, status)


def test_tokens_that_expired_are_forgotten(open_client: Opener) -> None:
    """However many there were: those that are still good stay good."""
    now = [0.0]
    with LocalRegistry(
        auth="token", users=USERS, token_lifetime=5, clock=lambda: now[0]
    ) as registry:
        http = open_client(registry)
        stale = ask(http, PUSH).json()["token"]
        now[0] = 6.0

        good, *_ = (ask(http, PUSH).json()["token"] for _ in range(300))

        statuses = [may(http, token, "POST", "/v2/app/blobs/uploads/") for token in (stale, good)]
        assert statuses == [401, 202]
        assert registry.identity_token("ci") == registry.identity_token("ci")


def trusting(authority: PrivateCa, folder: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.file(folder)))


def test_a_registry_and_its_token_server_have_their_own_authority(tmp_path: Path) -> None:
    """Who does not know it does not get in."""
    authority = PrivateCa()
    with LocalRegistry(
        auth="token",
        users=USERS,
        tls=authority.server("127.0.0.1"),
        tokens=TokenServer(host="localhost", tls=authority.server("localhost")),
    ) as registry:
        with httpx.Client(verify=trusting(authority, tmp_path), trust_env=False) as http:
            challenged = http.get(f"{registry.url}/v2/")
            token = http.get(registry.token_url, auth=("ci", "pw"))
        with (
            httpx.Client(trust_env=False) as stranger,
            pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"),
        ):
            stranger.get(f"{registry.url}/v2/")

        assert registry.token_url.startswith("https://localhost:")
        assert f'realm="{registry.token_url}"' in challenged.headers["www-authenticate"]
        assert token.status_code == 200


def test_a_location_may_fall_back_to_plain_http(tmp_path: Path) -> None:
    """Where a proxy in front forgot to say that it spoke TLS."""
    authority = PrivateCa()
    with (
        LocalRegistry(
            tls=authority.server("127.0.0.1"), dialect=Dialect(locations="http")
        ) as registry,
        httpx.Client(verify=trusting(authority, tmp_path), trust_env=False) as http,
    ):
        answer = http.post(f"{registry.url}/v2/app/blobs/uploads/")

        assert answer.headers["location"].startswith("http://127.0.0.1:")


def test_a_client_may_need_a_certificate(tmp_path: Path) -> None:
    """The log says which; without one there is no conversation."""
    authority = PrivateCa()
    certificate, key = authority.client(tmp_path)
    with LocalRegistry(tls=authority.server("127.0.0.1", clients=True)) as registry:
        context = trusting(authority, tmp_path)
        context.load_cert_chain(certificate, key)
        with httpx.Client(verify=context, trust_env=False) as http:
            let_in = http.get(f"{registry.url}/v2/")
        with (
            httpx.Client(verify=trusting(authority, tmp_path), trust_env=False) as bare,
            pytest.raises(httpx.TransportError),
        ):
            bare.get(f"{registry.url}/v2/")

        der = ssl.PEM_cert_to_DER_cert(
            certificate.read_text().partition("\n-----END")[0] + "\n-----END CERTIFICATE-----\n"
        )
        assert let_in.status_code == 200
        assert [r.certificate for r in registry.requests] == [hashlib.sha256(der).hexdigest()]
        assert key.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("auth", ["none", "token"])
def test_a_registry_can_be_served_to_another_program(auth: str) -> None:
    """It tells its address, and the credential, and ends when it is told to."""
    argv = [sys.executable, "-m", "buildpush.testing.registry", "--auth", auth, "--liberal"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        login = auth != "none"
        known = [process.stdout.readline().strip() for _ in range(2 if login else 0)]

        answer = httpx.get(
            f"{url}/{'token' if login else 'v2/'}",
            trust_env=False,
            auth=(known[0], known[1]) if login else None,
        )
        process.terminate()

        assert answer.status_code == 200
        assert process.wait(10) == 0

"""Who LocalRegistry lets in: Basic, tokens, permissions, and what the log says of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import httpx
import pytest

from buildpush.oci import Digest
from buildpush.testing import LocalRegistry

USERS = {"ci": "ci-pass", "reader": "reader-pass", "outsider": "outsider-pass"}
PERMISSIONS = {
    "ci": [("team", "pull"), ("team", "push"), ("shared/base", "pull")],
    "reader": [("", "pull")],
}
CI = ("ci", "ci-pass")
READER = ("reader", "reader-pass")
Make = Callable[..., tuple[LocalRegistry, httpx.Client]]


@pytest.fixture
def make(open_client: Callable[[LocalRegistry], httpx.Client]) -> Iterator[Make]:
    """Make registries with the users above, and a client for each."""
    with ExitStack() as stack:

        def make_(auth: str, **settings: Any) -> tuple[LocalRegistry, httpx.Client]:
            settings = {"users": USERS, "permissions": PERMISSIONS, **settings}
            registry = stack.enter_context(LocalRegistry(auth=auth, **settings))
            return registry, open_client(registry)

        yield make_


def codes(response: httpx.Response) -> list[str]:
    return [error["code"] for error in response.json()["errors"]]


def challenge(response: httpx.Response) -> Mapping[str, str]:
    text = response.headers["www-authenticate"]
    return {"scheme": text.split()[0], **dict(re.findall(r'(\w+)="([^"]*)"', text))}


def token(http: httpx.Client, *scopes: str, auth: tuple[str, str] | None = CI) -> str:
    response = http.get("/token", params={"scope": list(scopes)}, auth=auth)
    text: str = response.json()["token"]
    return text


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


# --- basic ---


def test_basic_challenges_the_unknown(make: Make) -> None:
    """401 with a Basic challenge, for /v2/ too."""
    _, http = make("basic")

    response = http.get("/v2/")

    assert response.status_code == 401
    assert codes(response) == ["UNAUTHORIZED"]
    assert challenge(response)["scheme"] == "Basic"


@pytest.mark.parametrize(
    ("auth", "method", "status"),
    [
        (CI, "POST", 202),
        (READER, "POST", 403),
        (("ci", "wrong"), "POST", 401),
        (("nobody", "ci-pass"), "POST", 401),
        (("outsider", "outsider-pass"), "GET", 403),
        (None, "GET", 401),
        (READER, "GET", 404),
    ],
)
def test_basic_knows_401_from_403(
    make: Make, auth: tuple[str, str] | None, method: str, status: int
) -> None:
    """Wrong password: 401; not allowed: 403."""
    _, http = make("basic")
    path = "/v2/team/app/blobs/uploads/" if method == "POST" else "/v2/team/app/tags/list"

    assert http.request(method, path, auth=auth).status_code == status


def test_a_refused_push_is_denied(make: Make) -> None:
    """The code behind the 403."""
    _, http = make("basic")

    response = http.post("/v2/team/app/blobs/uploads/", auth=READER)

    assert codes(response) == ["DENIED"]


def test_prefixes_end_at_a_component(make: Make) -> None:
    """team covers team/app and team, not teamster."""
    _, http = make("basic")

    statuses = [
        http.post(f"/v2/{name}/blobs/uploads/", auth=CI).status_code
        for name in ("team", "team/app", "teamster")
    ]

    assert statuses == [202, 202, 403]


def test_without_permissions_every_user_may_do_everything(make: Make) -> None:
    """Only the password counts."""
    _, http = make("basic", permissions=None)

    assert http.post("/v2/any/blobs/uploads/", auth=READER).status_code == 202


@pytest.mark.parametrize("auth", ["basic", "token"])
def test_a_header_of_another_scheme_is_not_taken(make: Make, auth: str) -> None:
    """Bearer at a Basic registry, Basic at a token registry, rubbish at both."""
    _, http = make(auth)

    for value in ("Bearer xyz", "Basic !!!", "Digest x"):
        assert http.get("/v2/", headers={"Authorization": value}).status_code == 401


def test_anonymous_pull_is_for_pulling(make: Make) -> None:
    """Nobody may push."""
    registry, http = make("basic", anonymous_pull=True)
    registry.add_manifest("open", b"{}", "x/y", tag="1")

    assert http.get("/v2/open/manifests/1").status_code == 200
    assert http.post("/v2/open/blobs/uploads/").status_code == 401


# --- tokens ---


def test_a_token_challenge_says_where_and_for_what(make: Make) -> None:
    """Realm on the same socket, service, scope."""
    registry, http = make("token")

    push = challenge(http.post("/v2/team/app/blobs/uploads/"))
    mount = challenge(http.post("/v2/team/app/blobs/uploads/?mount=sha256:0&from=shared/base"))
    delete = challenge(http.delete("/v2/team/app/manifests/1"))
    base = challenge(http.get("/v2/"))

    assert push["scheme"] == "Bearer"
    assert push["realm"] == f"{registry.url}/token"
    assert push["scope"] == "repository:team/app:pull,push"
    assert mount["scope"] == "repository:team/app:pull,push repository:shared/base:pull"
    assert delete["scope"] == "repository:team/app:delete"
    assert "scope" not in base


def test_a_token_opens_what_it_was_asked_for(make: Make) -> None:
    """And the log knows whose it is."""
    registry, http = make("token")

    response = http.post(
        "/v2/team/app/blobs/uploads/",
        headers=bearer(token(http, "repository:team/app:pull,push")),
    )

    assert response.status_code == 202
    assert [request.principal for request in registry.requests] == ["ci", "ci"]


def test_a_token_of_narrower_scope_is_challenged_again(make: Make) -> None:
    """401 insufficient_scope: the user could have had more."""
    _, http = make("token")

    response = http.post(
        "/v2/team/app/blobs/uploads/", headers=bearer(token(http, "repository:team/app:pull"))
    )

    assert response.status_code == 401
    assert challenge(response)["error"] == "insufficient_scope"


def test_a_token_grants_no_more_than_the_user_may(make: Make) -> None:
    """Asking for push does not help who may not: 403."""
    _, http = make("token")
    narrow = token(http, "repository:team/app:pull,push", auth=READER)

    response = http.post("/v2/team/app/blobs/uploads/", headers=bearer(narrow))

    assert response.status_code == 403
    assert codes(response) == ["DENIED"]


def test_a_mount_needs_a_token_for_both_repositories(make: Make) -> None:
    """Several scopes go into one token."""
    registry, http = make("token")
    digest = registry.add_blob("shared/base", b"content")
    path = f"/v2/team/app/blobs/uploads/?mount={digest}&from=shared/base"
    target, source = "repository:team/app:pull,push", "repository:shared/base:pull"

    alone = http.post(path, headers=bearer(token(http, target)))
    both = http.post(path, headers=bearer(token(http, target, source)))
    joined = http.post(path, headers=bearer(token(http, f"{target} {source}")))

    assert [alone.status_code, both.status_code, joined.status_code] == [401, 201, 201]


def test_deleting_needs_a_scope_of_its_own(make: Make) -> None:
    """As in Distribution; who may push may have it."""
    registry, http = make("token")
    registry.add_manifest("team/app", b"{}", "x/y", tag="1")
    path = "/v2/team/app/manifests/1"

    push = http.delete(path, headers=bearer(token(http, "repository:team/app:pull,push")))
    delete = http.delete(path, headers=bearer(token(http, "repository:team/app:delete")))

    assert [push.status_code, delete.status_code] == [401, 202]


def test_an_anonymous_token_pulls_what_is_open(make: Make) -> None:
    """It is still a token: without one, there is a challenge."""
    registry, http = make("token", anonymous_pull=True)
    registry.add_manifest("open", b"{}", "x/y", tag="1")
    anonymous = bearer(token(http, "repository:open:pull,push", auth=None))

    without = http.get("/v2/open/manifests/1")
    pull = http.get("/v2/open/manifests/1", headers=anonymous)
    push = http.post("/v2/open/blobs/uploads/", headers=anonymous)

    assert [without.status_code, pull.status_code, push.status_code] == [401, 200, 401]


def test_a_wrong_password_gets_no_token(make: Make) -> None:
    """401, never an anonymous token."""
    _, http = make("token", anonymous_pull=True)

    response = http.get("/token", auth=("ci", "wrong"))

    assert response.status_code == 401
    assert "token" not in response.json()


def test_a_token_ends_after_its_lifetime(make: Make) -> None:
    """By the given clock."""
    now = [100.0]
    _, http = make("token", token_lifetime=60.0, clock=lambda: now[0])
    held = bearer(token(http))
    before = http.get("/v2/", headers=held).status_code

    now[0] += 60.0

    assert (before, http.get("/v2/", headers=held).status_code) == (200, 401)
    assert http.get("/token", auth=CI).json()["expires_in"] == 60


def test_tokens_can_be_expired_at_once(make: Make) -> None:
    """For tests of what happens when one goes stale in the middle."""
    registry, http = make("token")
    held = bearer(token(http))

    registry.expire_tokens()

    assert http.get("/v2/", headers=held).status_code == 401


def test_an_identity_token_is_posted(make: Make) -> None:
    """OAuth2: grant_type=refresh_token."""
    registry, http = make("token")
    form = {
        "grant_type": "refresh_token",
        "refresh_token": registry.identity_token("ci"),
        "service": "any",
        "scope": "repository:team/app:pull,push",
    }

    given = http.post("/token", data=form).json()["access_token"]

    response = http.post("/v2/team/app/blobs/uploads/", headers=bearer(given))
    assert response.status_code == 202


def test_a_login_may_ask_for_an_identity_token(make: Make) -> None:
    """offline_token=true, as docker login does."""
    _, http = make("token")
    refresh = http.get("/token?offline_token=true", auth=CI).json()["refresh_token"]

    given = http.post("/token", data={"grant_type": "refresh_token", "refresh_token": refresh})

    assert given.status_code == 200


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"grant_type": "password", "username": "ci", "password": "ci-pass"}, 200),
        ({"grant_type": "password", "username": "ci", "password": "wrong"}, 401),
        ({"grant_type": "refresh_token", "refresh_token": "made-up"}, 401),
        ({"grant_type": "magic"}, 400),
    ],
)
def test_grants(make: Make, form: dict[str, str], status: int) -> None:
    """What POST /token answers."""
    _, http = make("token")

    assert http.post("/token", data=form).status_code == status


def test_the_token_endpoint_knows_two_methods(make: Make) -> None:
    """GET and POST."""
    _, http = make("token")

    assert http.put("/token").status_code == 405


def test_scopes_of_other_kinds_are_ignored(make: Make) -> None:
    """registry:catalog:* grants nothing here."""
    _, http = make("token")

    held = bearer(token(http, "registry:catalog:*"))

    assert http.get("/v2/team/app/tags/list", headers=held).status_code == 401


# --- the log ---


def test_the_log_holds_no_credentials(make: Make) -> None:
    """Neither header nor form."""
    registry, http = make("token")
    http.post("/token", data={"grant_type": "password", "username": "ci", "password": "ci-pass"})
    http.get("/token", auth=CI)

    log = repr([(request, request.headers) for request in registry.requests])

    assert "ci-pass" not in log
    assert "authorization" not in log.lower()


def test_the_log_says_what_came(make: Make) -> None:
    """One entry a request, in order, with what it brought."""
    registry, http = make("none")
    digest = Digest.of(b"content")
    registry.clear_log()

    http.post(f"/v2/app/blobs/uploads/?digest={digest}", content=b"content")
    http.get("/v2/app/tags/list", auth=("anyone", "x"))

    first, second = registry.requests
    assert (first.method, first.path, first.query) == (
        "POST",
        "/v2/app/blobs/uploads/",
        f"digest={digest}",
    )
    assert (first.status, first.bytes_received, first.principal) == (201, 7, "")
    assert first.headers["content-length"] == "7"
    assert (second.status, second.bytes_received, second.principal) == (200, 0, "anyone")

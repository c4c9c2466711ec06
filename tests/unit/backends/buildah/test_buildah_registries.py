"""The private configuration: registries, credentials, what a build may pull."""

from __future__ import annotations

import base64
import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from buildpush.auth import Chain, Credential, StaticKeychain
from buildpush.backends.buildah.registries import (
    auth_json,
    has_policy,
    registries_conf,
    sources,
    user_registries,
)
from buildpush.dockerfile import parse
from buildpush.errors import AuthError, BackendUnavailableError, CredentialConflictError
from buildpush.oci import Repository
from buildpush.plan import BuildRequest
from buildpush.runtime import Environment

APP, BASE = Repository("r.io", "acme/app"), Repository("r.io", "acme/base")


def a_request(dockerfile: str = "FROM scratch\n", **changes: Any) -> BuildRequest:
    return BuildRequest(
        context=Path("/src"),
        dockerfile=parse(dockerfile),
        dockerfile_path=Path("/src/Dockerfile"),
        **changes,
    )


def decoded(text: str) -> dict[str, str]:
    auths = json.loads(text)["auths"]
    return {key: base64.b64decode(entry["auth"]).decode() for key, entry in auths.items()}


def test_two_accounts_on_one_host_have_a_key_each() -> None:
    """One file holds both, and neither repository can get the other's."""
    keychain = Chain(
        (
            StaticKeychain(prefix=str(APP), credential=Credential(username="a", password="1")),
            StaticKeychain(prefix=str(BASE), credential=Credential(username="b", password="2")),
        )
    )

    text = auth_json(keychain, (APP, BASE, Repository("other.io", "x")))

    assert decoded(text) == {"r.io/acme/app": "a:1", "r.io/acme/base": "b:2"}


def test_a_cache_is_written_with_the_credential_for_pushing() -> None:
    """And read with it: there is one file for a build."""
    keychain = StaticKeychain(
        prefix="r.io", credential=Credential(username="w", password="1"), access="push"
    )

    assert decoded(auth_json(keychain, (), (APP,))) == {"r.io/acme/app": "w:1"}


def test_a_base_image_that_is_a_cache_too_needs_one_account() -> None:
    """Before anything is started."""
    read = StaticKeychain(
        prefix="r.io", credential=Credential(username="r", password="1"), access="pull"
    )
    write = StaticKeychain(
        prefix="r.io", credential=Credential(username="w", password="1"), access="push"
    )

    with pytest.raises(CredentialConflictError, match="two credentials"):
        auth_json(Chain((read, write)), (APP,), (APP,))


def test_an_identity_token_is_said_beside_an_auth_that_can_be_read() -> None:
    """Buildah drops an entry whose auth it cannot split."""
    credential = Credential(identity_token="t0ken")

    text = auth_json(StaticKeychain(prefix="r.io", credential=credential), (APP,))

    assert json.loads(text)["auths"]["r.io/acme/app"]["identitytoken"] == "t0ken"
    assert decoded(text) == {"r.io/acme/app": "<token>:"}


def test_a_registry_token_cannot_be_said() -> None:
    """An auth.json has no place for it."""
    credential = Credential(registry_token="t0ken")

    with pytest.raises(AuthError, match="registry token"):
        auth_json(StaticKeychain(prefix="r.io", credential=credential), (APP,))


def test_short_names_mean_docker_hub() -> None:
    """Whatever this machine's own configuration would ask or search."""
    conf = tomllib.loads(registries_conf(a_request(), ()))

    assert conf["unqualified-search-registries"] == ["docker.io"]
    assert conf["short-name-mode"] == "disabled"


def test_plain_http_is_for_this_machine_and_those_that_are_named() -> None:
    """And for nobody else."""
    request = a_request(insecure=frozenset({"old.io:80"}))

    conf = tomllib.loads(registries_conf(request, ("127.0.0.1:5000", "r.io", "old.io:80")))

    insecure = {table["location"] for table in conf["registry"] if table.get("insecure")}
    assert insecure == {"127.0.0.1:5000", "old.io:80"}


def test_a_mirror_is_asked_before_the_users_own() -> None:
    """What the user has configured stays."""
    user = [{"location": "docker.io", "blocked": False, "mirror": [{"location": "m.corp"}]}]
    request = a_request(mirrors={"docker.io": ("127.0.0.1:5000/hub",)})

    conf = tomllib.loads(registries_conf(request, (), user))

    (table,) = (table for table in conf["registry"] if table["location"] == "docker.io")
    assert table["mirror"] == [
        {"location": "127.0.0.1:5000/hub", "insecure": True},
        {"location": "m.corp"},
    ]


def test_everything_that_may_be_pulled_is_known() -> None:
    """Bases, COPY --from, named contexts, and where mirrors have them."""
    request = a_request(
        "FROM alpine AS a\nFROM r.io/acme/base\nCOPY --from=a /x /y\nCOPY --from=r.io/tool /t /t\n"
        "COPY --from=ctx /c /c\n",
        build_contexts={"ctx": "docker-image://r.io/ctx:1", "docs": "/docs"},
        mirrors={"docker.io": ("m.io/hub",)},
    )

    found = {str(repository) for repository in sources(request)}

    assert found == {
        "docker.io/library/alpine",
        "m.io/hub/library/alpine",
        "r.io/acme/base",
        "r.io/tool",
        "r.io/ctx",
    }


@pytest.fixture
def environment(tmp_path: Path) -> Callable[..., Environment]:
    def make(**variables: str) -> Environment:
        return Environment(
            variables=variables,
            uid=0,
            gid=0,
            home=tmp_path,
            cwd=tmp_path,
            cache=tmp_path,
            temporary=tmp_path,
        )

    return make


def test_the_users_registries_are_read(
    environment: Callable[..., Environment], tmp_path: Path
) -> None:
    """The main file and what lies beside it."""
    folder = tmp_path / ".config" / "containers"
    (folder / "registries.conf.d").mkdir(parents=True)
    (folder / "registries.conf").write_text('[[registry]]\nlocation = "one.io"\n')
    (folder / "registries.conf.d" / "a.conf").write_text('[[registry]]\nlocation = "two.io"\n')

    found = {table.get("location") for table in user_registries(environment())}

    assert {"one.io", "two.io"} <= found


def test_a_file_that_is_named_stands_alone(
    environment: Callable[..., Environment], tmp_path: Path
) -> None:
    """As for buildah itself."""
    (tmp_path / "r.conf").write_text('[[registry]]\nlocation = "three.io"\n')

    found = user_registries(environment(CONTAINERS_REGISTRIES_CONF="r.conf"))

    assert found == ({"location": "three.io"},)


def test_a_file_that_is_no_toml_is_named(
    environment: Callable[..., Environment], tmp_path: Path
) -> None:
    """Ignoring it could send a pull past a mirror that is meant."""
    (tmp_path / "r.conf").write_text("[[registry\n")

    with pytest.raises(BackendUnavailableError, match=r"r\.conf cannot be understood"):
        user_registries(environment(CONTAINERS_REGISTRIES_CONF="r.conf"))


def test_a_policy_of_the_users_own_is_kept(
    environment: Callable[..., Environment], tmp_path: Path
) -> None:
    """Whose signatures an image needs is not for us to say where somebody has."""
    folder = tmp_path / ".config" / "containers"
    folder.mkdir(parents=True)
    (folder / "policy.json").write_text("{}")

    assert has_policy(environment())

"""Whom the executor is for each repository it asks."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from buildpush.auth import Chain, Credential, StaticKeychain
from buildpush.backends.kaniko.credentials import config_json
from buildpush.dockerfile import parse
from buildpush.errors import CredentialConflictError
from buildpush.oci import ImageReference, Platform
from buildpush.plan import BuildRequest, Cache, Delivery


def a_request(dockerfile: str = "FROM scratch\n", **changes: Any) -> BuildRequest:
    return BuildRequest(
        context=Path("/src"),
        dockerfile=parse(dockerfile),
        dockerfile_path=Path("/src/Dockerfile"),
        references=(ImageReference.parse("r.io/acme/app:1"),),
        **changes,
    )


def accounts(**names: str) -> Chain:
    """A keychain of accounts by prefix, written with ``__`` for the slash; the name is the password."""
    return Chain(
        tuple(
            StaticKeychain(
                prefix=prefix.replace("__", "/").replace("_", "."),
                credential=Credential(username=name, password=name),
            )
            for prefix, name in names.items()
        )
    )


def users(config: bytes) -> dict[str, str]:
    auths = json.loads(config)["auths"]
    decoded = {key: base64.b64decode(entry["auth"]).decode() for key, entry in auths.items()}
    return {key: pair.partition(":")[0] for key, pair in decoded.items()}


def cache(reference: str) -> tuple[Cache, ...]:
    return (Cache(type="registry", attributes={"ref": reference}),)


def test_a_base_image_and_the_push_have_an_account_each_on_one_host() -> None:
    """kaniko asks for the whole name first when it pulls, for the host when it pushes."""
    keychain = accounts(r_io__acme__app="pusher", r_io__acme__base="reader")

    config = config_json(
        a_request("FROM r.io/acme/base\n", delivery=Delivery.DIRECT), keychain, None
    )

    assert users(config) == {"r.io": "pusher", "r.io/acme/base": "reader"}


def test_an_export_gives_away_no_account_for_pushing() -> None:
    """buildpush pushes what is exported."""
    keychain = accounts(r_io__acme__app="pusher", r_io__acme__base="reader")

    config = config_json(a_request("FROM r.io/acme/base\n"), keychain, None)

    assert users(config) == {"r.io/acme/base": "reader"}


def test_docker_hub_goes_by_the_names_that_kaniko_knows() -> None:
    """Its host is asked for by an address of old, its repositories by another name."""
    request = a_request("FROM busybox\n", delivery=Delivery.DIRECT)
    hub = (ImageReference.parse("acme/app:1"),)
    request = BuildRequest(
        context=request.context,
        dockerfile=request.dockerfile,
        dockerfile_path=request.dockerfile_path,
        references=hub,
        delivery=Delivery.DIRECT,
    )
    keychain = accounts(docker_io__acme="pusher", docker_io__library="reader")

    assert users(config_json(request, keychain, None)) == {
        "https://index.docker.io/v1/": "pusher",
        "index.docker.io/library/busybox": "reader",
    }


def test_a_repository_that_is_pushed_to_is_read_with_the_same_account() -> None:
    """Before it pushes, kaniko asks with the account of the whole name whether it may."""
    keychain = Chain(
        (
            StaticKeychain(
                prefix="r.io", credential=Credential(username="w", password="w"), access="push"
            ),
            StaticKeychain(
                prefix="r.io", credential=Credential(username="r", password="r"), access="pull"
            ),
        )
    )
    request = a_request("FROM r.io/acme/app:0\n", delivery=Delivery.DIRECT)

    assert users(config_json(request, keychain, None)) == {"r.io": "w"}


def test_a_cache_is_written_with_the_account_for_pushing() -> None:
    """Also by an export, since nobody else writes it."""
    keychain = accounts(r_io__acme__cache="cacher")
    request = a_request(cache_to=cache("r.io/acme/cache"), cache_from=cache("r.io/acme/cache"))

    assert users(config_json(request, keychain, None)) == {"r.io": "cacher"}


def test_two_accounts_to_push_with_on_one_host_are_a_conflict() -> None:
    """One key of the host cannot be both."""
    keychain = accounts(r_io__acme__app="pusher", r_io__acme__cache="cacher")
    request = a_request(cache_to=cache("r.io/acme/cache"), delivery=Delivery.DIRECT)

    with pytest.raises(CredentialConflictError, match=r"push to r\.io"):
        config_json(request, keychain, None)


def test_mirrors_are_asked_with_their_own_accounts() -> None:
    """A mirror is another registry."""
    keychain = accounts(mirror_io="mirrored")
    request = a_request("FROM busybox\n", mirrors={"docker.io": ("mirror.io/hub",)})

    assert users(config_json(request, keychain, None)) == {
        "mirror.io/hub/library/busybox": "mirrored"
    }


def test_tokens_are_written_as_tokens() -> None:
    """A docker config has a field for each kind."""
    keychain = Chain(
        (
            StaticKeychain(prefix="a.io", credential=Credential(identity_token="i")),
            StaticKeychain(prefix="b.io", credential=Credential(registry_token="t")),
        )
    )
    request = a_request("FROM a.io/x AS x\nFROM b.io/y\nCOPY --from=x /f /f\n")

    assert json.loads(config_json(request, keychain, Platform("linux", "amd64"))) == {
        "auths": {"a.io/x": {"identitytoken": "i"}, "b.io/y": {"registrytoken": "t"}}
    }

"""Keychains combined: who is asked, in what order, and for what."""

from __future__ import annotations

import pickle

import pytest

from buildpush.auth import Access, Chain, Credential, PullOnly, StaticKeychain, covers
from buildpush.oci import Repository

APP = Repository("r.io", "acme/app")


def keychain(prefix: str, user: str, access: Access | None = None) -> StaticKeychain:
    return StaticKeychain(prefix=prefix, credential=Credential(username=user), access=access)


def user(found: Credential | None) -> str | None:
    return None if found is None else found.username


def test_the_first_keychain_that_knows_answers() -> None:
    """Later ones are for what earlier ones do not cover."""
    chain = Chain((keychain("q.io", "q"), keychain("r.io", "first"), keychain("r.io", "second")))

    assert user(chain.resolve(APP, "pull")) == "first"
    assert user(chain.resolve(Repository("x.io", "a"), "pull")) is None


def test_one_host_can_have_a_credential_per_access() -> None:
    """The base image is pulled as somebody else than the result is pushed."""
    chain = Chain((keychain("r.io", "reader", "pull"), keychain("r.io", "writer", "push")))

    assert user(chain.resolve(APP, "pull")) == "reader"
    assert user(chain.resolve(APP, "push")) == "writer"


def test_a_pull_only_keychain_never_answers_for_a_push() -> None:
    """What a backend gets when buildpush pushes."""
    limited = PullOnly(keychain("r.io", "ci"))

    assert user(limited.resolve(APP, "pull")) == "ci"
    assert limited.resolve(APP, "push") is None


def test_a_cache_may_be_written_where_nothing_else_may_be_pushed() -> None:
    """A backend exports its caches by itself; the image it does not push."""
    cache = Repository("r.io", "acme/cache")

    limited = PullOnly(keychain("r.io", "ci"), frozenset({cache}))

    assert user(limited.resolve(cache, "push")) == "ci"
    assert limited.resolve(APP, "push") is None


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("r.io", True),
        ("r.io/", True),
        ("r.io/acme", True),
        ("r.io/acme/app", True),
        ("r.io/acme/app/more", False),
        ("r.io/ac", False),
        ("r.i", False),
        ("q.io", False),
    ],
)
def test_a_prefix_covers_whole_components(prefix: str, expected: bool) -> None:
    """``r.io/acme`` is not ``r.io/acme-eu``."""
    assert covers(prefix, APP) == expected


@pytest.mark.parametrize("field", ["password", "identity_token", "registry_token"])
def test_a_credentials_repr_hides_its_secrets(field: str) -> None:
    """That there is one may be seen; copies keep it."""
    credential = Credential(**{field: "c4n4ry"})

    assert "c4n4ry" not in repr(credential)
    assert f"{field}='***'" in repr(credential)
    assert pickle.loads(pickle.dumps(credential)) == credential

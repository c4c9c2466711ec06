"""Keychains combined: who is asked, in what order, and for what."""

from __future__ import annotations

import pickle

import pytest

from buildpush.auth import (
    Access,
    Chain,
    Consulted,
    Credential,
    Explaining,
    PullOnly,
    StaticKeychain,
    covers,
    trail,
)
from buildpush.auth.learning import Learnt
from buildpush.errors import AuthError, BuildpushError, RegistryUnavailableError
from buildpush.oci import Repository
from buildpush.runtime import Redactor

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


class Foreign:
    """A keychain of somebody else's, that explains nothing."""

    def __init__(self, answer: Credential | BuildpushError | None) -> None:
        self.answer = answer

    def resolve(self, repository: Repository, access: Access) -> Credential | None:
        if isinstance(self.answer, BuildpushError):
            raise self.answer
        return self.answer


def told(asked: tuple[Consulted, ...]) -> list[tuple[str, str]]:
    return [(step.source, step.outcome) for step in asked]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Credential(username="u", password="c4n4ry", source="a vault"), [("a vault", "hit")]),
        (None, [("Foreign", "miss")]),
        (AuthError("the vault is locked"), [("Foreign", "error")]),
        (RegistryUnavailableError("nobody answers"), [("Foreign", "error")]),
    ],
)
def test_a_keychain_that_explains_nothing_is_one_source(
    answer: Credential | BuildpushError | None, expected: list[tuple[str, str]]
) -> None:
    """Third parties owe `resolve` and no more; an error is told, not raised."""
    asked = trail(Foreign(answer), APP, "push")

    assert told(asked) == expected
    assert "c4n4ry" not in repr(asked) + "".join(map(str, asked))


def test_a_trail_ends_with_the_answer() -> None:
    """What comes after the first hit or error is not asked."""
    late = Foreign(AuthError("never asked"))
    chain = Chain((keychain("q.io", "q"), Foreign(None), keychain("r.io", "ci"), late))

    assert told(chain.explain(APP, "push")) == [
        ("argument", "miss"),
        ("Foreign", "miss"),
        ("argument", "hit"),
    ]
    assert told(Chain((late, chain)).explain(APP, "push")) == [("Foreign", "error")]


def test_a_miss_says_why() -> None:
    """The prefix, or the access; and whether an answer for this host was to be expected."""
    other, reader = keychain("r.io/else", "x"), keychain("r.io/acme", "x", "pull")

    assert list(map(str, trail(Chain((other, reader, keychain("q.io", "q"))), APP, "push"))) == [
        "argument, r.io/else: miss (r.io/else does not cover r.io/acme/app)",
        "argument, r.io/acme: miss (it is for pull only)",
        "argument, q.io: miss (q.io does not cover r.io/acme/app)",
    ]
    assert [step.expected for k in (other, reader) for step in trail(k, APP, "push")] == [True] * 2
    assert [step.expected for step in trail(keychain("q.io", "q"), APP, "push")] == [False]


def test_keychains_around_a_keychain_pass_its_trail_on() -> None:
    """A push that a backend may not do was not looked up at all."""
    inner = keychain("r.io", "ci")
    limited, learnt = PullOnly(inner), Learnt(inner, Redactor())

    assert limited.explain(APP, "pull") == learnt.explain(APP, "pull") == trail(inner, APP, "pull")
    assert [step.outcome for step in limited.explain(APP, "push")] == ["skipped"]
    assert isinstance(limited, Explaining) and isinstance(learnt, Explaining)

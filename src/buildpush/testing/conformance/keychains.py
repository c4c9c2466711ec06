"""`KeychainConformance`: what every keychain owes, as tests to inherit."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Literal

import pytest

from ...auth import Access, Credential, Keychain, trail
from ...errors import AuthError, RegistryError
from ...oci import Repository
from ..canaries import find_secrets

__all__ = ["KeychainConformance"]

_ACCESSES: Final[tuple[Access, ...]] = ("pull", "push")
_THREADS: Final = 16


class KeychainConformance:
    """Inherit it, override the fixtures *keychain* and *own*, and pytest runs the whole suite.

        class TestVaultKeychain(KeychainConformance):
            @pytest.fixture
            def keychain(self) -> Keychain:
                return VaultKeychain({"r.example": "a-long-password"})

            @pytest.fixture
            def own(self) -> Repository:
                return Repository("r.example", "acme/app")

    *secrets* are what the keychain was given to work with, apart from what it answers; *broken*
    is a keychain of the same kind that should know *own* and cannot tell.
    """

    @pytest.fixture
    def keychain(self) -> Keychain:
        """The keychain under test, which has a credential for *own*: to be overridden."""
        pytest.fail("override the fixture `keychain`", pytrace=False)

    @pytest.fixture
    def own(self) -> Repository:
        """A repository that it has a credential for: to be overridden."""
        pytest.fail("override the fixture `own`", pytrace=False)

    @pytest.fixture
    def foreign(self) -> Repository:
        """A repository on a host that it knows nothing about."""
        return Repository("foreign.invalid", "acme/app")

    @pytest.fixture
    def secrets(self) -> Sequence[str]:
        """No more than what it answers."""
        return ()

    @pytest.fixture
    def broken(self) -> Keychain | None:
        """None: nothing can go wrong with it."""
        return None

    def test_its_own_repository_has_a_credential(
        self, keychain: Keychain, own: Repository
    ) -> None:
        """To push with, and one that says where it is from."""
        found = keychain.resolve(own, "push")

        assert found is not None and _secrets_of(found) and found.source

    @pytest.mark.parametrize("access", _ACCESSES)
    def test_a_foreign_host_is_left_to_others(
        self, keychain: Keychain, foreign: Repository, access: Access
    ) -> None:
        """None, and neither an error nor a credential: the next keychain is asked."""
        assert keychain.resolve(foreign, access) is None

    def test_it_says_the_same_twice(self, keychain: Keychain, own: Repository) -> None:
        """A credential that has not ended is the same one."""
        assert keychain.resolve(own, "push") == keychain.resolve(own, "push")

    def test_it_says_the_same_to_every_thread(self, keychain: Keychain, own: Repository) -> None:
        """Blobs are uploaded in parallel, and every upload may ask."""
        start = threading.Barrier(_THREADS)

        def ask(_: int) -> Credential | None:
            start.wait()
            return keychain.resolve(own, "push")

        with ThreadPoolExecutor(_THREADS) as pool:
            found = list(pool.map(ask, range(_THREADS)))

        assert found == [keychain.resolve(own, "push")] * _THREADS

    def test_its_repr_shows_no_secret(
        self, keychain: Keychain, own: Repository, secrets: Sequence[str]
    ) -> None:
        """Before and after it was asked; nor does the credential's."""
        before = repr(keychain)
        found = keychain.resolve(own, "push")

        hidden = (*secrets, *_secrets_of(found))
        assert find_secrets(hidden, before, repr(keychain), repr(found)) == ()

    @pytest.mark.parametrize("whose", ["own", "foreign"])
    @pytest.mark.parametrize("access", _ACCESSES)
    def test_what_it_explains_is_what_it_does(
        self,
        keychain: Keychain,
        own: Repository,
        foreign: Repository,
        secrets: Sequence[str],
        access: Access,
        whose: Literal["own", "foreign"],
    ) -> None:
        """The trail ends with a hit exactly where there is a credential; it holds no secret."""
        repository = own if whose == "own" else foreign
        found = keychain.resolve(repository, access)

        asked = trail(keychain, repository, access)

        assert [one.outcome == "hit" for one in asked[-1:]] == [found is not None]
        hidden = (*secrets, *_secrets_of(found))
        shown = (repr(asked), "".join(map(str, asked)), pickle.dumps(asked))
        assert not hidden or find_secrets(hidden, *shown) == ()

    def test_an_error_tells_no_secret(
        self, broken: Keychain | None, own: Repository, secrets: Sequence[str]
    ) -> None:
        """It is an error of credentials or of a server, it says so in the trail as well."""
        if broken is None:
            return

        with pytest.raises((AuthError, RegistryError)) as caught:
            broken.resolve(own, "push")

        asked = trail(broken, own, "push")
        assert [(one.outcome, one.expected) for one in asked[-1:]] == [("error", True)]
        error = caught.value
        shown = (error.report(), repr(error), repr(asked), pickle.dumps(error), repr(broken))
        assert not secrets or find_secrets(tuple(secrets), *shown) == ()


def _secrets_of(found: Credential | None) -> tuple[str, ...]:
    if found is None:
        return ()
    return tuple(filter(None, (found.password, found.identity_token, found.registry_token)))

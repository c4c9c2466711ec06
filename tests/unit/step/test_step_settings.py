"""What a step takes besides the settings: a backend and keychains."""

import pytest

from buildpush import BuildAndPushStep, Credential, StaticKeychain
from buildpush.errors import SpecError
from buildpush.testing import FakeBackend

KEYCHAIN = StaticKeychain(
    prefix="a.example", credential=Credential(username="u", password="p" * 9)
)


def test_one_keychain_or_several() -> None:
    """A single one needs no list."""
    one = BuildAndPushStep(repo="a.example/b", auth=KEYCHAIN)
    two = BuildAndPushStep(repo="a.example/b", auth=[KEYCHAIN, KEYCHAIN])

    assert (one.auth, two.auth) == ((KEYCHAIN,), (KEYCHAIN, KEYCHAIN))


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("backend", 3, "backend: expected the name of a backend"),
        ("backend", FakeBackend, "backend: expected the name of a backend"),
        ("auth", "hunter22", "auth: no keychain has the name"),
        ("auth", [3], "auth: expected keychains"),
        ("auth", [Credential(username="u", password="hunter22")], "use StaticKeychain"),
    ],
)
def test_what_is_no_backend_or_keychain_is_refused(
    setting: str, value: object, message: str
) -> None:
    """At once, and without quoting a secret."""
    with pytest.raises(SpecError, match=message) as caught:
        BuildAndPushStep.parse({"repo": "a.example/b", setting: value})

    assert "hunter22" not in caught.value.report()


def test_a_step_shows_no_password() -> None:
    """Its repr names what was set, and hides what is secret."""
    step = BuildAndPushStep(repo="a.example/b", auth=[KEYCHAIN], secrets={"npm": "hunter22"})

    assert "p" * 9 not in repr(step)
    assert "hunter22" not in repr(step)

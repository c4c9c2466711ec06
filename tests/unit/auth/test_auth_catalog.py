"""Keychains by name: ours, other people's, and names that stand for nothing or for two."""

from __future__ import annotations

import sys
from importlib.metadata import Distribution, EntryPoint
from pathlib import Path
from typing import Any

import pytest

from buildpush.auth import Keychain, StaticKeychain
from buildpush.auth.catalog import GROUP, KeychainCatalog, keychains, named
from buildpush.errors import PlanError
from buildpush.oci import Repository

OURS = ("acr", "ecr", "gar", "ghcr", "gitlab", "harbor", "jfrog", "quay")


@pytest.mark.parametrize("name", OURS)
def test_ours_are_registered_and_leave_foreign_hosts_alone(name: str) -> None:
    """Each is made without an argument, and asks nobody about a host that is not its own."""
    keychain = named(name)

    assert isinstance(keychain, Keychain)
    assert keychain.resolve(Repository("foreign.invalid", "a"), "push") is None


def test_a_list_may_mix_names_and_keychains() -> None:
    """As a step's does."""
    mine = StaticKeychain(prefix="r.io", credential=None)  # type: ignore[arg-type]

    first, second = keychains(["quay", mine])

    assert type(first).__name__ == "QuayKeychain" and second is mine


def installed(folder: Path, name: str, **points: str) -> Distribution:
    """A distribution whose metadata lies in *folder*."""
    info = folder / f"{name}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    lines = "".join(f"{key} = {value}\n" for key, value in points.items())
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}")
    return Distribution.at(info)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on sys.path."""
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_a_third_party_adds_one_by_an_entry_point(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of it is imported before its name is used."""
    installed(path, "vaults", vault="a_vault:VaultKeychain")
    (path / "a_vault.py").write_text(
        "class VaultKeychain:\n    def resolve(self, repository, access):\n        return None\n"
    )

    catalog = KeychainCatalog.discover()
    before = "a_vault" in sys.modules
    keychain = catalog.load("vault")
    monkeypatch.delitem(sys.modules, "a_vault")

    assert not before
    assert keychain.resolve(Repository("r.io", "a"), "pull") is None


def test_a_name_that_two_distributions_claim_is_an_error(path: Path) -> None:
    """Both are named: which one wins would be chance."""
    installed(path, "vaults", vault="a:A")
    installed(path, "other-vaults", vault="b:B")

    with pytest.raises(PlanError, match="'vault' is claimed by other-vaults, vaults"):
        named("vault")


def test_an_unknown_name_lists_those_that_are_installed() -> None:
    """For the reader who mistyped."""
    with pytest.raises(PlanError, match="no keychain is called 'erc'") as caught:
        named("erc")

    assert "acr, ecr, gar" in caught.value.hint


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("no_such_module_anywhere:A", "cannot be imported: No module named"),
        ("json:NoSuchThing", "cannot be imported"),
        ("builtins:list", "of broken is no keychain"),
    ],
)
def test_an_entry_that_makes_no_keychain_is_an_error(path: Path, value: str, message: str) -> None:
    """It says which one."""
    distribution: Any = installed(path, "broken", bad=value)
    (point,) = distribution.entry_points
    assert isinstance(point, EntryPoint)

    with pytest.raises(PlanError, match=f"keychain 'bad' .*{message}|keychain 'bad' {message}"):
        KeychainCatalog({"bad": (point,)}).load("bad")

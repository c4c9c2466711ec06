"""The user's builders, as buildx's files tell of them."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from buildpush.backends.buildx.instances import builder_folder, current, find, names
from buildpush.backends.engine.endpoints import Endpoint
from buildpush.errors import BackendUnavailableError

HERE = Endpoint(name="default", host="unix:///d.sock")


def test_a_builder_by_name(surroundings: Any) -> None:
    """In any case, as buildx finds it; options are the first node's."""
    node = {"Name": "ci0", "Endpoint": "tcp://b:1", "DriverOpts": {"servername": "b"}}
    surroundings.builder("ci", Driver="remote", Nodes=[node])

    found = find(surroundings(), "CI")

    assert found is not None
    assert (found.driver, found.endpoints) == ("remote", ("tcp://b:1",))
    assert found.options == {"servername": "b"}
    assert names(surroundings()) == ("ci",)


@pytest.mark.parametrize("name", ["other", "../current", ""])
def test_no_such_builder(name: str, surroundings: Any) -> None:
    """A name that could leave the folder is none."""
    surroundings.builder("ci", Driver="remote", Nodes=None)

    assert find(surroundings(), name) is None


def test_a_damaged_file_is_not_quoted(surroundings: Any) -> None:
    """Driver options may be secrets."""
    surroundings.builder("ci", Driver=["canary"])

    with pytest.raises(BackendUnavailableError, match="instances/ci") as caught:
        find(surroundings(), "ci")

    assert "canary" not in caught.value.report()


def test_a_file_that_cannot_be_read_is_named(surroundings: Any) -> None:
    """With a way out: it may be another user's."""
    surroundings.builder("ci", Driver="remote")
    folder = builder_folder(surroundings())
    (folder / "instances" / "ci").unlink()
    (folder / "instances" / "ci").mkdir()

    with pytest.raises(BackendUnavailableError, match="instances/ci cannot be read") as caught:
        find(surroundings(), "ci")

    assert "BUILDX_CONFIG" in caught.value.hint


def test_what_was_chosen_for_every_endpoint(surroundings: Any) -> None:
    """`docker buildx use --global`."""
    surroundings.builder("ci", Driver="remote")
    surroundings.current(Name="ci", Global=True, Key="elsewhere")

    found = current(surroundings(), HERE)

    assert found is not None and found.name == "ci"


def test_what_was_chosen_for_this_endpoint(surroundings: Any) -> None:
    """By the context's name, else by the address."""
    surroundings.builder("ci", Driver="remote")
    surroundings.current(Name="ci", Key="far")
    far = Endpoint(name="far", host="ssh://far", context="far")

    found = current(surroundings(), far)

    assert found is not None and found.name == "ci"
    assert current(surroundings(), HERE) is None


def test_what_was_chosen_earlier_for_this_endpoint(surroundings: Any, tmp_path: Any) -> None:
    """buildx remembers the choice for each endpoint."""
    surroundings.builder("ci", Driver="remote")
    folder = tmp_path / "home/.docker/buildx/defaults"
    folder.mkdir()
    (folder / hashlib.sha256(HERE.host.encode()).hexdigest()).write_text("ci")

    found = current(surroundings(), HERE)

    assert found is not None and found.name == "ci"


def test_another_folder(surroundings: Any, tmp_path: Any) -> None:
    """BUILDX_CONFIG names it."""
    surroundings.builder("ci", Driver="remote")

    assert names(surroundings(BUILDX_CONFIG=str(tmp_path / "none"))) == ()

"""The reference page of LocalRegistry says all there is."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import get_args

import attrs
import pytest

from buildpush.testing import Dialect, Fault, LocalRegistry, TokenServer
from buildpush.testing.faults import Action

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "local-registry.md"


def fields(known: type[attrs.AttrsInstance]) -> set[str]:
    return {field.name for field in attrs.fields(known) if field.init}


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(set(inspect.signature(LocalRegistry).parameters), id="LocalRegistry"),
        pytest.param(fields(Dialect), id="Dialect"),
        pytest.param(fields(TokenServer), id="TokenServer"),
        pytest.param(fields(Fault) - {"action"}, id="Fault"),
    ],
)
def test_every_knob_is_on_the_page(names: set[str]) -> None:
    """By its name."""
    page = PAGE.read_text()

    assert {name for name in names if f"`{name}`" not in page} == set()


def test_every_action_is_on_the_page() -> None:
    """As it is called."""
    page = PAGE.read_text()

    assert [kind.__name__ for kind in get_args(Action) if f"`{kind.__name__}(" not in page] == []

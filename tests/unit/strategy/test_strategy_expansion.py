"""Matrices and repeats: which runs they stand for, and what they refuse."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from buildpush.errors import SpecError
from buildpush.strategy import Matrix, Repeat


def test_a_matrix_combines_every_value_with_every_other() -> None:
    """The last dimension changes fastest; each combination has a name and its place."""
    found = Matrix({"python": ["3.11", "3.12"], "base": ["slim", "alpine"]}).iterations()

    assert [each.name for each in found] == [
        "3.11-slim",
        "3.11-alpine",
        "3.12-slim",
        "3.12-alpine",
    ]
    assert [(each.index, each.total) for each in found] == [(n, 4) for n in range(4)]
    assert found[1].values == {"python": "3.11", "base": "alpine"}


def test_an_exclusion_leaves_out_every_combination_that_has_its_values() -> None:
    """It may name some dimensions, or all."""
    matrix = Matrix(
        {"os": ["a", "b", "c"], "cpu": [1, 2]},
        exclude=[{"os": "a"}, {"os": "c", "cpu": 2}],
    )

    assert [each.name for each in matrix.iterations()] == ["b-1", "b-2", "c-1"]


def test_names_that_would_be_the_same_are_told_apart() -> None:
    """Values that look alike, or have no short form, still give a name each."""
    found = Matrix({"of": ["1", 1, {"deep": 1}, {"name": "x"}, ["a", "b"]]}).iterations()

    assert [each.name for each in found] == ["1#0", "1#1", "values", "x", "a+b"]


def test_steps_are_made_of_the_values_and_go_by_the_names() -> None:
    """What is made is kept in order."""
    made = Matrix({"n": [3, 1]}).steps(lambda values: {"repo": f"r.io/app-{values['n']}"})

    assert made == {"3": {"repo": "r.io/app-3"}, "1": {"repo": "r.io/app-1"}}


def test_a_step_that_cannot_be_made_is_named() -> None:
    """The error is its own; the hint says which combination it was."""

    def refuse(values: Mapping[str, object]) -> object:
        raise SpecError("no", hint="mend it") if values["n"] == 2 else KeyError

    with pytest.raises(SpecError) as caught:
        Matrix({"n": [2]}).steps(refuse)

    assert caught.value.hint == "mend it; it is the step 2"


def test_a_repeat_has_one_run_for_each_item_or_number() -> None:
    """A number of times counts from 0; a partition is a run for several items."""
    assert [each.values for each in Repeat(["a", "b"]).iterations()] == [
        {"item": "a"},
        {"item": "b"},
    ]
    assert [each.values["item"] for each in Repeat(3).iterations()] == [0, 1, 2]
    groups = Repeat(["a", "b", "c"], partition_size=2).iterations()
    assert [(each.name, each.values["item"]) for each in groups] == [
        ("0", ("a", "b")),
        ("1", ("c",)),
    ]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Matrix({}), "needs a dimension"),
        (lambda: Matrix({"a": []}), "a: must not be empty"),
        (lambda: Matrix({"a": "text"}), "a: expected a list"),
        (lambda: Matrix({"a": [1]}, exclude=[{}]), "exclude[0]: excludes everything"),
        (lambda: Matrix({"a": [1]}, exclude=[{"b": 1}]), "no dimension is called 'b'"),
        (lambda: Matrix({"a": [1]}, exclude=[{"a": 2}]), "a never has the value 2"),
        (lambda: Matrix({"a": [1]}, exclude=[{"a": 1}]).iterations(), "is excluded"),
        (lambda: Matrix({"a": range(200), "b": range(200)}), "40000 combinations"),
        (lambda: Repeat(0), "1 to 10000 times"),
        (lambda: Repeat([]), "no items"),
        (lambda: Repeat("abc"), "a number of times, or a list"),
        (lambda: Repeat(True), "a number of times, or a list"),
        (lambda: Repeat(3, partition_size=0), "partition_size"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], object], said: str) -> None:
    """One error says what is wrong."""
    with pytest.raises(SpecError) as caught:
        make()

    assert said in str(caught.value)

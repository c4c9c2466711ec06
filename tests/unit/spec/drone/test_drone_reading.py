"""How a plugin reads its variables, rule by rule."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpush.errors import SpecError
from buildpush.spec.drone.flags import PROGRAMS, Flag, flags_of
from buildpush.spec.drone.reading import Scalar, read, unknown_variables

EVERY = [
    pytest.param(program, flag, id=f"{program}-{flag.name}")
    for program in PROGRAMS
    for flag in flags_of(program)
]


@pytest.mark.parametrize(("program", "flag"), EVERY)
def test_a_variable_that_is_first_wins_even_when_it_is_empty(program: str, flag: Flag) -> None:
    """Set and empty is not the same as not set."""
    empty: dict[str, Scalar] = {
        "str": "",
        "bool": False,
        "bool-T": False,
        "csv": ("",),
        "ssv": ("",),
    }
    filled = "7" if flag.kind == "int" else "1" if flag.kind.startswith("bool") else "x"
    environ = dict.fromkeys(flag.variables[1:], filled)
    environ[flag.variables[0]] = "5" if flag.kind == "int" else ""

    found = read(environ, program).by_name[flag.name]

    assert (found.value, found.variable) == (empty.get(flag.kind, 5), flag.variables[0])


@pytest.mark.parametrize(("program", "flag"), EVERY)
def test_a_later_variable_is_read_where_the_earlier_are_not_set(program: str, flag: Flag) -> None:
    """In the order of the table."""
    given = {"str": "x", "bool": "true", "bool-T": "0", "int": "9", "csv": "a, b", "ssv": "a ;b,c"}
    wanted: dict[str, Scalar] = {
        "str": "x",
        "bool": True,
        "bool-T": False,
        "int": 9,
        "csv": ("a", "b"),
        "ssv": ("a", "b,c"),
    }

    found = read({flag.variables[-1]: given[flag.kind]}, program).by_name[flag.name]

    assert (found.value, found.variable) == (wanted[flag.kind], flag.variables[-1])


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_nobody_sets_has_its_default(program: str) -> None:
    """And says that it is from nowhere."""
    values = read({}, program)

    assert not any(value.variable for value in values.by_name.values())
    assert values.items("tags") == ("latest",)
    assert (values.text("dockerfile"), values.text("context")) == ("Dockerfile", ".")
    assert values.on("pull-image") is (program in ("docker", "buildx", "buildah"))


@pytest.mark.parametrize("text", ["1", "t", "T", "TRUE", "true", "True"])
def test_every_word_for_true(text: str) -> None:
    """Go's own."""
    assert read({"PLUGIN_NO_CACHE": text}, "docker").on("no-cache")


@pytest.mark.parametrize("text", ["0", "f", "F", "FALSE", "false", "False", ""])
def test_every_word_for_false(text: str) -> None:
    """Even for what is true where nothing is set."""
    assert not read({"PLUGIN_PULL_IMAGE": text}, "docker").on("pull-image")


@pytest.mark.parametrize("text", ["yes", "on", "tRUE", " true", "2", "no"])
def test_other_words_are_neither_true_nor_false(text: str) -> None:
    """The variable is named, and not quoted."""
    with pytest.raises(SpecError, match=r"^PLUGIN_NO_CACHE: is neither true nor false$"):
        read({"PLUGIN_NO_CACHE": text}, "docker")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("7", 7),
        ("-7", -7),
        ("+7", 7),
        ("0", 0),
        ("017", 15),
        ("0o17", 15),
        ("0x1F", 31),
        ("0X_1f", 31),
        ("0b101", 5),
        ("1_000", 1000),
        ("00", 0),
    ],
)
def test_whole_numbers_are_written_as_in_go(text: str, expected: int) -> None:
    """With a base before them, or none."""
    assert expected == read({"PLUGIN_PUSH_RETRY": text}, "kaniko").number("push-retry")


@pytest.mark.parametrize(
    "text", ["", " 7", "7 ", "1.5", "089", "1__0", "0b2", "x", "9223372036854775808", "٣", "_1"]
)
def test_other_text_is_not_a_whole_number(text: str) -> None:
    """Nor is one that needs more than 64 bits."""
    with pytest.raises(SpecError, match=r"^PLUGIN_PUSH_RETRY: is"):
        read({"PLUGIN_PUSH_RETRY": text}, "kaniko")


def test_every_wrong_variable_is_named_at_once() -> None:
    """One error for all."""
    environ = {"PLUGIN_NO_CACHE": "yes", "PLUGIN_SQUASH": "yes", "PLUGIN_DAEMON_RETRY_COUNT": "x"}

    with pytest.raises(SpecError) as caught:
        read(environ, "docker")

    assert all(name in caught.value.message for name in environ)


@pytest.mark.parametrize(
    ("environ", "file", "expected"),
    [
        ({}, "1,2", ("1", "2")),
        ({}, "1\n2\n", ("1\n2",)),
        ({}, "", ("",)),
        ({}, None, ("latest",)),
        ({"PLUGIN_TAGS": "3"}, "1,2", ("3",)),
        ({"PLUGIN_TAGS": ""}, "1,2", ("",)),
    ],
)
def test_the_file_of_tags_is_read_where_no_variable_is_set(
    environ: dict[str, str], file: str | None, expected: tuple[str, ...]
) -> None:
    """It is split at commas, not at lines."""
    assert expected == read(environ, "docker", tags_file=file).items("tags")


def test_a_variable_nobody_reads_is_told_with_the_nearest_that_is_read() -> None:
    """Most are misspelt."""
    environ = {
        "PLUGIN_DOCKERFLE": "x",
        "PLUGIN_SNAPSHOT_MODE": "redo",
        "PLUGIN_ENV_FILE": "f",
        "OTHER": "1",
    }

    assert list(unknown_variables(environ, "docker")) == [
        ("PLUGIN_DOCKERFLE", "PLUGIN_DOCKERFILE"),
        ("PLUGIN_SNAPSHOT_MODE", ""),
    ]


def test_no_value_is_shown() -> None:
    """A password is in one of them."""
    assert "canary" not in repr(read({"PLUGIN_PASSWORD": "canary"}, "docker"))


@given(st.text(max_size=30), st.sampled_from(sorted(PROGRAMS)))
def test_any_text_is_read_or_refused(text: str, program: str) -> None:
    """No other error leaves the reader."""
    environ = {name: text for flag in flags_of(program) for name in flag.variables}

    with suppress(SpecError):
        assert read(environ, program).text("repo") == text

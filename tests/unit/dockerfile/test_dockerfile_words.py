"""Expansion, as BuildKit's shell lexer does it."""

import pytest

from buildpush.dockerfile.words import expand_heredoc, expand_word, expand_words

ENV = {"A": "a", "EMPTY": "", "WORDS": "x y", "PATH_": "/usr/lib/app.tar.gz"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("$A", "a"),
        ("${A}b", "ab"),
        ("$UNSET|", "|"),
        ("${UNSET}", ""),
        ("$", "$"),
        ("$A$A", "aa"),
        ("${UNSET:-d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY-d}", ""),
        ("${UNSET-${A}}", "a"),
        ("${A:+set}", "set"),
        ("${EMPTY:+set}", ""),
        ("${EMPTY+set}", "set"),
        ("${A:?no}", "a"),
        ("${PATH_#*/}", "usr/lib/app.tar.gz"),
        ("${PATH_##*/}", "app.tar.gz"),
        ("${PATH_%.*}", "/usr/lib/app.tar"),
        ("${PATH_%%.*}", "/usr/lib/app"),
        ("${PATH_/lib/bin}", "/usr/bin/app.tar.gz"),
        ("${PATH_//a/A}", "/usr/lib/App.tAr.gz"),
        ("'$A'", "$A"),
        ('"$A b"', "a b"),
        (r"\$A", "$A"),
        (r"a\ b", "a b"),
        ("  keeps  blanks ", "  keeps  blanks "),
    ],
)
def test_a_word_is_expanded_and_unquoted(text: str, expected: str) -> None:
    """An unset variable is empty; quotes and escapes go away."""
    assert expand_word(text, ENV) == expected


def test_the_escape_character_is_the_dockerfiles() -> None:
    r"""With ``escape=` `` a backslash is an ordinary character."""
    assert expand_word(r"C:\$A `$A", ENV, escape="`") == r"C:\a $A"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${UNSET:?give it a value}", "UNSET: give it a value"),
        ("${UNSET?}", "UNSET: is not allowed to be unset"),
        ("${EMPTY:?}", "EMPTY: is not allowed to be empty"),
        ("'open", "matching single-quote"),
        ('"open', "matching double-quote"),
        ("${A", "missing '}'"),
        ("${A!b}", "unsupported modifier"),
        ("${}", "bad substitution"),
    ],
)
def test_what_cannot_be_expanded_is_a_value_error(text: str, message: str) -> None:
    """Whoever knows the lines turns it into a DockerfileError."""
    with pytest.raises(ValueError, match=message.replace("{", r"\{")):
        expand_word(text, ENV)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a b  c", ("a", "b", "c")),
        ("$WORDS z", ("x", "y", "z")),
        ('"$WORDS" z', ("x y", "z")),
        (r"a\ b c", ("a b", "c")),
        ("$UNSET", ()),
        ('a "" b', ("a", "b")),
        ("", ()),
    ],
)
def test_words_split_at_blanks_outside_quotes(text: str, expected: tuple[str, ...]) -> None:
    """Blanks that come out of a variable split, quoted ones do not, and no word is empty."""
    assert expand_words(text, ENV) == expected


def test_a_heredoc_keeps_its_quotes() -> None:
    r"""Only variables and ``\$`` mean something in the body of COPY <<EOF."""
    assert expand_heredoc('it\'s "$A" \\$A\n', ENV) == 'it\'s "a" $A\n'

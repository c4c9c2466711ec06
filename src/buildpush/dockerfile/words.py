"""Expand variables in the words of an instruction, as BuildKit's ``frontend/dockerfile/shell`` does.

``$NAME``, ``${NAME}``, ``${NAME:-default}`` and the other forms of a POSIX shell that BuildKit
knows; an unset variable is empty.
"""

from __future__ import annotations

from collections.abc import Mapping

from .lexing import expand_only, unquote, unquote_words

__all__ = ["expand_heredoc", "expand_word", "expand_words"]


def expand_word(text: str, env: Mapping[str, str], *, escape: str = "\\") -> str:
    """Expand variables in *text* and remove quotes and escapes; blanks stay.

    *escape* is the Dockerfile's escape character. Raises ValueError with a message of one line
    for a quote or brace that is not closed, a form that is not known, and with the message of
    ``${NAME:?message}`` when NAME is unset or empty.
    """
    return unquote(text, env, escape)


def expand_words(text: str, env: Mapping[str, str], *, escape: str = "\\") -> tuple[str, ...]:
    """Expand *text* like `expand_word`, then split it at blanks that were not quoted.

    Blanks that come out of a variable split too. Raises ValueError as `expand_word` does.
    """
    return unquote_words(text, env, escape)


def expand_heredoc(content: str, env: Mapping[str, str]) -> str:
    r"""Expand variables in the body of a COPY or ADD heredoc, leaving quotes as they are.

    The escape character is ``\``, whatever the Dockerfile's is, and ``\$`` is a dollar sign.
    Raises ValueError as `expand_word` does.
    """
    return expand_only(content, env)

"""The one door to e2b-dockerfile-utils: words, quotes, heredoc markers and ignore patterns.

What the library does differently from BuildKit is put right here, so that nothing else in the
package has to know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from attrs import frozen
from e2b_dockerfile_utils import (
    PatternMatcher,
    ShellLex,
    chomp_heredoc_content,
    is_space,
    parse_heredoc,
    parse_words,
)

__all__ = ["HeredocMarker", "PatternMatcher", "is_space"]


@frozen(kw_only=True)
class HeredocMarker:
    """``<<EOF`` on a command line: *expand* is False when part of the word was quoted."""

    name: str
    expand: bool
    strip_tabs: bool


def unquote(word: str, env: Mapping[str, str], escape: str) -> str:
    """Expand variables and remove quotes, keeping blanks; raises ValueError."""
    return ShellLex(escape, env=env, skip_unset_env=False).process_word(word)


def unquote_words(text: str, env: Mapping[str, str], escape: str) -> tuple[str, ...]:
    """Expand, then split at unquoted blanks; raises ValueError."""
    words = ShellLex(escape, env=env, skip_unset_env=False).process_words(text)
    # BuildKit never yields an empty word; the library does for a quoted one.
    return tuple(word for word in words if word)


def expand_only(text: str, env: Mapping[str, str]) -> str:
    r"""Expand variables and leave quotes alone, with ``\`` as escape; raises ValueError."""
    lexer = ShellLex("\\", env=env, skip_process_quotes=True, skip_unset_env=False)
    return lexer.process_word(text)


def raw_words(text: str, escape: str) -> list[str]:
    """Split at blanks outside quotes, keeping quotes and escapes (ENV, LABEL, ARG)."""
    return parse_words(text, escape)


def heredoc_marker(word: str) -> HeredocMarker | None:
    """Read ``<<EOF``, ``<<-EOF`` or ``3<<"EOF"``; None when *word* is none of them."""
    try:
        found = parse_heredoc(word)
    except ValueError:
        return None
    # ``<<""`` has no terminator: BuildKit takes it for an ordinary word.
    if found is None or not found.name:
        return None
    return HeredocMarker(name=found.name, expand=found.expand, strip_tabs=found.chomp)


def heredoc_markers(line: str) -> list[HeredocMarker]:
    """Find the heredocs a command line starts, in order; none when its quotes do not match."""
    try:
        words = ShellLex("\\", raw_quotes=True, raw_escapes=True).process_words(line)
    except ValueError:
        return []
    return [marker for word in words if (marker := heredoc_marker(word)) is not None]


def strip_leading_tabs(content: str) -> str:
    """Do to a heredoc's body what ``<<-`` asks for."""
    return chomp_heredoc_content(content)


def pattern_matcher(patterns: Sequence[str]) -> PatternMatcher:
    """Compile .dockerignore patterns; raises ValueError naming the bad one."""
    return PatternMatcher(list(patterns))

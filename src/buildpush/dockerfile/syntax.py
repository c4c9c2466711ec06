"""Instructions before they have types: keyword, flags, arguments, heredocs and their lines.

Follows BuildKit's ``frontend/dockerfile/parser``. Which flags and how many arguments an
instruction takes is not decided here but in `parser`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable

from attrs import frozen

from .faults import Fault, suggestion
from .instructions import Heredoc, Lines
from .lexing import (
    heredoc_markers,
    raw_words,
    strip_leading_tabs,
)
from .physical import Logical, PhysicalLines, left_trimmed

_BLANKS = re.compile(r"[\t\v\f\r ]+")
_BLANK = " \t\n\v\f\r"
_WITH_HEREDOCS = frozenset({"ADD", "COPY", "RUN"})
_SURROGATE = re.compile("[\ud800-\udfff]")
_ONBUILD = re.compile(r"\s*ONBUILD\s*", re.IGNORECASE)


@frozen(kw_only=True)
class RawHeredoc:
    """A heredoc with its body as it stands in the file, tabs included."""

    name: str
    content: str
    expand: bool
    strip_tabs: bool

    def value(self) -> Heredoc:
        """The heredoc as instructions carry it."""
        content = strip_leading_tabs(self.content) if self.strip_tabs else self.content
        return Heredoc(
            name=self.name, content=content, expand=self.expand, strip_tabs=self.strip_tabs
        )


@frozen(kw_only=True)
class Words:
    """One instruction, split: *keyword* upper-cased, *rest* what follows keyword and flags.

    *args* are the words of *rest*, split as the keyword wants it: for ENV and LABEL in pairs
    name, value. *is_json* says that *rest* was a JSON array of strings.
    """

    keyword: str
    flags: tuple[str, ...]
    rest: str
    args: tuple[str, ...]
    is_json: bool
    text: str
    lines: Lines
    heredocs: tuple[RawHeredoc, ...] = ()
    trigger: str = ""
    child: Words | None = None

    @property
    def old_form(self) -> bool:
        """Whether ENV or LABEL was given ``name value`` instead of ``name=value``."""
        return self.keyword in ("ENV", "LABEL") and "=" not in raw_words(self.rest, "\\")[0]


_Splitter = Callable[[str, str], tuple[list[str], bool]]


def split(logical: Logical, physical: PhysicalLines) -> Words:
    """Split one logical line and take its heredocs from the lines that follow.

    Raises `Fault`, or `DockerfileError` for a heredoc without end.
    """
    lines = Lines(first=logical.first, last=logical.last)
    words = _split_line(logical.text, physical.escape, lines)
    owner = words.child or words
    if owner.keyword not in _WITH_HEREDOCS or owner.is_json or "<<" not in logical.text:
        return words
    heredocs = tuple(
        RawHeredoc(
            name=marker.name,
            content=physical.heredoc(
                marker.name, strip_tabs=marker.strip_tabs, first=logical.first
            ),
            expand=marker.expand,
            strip_tabs=marker.strip_tabs,
        )
        for marker in heredoc_markers(logical.text)
    )
    return _with_heredocs(words, heredocs, Lines(first=logical.first, last=physical.number))


def _with_heredocs(words: Words, heredocs: tuple[RawHeredoc, ...], lines: Lines) -> Words:
    child = words.child and _with_heredocs(words.child, heredocs, lines)
    bodies = "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in heredocs)
    return Words(
        keyword=words.keyword,
        flags=words.flags,
        rest=words.rest,
        args=words.args,
        is_json=words.is_json,
        text=words.text,
        lines=lines,
        heredocs=heredocs,
        trigger=words.trigger + bodies if child else "",
        child=child,
    )


def _split_line(line: str, escape: str, lines: Lines) -> Words:
    text = line.strip()
    written, *tail = _BLANKS.split(text, maxsplit=1)
    keyword = written.upper()
    flags, rest = _split_flags(tail[0], escape) if tail else ((), "")
    rest = rest.strip()
    if keyword not in _SPLITTERS:
        raise Fault(
            f"unknown instruction: {written}{suggestion(written, _SPLITTERS)}",
            "an instruction is the first word of its line; end a line with the escape "
            "character to continue it",
        )
    args, is_json = _SPLITTERS[keyword](rest, escape)
    onbuild = keyword == "ONBUILD" and bool(rest)
    return Words(
        keyword=keyword,
        flags=tuple(flags),
        rest=rest,
        args=tuple(args),
        is_json=is_json,
        text=text,
        lines=lines,
        trigger=_ONBUILD.sub("", line, count=1) if onbuild else "",
        child=_child(rest, escape, lines) if onbuild else None,
    )


def _child(rest: str, escape: str, lines: Lines) -> Words:
    """Split the instruction behind ONBUILD; it may not be one that has a child itself."""
    keyword = _BLANKS.split(rest, maxsplit=1)[0].upper()
    if keyword == "ONBUILD":
        raise Fault("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed")
    if keyword in ("FROM", "MAINTAINER"):
        raise Fault(f"{keyword} isn't allowed as an ONBUILD trigger")
    return _split_line(rest, escape, lines)


def _split_flags(text: str, escape: str) -> tuple[tuple[str, ...], str]:
    """Take ``--flag[=value]`` words off the front; quotes and escapes in them are resolved.

    A bare ``--`` ends the flags and is dropped.
    """
    flags: list[str] = []
    position = 0
    while True:
        while position < len(text) and text[position] in _BLANK:
            position += 1
        if not text.startswith("--", position):
            return tuple(flags), text[position:]
        word, position = _flag(text, position, escape)
        if word == "--":
            return tuple(flags), text[position:]
        flags.append(word)


def _flag(text: str, position: int, escape: str) -> tuple[str, int]:
    """Read one flag from *position*; also say where it ends."""
    word: list[str] = []
    quote = ""
    while position < len(text):
        char = text[position]
        position += 1
        if char == quote:
            quote = ""
        elif not quote and char in _BLANK:
            break
        elif not quote and char in "'\"":
            quote = char
        elif char == escape:
            # An escape character at the very end escapes nothing and is dropped.
            word.append(text[position : position + 1])
            position += 1
        else:
            word.append(char)
    return "".join(word), position


def _as_is(rest: str, _escape: str) -> tuple[list[str], bool]:
    return ([rest] if rest else []), False


def _at_blanks(rest: str, _escape: str) -> tuple[list[str], bool]:
    return (_BLANKS.split(rest) if rest else []), False


def _outside_quotes(rest: str, escape: str) -> tuple[list[str], bool]:
    return raw_words(rest, escape), False


def _json_or(fallback: _Splitter) -> _Splitter:
    def splitter(rest: str, escape: str) -> tuple[list[str], bool]:
        array = _json_array(rest)
        return (array, True) if array is not None else fallback(rest, escape)

    return splitter


def _healthcheck(rest: str, escape: str) -> tuple[list[str], bool]:
    kind, *tail = _BLANKS.split(rest, maxsplit=1)
    command, is_json = _json_or(_as_is)(tail[0] if tail else "", escape)
    return ([kind, *command] if kind else []), is_json


def _pairs(keyword: str) -> _Splitter:
    """Split ``name=value …``, or the old ``name value`` when the first word has no ``=``."""

    def splitter(rest: str, escape: str) -> tuple[list[str], bool]:
        words = raw_words(rest, escape)
        if words and "=" not in words[0]:
            name, *value = _BLANKS.split(rest, maxsplit=1)
            if not value:
                raise Fault(f"{keyword} must have two arguments", f"write {keyword} name=value")
            return [name, *value], False
        args: list[str] = []
        for word in words:
            name, equals, text = word.partition("=")
            if not equals:
                raise Fault(
                    f'Syntax error - can\'t find = in "{word}". Must be of the form: name=value',
                    "quote a value that holds blanks",
                )
            args += name, text
        return args, False

    return splitter


_SPLITTERS: dict[str, _Splitter] = {
    "ADD": _json_or(_at_blanks),
    "ARG": _outside_quotes,
    "CMD": _json_or(_as_is),
    "COPY": _json_or(_at_blanks),
    "ENTRYPOINT": _json_or(_as_is),
    "ENV": _pairs("ENV"),
    "EXPOSE": _at_blanks,
    "FROM": _at_blanks,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _pairs("LABEL"),
    "MAINTAINER": _as_is,
    "ONBUILD": _as_is,
    "RUN": _json_or(_as_is),
    "SHELL": _json_or(_as_is),
    "STOPSIGNAL": _as_is,
    "USER": _as_is,
    "VOLUME": _json_or(_at_blanks),
    "WORKDIR": _as_is,
}


def _not_a_number(name: str) -> object:
    raise ValueError(name)


def _no_number(_: str) -> None:
    return None


def _json_array(rest: str) -> list[str] | None:
    """Read the exec form; None when *rest* is no JSON array, which makes it the shell form.

    Raises `Fault` for an array of anything but strings.
    """
    text = left_trimmed(rest)
    if not text.startswith("["):
        return None
    try:
        # Numbers are only there to be refused; Go's encoding/json knows no NaN.
        array: object = json.loads(
            text, parse_constant=_not_a_number, parse_int=_no_number, parse_float=_no_number
        )
    except (ValueError, RecursionError):
        return None
    assert isinstance(array, list)
    words: list[str] = []
    for item in array:  # pyright: ignore[reportUnknownVariableType]
        if not isinstance(item, str):
            raise Fault(
                "when using JSON array syntax, arrays must be comprised of strings only",
                'put every word in double quotes: ["sleep", "60"]',
            )
        # Go reads half a surrogate pair as U+FFFD; Python would keep what cannot be written.
        words.append(_SURROGATE.sub("\ufffd", item))
    return words

"""Physical lines: directives at the top, comments, continuation lines, heredoc bodies.

Follows BuildKit's ``frontend/dockerfile/parser``: what one instruction is, before anybody asks
which one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import define, field, frozen

from .faults import Source
from .instructions import Lines
from .lexing import is_space

MAX_LINE = 65_535
"""Bytes in one physical line, as the buffer of BuildKit's scanner allows."""

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(\S|\S.*\S)\s*", re.ASCII)
_DIRECTIVES = frozenset({"syntax", "escape", "check"})
_SURROGATE = re.compile("[\ud800-\udfff]")


@frozen(kw_only=True)
class Logical:
    """One instruction's line with its continuation lines joined.

    *blank_continuation* says that an empty line stood between them, which BuildKit deprecates.
    """

    text: str
    first: int
    last: int
    blank_continuation: bool = False


@define
class PhysicalLines:
    """Reads a Dockerfile once, from top to bottom; iterate it for the logical lines.

    *directives* and *escape* are known as soon as the first logical line is. Between two
    logical lines, `heredoc` takes a body from the lines that follow.
    """

    source: Source
    escape: str = "\\"
    directives: dict[str, str] = field(factory=dict[str, str])
    number: int = 0
    _lines: list[str] = field(init=False)
    _directives_over: bool = False

    def __attrs_post_init__(self) -> None:
        self._lines = _LINE.findall(self.source.text)

    def __iter__(self) -> Iterator[Logical]:
        while self.number < len(self._lines):
            line = left_trimmed(self._next().rstrip("\r\n"))
            self._directive(line)
            if not line or line.startswith("#"):
                continue
            first = self.number
            line, over = self._without_continuation(line)
            blank = False
            while not over and self.number < len(self._lines):
                more = self._next().rstrip("\r\n")
                start = left_trimmed(more)
                if not start or start.startswith("#"):
                    blank = blank or not start
                    continue
                more, over = self._without_continuation(more)
                line += more
            self._check_encoding(line, first)
            yield Logical(text=line, first=first, last=self.number, blank_continuation=blank)

    def heredoc(self, terminator: str, *, strip_tabs: bool, first: int) -> str:
        """Take the body of a heredoc up to *terminator*; *first* is its instruction's line.

        Raises `DockerfileError` when the file ends before it does.
        """
        body: list[str] = []
        while self.number < len(self._lines):
            line = self._next()
            bare = line.rstrip("\r\n")
            if (bare.lstrip("\t") if strip_tabs else bare) == terminator:
                content = "".join(body)
                self._check_encoding(content, first)
                return content
            body.append(line)
        raise self.source.located(
            "unterminated heredoc",
            Lines(first=first, last=self.number),
            f"no line consists of {terminator!r} alone",
        )

    def _next(self) -> str:
        line = self._lines[self.number]
        self.number += 1
        bare = line.removesuffix("\n")
        # Four bytes at most per character: most lines need no encoding to be measured.
        if len(bare) * 4 > MAX_LINE and len(bare.encode("utf-8", "replace")) > MAX_LINE:
            raise self.source.located(
                f"dockerfile line greater than maximum allowed size of {MAX_LINE}",
                Lines(first=self.number, last=self.number),
                "put the data in a file and COPY it",
            )
        return line

    def _directive(self, line: str) -> None:
        """Take *line* for a parser directive when it still may be one and is."""
        if self._directives_over:
            return
        match = _DIRECTIVE.fullmatch(line)
        key = match[1].lower() if match else ""
        if match is None or key not in _DIRECTIVES:
            self._directives_over = True
            return
        here = Lines(first=self.number, last=self.number)
        if key in self.directives:
            raise self.source.located(f"only one {key} parser directive can be used", here)
        value = match[2]
        if key == "escape":
            if value not in ("`", "\\"):
                raise self.source.located(
                    f"invalid escape token {value!r} does not match ` or \\", here
                )
            self.escape = value
        self.directives[key] = value

    def _without_continuation(self, line: str) -> tuple[str, bool]:
        """Remove a continuation character; say whether the instruction ends here.

        An escape character ends a line only when no other stands before it.
        """
        bare = line.rstrip(" \t")
        if bare.endswith(self.escape) and not bare[:-1].endswith(self.escape):
            return bare[:-1], False
        return line, True

    def _check_encoding(self, text: str, first: int) -> None:
        if _SURROGATE.search(text):
            raise self.source.located(
                "the instruction is not UTF-8",
                Lines(first=first, last=self.number),
                "save the Dockerfile as UTF-8; only comments may hold other bytes",
            )


def left_trimmed(text: str) -> str:
    """Remove leading white space as Go's ``unicode.IsSpace`` has it."""
    start = 0
    while start < len(text) and is_space(text[start]):
        start += 1
    return text[start:]

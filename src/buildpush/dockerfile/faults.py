"""What is wrong with a Dockerfile, and the lines that say so: every error here is made here."""

from __future__ import annotations

import re
from collections.abc import Iterable

from attrs import field, frozen

from ..errors import DockerfileError, SourceEvidence
from .instructions import Dockerfile, Lines

_SURROGATE = re.compile("[\ud800-\udfff]")
_NEAR = 3


class Fault(Exception):
    """What is wrong with one instruction; whoever knows its lines adds them with `located`."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@frozen
class Source:
    """A Dockerfile (or .dockerignore) as text: what evidence quotes."""

    filename: str
    text: str = field(repr=False)

    def located(self, message: str, lines: Lines, hint: str = "") -> DockerfileError:
        """Make the error that blames *lines* (counted from 1, both included)."""
        evidence = SourceEvidence(
            filename=self.filename,
            first_line=lines.first,
            last_line=lines.last,
            text=printable(self.text),
        )
        return DockerfileError(printable(message), evidence=(evidence,), hint=hint)


def evidence_of(dockerfile: Dockerfile, lines: Lines) -> SourceEvidence:
    """Make the evidence that shows *lines* of *dockerfile*, for errors raised elsewhere."""
    return SourceEvidence(
        filename=dockerfile.filename,
        first_line=lines.first,
        last_line=lines.last,
        text=dockerfile.text,
    )


def printable(text: str) -> str:
    """Replace what cannot be written as UTF-8 (bytes that were not UTF-8 to begin with)."""
    return _SURROGATE.sub("\ufffd", text)


def suggestion(word: str, known: Iterable[str]) -> str:
    """Say `` (did you mean X?)`` when one of *known* is at most two edits away, else nothing."""
    scored = sorted((_distance(word.lower(), name.lower()), name) for name in known)
    if not scored or not 0 < scored[0][0] < _NEAR or scored[0][0] >= len(word):
        return ""
    return f" (did you mean {scored[0][1]}?)"


def _distance(left: str, right: str) -> int:
    """Count the single-character edits between two words (Levenshtein)."""
    if abs(len(left) - len(right)) >= _NEAR:
        return _NEAR
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]

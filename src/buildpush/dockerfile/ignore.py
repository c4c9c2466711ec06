"""Which paths of the build context .dockerignore leaves out.

Follows moby/patternmatcher as BuildKit walks a context: patterns are tried in order at every
directory on the way down, the last that applies wins, and what is below an excluded directory
is excluded unless a ``!`` pattern names it.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from attrs import Factory, field, frozen

from ..errors import DockerfileError, SourceEvidence
from .faults import printable
from .lexing import PatternMatcher, is_space, pattern_matcher

__all__ = ["IgnoreRules"]

_NAME = ".dockerignore"
_WILDCARDS = re.compile(r"[*?\[\\]")
_RISKY = re.compile(r"\\.|[\[&~|]")


def _compiled(rules: IgnoreRules) -> PatternMatcher:
    return pattern_matcher([_safe(pattern) for pattern in rules.patterns])


@frozen(eq=False)
class IgnoreRules:
    """Decides about paths relative to the context, written with slashes and without ``./``.

    *patterns* are cleaned: relative, without ``.`` and ``..``, ``!`` in front of those that
    include again. *filename* is what they were read from, empty when there was no such file.
    """

    patterns: tuple[str, ...] = ()
    filename: str = ""
    _matcher: PatternMatcher = field(
        init=False, repr=False, default=Factory(_compiled, takes_self=True)
    )

    @classmethod
    def parse(cls, text: bytes | str, *, filename: str = _NAME) -> IgnoreRules:
        """Read the text of a .dockerignore; bytes that are not UTF-8 match themselves.

        Raises `DockerfileError`, with the line as evidence, for a pattern that is malformed or
        for ``!`` with nothing (or only ``/``) behind it.
        """
        if isinstance(text, bytes):
            text = text.decode("utf-8", "surrogateescape")
        patterns: list[str] = []
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
            if line.startswith("#"):
                continue
            pattern = _clean(line)
            if not pattern:
                continue
            try:
                _check(pattern)
            except ValueError as error:
                evidence = SourceEvidence(
                    filename=filename, first_line=number, last_line=number, text=printable(text)
                )
                raise DockerfileError(
                    f"bad pattern in {filename}: {error}", evidence=(evidence,)
                ) from error
            patterns.append(pattern)
        return cls(tuple(patterns), filename)

    @classmethod
    def read(cls, context: Path, dockerfile_path: Path) -> IgnoreRules:
        """Read the rules that go with a Dockerfile.

        ``<Dockerfile>.dockerignore`` beside the Dockerfile wins over *context*'s own
        ``.dockerignore``; without either nothing is excluded. Raises `DockerfileError` as
        `parse` does, and OSError for a file that is there and cannot be read.
        """
        own = dockerfile_path.with_name(f"{dockerfile_path.name}{_NAME}")
        for path in (own, context / _NAME):
            try:
                data = path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                continue
            return cls.parse(data, filename=path.name)
        return cls()

    def excludes(self, path: str) -> bool:
        """Whether *path* (a file or a directory) is left out of the context.

        The Dockerfile and .dockerignore are ordinary paths here, as they are for COPY.
        """
        return bool(self.patterns) and self._matcher.matches(path)

    def may_include_under(self, directory: str) -> bool:
        """Whether something below an excluded *directory* may be included again.

        False only when nothing can be, so that a walk may skip the directory.
        """
        segments = directory.split("/")
        return any(
            _may_reach(pattern[1:].split("/"), segments)
            for pattern in self.patterns
            if pattern.startswith("!")
        )


def _clean(line: str) -> str:
    """Bring one line to the form moby's ``ignorefile`` gives it; empty for a blank line."""
    pattern = _trimmed(line)
    mark = "!" if pattern.startswith("!") else ""
    pattern = _trimmed(pattern.removeprefix(mark))
    if pattern:
        # posixpath keeps two leading slashes, which Go's filepath.Clean does not.
        pattern = posixpath.normpath(re.sub("/+", "/", pattern))
        if len(pattern) > 1:
            pattern = pattern.removeprefix("/")
    return mark + pattern


def _trimmed(text: str) -> str:
    start, stop = 0, len(text)
    while start < stop and is_space(text[start]):
        start += 1
    while stop > start and is_space(text[stop - 1]):
        stop -= 1
    return text[start:stop]


def _check(pattern: str) -> None:
    """Raise ValueError for a pattern moby refuses."""
    if pattern in ("!", "!/"):
        raise ValueError(f"illegal exclusion pattern: {pattern!r}")
    pattern_matcher([_safe(pattern)])


def _safe(pattern: str) -> str:
    """Spell *pattern* so that the library reads it as moby does, and `re` without warnings.

    A leading ``#`` would be taken for a comment. In brackets, `re` reserves doubled characters
    for set operations it does not have; escaped they mean themselves, there as in Go.
    """
    mark = "!" if pattern.startswith("!") else ""
    body = pattern.removeprefix(mark)
    if "[" in body:
        body = _safe_brackets(body)
    return f"{mark}./{body}" if body.startswith(("#", "!")) else mark + body


def _safe_brackets(pattern: str) -> str:
    parts: list[str] = []
    position = 0
    while position < len(pattern):
        if pattern[position] == "\\":
            parts.append(pattern[position : position + 2])
            position += 2
        elif pattern[position] == "[":
            end = _bracket_end(pattern, position)
            parts.append("[" + _RISKY.sub(_escaped, pattern[position + 1 : end]))
            position = end
        else:
            parts.append(pattern[position])
            position += 1
    return "".join(parts)


def _escaped(match: re.Match[str]) -> str:
    return match[0] if match[0].startswith("\\") else "\\" + match[0]


def _bracket_end(pattern: str, start: int) -> int:
    """Find the ``]`` that ends the bracket expression at *start*, or the pattern's end."""
    position = start + 1
    while position < len(pattern) and pattern[position] != "]":
        position += 2 if pattern[position] == "\\" else 1
    return min(position, len(pattern))


def _may_reach(pattern: list[str], directory: list[str]) -> bool:
    """Whether a path below *directory* can match *pattern*, both split at slashes."""
    for segment, name in zip(pattern, directory, strict=False):
        # ``**`` spans directories, and a bracket expression may match a slash.
        if "**" in segment or "[" in segment:
            return True
        if segment != name and not _WILDCARDS.search(segment):
            return False
    return len(pattern) > len(directory)

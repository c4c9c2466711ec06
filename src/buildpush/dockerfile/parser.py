"""Dockerfile text to typed instructions: keywords, flags and argument counts are checked here.

Follows BuildKit's ``frontend/dockerfile/instructions``. Nothing is expanded: what depends on
variables is checked by whoever knows them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from attrs import define, evolve, field

from .faults import Fault, Source, printable
from .instructions import Arg, Dockerfile, From, Instruction, Lines, Stage
from .keywords import from_words, typed
from .physical import PhysicalLines
from .syntax import Words, split

_SYNTAX = re.compile(r"#\s*(syntax|check)\s*=\s*(\S|\S.*\S)\s*", re.ASCII | re.IGNORECASE)


def parse(text: str | bytes, *, filename: str = "Dockerfile") -> Dockerfile:
    """Parse a whole Dockerfile as BuildKit's ``dockerfile/1`` frontend does.

    *text* may start with a byte order mark and use either line ending; bytes are UTF-8.
    Variables, the targets of FROM and COPY --from, and paths are left as written.

    Raises `DockerfileError`, with the guilty lines as evidence, for everything that BuildKit
    refuses before it starts to build, and for an ONBUILD trigger that can never work.
    """
    source = Source(filename, _decoded(text))
    reading = _Reading(source)
    for words in reading:
        reading.take(words)
    if not reading.seen:
        raise source.located(
            "file with no instructions", Lines(first=1, last=1), "begin with FROM <image>"
        )
    if not reading.stages:
        raise source.located(
            "dockerfile contains no stages to build",
            Lines(first=1, last=max(1, reading.physical.number)),
            "begin with FROM <image>",
        )
    directives = _directives(reading.physical)
    return Dockerfile(
        filename=filename,
        text=printable(source.text),
        args=tuple(reading.args),
        stages=tuple(reading.finished()),
        escape=reading.physical.escape,
        syntax=directives.get("syntax", "").partition(" ")[0],
        check=directives.get("check", ""),
        warnings=tuple(reading.warnings),
    )


def parse_onbuild(trigger: str, *, filename: str = "ONBUILD trigger") -> Instruction:
    r"""Parse one entry of a base image's ``OnBuild``, heredocs included.

    The escape character is ``\``, whatever the Dockerfile that wrote the trigger used. Raises
    `DockerfileError` for anything but a single instruction that may stand after FROM.
    """
    source = Source(filename, _decoded(trigger))
    found = list(_Reading(source))
    whole = Lines(first=1, last=max(1, source.text.count("\n") + 1))
    if len(found) != 1:
        raise source.located("onbuild trigger should be a single expression", whole)
    if found[0].keyword in ("FROM", "MAINTAINER", "ONBUILD"):
        raise source.located(f"{found[0].keyword} isn't allowed as an ONBUILD trigger", whole)
    try:
        return typed(found[0])
    except Fault as fault:
        raise source.located(fault.message, found[0].lines, fault.hint) from fault


@define
class _Reading:
    """One pass over a Dockerfile, collecting stages."""

    source: Source
    physical: PhysicalLines = field(init=False)
    args: list[Arg] = field(factory=list[Arg])
    stages: list[Stage] = field(factory=list[Stage])
    warnings: list[str] = field(factory=list[str])
    seen: bool = False
    _instructions: list[list[Instruction]] = field(factory=list[list[Instruction]], init=False)

    def __attrs_post_init__(self) -> None:
        self.physical = PhysicalLines(self.source)

    def __iter__(self) -> Iterator[Words]:
        for logical in self.physical:
            self.seen = True
            lines = Lines(first=logical.first, last=logical.last)
            if logical.blank_continuation:
                self._warn(lines, "empty continuation line; a future BuildKit will refuse it")
            try:
                yield split(logical, self.physical)
            except Fault as fault:
                raise self.source.located(fault.message, lines, fault.hint) from fault

    def take(self, words: Words) -> None:
        """Put one instruction where it belongs; raises `DockerfileError`."""
        try:
            if words.keyword == "FROM":
                self._begin(from_words(words))
                return
            instruction = typed(words)
        except Fault as fault:
            raise self.source.located(fault.message, words.lines, fault.hint) from fault
        self._look_at(words)
        if self.stages:
            self._instructions[-1].append(instruction)
        elif isinstance(instruction, Arg):
            self.args.append(instruction)
        else:
            raise self.source.located(
                "no build stage in current context",
                words.lines,
                "only ARG may stand before the first FROM",
            )

    def _begin(self, base: From) -> None:
        if base.name and any(stage.base.name == base.name for stage in self.stages):
            self._warn(base.lines, f"there is an earlier stage called {base.name!r}")
        if base.name in ("scratch", "context"):
            self._warn(base.lines, f"{base.name!r} is reserved and no good name for a stage")
        self.stages.append(Stage(index=len(self.stages), base=base))
        self._instructions.append([])

    def finished(self) -> Iterator[Stage]:
        """The stages with their instructions, which are gathered beside them: it is far faster."""
        for stage, instructions in zip(self.stages, self._instructions, strict=True):
            yield evolve(stage, instructions=tuple(instructions))

    def _look_at(self, words: Words) -> None:
        """Warn of what is legal and probably not meant."""
        match words.keyword:
            case "MAINTAINER":
                self._warn(
                    words.lines,
                    "MAINTAINER is deprecated: use LABEL org.opencontainers.image.authors",
                )
            case "ENV" | "LABEL" if words.old_form:
                self._warn(
                    words.lines, f"write {words.keyword} name=value; the space is deprecated"
                )
            case "CMD" | "ENTRYPOINT" | "RUN" if words.rest.startswith("[") and not words.is_json:
                self._warn(words.lines, "looks like a JSON array, is none: run by the shell")
            case _:
                pass

    def _warn(self, lines: Lines, message: str) -> None:
        self.warnings.append(printable(f"line {lines.first}: {message}"))


def _decoded(text: str | bytes) -> str:
    if isinstance(text, bytes):
        # Other bytes are fine in comments; `PhysicalLines` refuses them elsewhere.
        text = text.decode("utf-8", "surrogateescape")
    return text.removeprefix("\ufeff")


def _directives(physical: PhysicalLines) -> dict[str, str]:
    """The parser directives; those after a ``#!`` line count too, except ``escape``."""
    text = physical.source.text
    if not text.startswith("#!"):
        return physical.directives
    found: dict[str, str] = {}
    for line in text.split("\n")[1:]:
        match = _SYNTAX.fullmatch(line.strip())
        if match is None or match[1].lower() in found:
            break
        found[match[1].lower()] = match[2]
    return found

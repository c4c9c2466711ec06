"""The Dockerfile as an executor gets it: the same lines, without what it would do for nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from ....dockerfile.instructions import Instruction, Label, OnBuild, Stage
from ....dockerfile.stages import Resolution, resolve
from ....oci import Platform
from ....plan import BuildRequest
from .flavors import Executor

__all__ = ["dockerfile", "labels_again", "needed", "resolution"]

_LEAVES_OUT = (1, 26, 0)
"""Since when only what the target needs is built, whatever COPY --from calls it."""
_VARIABLE = re.compile(r"\$\{?(?:TARGET|BUILD)(?:PLATFORM|OS|ARCH|VARIANT)\b")
_PLAIN = re.compile(r"[A-Za-z0-9._/-]+")


def resolution(
    request: BuildRequest, platform: Platform | None = None, own: Platform | None = None
) -> Resolution:
    """The Dockerfile as seen from the target, for *platform*, built where *own* runs."""
    wanted = platform or next(iter(request.platforms), None) or Platform.host()
    return resolve(
        request.dockerfile,
        target=request.target,
        build_args=request.build_args,
        platform=wanted,
        build_platform=own or wanted,
        contexts=tuple(request.build_contexts),
    )


def needed(seen: Resolution) -> Iterator[Instruction]:
    """The instructions of the stages that are built, triggers of their bases first."""
    for index in seen.needed:
        yield from seen.stages[index].instructions


def dockerfile(request: BuildRequest, executor: Executor) -> str:
    """The text of the Dockerfile for *executor*, every instruction on the line it stands on.

    What the target does not need is blank for executors that would build it nevertheless; FROM
    names its image where that depends on the platform's ARGs; a label that the Dockerfile sets,
    too, is set once more where the target ends, since a flag does not win over it.
    """
    seen = resolution(request)
    lines = request.dockerfile.text.split("\n")
    if not executor.has(_LEAVES_OUT):
        for index, stage in enumerate(request.dockerfile.stages):
            if index not in seen.needed:
                _empty(stage, lines)
    for index in seen.needed:
        stage = request.dockerfile.stages[index]
        if _VARIABLE.search(stage.base.image):
            lines[stage.base.lines.first - 1] = _from(stage, seen.stages[index].base.name)
            for number in range(stage.base.lines.first, stage.base.lines.last):
                lines[number] = ""
    again = labels_again(request)
    if again:
        _after(request.dockerfile.stages, seen.target, lines, _label(again, request))
    return "\n".join(lines)


def _empty(stage: Stage, lines: list[str]) -> None:
    """Leave a stage of nothing, so that others keep their numbers, and the lines theirs."""
    name = f" AS {stage.base.name}" if stage.base.name else ""
    for part in (stage.base, *stage.instructions):
        for number in range(part.lines.first, part.lines.last + 1):
            lines[number - 1] = ""
    lines[stage.base.lines.first - 1] = f"FROM scratch{name}"


def _from(stage: Stage, image: str) -> str:
    """FROM with the image's name as it comes out: kaniko does not know the platform's ARGs."""
    name = f" AS {stage.base.name}" if stage.base.name else ""
    return f"FROM {image}{name}"


def labels_again(request: BuildRequest) -> Mapping[str, str]:
    """The step's labels that the Dockerfile sets, too."""
    set_there = set(_labels(needed(resolution(request))))
    return {
        name: value
        for name, value in request.labels.items()
        if name in set_there and "\n" not in f"{name}{value}"
    }


def _label(labels: Mapping[str, str], request: BuildRequest) -> str:
    escape = request.dockerfile.escape
    words = [f"{_quoted(n, escape)}={_quoted(v, escape)}" for n, v in labels.items()]
    return f"LABEL {' '.join(words)}"


def _labels(instructions: Iterable[Instruction]) -> Iterator[str]:
    for instruction in instructions:
        if isinstance(instruction, OnBuild):
            continue
        if isinstance(instruction, Label):
            yield from (_bare(name) for name, _ in instruction.pairs)


def _bare(name: str) -> str:
    return name[1:-1] if len(name) > 1 and name[0] == name[-1] and name[0] in "\"'" else name


def _quoted(text: str, escape: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    for character in (escape, '"', "$"):
        text = text.replace(character, f"{escape}{character}")
    return f'"{text}"'


def _after(stages: tuple[Stage, ...], target: int, lines: list[str], text: str) -> None:
    """Put *text* behind the last instruction of the stage *target*: only later stages move."""
    stage = stages[target]
    last = max(part.lines.last for part in (stage.base, *stage.instructions))
    lines.insert(last, text)

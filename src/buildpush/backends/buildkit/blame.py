"""Which lines of the Dockerfile a failure is about: from what BuildKit says, else from the vertex."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from ...dockerfile.instructions import (
    Add,
    Copy,
    Dockerfile,
    Instruction,
    Lines,
    Run,
    Stage,
    Workdir,
)
from .vertices import Vertex

__all__ = ["find_instruction", "find_lines", "is_excerpt", "quoted_source"]

_PLACE: Final = re.compile(r"(.+):(\d+)")
_RULER: Final = re.compile(r"-{8,}")
_QUOTED: Final = re.compile(r"\s*(\d+) \| (>>>)?.*")
_RECAP: Final = re.compile(r"------| > .*:")
_ON_LINE: Final = re.compile(r"parse error(?: on)? line (\d+)", re.IGNORECASE)
_NAME: Final = re.compile(
    r"\[(?:(?P<before>[^\]]*\S) +)?(?P<number>\d+)/\d+\] (?P<text>.*)",
    re.DOTALL,
)
_IMAGE: Final = re.compile(
    r"(?:load metadata for|resolve image config for(?: docker-image://)?|FROM)"
    r" ?(?P<image>[^\s@]+)"
)


def find_lines(dockerfile: Dockerfile, said: Sequence[str], vertex: Vertex | None) -> Lines | None:
    """The guilty lines: those BuildKit shows, those its message names, or the vertex's."""
    shown = quoted_source(said)
    if shown is not None:
        return shown
    for line in reversed(said):
        named = _ON_LINE.search(line)
        if named:
            return Lines(first=int(named[1]), last=int(named[1]))
    if vertex is None:
        return None
    instruction = find_instruction(dockerfile, vertex.name)
    if instruction is not None:
        return instruction.lines
    return _from_source(dockerfile, vertex.name) or _trigger(dockerfile, vertex.name)


def quoted_source(said: Sequence[str]) -> Lines | None:
    """The lines marked in the excerpt that BuildKit shows below ``Dockerfile:4``."""
    for index in range(len(said) - 2, -1, -1):
        place = _PLACE.fullmatch(said[index])
        if place is None or not _RULER.fullmatch(said[index + 1]):
            continue
        marked: list[int] = []
        for line in said[index + 2 :]:
            quoted = _QUOTED.fullmatch(line)
            if quoted is None:
                break
            if quoted[2]:
                marked.append(int(quoted[1]))
        # What is named is the first of the marked lines, or where an instruction goes on.
        first = int(place[2])
        return Lines(first=min(marked or [first]), last=max(marked or [first]))
    return None


def is_excerpt(line: str) -> bool:
    """Whether *line* only repeats: the Dockerfile, or which vertex it was."""
    return any(form.fullmatch(line) for form in (_PLACE, _RULER, _QUOTED, _RECAP))


def find_instruction(dockerfile: Dockerfile, name: str) -> Instruction | None:
    """The instruction that the vertex *name*, such as ``[app 3/4] RUN make``, stands for.

    BuildKit counts FROM an image as 1, and then what makes a file system: RUN, COPY, ADD, WORKDIR.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    keyword = found["text"].partition(" ")[0].upper()
    number = int(found["number"])
    for stage in _stages(dockerfile, found["before"] or ""):
        counted = [i for i in stage.instructions if isinstance(i, Run | Copy | Add | Workdir)]
        # A stage that begins with scratch or with another stage has no vertex for its FROM.
        for offset in (2, 1):
            place = number - offset
            if 0 <= place < len(counted) and _fits(counted[place], keyword, found["text"]):
                return counted[place]
        for instruction in counted:
            if _fits(instruction, keyword, found["text"]):
                return instruction
    return None


def _stages(dockerfile: Dockerfile, before: str) -> list[Stage]:
    """The stages that may be meant: BuildKit names a node, a platform, a stage, or none of them.

    All of them, from the last, where no name is a stage's.
    """
    name = before.rpartition(" ")[2]
    number = name.removeprefix("stage-")
    named = [
        stage
        for stage in dockerfile.stages
        if name and (name in (stage.base.name, stage.name) or number == str(stage.index))
    ]
    return named or list(reversed(dockerfile.stages))


def _fits(instruction: Instruction, keyword: str, text: str) -> bool:
    """Whether BuildKit may have written *instruction* as *text*, with its variables expanded."""
    if type(instruction).__name__.upper() != keyword:
        return False
    written = _words(instruction.text)
    shown = _words(text)
    if "$" in instruction.text:
        before = written.partition("$")[0].rstrip("\"' ")
        return shown.startswith(before)
    # A here-document is shown by the beginning of its first line only.
    before, marker, _ = written.partition("<<")
    return written == shown or (bool(marker) and shown.startswith(f"{before}<<"))


def _words(text: str) -> str:
    return " ".join(text.split())


def _from_source(dockerfile: Dockerfile, name: str) -> Lines | None:
    """The lines of the FROM (or COPY --from, or ADD) whose image or URL a vertex is about."""
    for stage in dockerfile.stages:
        for instruction in stage.instructions:
            if isinstance(instruction, Add) and name in instruction.sources:
                return instruction.lines
    found = _IMAGE.search(name)
    if found is None:
        return None
    wanted = found["image"]
    for stage in dockerfile.stages:
        if _same_image(stage.base.image, wanted):
            return stage.base.lines
        for instruction in stage.instructions:
            if isinstance(instruction, Copy) and _same_image(instruction.from_stage, wanted):
                return instruction.lines
    return None


def _trigger(dockerfile: Dockerfile, name: str) -> Lines | None:
    """The FROM that brought the vertex *name*: an ONBUILD of its image is in no line of ours."""
    found = _NAME.fullmatch(name)
    stages = _stages(dockerfile, found["before"] or "") if found is not None else []
    return stages[0].base.lines if stages else None


def _same_image(written: str, wanted: str) -> bool:
    bare = written.partition("@")[0]
    candidates = {bare, f"{bare}:latest", f"docker.io/{bare}", f"docker.io/{bare}:latest"}
    candidates |= {f"docker.io/library/{bare}", f"docker.io/library/{bare}:latest"}
    return bool(bare) and wanted in candidates

"""Which instruction of the Dockerfile kaniko speaks of: its text, found in the parsed stages."""

from __future__ import annotations

import re
from typing import Final

from attrs import define, field

from ....dockerfile.instructions import Dockerfile, Instruction, Lines, Maintainer, Stage

__all__ = ["Position"]

_COMMAND: Final = re.compile(
    r"(?:ADD|ARG|CMD|COPY|ENTRYPOINT|ENV|EXPOSE|HEALTHCHECK|LABEL|ONBUILD|RUN|SHELL|STOPSIGNAL"
    r"|USER|VOLUME|WORKDIR)\s"
)


@define(eq=False)
class Position:
    """Follows kaniko through *dockerfile*, as it names stages and instructions in their order.

    *stage* is the one being built, *current* the instruction under way, None while there is none
    or where it is none of the Dockerfile's (a base image's trigger); *text* is what kaniko calls
    it.
    """

    dockerfile: Dockerfile
    stage: Stage | None = field(default=None, init=False)
    current: Instruction | None = field(default=None, init=False)
    text: str = field(default="", init=False)
    _sequence: tuple[tuple[Stage, Instruction], ...] = field(default=(), init=False)
    _next: int = field(default=0, init=False)
    _last: int = field(default=-1, init=False)
    _base: str = field(default="", init=False)

    @property
    def lines(self) -> Lines | None:
        """Where the instruction under way stands; of a trigger, the FROM that brought it."""
        if self.current is not None:
            return self.current.lines
        return self.stage.base.lines if self.stage is not None else None

    @property
    def upcoming(self) -> tuple[Instruction, ...]:
        """What is still to come in this stage; the whole Dockerfile before the first stage."""
        if self.stage is None:
            return tuple(i for stage in self.dockerfile.stages for i in stage.instructions)
        return tuple(instruction for _, instruction in self._sequence[self._next :])

    @property
    def label(self) -> str:
        """Set before the title of a task: which stage of how many, which instruction of it."""
        if self.stage is None:
            return ""
        stages = len(self.dockerfile.stages)
        where = f"{self.stage.index + 1}/{stages}" if stages > 1 else ""
        steps = len(self.stage.instructions) + 1
        if not self.text:
            return f"[{where} 1/{steps}] ".replace("[ ", "[")
        if self.current is None:
            return f"[{where}] ONBUILD ".replace("[] ", "")
        number = self.stage.instructions.index(self.current) + 2
        return f"[{where} {number}/{steps}] ".replace("[ ", "[")

    def enter(self, index: int, base: str) -> None:
        """A stage begins: number *index* as kaniko counts, on the image *base*.

        Kaniko's number is too small where it has left out stages that are not needed.
        """
        later = [s for s in self.dockerfile.stages if s.index >= index and s.index > self._last]
        if not later:
            return
        self._base = base
        self._be_in(next((s for s in later if self._stands_on(s, base)), later[0]))

    def is_next(self, text: str) -> bool:
        """Whether *text* can be the next instruction: at most some of a base image before it."""
        words = text.split()
        for _, instruction in self._sequence[self._next :]:
            if _is(instruction, words):
                return True
            if not isinstance(instruction, Maintainer):
                break
        return self._next == 0 and self.stage is not None and bool(_COMMAND.match(text))

    def reach(self, text: str) -> bool:
        """Move to the instruction that kaniko calls *text*; False when it cannot be one."""
        if self.stage is None:
            return False
        words = text.split()
        if self._find(words) or (self._fresh and self._find_in_later_stages(words)):
            self.text = text
            return True
        if _COMMAND.match(text) is None:
            return False
        self.current, self.text = None, text
        return True

    @property
    def _fresh(self) -> bool:
        """Whether nothing of this stage was seen."""
        return self._next == 0 and not self.text

    def _find(self, words: list[str]) -> bool:
        for number, (stage, instruction) in enumerate(self._sequence):
            if number >= self._next and _is(instruction, words):
                self.stage, self.current, self._next = stage, instruction, number + 1
                return True
        return False

    def _find_in_later_stages(self, words: list[str]) -> bool:
        """Kaniko may have left out the stage that this looked like."""
        for stage in self.dockerfile.stages[self._last + 1 :]:
            own = self._sequence_of(stage)
            if self._stands_on(stage, self._base) and any(_is(i, words) for _, i in own):
                self._be_in(stage)
                return self._find(words)
        return False

    def _be_in(self, stage: Stage) -> None:
        self._last, self._sequence, self._next = stage.index, self._sequence_of(stage), 0
        self.stage, self.current, self.text = self._squashed(stage)[0], None, ""

    def _sequence_of(self, stage: Stage) -> tuple[tuple[Stage, Instruction], ...]:
        return tuple((s, i) for s in self._squashed(stage) for i in s.instructions)

    def _stands_on(self, stage: Stage, base: str) -> bool:
        image = self._squashed(stage, base)[0].base.image
        return image.lower() == base.lower() or "$" in image

    def _squashed(self, stage: Stage, base: str = "") -> list[Stage]:
        """*stage*, and before it those that kaniko builds in one go with it."""
        base = base or self._base
        chain = [stage]
        while chain[0].base.image.lower() != base.lower():
            parent = self._named(chain[0].base.image, chain[0].index)
            if parent is None:
                break
            chain.insert(0, parent)
        return chain

    def _named(self, name: str, before: int) -> Stage | None:
        for stage in reversed(self.dockerfile.stages[:before]):
            if stage.base.name and stage.base.name == name.lower():
                return stage
        return None


def _is(instruction: Instruction, words: list[str]) -> bool:
    """Whether *words* are the instruction's; kaniko shows a here-document's first line only."""
    text = instruction.text
    return text.split() == words or text.partition("\n")[0].split() == words

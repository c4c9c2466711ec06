"""All there is to know about one failed run of kaniko's executor, and the evidence in it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from attrs import frozen

from ....dockerfile.faults import evidence_of
from ....dockerfile.instructions import Lines
from ....errors import BuildpushError, CommandEvidence, Evidence, SourceEvidence
from ....plan import BuildRequest
from ..runner import Ending
from .translate import KanikoOutput

__all__ = ["EXIT", "NO_ROOM", "REMOTE", "ROOM", "SIGNAL", "Failure"]

ROOM: Final = "give the container or the pod more (ephemeral) storage, or build less at once"
EXIT: Final = re.compile(r"waiting for process to exit: exit status (\d+)")
SIGNAL: Final = re.compile(r"waiting for process to exit: signal: ([a-z ]+)")
NO_ROOM: Final = re.compile(r"no space left on device|disk quota exceeded")
REMOTE: Final = re.compile(
    r"\b(?:GET|HEAD|POST|PUT|PATCH) https?://|Get \"https?://|unexpected status code"
    r"|UNAUTHORIZED|DENIED|MANIFEST_UNKNOWN|NAME_UNKNOWN|TOOMANYREQUESTS|dial tcp|x509:"
    r"|no child with platform|reading image \"|unsupported status code"
)


@frozen
class Failure:
    """All there is to know about one failed build."""

    request: BuildRequest
    output: KanikoOutput
    ending: Ending
    redact: Callable[[str], str]
    text: str

    @property
    def what(self) -> str:
        """What kaniko was at, in one line: an instruction in its words, or the end of it all."""
        if self.output.pushing:
            return f"the push to {self.output.pushing}"
        if self.output.fatal.startswith("error pushing image: "):
            return "writing the image"
        return self.output.position.text.partition("\n")[0] or "the build"

    def source(self, lines: Lines | None = None) -> tuple[SourceEvidence, ...]:
        """The guilty lines: *lines*, or those that kaniko was at."""
        at_end = self.output.pushing or self.output.fatal.startswith("error pushing image: ")
        found = lines or (None if at_end else self.output.lines)
        return () if found is None else (evidence_of(self.request.dockerfile, found),)

    def command(self) -> CommandEvidence:
        """What kaniko said in the end, or the RUN that it was at."""
        fatal = self.output.fatal.split("\n") if self.output.fatal else ()
        said = (*self.output.said, *(self.output.tail if self.output.is_running else ()), *fatal)
        return CommandEvidence(
            argv=self.ending.argv,
            exit_code=self.ending.exit_code,
            tail=tuple(map(self.redact, said)),
        )

    def ran(self, code: int) -> CommandEvidence:
        """What RUN wrote in the end, and how it ended."""
        tail = tuple(map(self.redact, self.output.tail))
        return CommandEvidence(argv=(self.redact(self.what),), exit_code=code, tail=tail)

    def error(
        self,
        kind: type[BuildpushError],
        message: str,
        *,
        hint: str = "",
        evidence: tuple[Evidence, ...] | None = None,
    ) -> BuildpushError:
        """An error of *kind*; its evidence is the lines and what kaniko said, unless given."""
        if evidence is None:
            evidence = (*self.source(), self.command())
        return kind(self.redact(message.partition("\n")[0]), evidence=evidence, hint=hint)

"""Dockerfile checks: what ``buildx build --call=check`` finds, as lines to be shown. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from attrs import define, field

from ...dockerfile.faults import evidence_of
from ...dockerfile.instructions import Dockerfile, Lines
from ...errors import BuildError, DockerfileError
from ...events import Event, Stream
from ..buildkit.rawjson import RawJson
from .wire import CheckReport, Fault, parse

__all__ = ["CHECK", "Checking", "findings"]

CHECK = "--call=check,format=json"


@define(eq=False)
class Checking:
    """Keeps the report, which buildx prints on stdout; its progress becomes events as ever."""

    progress: RawJson = field(factory=RawJson, init=False)
    _report: list[str] = field(factory=list[str], init=False)

    @property
    def report(self) -> str:
        """All of stdout."""
        return "\n".join(self._report)

    def line(self, stream: Stream, line: str, at: float) -> Iterable[Event]:
        """The events that one line means."""
        if stream == "stdout":
            self._report.append(line)
            return ()
        return self.progress.line(stream, line, at)

    def finish(self, at: float) -> Iterable[Event]:
        """Close what is still open."""
        return self.progress.finish(at)


def findings(report: str, dockerfile: Dockerfile) -> tuple[str, ...]:
    """One line for each finding, in the order of the file's lines.

    Raises `DockerfileError` where BuildKit could not read the Dockerfile to its end.
    """
    parsed = parse(report, CheckReport)
    if parsed is None:
        raise BuildError(
            "buildx did not report on the Dockerfile as it was asked to",
            hint="does the builder's version of BuildKit fit buildx's?",
        )
    if parsed.error is not None:
        raise _error(parsed.error, dockerfile)
    found = sorted(parsed.warnings, key=lambda finding: finding.location.line)
    lines: list[str] = []
    for finding in found:
        line = finding.location.line
        where = f"{dockerfile.filename}, line {line}: " if line else ""
        link = f" ({finding.url})" if finding.url else ""
        text = finding.detail or finding.description
        lines.append(f"{where}{finding.rule}: {text}{link}")
    return tuple(dict.fromkeys(lines))


def _error(fault: Fault, dockerfile: Dockerfile) -> DockerfileError:
    line = fault.location.line
    evidence = evidence_of(dockerfile, Lines(first=line, last=line))
    return DockerfileError(fault.message, evidence=(evidence,) if line else ())

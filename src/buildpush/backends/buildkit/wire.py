"""What BuildKit's client writes: progress as JSON lines (``--progress=rawjson``), and its metadata.

The shape is `SolveStatus` of BuildKit's client package. Everything is optional: a newer client
may leave out or add what it likes.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import Base64Bytes, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ...errors import BuildError, BuildpushError
from ...oci import Digest

__all__ = ["Log", "Progress", "Status", "Vertex", "Warning_", "parse_status", "read_metadata"]

T = TypeVar("T")


def _none_is_empty(value: object) -> object:
    """Go writes null for a list that is empty."""
    return () if value is None else value


_Many = Annotated[tuple[T, ...], BeforeValidator(_none_is_empty)]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)


class Group(_Wire):
    """Vertices that stand for one thing, to be shown as one."""

    id: str = ""
    name: str = ""


class Vertex(_Wire):
    """One piece of work, whenever something about it changed."""

    digest: str
    name: str = ""
    inputs: _Many[str] = ()
    started: datetime | None = None
    completed: datetime | None = None
    cached: bool = False
    error: str = ""
    group: Group | None = Field(default=None, alias="progressGroup")


class Progress(_Wire):
    """A part of a vertex that counts, mostly bytes; *total* is 0 when nobody knows."""

    id: str = ""
    vertex: str
    current: int = 0
    total: int = 0
    timestamp: datetime | None = None
    completed: datetime | None = None


class Log(_Wire):
    """Some output of a vertex: any number of bytes, cut anywhere; *stream* 1 or 2."""

    vertex: str
    stream: int = 1
    data: Base64Bytes = b""
    timestamp: datetime | None = None


class Position(_Wire):
    """A place in a file; *line* counts from 1."""

    line: int = 0


class Range(_Wire):
    """Some lines of a file."""

    start: Position = Position()


class SourceInfo(_Wire):
    """Which file a warning is about."""

    filename: str = ""


class Warning_(_Wire):  # noqa: N801 - the word is taken
    """What BuildKit's linter found; *short* is ``Rule: what (line N)``."""

    vertex: str = ""
    short: Base64Bytes = b""
    url: str = ""
    source: SourceInfo | None = Field(default=None, alias="sourceInfo")
    ranges: _Many[Range] = Field(default=(), alias="range")


class Status(_Wire):
    """One line of progress."""

    vertexes: _Many[Vertex] = ()
    statuses: _Many[Progress] = ()
    logs: _Many[Log] = ()
    warnings: _Many[Warning_] = ()


class _Metadata(_Wire):
    digest: str = Field(default="", alias="containerimage.digest")


def parse_status(line: str) -> Status | None:
    """Read one line of progress; None when it is something else."""
    try:
        return Status.model_validate_json(line)
    except ValidationError:
        return None


def read_metadata(path: Path) -> Digest:
    """The digest of what was built, from the file that ``--metadata-file`` names.

    Raises `BuildError` when the client did not say.
    """
    try:
        return Digest(_Metadata.model_validate_json(path.read_bytes()).digest)
    except (OSError, ValidationError, BuildpushError) as error:
        raise BuildError(
            "BuildKit's client said that the build succeeded, and did not say what it built",
            hint="does the builder's version of BuildKit fit the client's?",
        ) from error

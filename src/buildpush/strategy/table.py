"""How many runs ended: one row each, in the order in which they were given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import Enum

from attrs import field, frozen

from ..errors import BuildpushError, SeveralFailedError, StepCancelledError
from ..plan import BuildResult
from ..publishing import PushResult

__all__ = ["Row", "RunTable", "Status"]


class Status(Enum):
    """How one of many runs ended."""

    SUCCESS = "success"
    FAILED = "failed"
    EXPIRED = "expired"
    IGNORED = "ignored"
    SKIPPED = "skipped"
    ABORTED = "aborted"


_BAD = frozenset({Status.FAILED, Status.EXPIRED, Status.ABORTED})


@frozen(kw_only=True)
class Row:
    """One run: *attempts* counts from 1, and is 0 when it never began; *seconds* has all of them.

    *error* is the last one; a run that counts as a success, or is ignored, in spite of its error
    has it, too, and no *result*.
    """

    name: str
    status: Status
    result: BuildResult | PushResult | None = field(default=None, repr=False)
    error: BuildpushError | None = None
    attempts: int = 0
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether it counts as a success: it was one, was ignored, or did not have to run."""
        return self.status not in _BAD


@frozen
class RunTable:
    """How every one of many runs ended."""

    rows: tuple[Row, ...]

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, name: str) -> Row:
        """The row called *name*; raises KeyError."""
        for row in self.rows:
            if row.name == name:
                return row
        raise KeyError(name)

    @property
    def ok(self) -> bool:
        """Whether every row counts as a success."""
        return all(row.ok for row in self.rows)

    def raise_for_failure(self) -> None:
        """Raise the error of the row that failed, or one `SeveralFailedError` with all of them.

        Rows that were aborted only count where nothing failed: then the reason is raised.
        """
        failed = [row for row in self.rows if row.status in (Status.FAILED, Status.EXPIRED)]
        errors = {row.name: row.error for row in failed if row.error is not None}
        if not errors:
            for row in self.rows:
                if row.status is Status.ABORTED:
                    raise row.error or StepCancelledError("the steps were cancelled")
            return
        if len(errors) == 1:
            raise next(iter(errors.values()))
        few = "; ".join(f"{name}: {error}" for name, error in list(errors.items())[:3])
        rest = f"; and {len(errors) - 3} more" if len(errors) > 3 else ""
        error = SeveralFailedError(f"{len(errors)} of {len(self.rows)} steps failed: {few}{rest}")
        error.failures = errors
        raise error

    def render(self) -> str:
        """A table as text: name, status, attempts, seconds, and the digest or the error."""
        head = ("step", "status", "attempts", "seconds", "digest or error")
        lines = [head, *map(_cells, self.rows)]
        widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
        return "\n".join(_line(line, widths) for line in lines)

    def to_json(self) -> list[dict[str, object]]:
        """The rows as values that JSON can hold."""
        return [
            {
                "name": row.name,
                "status": row.status.value,
                "attempts": row.attempts,
                "seconds": round(row.seconds, 3),
                "digest": str(row.result.digest) if row.result else None,
                "references": [str(each) for each in row.result.references] if row.result else [],
                "error": {"slug": row.error.slug, "message": str(row.error)}
                if row.error
                else None,
            }
            for row in self.rows
        ]


def _cells(row: Row) -> tuple[str, ...]:
    said = row.error or (row.result.digest if row.result else "")
    return row.name, row.status.value, str(row.attempts), f"{row.seconds:.1f}", str(said)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    left = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False))
    return f"{left}  {cells[-1]}".rstrip()

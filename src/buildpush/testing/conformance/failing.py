"""Failures: the right error, with the line, the output and the exit code."""

from __future__ import annotations

import re
from typing import Final

from ...errors import (
    AuthError,
    BuildError,
    BuildpushError,
    CommandEvidence,
    NotFoundError,
    PermissionDeniedError,
    SourceEvidence,
)
from ...events import TaskFinished
from ...plan import Feature
from ..faults import Fault, Status
from ..registry import LocalRegistry
from .workbench import Stopped, Workbench

__all__ = ["FailingTests"]

_FAILING_LINE: Final = 4
_FAILING: Final = (
    "FROM $BASE\n"
    "LABEL a=b\n"
    "RUN echo before\n"
    "RUN sh -c 'echo MARK-$((40 + 2)) >&2; exit 7'\n"
    "RUN echo never\n"
)
_LOUD: Final = (
    "FROM $BASE\n\n\n"
    "RUN yes 0123456789012345678901234567890123456789012345678901234567890 | head -c 5242880;"
    " exit 7\n"
)
_EXIT_CODE: Final = re.compile(r"(?:exit|returned)[^\n]{0,60}\b7\b", re.IGNORECASE)


class FailingTests:
    """Part of `BackendConformance`."""

    def test_a_failing_run_shows_its_output_its_line_and_its_exit_code(
        self, bench: Workbench
    ) -> None:
        """The last of what it wrote is in the error; all of it was in the events."""
        if bench.refuses(Feature.RUN, _FAILING):
            return

        failed = bench.fail(_FAILING)

        error = _build_error(failed)
        assert "MARK-42" in error.report()
        assert any(line.endswith("MARK-42") for line in failed.sink.lines)
        assert "never" not in failed.sink.lines
        _assert_line(error, _FAILING_LINE)
        _assert_exit_code(error)
        outcomes = {e.outcome for e in failed.sink.of(TaskFinished)}
        assert "failed" in outcomes

    def test_a_loud_failure_is_still_a_failure(self, bench: Workbench) -> None:
        """Five MiB of output do not hide the exit code and the line."""
        if bench.refuses(Feature.RUN, _LOUD):
            return

        error = _build_error(bench.fail(_LOUD))

        _assert_line(error, _FAILING_LINE)
        _assert_exit_code(error)
        assert len(error.report()) < 1 << 16

    def test_a_missing_source_names_itself_and_its_line(self, bench: Workbench) -> None:
        """COPY of what is not in the context."""
        error = _build_error(bench.fail("FROM scratch\nLABEL a=b\nCOPY not-there /\n"))

        assert "not-there" in error.message
        _assert_line(error, 3)

    def test_a_missing_base_image_is_not_found(self, bench: Workbench) -> None:
        """The registry answers, and has no such image."""
        missing = bench.registry.reference("no/such-image:1")

        failed = bench.fail(f"FROM {missing}\nLABEL a=b\n")

        assert isinstance(failed.error, NotFoundError), failed.error
        assert "no/such-image" in failed.error.report()

    def test_a_private_base_image_without_credentials_is_a_matter_of_credentials(
        self, bench: Workbench
    ) -> None:
        """Not “not found”, not “build failed”."""
        with LocalRegistry(auth="token", users={"robot": "a-password"}) as private:
            failed = bench.fail(f"FROM {private.reference('acme/private:1')}\nLABEL a=b\n")

        assert isinstance(failed.error, AuthError), failed.error

    def test_a_refused_push_is_an_error(self, bench: Workbench) -> None:
        """Whoever pushes; nothing is tagged."""
        bench.registry.inject(Fault(Status(403), method="PUT", path="/manifests/", times=None))
        for delivery in bench.deliveries():
            failed = bench.fail("FROM scratch\nCOPY a /\n", {"a": ""}, delivery=delivery)

            assert isinstance(failed.error, PermissionDeniedError), failed.error
            assert bench.registry.tags(bench.repository) == ()


def _build_error(failed: Stopped) -> BuildError:
    assert isinstance(failed.error, BuildError), failed.error
    return failed.error


def _assert_line(error: BuildpushError, line: int) -> None:
    found = [piece for piece in error.evidence if isinstance(piece, SourceEvidence)]
    assert [piece.first_line for piece in found] == [line], "which lines of the Dockerfile"


def _assert_exit_code(error: BuildError) -> None:
    codes = {e.exit_code for e in error.evidence if isinstance(e, CommandEvidence)}
    assert 7 in codes or _EXIT_CODE.search(error.report()), "which exit code"

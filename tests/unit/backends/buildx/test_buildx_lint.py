"""Reports on Dockerfiles, as buildx prints them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from buildpush.backends.buildx.lint import Checking, findings
from buildpush.dockerfile import parse
from buildpush.errors import BuildError, DockerfileError, SourceEvidence

DOCKERFILE = parse("FROM scratch AS Big\nCOPY f /\nCMD echo hi\n")


def finding(rule: str, line: int) -> dict[str, Any]:
    return {
        "ruleName": rule,
        "description": "about",
        "detail": f"{rule} it is",
        "url": f"https://example.test/{rule}",
        "location": {"ranges": [{"start": {"line": line}}]} if line else None,
    }


def test_findings_are_in_the_order_of_lines_and_said_once() -> None:
    """Each with its rule and where to read about it."""
    report = {"warnings": [finding("B", 3), finding("A", 1), finding("A", 1)]}

    assert findings(json.dumps(report), DOCKERFILE) == (
        "Dockerfile, line 1: A: A it is (https://example.test/A)",
        "Dockerfile, line 3: B: B it is (https://example.test/B)",
    )


def test_nothing_found() -> None:
    """Go writes null for an empty list."""
    assert findings('{"warnings": null}', DOCKERFILE) == ()


def test_a_dockerfile_that_cannot_be_read() -> None:
    """The error shows the line."""
    fault = {"message": "unknown instruction", "location": {"ranges": [{"start": {"line": 2}}]}}

    with pytest.raises(DockerfileError, match="unknown instruction") as caught:
        findings(json.dumps({"warnings": None, "buildError": fault}), DOCKERFILE)

    assert isinstance(caught.value.evidence[0], SourceEvidence)
    assert caught.value.evidence[0].first_line == 2


def test_a_finding_about_no_line() -> None:
    """Go writes null for a place that is unknown."""
    report = {"warnings": [finding("A", 0)]}

    assert findings(json.dumps(report), DOCKERFILE) == ("A: A it is (https://example.test/A)",)


def test_no_report() -> None:
    """Another frontend may print what it likes."""
    with pytest.raises(BuildError, match="did not report"):
        findings("Check complete", DOCKERFILE)


def test_the_report_is_kept_and_progress_passed_on() -> None:
    """One comes on stdout, the other on stderr."""
    checking = Checking()

    events = [*checking.line("stdout", "{", 0.1), *checking.line("stderr", "words", 0.2)]
    checking.line("stdout", "}", 0.3)

    assert checking.report == "{\n}"
    assert [type(event).__name__ for event in (*events, *checking.finish(1))][:1] != []

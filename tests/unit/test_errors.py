"""The error tree and its evidence."""

import pickle
from pathlib import Path

import pytest

from buildpush import errors
from buildpush.errors import (
    BuildError,
    BuildpushError,
    CommandEvidence,
    DockerfileError,
    HttpEvidence,
    SourceEvidence,
    SpecError,
    StepTimeoutError,
)

DOCS = Path(__file__).parents[2] / "docs" / "errors"
CLASSES = sorted(
    (
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, BuildpushError)
    ),
    key=lambda kind: kind.__name__,
)


def test_source_evidence_points_at_the_lines() -> None:
    """The guilty lines are marked, with two lines of context either side."""
    text = "FROM a\nRUN b\nRUN c\nRUN d\nRUN e\nRUN f\n"
    evidence = SourceEvidence(filename="Dockerfile", first_line=3, last_line=4, text=text)

    assert evidence.render().splitlines() == [
        "Dockerfile:3",
        "     1 | FROM a",
        "     2 | RUN b",
        ">    3 | RUN c",
        ">    4 | RUN d",
        "     5 | RUN e",
        "     6 | RUN f",
    ]


def test_only_line_feeds_end_a_line() -> None:
    """A form feed in a comment does not shift the blame; carriage returns are not shown."""
    text = "# a\x0cb\r\nRUN x\r\n"
    evidence = SourceEvidence(filename="Dockerfile", first_line=2, last_line=2, text=text)

    assert evidence.render().split("\n")[1:] == ["     1 | # a\x0cb", ">    2 | RUN x"]


def test_a_report_has_message_evidence_and_hint() -> None:
    """One page tells the reader what happened and what to do."""
    command = CommandEvidence(argv=("make",), exit_code=2, tail=("no rule",))
    http = HttpEvidence(method="GET", url="https://r.io/v2/", status=500, codes=("X",), detail="y")
    error = BuildError("it broke", evidence=(command, http), hint="fix it")

    assert error.report() == (
        "build-failed: it broke\n\n$ make\nexit code 2\n  no rule\n\n"
        "GET https://r.io/v2/ -> 500 (X)\n  y\n\nHint: fix it"
    )


def test_str_is_one_line() -> None:
    """Logs that print only str(error) stay readable."""
    evidence = CommandEvidence(argv=("a",), exit_code=1, tail=("x", "y"))

    assert str(BuildError("it broke", evidence=(evidence,), hint="fix")) == "it broke"


def test_a_command_in_a_report_can_be_pasted() -> None:
    """Words are quoted where a shell needs it; a line of shell stands as it was written."""
    words = CommandEvidence(argv=("docker", "build", "/my context"), exit_code=1)
    line = CommandEvidence(argv=("make && make install",), exit_code=1)

    assert words.render() == "$ docker build '/my context'\nexit code 1"
    assert line.render() == "$ make && make install\nexit code 1"


def test_errors_survive_pickling_with_their_evidence() -> None:
    """Process pools and job queues pass errors on whole."""
    evidence = SourceEvidence(filename="f", first_line=1, last_line=1, text="x")

    copy = pickle.loads(pickle.dumps(DockerfileError("bad", evidence=(evidence,), hint="h")))

    assert (copy.message, copy.evidence, copy.hint) == ("bad", (evidence,), "h")


def test_builtin_branches() -> None:
    """Code that knows nothing of buildpush can catch the two that Python has a word for."""
    assert issubclass(SpecError, ValueError)
    assert issubclass(StepTimeoutError, TimeoutError)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_has_its_page(kind: type[BuildpushError]) -> None:
    """The slug in a report leads to a page that names the class."""
    page = DOCS / f"{kind.slug}.md"

    assert page.is_file()
    assert kind.__name__ in page.read_text()


def test_slugs_are_unique() -> None:
    """Two errors never share a page."""
    slugs = [kind.slug for kind in CLASSES]

    assert sorted(set(slugs)) == sorted(slugs)


@pytest.mark.parametrize(
    ("code", "expected"),
    [(7, "exit code 7"), (-9, "ended by signal 9 (SIGKILL)"), (-200, "ended by signal 200")],
)
def test_how_a_command_ended_is_said_in_words(code: int, expected: str) -> None:
    """A negative exit code is a signal, which has a name."""
    assert CommandEvidence(argv=("x",), exit_code=code).render() == f"$ x\n{expected}"

"""What real executors of kaniko wrote, recorded, and the events and the error that it means.

``<flavor>-<version>-<case>.raw`` is the output of a run of that executor on ``….Dockerfile``,
each line after ``1>`` (stdout) or ``2>`` (stderr); only names of hosts have been changed, and the
flags left out of what kaniko calls its usage. ``….rc`` is the exit code and what the engine said of
memory. No registry of packages has an executor: where none is at hand, these recordings of real
runs stand in. After a deliberate change, write the expected files anew with

    BUILDPUSH_UPDATE_GOLDEN=1 pytest tests/unit/backends/kaniko/test_kaniko_golden.py

and read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from attrs import evolve

from buildpush.backends.kaniko.output.failures import build_error
from buildpush.backends.kaniko.output.translate import KanikoOutput
from buildpush.backends.kaniko.runner import Ending
from buildpush.dockerfile import parse
from buildpush.dockerfile.instructions import Dockerfile
from buildpush.errors import BuildpushError, DockerfileError
from buildpush.events import Event, Stream, TaskFinished, TaskLog, TaskStarted
from buildpush.plan import BuildRequest
from buildpush.render.jsonl import to_json

GOLDEN = Path(__file__).parents[3] / "golden" / "kaniko"
# Read before the tests' clean environment.
UPDATE = os.environ.get("BUILDPUSH_UPDATE_GOLDEN") == "1"
CASES = sorted(GOLDEN.glob("*.raw"))
FINE = [case for case in CASES if case.with_suffix(".rc").read_text() == "0\n"]
FAILED = [case for case in CASES if case not in FINE]
FLAVORS = ("oss-1.28.3", "google-1.24.0", "chainguard-1.25.16", "oss-1.25.0")
MIB = 1 << 20


def named(case: Path) -> str:
    return case.name.removesuffix(".raw")


def raw_of(case: Path) -> list[str]:
    # Not read_text(): RUN's carriage returns are not line ends.
    return case.read_bytes().decode().removesuffix("\n").split("\n")


def dockerfile_of(case: Path) -> Dockerfile:
    text = case.with_suffix(".Dockerfile").read_text()
    try:
        return parse(text)
    except DockerfileError:  # kaniko's own opinion is what matters here
        return evolve(parse("FROM scratch\n"), text=text)


def output_of(case: Path, prefix: str = "") -> KanikoOutput:
    request = BuildRequest(
        context=Path("/src"),
        dockerfile=dockerfile_of(case),
        dockerfile_path=Path("/src/Dockerfile"),
    )
    return KanikoOutput(request, prefix)


def events_of(case: Path, output: KanikoOutput, *, as_one: bool = False) -> list[Event]:
    events: list[Event] = []
    for number, line in enumerate(raw_of(case)):
        stream: Stream = "stdout" if as_one or line.startswith("1>") else "stderr"
        events.extend(output.line(stream, line[2:], number / 100))
    events.extend(output.finish(len(events) / 100))
    return [evolve(event, at=round(event.at, 3)) for event in events]


def error_of(case: Path, output: KanikoOutput) -> BuildpushError:
    code, memory = case.with_suffix(".rc").read_text().split("\n")[:2]
    ending = Ending(
        exit_code=int(code),
        argv=("docker", "run", "kaniko"),
        cause="out of memory" if memory else "",
        limit=96 * MIB if memory else None,
    )
    return build_error(output.request, output, ending)


def matches(path: Path, text: str) -> bool:
    if UPDATE:
        path.write_bytes(text.encode())
    return path.read_bytes().decode() == text


def test_there_are_recordings_of_every_flavor() -> None:
    """An empty folder would make every test below pass."""
    for flavor in FLAVORS:
        names = {named(case) for case in CASES}
        assert {f"{flavor}-{case}" for case in ("success", "cached", "run-fails")} <= names


@pytest.mark.parametrize("case", CASES, ids=named)
def test_output_means_these_events(case: Path) -> None:
    """A recorded run is translated to the events that were agreed upon."""
    events = events_of(case, output_of(case))

    expected = case.with_suffix(".events.jsonl")
    assert matches(expected, "".join(f"{to_json(event)}\n" for event in events))


@pytest.mark.parametrize("case", CASES, ids=named)
def test_every_task_that_starts_ends(case: Path) -> None:
    """Nobody is left watching something that has ended; one thing is done at a time."""
    open_task = ""
    for event in events_of(case, output_of(case)):
        match event:
            case TaskStarted(task=task):
                assert open_task == ""
                open_task = task
            case TaskFinished(task=task):
                assert open_task == task
                open_task = ""
            case _:
                pass

    assert open_task == ""


@pytest.mark.parametrize("case", FINE, ids=named)
def test_a_build_that_went_well_fails_no_task(case: Path) -> None:
    """Not even where RUN writes what kaniko says when it fails."""
    output = output_of(case)

    events = events_of(case, output)

    assert "failed" not in {e.outcome for e in events if isinstance(e, TaskFinished)}
    assert output.fatal == ""


@pytest.mark.parametrize("case", FAILED, ids=named)
def test_a_failure_is_reported_like_this(case: Path) -> None:
    """The whole page that the user sees: the error's class, the message, lines, output, hint."""
    output = output_of(case)
    events = events_of(case, output)

    error = error_of(case, output)

    page = f"{type(error).__name__}\n\n{error.report()}\n"
    assert matches(case.with_name(f"{named(case)}.report.txt"), page)
    finished = [event for event in events if isinstance(event, TaskFinished)]
    assert [e.outcome for e in finished][-1:] in ([], ["failed"])


@pytest.mark.parametrize("case", CASES, ids=named)
def test_one_stream_means_the_same(case: Path) -> None:
    """A cluster's log does not say which stream a line came from."""
    two, one = output_of(case), output_of(case)

    apart, together = events_of(case, two), events_of(case, one, as_one=True)

    tasks = (TaskStarted, TaskFinished)
    assert [e for e in together if isinstance(e, tasks)] == [
        e for e in apart if isinstance(e, tasks)
    ]
    if case in FAILED:
        errors = [error_of(case, output) for output in (two, one)]
        assert errors[0].message == errors[1].message
        assert type(errors[0]) is type(errors[1])


@pytest.mark.parametrize("flavor", FLAVORS)
def test_what_is_cached_is_said_to_be(flavor: str) -> None:
    """The second build of the same Dockerfile runs nothing."""
    case = GOLDEN / f"{flavor}-cached.raw"

    outcomes = {
        event.task: event.outcome
        for event in events_of(case, output_of(case))
        if isinstance(event, TaskFinished)
    }

    titles = {
        e.task: e.title for e in events_of(case, output_of(case)) if isinstance(e, TaskStarted)
    }
    runs = {task for task, title in titles.items() if "RUN " in title}
    assert {outcomes[task] for task in runs} == {"cached"}


@pytest.mark.parametrize("flavor", FLAVORS)
def test_what_run_writes_without_a_line_end_is_not_lost(flavor: str) -> None:
    """Kaniko's own line is glued to it."""
    case = GOLDEN / f"{flavor}-success.raw"

    logged = [e.line for e in events_of(case, output_of(case)) if isinstance(e, TaskLog)]

    assert "no line end on stderr" in logged


def test_a_platform_sets_its_tasks_apart() -> None:
    """Two platforms of one build have the same instructions."""
    case = GOLDEN / "oss-1.28.3-success.raw"
    both = [
        events_of(case, output_of(case, prefix)) for prefix in ("linux/amd64 ", "linux/arm64 ")
    ]

    names = [{e.task for e in events if isinstance(e, TaskStarted)} for events in both]

    assert not names[0] & names[1]

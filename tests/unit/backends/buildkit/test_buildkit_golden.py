"""What BuildKit's clients wrote, recorded, and the events and the error that it means.

``<case>.raw`` is the output of a build by dockerd 28.5 and buildx 0.29.1 (``golden/buildx``), or by
dockerd and docker 20.10 (``golden/buildkit-plain``), of ``<case>.Dockerfile``; only names of hosts
and folders have been changed. After a deliberate change, write the expected files anew with

    BUILDPUSH_UPDATE_GOLDEN=1 pytest tests/unit/backends/buildkit/test_buildkit_golden.py

and read the difference.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest
from attrs import evolve

from buildpush.backends.buildkit.failures import build_error
from buildpush.backends.buildkit.plain import PlainProgress
from buildpush.backends.buildkit.rawjson import RawJson
from buildpush.dockerfile import parse
from buildpush.dockerfile.instructions import Dockerfile
from buildpush.errors import CommandEvidence, DockerfileError
from buildpush.events import Event, RunState, TaskFinished, TaskLog, TaskStarted
from buildpush.plan import BuildRequest
from buildpush.render.jsonl import to_json
from buildpush.runtime.process import Completed

GOLDEN = Path(__file__).parents[3] / "golden"
UPDATE = (
    os.environ.get("BUILDPUSH_UPDATE_GOLDEN") == "1"
)  # read before the tests' clean environment
CASES = sorted((*GOLDEN.glob("buildx/*.raw"), *GOLDEN.glob("buildkit-plain/*.raw")))
FINE = {
    "cache-denied", "cache-export", "cache-export-fails", "cache-missing", "cached", "download",
    "link", "lint", "multi-platform", "push", "success",
}  # fmt: skip

_MOMENT = re.compile(
    r"\"(?:started|completed|timestamp)\":\"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d{1,6})?\d*Z\""
)


def translator_for(case: Path) -> RawJson | PlainProgress:
    return RawJson() if case.parent.name == "buildx" else PlainProgress()


def lines_of(case: Path) -> Iterator[tuple[float, str]]:
    """Each line, and when it arrived: 20 ms after the last moment that it mentions."""
    begin = at = 0.0
    for line in case.read_text().removesuffix("\n").split("\n"):
        for moment, fraction in _MOMENT.findall(line):
            seconds = datetime.fromisoformat(f"{moment}+00:00").timestamp() + float(fraction or 0)
            begin = begin or seconds
            at = max(at, seconds - begin + 0.02)
        yield at, line


def events_of(case: Path, translator: RawJson | PlainProgress) -> list[Event]:
    at, events = 0.0, []
    for at, line in lines_of(case):
        events.extend(translator.line("stderr", line, at))
    events.extend(translator.finish(at))
    return [evolve(event, at=round(event.at, 3)) for event in events]


def dockerfile_of(case: Path) -> Dockerfile:
    text = case.with_suffix(".Dockerfile").read_text()
    try:
        return parse(text)
    except DockerfileError:  # BuildKit's own opinion is what matters here
        return evolve(parse("FROM scratch\n"), text=text)


def matches(path: Path, text: str) -> bool:
    if UPDATE:
        path.write_text(text)
    return path.read_text() == text


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}/{case.stem}")
def test_output_means_these_events(case: Path) -> None:
    """A recorded stream is translated to the events that were agreed upon."""
    events = events_of(case, translator_for(case))

    assert matches(case.with_suffix(".events.jsonl"), "".join(f"{to_json(e)}\n" for e in events))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.parent.name}/{case.stem}")
def test_every_task_that_starts_ends(case: Path) -> None:
    """Nobody is left watching something that has ended; nothing ends that has not begun."""
    open_tasks: set[str] = set()
    for event in events_of(case, translator_for(case)):
        match event:
            case TaskStarted(task=task):
                assert task not in open_tasks
                open_tasks.add(task)
            case TaskFinished(task=task):
                open_tasks.remove(task)
            case _:
                pass

    assert not open_tasks


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.stem not in FINE],
    ids=lambda case: f"{case.parent.name}/{case.stem}",
)
def test_a_failure_is_reported_like_this(case: Path) -> None:
    """The whole page that the user sees: the error's class, the message, lines, output, hint."""
    translator = translator_for(case)
    events_of(case, translator)
    request = BuildRequest(
        context=Path("/src"),
        dockerfile=dockerfile_of(case),
        dockerfile_path=Path("/src/Dockerfile"),
    )
    evidence = CommandEvidence(argv=("docker-buildx", "build"), exit_code=1)

    error = build_error(request, translator, Completed(exit_code=1, evidence=evidence))

    page = f"{type(error).__name__}\n\n{error.report()}\n"
    assert matches(case.with_suffix(".report.txt"), page)


@pytest.mark.parametrize("folder", ["buildx", "buildkit-plain"])
def test_what_an_earlier_build_did_is_shown_as_cached(folder: str) -> None:
    """The second time, WORKDIR, COPY and RUN come from the cache."""
    case = GOLDEN / folder / "cached.raw"
    state = RunState()

    for event in events_of(case, translator_for(case)):
        state = state.after(event)

    steps = [task for task in state.tasks.values() if re.match(r"\[[234]/4\]", task.title)]
    assert [task.outcome for task in steps] == ["cached"] * 3


@pytest.mark.parametrize("folder", ["buildx", "buildkit-plain"])
def test_the_output_of_a_command_is_passed_on_line_by_line(folder: str) -> None:
    """UTF-8 survives, and the last line needs no line feed."""
    case = GOLDEN / folder / "success.raw"

    events = events_of(case, translator_for(case))

    lines = [e.line for e in events if isinstance(e, TaskLog) and e.task != "buildkit"]
    assert {"hello", "grün"} <= set(lines)
    assert any(line.startswith("no newline") for line in lines)

"""What buildah 1.28.2 wrote, recorded, and the events and the error that it means.

``<case>.raw`` is the output of a build of ``<case>.Dockerfile``, each line after ``1>`` (stdout) or
``2>`` (stderr); only names of hosts and folders have been changed. After a deliberate change, write
the expected files anew with

    BUILDPUSH_UPDATE_GOLDEN=1 pytest tests/unit/backends/buildah/test_buildah_golden.py

and read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from attrs import evolve

from buildpush.backends.buildah.failures import build_error
from buildpush.backends.buildah.translate import BuildOutput, TransferOutput
from buildpush.dockerfile import parse
from buildpush.dockerfile.instructions import Dockerfile
from buildpush.errors import CommandEvidence, DockerfileError
from buildpush.events import Event, Stream, TaskFinished, TaskLog, TaskStarted, Warned
from buildpush.plan import BuildRequest
from buildpush.render.jsonl import to_json
from buildpush.runtime.process import TAIL_LINES, Completed

GOLDEN = Path(__file__).parents[3] / "golden" / "buildah"
# Read before the tests' clean environment.
UPDATE = os.environ.get("BUILDPUSH_UPDATE_GOLDEN") == "1"
CASES = sorted(GOLDEN.glob("*.raw"))
FINE = {"success", "cached", "unended-last", "unused-arg", "oci-warns"}


def raw_of(case: Path) -> list[str]:
    return case.read_text().removesuffix("\n").split("\n")


def events_of(case: Path, output: BuildOutput) -> list[Event]:
    events: list[Event] = []
    for number, line in enumerate(raw_of(case)):
        stream: Stream = "stdout" if line.startswith("1>") else "stderr"
        events.extend(output.line(stream, line[2:], number / 100))
    events.extend(output.finish(len(events) / 100))
    return [evolve(event, at=round(event.at, 3)) for event in events]


def dockerfile_of(case: Path) -> Dockerfile:
    text = case.with_suffix(".Dockerfile").read_text()
    try:
        return parse(text)
    except DockerfileError:  # buildah's own opinion is what matters here
        return evolve(parse("FROM scratch\n"), text=text)


def matches(path: Path, text: str) -> bool:
    if UPDATE:
        path.write_text(text)
    return path.read_text() == text


def test_there_are_recordings() -> None:
    """An empty folder would make every test below pass."""
    assert {case.stem for case in CASES} >= FINE


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_output_means_these_events(case: Path) -> None:
    """A recorded build is translated to the events that were agreed upon."""
    events = events_of(case, BuildOutput())

    assert matches(case.with_suffix(".events.jsonl"), "".join(f"{to_json(e)}\n" for e in events))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_every_task_that_starts_ends(case: Path) -> None:
    """Nobody is left watching something that has ended; nothing ends that has not begun."""
    open_tasks: set[str] = set()
    for event in events_of(case, BuildOutput()):
        match event:
            case TaskStarted(task=task):
                assert task not in open_tasks
                open_tasks.add(task)
            case TaskFinished(task=task):
                open_tasks.remove(task)
            case _:
                pass

    assert not open_tasks


@pytest.mark.parametrize("case", sorted(FINE))
def test_a_build_that_went_well_names_its_image_and_fails_no_task(case: str) -> None:
    """The last line is the image's id."""
    output = BuildOutput()

    events = events_of(GOLDEN / f"{case}.raw", output)

    assert output.image == raw_of(GOLDEN / f"{case}.raw")[-1][2:]
    assert "failed" not in {e.outcome for e in events if isinstance(e, TaskFinished)}


@pytest.mark.parametrize("case", [c for c in CASES if c.stem not in FINE], ids=lambda c: c.stem)
def test_a_failure_is_reported_like_this(case: Path) -> None:
    """The whole page that the user sees: the error's class, the message, lines, output, hint."""
    output = BuildOutput()
    events_of(case, output)
    request = BuildRequest(
        context=Path("/src"),
        dockerfile=dockerfile_of(case),
        dockerfile_path=Path("/src/Dockerfile"),
    )
    tail = tuple(line[2:] for line in raw_of(case)[-TAIL_LINES:])
    evidence = CommandEvidence(argv=("buildah", "build"), exit_code=125, tail=tail)

    error = build_error(request, output, Completed(exit_code=125, evidence=evidence))

    page = f"{type(error).__name__}\n\n{error.report()}\n"
    assert matches(case.with_suffix(".report.txt"), page)


def test_what_run_writes_without_a_line_end_is_not_lost() -> None:
    """Buildah's own line is glued to it."""
    events = events_of(GOLDEN / "success.raw", BuildOutput())

    logged = [event.line for event in events if isinstance(event, TaskLog)]
    assert "no line end" in logged


def test_a_platform_sets_its_tasks_apart() -> None:
    """Two platforms of one build have the same steps."""
    one = events_of(GOLDEN / "success.raw", BuildOutput(prefix="linux/amd64 "))
    two = events_of(GOLDEN / "success.raw", BuildOutput(prefix="linux/arm64 "))

    names = [{e.task for e in events if isinstance(e, TaskStarted)} for events in (one, two)]
    assert not names[0] & names[1]


def test_the_errors_of_a_noisy_step_are_in_its_tail() -> None:
    """Two pipes: what was written last on one may be read before a lot of the other."""
    output = BuildOutput()
    lines = ["STEP 1/2: FROM scratch", "STEP 2/2: RUN make"]
    for line in lines:
        list(output.line("stdout", line, 0.0))
    list(output.line("stderr", "the very reason", 0.0))
    for number in range(300):
        list(output.line("stdout", f"noise {number}", 0.0))

    assert len(output.tail) == 40
    assert output.tail[0] == "the very reason"
    assert output.tail[-1] == "noise 299"


def test_trying_a_registry_again_is_said_once() -> None:
    """As a warning, and not as a line of output, too."""
    retry = 'time="x" level=warning msg="Failed, retrying in 2s ... (1/3). Error: no route"'
    for output in (BuildOutput(), TransferOutput(task="a", title="a")):
        events = list(output.line("stderr", retry, 0.0))

        expected = "buildah: Failed, retrying in 2s ... (1/3). Error: no route"
        assert events == [Warned(at=0.0, message=expected)]
        assert not output.tail

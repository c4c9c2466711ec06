"""What classic builders have answered, recorded, and the events and the error that it means.

``<case>.raw`` is the body of ``POST /build`` for ``<case>.Dockerfile``, by dockerd 20.10 or 28.
After a deliberate change, write the expected files anew with

    BUILDPUSH_UPDATE_GOLDEN=1 pytest tests/unit/backends/docker/test_docker_golden.py

and read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildpush.backends.docker.stream import ClassicStream
from buildpush.backends.engine.objects import objects
from buildpush.dockerfile import parse
from buildpush.events import Event
from buildpush.render.jsonl import to_json

GOLDEN = Path(__file__).parents[3] / "golden" / "docker"
UPDATE = (
    os.environ.get("BUILDPUSH_UPDATE_GOLDEN") == "1"
)  # read before the tests' clean environment
CASES = sorted(path.name.removesuffix(".raw") for path in GOLDEN.glob("*.raw"))


def play(case: str) -> tuple[ClassicStream, list[Event]]:
    dockerfile = parse((GOLDEN / f"{case}.Dockerfile").read_bytes(), filename="Dockerfile")
    stream = ClassicStream(dockerfile)
    events: list[Event] = []
    chunks = [(GOLDEN / f"{case}.raw").read_bytes()]
    for number, message in enumerate(objects(chunks, case)):
        events += stream.message(message, number / 100)
    events += stream.finish(99.0, failed=not stream.complete)
    return stream, events


def expect(path: Path, text: str) -> None:
    if UPDATE:
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("case", CASES)
def test_what_a_builder_says_as_events(case: str) -> None:
    """Line by line as it was recorded."""
    _, events = play(case)

    expect(GOLDEN / f"{case}.events.jsonl", "".join(f"{to_json(event)}\n" for event in events))


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith(("fail", "miss"))])
def test_why_a_build_failed(case: str) -> None:
    """The class, and the whole report."""
    stream, _ = play(case)
    error = stream.error()

    assert not stream.complete
    expect(GOLDEN / f"{case}.report.txt", f"{type(error).__name__}\n{error.report()}\n")


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith(("two", "cached"))])
def test_a_finished_build_has_an_image(case: str) -> None:
    """The last one: that of a stage on the way is not the result."""
    stream, _ = play(case)

    last = (GOLDEN / f"{case}.raw").read_text().rpartition('{"aux":{"ID":"')[2]
    assert stream.complete
    assert last.startswith(stream.image)


def test_a_stream_that_ends_amid_a_build_is_no_image() -> None:
    """Although a stage was finished."""
    stream = ClassicStream(parse(b"FROM scratch AS a\nFROM a\nRUN x\n", filename="Dockerfile"))
    for said in ({"stream": "Step 1/3 : FROM scratch AS a"}, {"aux": {"ID": "sha256:12"}}):
        list(stream.message(said, 0.0))

    assert not stream.complete
    assert "without saying why" in stream.error().message


def test_a_program_that_is_missing_is_hinted_at() -> None:
    """By its exit code, or by what the runtime says."""
    for detail in (
        {"code": 127, "message": "returned a non-zero code: 127"},
        {"message": 'unable to start container process: exec: "/x": stat /x: no such file'},
    ):
        stream = ClassicStream(parse(b"FROM scratch\nRUN x\n", filename="Dockerfile"))
        list(stream.message({"stream": "Step 2/2 : RUN x"}, 0.0))
        list(stream.message({"errorDetail": detail}, 0.0))

        assert "not in the image" in stream.error().hint

"""BuildKit's JSON progress: what recorded streams do not happen to show."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from buildpush.backends.buildkit.rawjson import RawJson
from buildpush.backends.buildkit.vertices import title_of
from buildpush.events import Event, TaskFinished, TaskLog, TaskProgress, TaskStarted, Warned

RUN = "sha256:" + "1" * 64
COPY = "sha256:" + "2" * 64


def moment(seconds: float) -> str:
    return f"2026-01-01T00:00:{seconds:012.9f}Z"


def vertex(digest: str = RUN, name: str = "[2/2] RUN make", **fields: Any) -> dict[str, Any]:
    for key in ("started", "completed"):
        if key in fields:
            fields[key] = moment(fields[key])
    return {"digest": digest, "name": name, **fields}


def log(data: bytes, *, stream: int = 1, at: float = 1.0) -> dict[str, Any]:
    text = base64.b64encode(data).decode()
    return {"vertex": RUN, "stream": stream, "data": text, "timestamp": moment(at)}


def feed(translator: RawJson, at: float = 10.0, **status: Any) -> list[Event]:
    return translator.line("stderr", json.dumps(status), at)


def logged(events: list[Event]) -> list[tuple[str, str]]:
    return [(event.stream, event.line) for event in events if isinstance(event, TaskLog)]


def test_a_character_may_be_cut_in_two() -> None:
    """Output comes in pieces of any size; lines are whole, and so are characters."""
    translator = RawJson()
    data = "grün\nblau".encode()

    events = feed(translator, vertexes=[vertex(started=1)], logs=[log(data[:3])])
    events += feed(translator, logs=[log(data[3:])])
    events += translator.finish(11)

    assert logged(events) == [("stdout", "grün"), ("stdout", "blau")]


def test_streams_are_kept_apart() -> None:
    """What is cut on stderr does not end a line of stdout."""
    translator = RawJson()

    events = feed(
        translator,
        vertexes=[vertex(started=1)],
        logs=[log(b"a"), log(b"b\n", stream=2), log(b"c\n")],
    )

    assert logged(events) == [("stderr", "b"), ("stdout", "ac")]


def test_what_a_carriage_return_would_overwrite_is_a_line() -> None:
    """Progress bars of programs become lines."""
    events = feed(RawJson(), vertexes=[vertex(started=1)], logs=[log(b" 10%\r 20%\r\n\n")])

    assert logged(events) == [("stdout", " 10%"), ("stdout", " 20%"), ("stdout", "")]


def test_times_are_the_engines() -> None:
    """A message that comes late does not make a step long; the engine's clock may be any other."""
    translator = RawJson()

    events = feed(translator, 100.0, vertexes=[vertex(started=5)])
    events += feed(translator, 104.0, vertexes=[vertex(started=5, completed=7)])
    events += translator.finish(104.0)

    assert events == [
        TaskStarted(at=100.0, task="buildkit 111111111111", title="[2/2] RUN make"),
        TaskFinished(at=102.0, task="buildkit 111111111111", outcome="done"),
    ]


def test_closing_and_opening_at_once_is_one_task() -> None:
    """BuildKit does that for everything that it looks up before it is done."""
    translator = RawJson()

    events = feed(translator, vertexes=[vertex(started=1, completed=1.001)])
    events += feed(translator, vertexes=[vertex(started=1.002)])
    events += feed(translator, vertexes=[vertex(started=1.002, completed=3, cached=True)])
    events += translator.finish(11)

    assert [type(event) for event in events] == [TaskStarted, TaskFinished]
    assert isinstance(events[1], TaskFinished)
    assert events[1].outcome == "cached"


def test_a_task_that_is_taken_up_much_later_starts_again() -> None:
    """A lazily pulled image is fetched when somebody needs it."""
    translator = RawJson()

    events = feed(translator, vertexes=[vertex(started=1, completed=2)])
    events += feed(translator, vertexes=[vertex(COPY, "COPY", started=5)])
    events += feed(translator, vertexes=[vertex(started=6)])

    assert [(type(event), event.task) for event in events] == [  # type: ignore[union-attr]
        (TaskStarted, "buildkit 111111111111"),
        (TaskStarted, "buildkit 222222222222"),
        (TaskFinished, "buildkit 111111111111"),
        (TaskStarted, "buildkit 111111111111"),
    ]


def test_what_a_step_needs_has_ended_when_it_starts() -> None:
    """However soon that is."""
    translator = RawJson()
    feed(translator, vertexes=[vertex(started=1, completed=1.01)])

    events = feed(translator, vertexes=[vertex(COPY, "COPY", inputs=[RUN], started=1.011)])

    assert [type(event) for event in events] == [TaskFinished, TaskStarted]


def test_a_group_is_one_task() -> None:
    """It ends when the last of its vertices does, and is cached when all are."""
    translator = RawJson()
    group = {"progressGroup": {"id": "g", "name": "[3/3] COPY --link a b /"}}

    events = feed(translator, vertexes=[vertex(RUN, "copy a", started=1, **group)])
    events += feed(translator, vertexes=[vertex(COPY, "copy b", started=1.1, **group)])
    events += feed(translator, vertexes=[vertex(RUN, "copy a", started=1, completed=2, **group)])
    done = feed(
        translator,
        vertexes=[vertex(COPY, "copy b", started=1.1, completed=3, cached=True, **group)],
    )
    done += translator.finish(11)

    assert [e.title for e in events if isinstance(e, TaskStarted)] == ["[3/3] COPY --link a b /"]
    assert len(events) == 1
    assert [e.outcome for e in done if isinstance(e, TaskFinished)] == ["done"]


def test_bytes_of_all_parts_are_counted() -> None:
    """Of layers, everybody knows the size; at most ten times a second, and at the end."""
    translator = RawJson()
    feed(translator, vertexes=[vertex(started=1)])

    def count(part: str, current: int, at: float, **more: Any) -> list[Event]:
        status = {"id": part, "vertex": RUN, "current": current, "total": 100, **more}
        return feed(translator, 9 + at, statuses=[{**status, "timestamp": moment(at)}])

    events = [*count("a", 10, 1.0), *count("b", 10, 1.05), *count("a", 60, 1.2)]
    events += count("b", 100, 1.21, completed=moment(1.21))

    assert [(e.done, e.total) for e in events if isinstance(e, TaskProgress)] == [
        (10, 100),
        (70, 200),
        (160, 200),
    ]


def test_a_size_that_nobody_knows() -> None:
    """A build context is counted as it is read."""
    translator = RawJson()
    feed(translator, vertexes=[vertex(started=1)])

    events = feed(translator, statuses=[{"id": "x", "vertex": RUN, "current": 5}])

    assert events == [TaskProgress(at=10.0, task="buildkit 111111111111", done=5, total=None)]


def test_a_warning_is_said_once() -> None:
    """The linter repeats itself for every platform."""
    translator = RawJson()
    warning = {
        "vertex": RUN,
        "short": base64.b64encode(b"StageNameCasing: Stage name 'A' (line 3)").decode(),
        "url": "https://docs.example/rule",
        "sourceInfo": {"filename": "Dockerfile"},
        "range": [{"start": {"line": 3}, "end": {"line": 3}}],
    }

    events = feed(translator, warnings=[warning, warning])

    message = "Dockerfile, line 3: StageNameCasing: Stage name 'A' (https://docs.example/rule)"
    assert events == [Warned(at=10.0, message=message)]
    assert translator.warnings == [message]


def test_a_line_of_text_is_the_clients_own() -> None:
    """It is kept for the failure; what it calls a warning is one."""
    translator = RawJson()

    events = translator.line("stderr", "WARNING: No output specified", 1.0)
    events += translator.line("stderr", "", 1.0)
    events += translator.line("stderr", '{"but": not JSON', 1.0)

    assert [type(event) for event in events] == [TaskLog, Warned, TaskLog]
    assert translator.said == ("WARNING: No output specified", '{"but": not JSON')


def test_what_never_ended_has_failed() -> None:
    """As when the daemon is gone."""
    translator = RawJson()
    feed(translator, vertexes=[vertex(started=1)], logs=[log(b"half a line")])

    assert translator.finish(12.0) == [
        TaskLog(at=12.0, task="buildkit 111111111111", stream="stdout", line="half a line"),
        TaskFinished(at=12.0, task="buildkit 111111111111", outcome="failed"),
    ]


def fail(translator: RawJson) -> None:
    feed(translator, vertexes=[vertex(started=1, completed=9, error="exit code: 7")])
    translator.finish(20)


def test_the_tail_is_the_last_lines_of_what_failed() -> None:
    """Forty of them, in order."""
    translator = RawJson()
    lines = [f"line {number}" for number in range(100)]
    feed(translator, vertexes=[vertex(started=1)], logs=[log("\n".join(lines).encode() + b"\n")])
    fail(translator)

    assert translator.tail == tuple(lines[-40:])


def test_errors_are_not_washed_away_by_other_output() -> None:
    """What stood on stderr last is in the tail, in its place."""
    translator = RawJson()
    noise = "".join(f"{number}\n" for number in range(100)).encode()
    feed(
        translator,
        vertexes=[vertex(started=1)],
        logs=[log(b"first\n"), log(b"MARK\n", stream=2), log(noise)],
    )
    fail(translator)

    assert translator.tail == ("MARK", *(str(number) for number in range(61, 100)))


def test_errors_come_last_where_buildkit_has_clipped_the_output() -> None:
    """It then delivers what it kept of each stream, stderr's before stdout's."""
    translator = RawJson()
    clipped = b"a\n[output clipped, log limit 200KiB/s reached]\n"
    feed(translator, vertexes=[vertex(started=1)], logs=[log(clipped)])
    events = feed(translator, logs=[log(b"MARK\n", stream=2), log(b"last\n" * 60)])
    fail(translator)

    assert translator.tail == (*["last"] * 39, "MARK")
    assert not [event for event in events if isinstance(event, Warned)]
    assert "has left out a part of the output of [2/2] RUN make" in translator.warnings[0]


def test_without_a_failing_step_the_tail_is_the_clients() -> None:
    """As for a Dockerfile that cannot be parsed."""
    translator = RawJson()
    translator.line("stderr", "ERROR: no", 1.0)

    assert translator.tail == ("ERROR: no",)


@pytest.mark.parametrize("node", ["", "[node0] "])
def test_a_cache_that_cannot_be_read_is_a_warning(node: str) -> None:
    """The build goes on, and somebody may have required it."""
    translator = RawJson()
    name = f"{node}importing cache manifest from r.example/c:1"

    events = feed(translator, vertexes=[vertex(name=name, started=1, completed=2, error="no")])

    assert Warned(at=10.0, message=f"{name}: no") in events
    assert translator.cache_faults == [(name, "no")]


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("[internal] load .dockerignore", "load .dockerignore"),
        ("[linux/arm64 internal] load metadata for a", "[linux/arm64] load metadata for a"),
        ("[1/2] FROM a@sha256:" + "0" * 64, "[1/2] FROM a@sha256:000000000000"),
        ("[2/2] RUN <<EOF (a...)", "[2/2] RUN <<EOF (a...)"),
        ("RUN echo 'a\nb'", "RUN echo 'a …"),
        ("RUN " + "x" * 200, "RUN " + "x" * 156 + " …"),
    ],
)
def test_titles_are_for_people(name: str, title: str) -> None:
    """One line, without what helps nobody."""
    assert title_of(name) == title


def test_nothing_ends_before_it_began() -> None:
    """What is learnt about the engine's clock in between does not turn back time."""
    translator = RawJson()

    events = feed(translator, 10.0, vertexes=[vertex(started=1)])
    events += feed(translator, 10.5, vertexes=[vertex(started=1, completed=1.2)])
    events += feed(translator, 10.5, vertexes=[vertex(COPY, "[2/2] COPY a b", started=5)])
    events += translator.finish(11)

    begin = next(e.at for e in events if isinstance(e, TaskStarted))
    end = next(e.at for e in events if isinstance(e, TaskFinished))
    assert end >= begin


def test_the_dockerfiles_lines_are_left_to_the_error_and_come_after_the_end() -> None:
    """The client quotes the Dockerfile: it says nothing new, and then all work has ended."""
    translator = RawJson()

    events = feed(translator, vertexes=[vertex(started=1, completed=2, error="exit code: 3")])
    for line in ("Dockerfile:2", "-" * 20, "   2 | >>> RUN make", "-" * 20, "ERROR: it failed"):
        events += translator.line("stderr", line, 11)

    assert [type(event) for event in events] == [TaskStarted, TaskFinished, TaskLog]
    assert logged(events) == [("stderr", "ERROR: it failed")]
    assert "   2 | >>> RUN make" in translator.said

"""What kaniko's output means where recordings do not show it: one line at a time, made by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from buildpush.backends.kaniko.output.translate import KanikoOutput
from buildpush.dockerfile import parse
from buildpush.events import Event, Stream, TaskFinished, TaskLog, TaskStarted, Warned
from buildpush.plan import BuildRequest

TWICE = """FROM base AS one
RUN make
RUN make
FROM base
RUN make
"""


def output_for(text: str = TWICE, prefix: str = "") -> KanikoOutput:
    request = BuildRequest(
        context=Path("/src"), dockerfile=parse(text), dockerfile_path=Path("/src/Dockerfile")
    )
    return KanikoOutput(request, prefix)


def log(message: str, level: str = "info") -> str:
    fields = {"level": level, "msg": message, "time": "2026-01-01T00:00:00Z"}
    return json.dumps(fields, separators=(",", ":"))


def stage(index: int, base: str = "base") -> str:
    return log(f"Building stage '{base}' [idx: '{index}', base-idx: '-1']")


def running(text: str) -> tuple[str, ...]:
    """What kaniko logs up to the moment RUN is started."""
    return log(text), log("Cmd: /bin/sh"), log("Running: [/bin/sh -c make]")


SNAPSHOT = log("Taking snapshot of full filesystem...")
FATAL = (
    "error building image: error building stage: failed to execute command: waiting for process"
    " to exit: exit status 7"
)


def hear(output: KanikoOutput, *lines: str, stream: Stream = "stderr") -> list[Event]:
    return [event for line in lines for event in output.line(stream, line, 1.0)]


def logged(events: list[Event]) -> list[str]:
    return [event.line for event in events if isinstance(event, TaskLog)]


def titles(events: list[Event]) -> list[str]:
    return [event.title for event in events if isinstance(event, TaskStarted)]


def test_the_first_line_of_run_is_shown_at_once() -> None:
    """Nobody waits for the second to see the first."""
    output = output_for()
    hear(output, stage(0), *running("RUN make"))

    events = list(output.line("stdout", "compiling", 2.0))

    assert events == [TaskLog(at=2.0, task="2 step", stream="stdout", line="compiling")]


def test_the_same_text_twice_is_two_instructions() -> None:
    """The error is shown where it is, not where the text occurs first."""
    output = output_for()
    lines: list[int] = []
    for index, count in ((0, 2), (1, 1)):
        hear(output, stage(index))
        for _ in range(count):
            hear(output, *running("RUN make"), SNAPSHOT)
            assert output.current is not None
            lines.append(output.current.lines.first)

    assert lines == [2, 3, 5]


def test_titles_count_stages_and_instructions() -> None:
    """As the other backends' do; FROM is the first."""
    output = output_for(prefix="linux/arm64 ")

    events = hear(output, stage(0), *running("RUN make"), SNAPSHOT, stage(1))

    assert titles(events) == [
        "linux/arm64 [1/2 1/3] FROM base",
        "linux/arm64 [1/2 2/3] RUN make",
        "linux/arm64 snapshot after RUN make",
        "linux/arm64 [2/2 1/2] FROM base",
    ]


def test_stages_that_were_left_out_are_found_out_by_their_base() -> None:
    """An older kaniko counts only the stages that it builds."""
    output = output_for("FROM a AS x\nRUN one\nFROM b AS y\nRUN two\nFROM c\nRUN three\n")

    hear(output, stage(0, "b"), *running("RUN two"), SNAPSHOT, stage(1, "c"))

    assert output.lines is not None
    assert output.lines.first == 5


def test_stages_that_were_left_out_are_found_out_by_their_instructions() -> None:
    """Where all have the same base."""
    output = output_for("FROM a AS x\nRUN one\nFROM $A AS y\nRUN two\nFROM a\nRUN three\n")

    hear(output, stage(0, "a"), *running("RUN two"))

    assert output.current is not None
    assert output.current.lines.first == 4


def test_an_unknown_stage_is_not_guessed() -> None:
    """More stages than the Dockerfile has, or an instruction before any: shown, no line blamed."""
    output = output_for("FROM a\n")
    assert titles(hear(output, log("RUN x"))) == []

    hear(output, stage(0, "a"), stage(1, "a"))

    assert output.lines is not None
    assert output.lines.first == 1


def test_a_trigger_of_the_base_is_blamed_on_from() -> None:
    """It stands in no line of this Dockerfile."""
    output = output_for("FROM base\nMAINTAINER x\nRUN make\n")

    events = hear(output, stage(0), *running("RUN from the base"), SNAPSHOT, log("COPY . /"))

    assert titles(events)[1:] == [
        "ONBUILD RUN from the base",
        "snapshot after RUN from the base",
        "ONBUILD COPY . /",
    ]
    assert output.current is None
    assert output.lines is not None
    assert output.lines.first == 1
    hear(output, log("RUN make"))
    assert output.lines.first == 3


def test_what_run_writes_may_be_read_before_kaniko_says_that_it_runs() -> None:
    """Two threads read two pipes."""
    output = output_for()
    hear(output, stage(0), log("RUN make"))

    events = hear(output, "compiling", stream="stdout")
    hear(output, *running("RUN make")[1:], FATAL)

    assert events == [TaskLog(at=1.0, task="2 step", stream="stdout", line="compiling")]
    assert output.tail == ("compiling",)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("level", ["info", "warning", "error", "debug"])
def test_the_log_of_a_program_in_run_is_its_own(stream: Stream, level: str) -> None:
    """Programs that use the same logger as kaniko are common."""
    output = output_for()
    hear(output, stage(0), *running("RUN make"), stream=stream)
    line = log("listening on :8080", level)

    events = hear(output, line, log("RUN something else"), stream=stream)

    assert logged(events) == [line, log("RUN something else")]
    assert output.tail == (line, log("RUN something else"))
    assert not output.warnings


def test_stdout_is_never_kanikos_where_there_are_two_streams() -> None:
    """However much it looks like it."""
    output = output_for()
    hear(output, stage(0), *running("RUN make"))

    events = hear(output, SNAPSHOT, FATAL, log("no", "fatal"), stream="stdout")

    assert logged(events) == [SNAPSHOT, FATAL, log("no", "fatal")]
    assert output.fatal == ""


def test_run_may_say_that_kaniko_failed() -> None:
    """Kaniko going on proves it wrong."""
    output = output_for()
    hear(output, stage(0), *running("RUN make"), FATAL, stream="stdout")
    assert output.fatal == FATAL

    hear(output, SNAPSHOT, stream="stdout")

    assert output.fatal == ""


def test_what_run_says_late_does_not_fail_the_push() -> None:
    """On one stream it may come after kaniko's snapshot, and look like kaniko's last word."""
    output = output_for()
    hear(output, stage(0), *running("RUN make"), SNAPSHOT, "Error: ignored", stream="stdout")

    push = (log("Pushing image to registry/app:1"), log(f"Pushed registry/app@sha256:{64 * 'a'}"))
    hear(output, *push, stream="stdout")

    assert output.fatal == ""
    assert output.is_ended


def test_what_kaniko_writes_in_the_background_does_not_end_run() -> None:
    """Layers for the cache are pushed while the next instruction runs; nor undo its last word."""
    output = output_for()
    hear(output, stage(0), *running("RUN make"))
    cache = (
        log("Pushing layer registry/cache:abc to cache now"),
        log("Pushing image to registry/cache:abc"),
        log(f"Pushed registry/cache@sha256:{64 * 'a'}"),
    )

    events = hear(output, *cache, "still running")
    hear(output, FATAL, *cache[2:])

    assert not titles(events)
    assert not output.pushing
    assert output.tail == ("still running",)
    assert output.fatal == FATAL


def test_a_line_that_run_has_not_ended_is_cut_from_kanikos() -> None:
    """On one stream, kaniko's JSON and its last word begin where RUN left off."""
    output = output_for()
    hear(output, stage(0), *running("RUN make"), f"50 %{SNAPSHOT}")
    assert output.tail == ("50 %",)

    hear(output, *running("RUN make"), f"so be it{FATAL}")

    assert output.tail == ("so be it",)
    assert output.fatal == FATAL


def test_the_last_word_may_have_several_lines() -> None:
    """On kaniko's own stream; RUN's stdout may still come after it."""
    output = output_for()
    hear(output, stage(0), *running("RUN make"), FATAL, "and more")
    hear(output, "late", stream="stdout")

    assert output.fatal == f"{FATAL}\nand more"
    assert output.tail == ("late",)


def test_the_usage_is_not_shown() -> None:
    """A hundred lines of flags after the one that matters."""
    output = output_for()

    events = hear(output, "Error: unknown flag: --x", "Usage:", "  executor", "", "  --a  A")

    assert logged(events) == ["Error: unknown flag: --x"]
    assert output.fatal == "Error: unknown flag: --x"


def test_a_flood_of_output_keeps_the_errors() -> None:
    """Two pipes: what was written last on one may be read before a lot of the other."""
    output = output_for()
    hear(output, stage(0), *running("RUN make"), "the very reason")
    hear(output, *(f"noise {number}" for number in range(20_000)), stream="stdout")

    assert len(output.tail) == 40
    assert output.tail[0] == "the very reason"
    assert output.tail[-1] == "noise 19999"


def test_a_very_long_line_is_shown_whole_and_kept_in_part() -> None:
    """Evidence is read by people."""
    output = output_for()
    hear(output, stage(0), *running("RUN make"))
    line = "x" * 3_000_000

    events = hear(output, line, stream="stdout")

    assert logged(events) == [line]
    assert output.tail == (2000 * "x",)


def test_of_a_progress_bar_the_end_is_kept() -> None:
    """What a terminal would show."""
    output = output_for()
    hear(output, stage(0), *running("RUN make"))

    hear(output, "1 %\r50 %\r100 %\r")

    assert output.tail == ("100 %",)


@pytest.mark.parametrize(
    "line", ["", "{", '{"level":"info"}', '{"level":"info","msg":1,"time":"2026-01-01T00:00:00Z"}']
)
def test_what_is_no_log_line_is_shown_as_it_is(line: str) -> None:
    """Before anything has run, it belongs to no task."""
    events = hear(output_for(), line)

    assert events == [TaskLog(at=1.0, task="kaniko", stream="stderr", line=line)]


def test_a_broken_log_line_is_shown_as_it_is() -> None:
    """Cut in the middle by whatever carried it."""
    line = '{"level":"info","msg":"a"b,"time":"2026-01-01T00:00:00Z"}'

    assert logged(hear(output_for(), line)) == [line]


def test_warnings_are_said_once_and_only_where_they_help() -> None:
    """What kaniko says of its own flags is for whoever wrote the command."""
    output = output_for()
    warning = "Kaniko does not support '--mount=type=ssh' flags\n\thttps://example"
    aside = "Flag --tarPath is deprecated. Use: --tar-path"

    events = hear(output, *[log(warning, "warning")] * 2, log(aside, "warning"))

    said = "Kaniko does not support '--mount=type=ssh' flags"
    assert events[0] == Warned(at=1.0, message=f"kaniko: {said}")
    assert logged(events[1:]) == [aside]
    assert output.warnings == [said, aside]


def test_what_the_logger_calls_fatal_is_the_last_word() -> None:
    """Some failures come as a line of the log."""
    output = output_for()

    hear(output, stage(0), log("invalid value for KANIKO_NO_PUSH", "fatal"))

    assert output.fatal == "invalid value for KANIKO_NO_PUSH"


def test_verbose_lines_are_shown_and_mean_nothing() -> None:
    """At another verbosity there are more of them."""
    output = output_for()
    hear(output, stage(0))

    events = hear(output, log("RUN make", "debug"), log("a", "trace"))

    assert logged(events) == ["RUN make", "a"]
    assert output.current is None


def test_a_build_that_just_stops_has_failed() -> None:
    """Killed, it says nothing."""
    output = output_for()
    hear(output, stage(0), *running("RUN make"))

    assert list(output.finish(2.0)) == [TaskFinished(at=2.0, task="2 step", outcome="failed")]


def test_a_build_that_came_to_its_end_has_not() -> None:
    """Kaniko says why it does not push; of a cache's layer it says the same on the way."""
    output = output_for()
    end = log("Skipping push to container registry due to --no-push flag")
    hear(output, stage(0), end, *running("RUN make"))
    assert not output.is_ended
    hear(output, SNAPSHOT, end)

    assert [e.outcome for e in output.finish(2.0) if isinstance(e, TaskFinished)] == ["done"]


def test_every_push_is_a_task() -> None:
    """And the last one must be said to be done."""
    output = output_for()
    pushed = log(f"Pushed registry/app@sha256:{64 * 'a'}")
    first = (log("Pushing image to registry/app:1"), pushed)

    events = hear(output, *first, log("Pushing image to registry/app:2"))

    assert titles(events) == ["push registry/app:1", "push registry/app:2"]
    assert output.pushing == "registry/app:2"
    assert [e.outcome for e in output.finish(2.0) if isinstance(e, TaskFinished)] == ["failed"]


@pytest.mark.parametrize(
    "line",
    [
        '{"level":"info","x":' + "[" * 100_000 + ',"time":"2026-01-01T00:00:00Z"}',
        log(f"Building stage 'base' [idx: '{'9' * 5000}', base-idx: '0']"),
        '{"level":"info","msg":' + "9" * 5000 + ',"time":"2026-01-01T00:00:00Z"}',
    ],
    ids=["deep", "a number without end", "another"],
)
def test_no_line_of_run_ends_the_build(line: str) -> None:
    """Whatever it prints: it is passed on."""
    output = output_for()
    hear(output, stage(0), *running("RUN make"))

    assert any(told in line for told in logged(hear(output, line)))


def test_what_json_says_can_be_written(tmp_path: Path) -> None:
    """Half of a surrogate pair is no text."""
    output = output_for()
    events = hear(output, stage(0), log("\ud800 half", "fatal"), log("\udfff other", "warning"))

    written = tmp_path / "log"
    written.write_text(f"{output.fatal}{output.warnings}{events}", "utf-8")

    assert output.fatal == "? half"

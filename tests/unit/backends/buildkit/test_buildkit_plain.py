"""BuildKit's progress as text: what recorded streams do not happen to show."""

from __future__ import annotations

from buildpush.backends.buildkit.plain import PlainProgress
from buildpush.events import Event, TaskFinished, TaskLog, TaskProgress, TaskStarted, Warned

DIGEST = "sha256:" + "1" * 64


def feed(*lines: str) -> tuple[PlainProgress, list[Event]]:
    translator = PlainProgress()
    events = [event for line in lines for event in translator.line("stderr", line, 1.0)]
    return translator, events + translator.finish(2.0)


def log(line: str, task: str = "buildkit #1") -> TaskLog:
    return TaskLog(at=1.0, task=task, stream="stdout", line=line)


def test_a_title_may_have_several_lines() -> None:
    """A here-document's, or one with an expanded variable."""
    _, events = feed("#1 [2/2] RUN echo 'a", "b'", f"#1 {DIGEST}", "#1 0.1 a", "#1 DONE 0.1s")

    assert events == [
        TaskStarted(at=1.0, task="buildkit #1", title="[2/2] RUN echo 'a …"),
        log("a"),
        TaskFinished(at=1.0, task="buildkit #1", outcome="done"),
    ]


def test_the_output_turns_from_one_vertex_to_another_and_back() -> None:
    """The title is repeated, and is not output."""
    _, events = feed(
        *("#1 RUN a", f"#1 {DIGEST}", "#1 0.1 one", ""),
        *("#2 RUN b", f"#2 {DIGEST}", "#2 CACHED", ""),
        *("#1 RUN a", f"#1 {DIGEST}", "#1 0.2 two", "#1 0.3", "#1 DONE 0.4s"),
    )

    assert [event for event in events if isinstance(event, TaskLog)] == [
        log("one"),
        log("two"),
        log(""),
    ]
    assert [e.outcome for e in events if isinstance(e, TaskFinished)] == ["cached", "done"]


def test_output_without_a_line_feed_is_followed_by_the_end() -> None:
    """The client writes both on one line."""
    _, events = feed("#1 RUN a", f"#1 {DIGEST}", "#1 0.1 no newline#1 DONE 0.2s")

    assert events[1:] == [
        log("no newline"),
        TaskFinished(at=1.0, task="buildkit #1", outcome="done"),
    ]


def test_sizes_are_progress() -> None:
    """Of layers and of the build context."""
    _, events = feed(
        *("#1 FROM a", f"#1 {DIGEST}"),
        *("#1 sha256:aaa 1.10MB / 2.20MB 0.0s", "#1 transferring context: 2.5kB done"),
    )

    assert [(e.done, e.total) for e in events if isinstance(e, TaskProgress)] == [
        (1_100_000, 2_200_000),
        (1_102_500, None),
    ]


def test_newer_clients_leave_the_digest_out() -> None:
    """The first line after the title tells that the title has ended."""
    _, events = feed("#1 RUN a", "#1 0.1 one", "#1 DONE 0.1s")

    assert [type(event) for event in events] == [TaskStarted, TaskLog, TaskFinished]


def test_what_never_ended_has_failed() -> None:
    """As when the daemon is gone."""
    _, events = feed("#1 RUN a", f"#1 {DIGEST}", "#1 0.1 one")

    assert events[-1] == TaskFinished(at=2.0, task="buildkit #1", outcome="failed")


def test_a_cancelled_step_is_not_what_failed() -> None:
    """The tail is the other's."""
    translator, _ = feed(
        *("#1 RUN a", f"#1 {DIGEST}", "#1 0.1 one", "#1 CANCELED", ""),
        *("#2 RUN b", f"#2 {DIGEST}", "#2 0.1 two", "#2 ERROR: exit code: 1", "over"),
    )

    assert translator.tail == ("two",)
    assert translator.said == ("over",)


def test_an_error_may_have_several_lines() -> None:
    """The rest of it is the client's."""
    translator, _ = feed("#1 RUN a", f"#1 {DIGEST}", "#1 ERROR: failed [a", "b]: exit code: 1")

    assert translator.vertices[0].error == "failed [a"
    assert translator.tail == ("b]: exit code: 1",)


def test_a_cache_that_cannot_be_read_is_a_warning() -> None:
    """The build goes on."""
    translator, events = feed(
        "#1 importing cache manifest from r.example/c", f"#1 {DIGEST}", "#1 ERROR: not found"
    )

    message = "importing cache manifest from r.example/c: not found"
    assert Warned(at=1.0, message=message) in events
    assert translator.warnings == [message]

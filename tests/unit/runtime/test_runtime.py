"""Cancellation, deadlines, redaction, and the run that carries them."""

import threading
from pathlib import Path

import pytest

from buildpush.errors import BuildError, StepCancelledError, StepTimeoutError
from buildpush.events import Event, TaskFinished, TaskLog, TaskProgress, TaskStarted, Warned
from buildpush.runtime import CancelToken, Deadline, Redactor, Run


def make_run(tmp_path: Path, events: list[Event], clock: list[float] | None = None) -> Run:
    ticks = iter(clock) if clock else None
    return Run(
        workdir=tmp_path,
        cancel=CancelToken(),
        sink=events.append,
        clock=(lambda: next(ticks)) if ticks else (lambda: 0.0),
    )


def test_the_first_reason_wins() -> None:
    """A timeout that comes after a cancel does not rewrite history."""
    token = CancelToken()

    token.cancel(BuildError("first"))
    token.cancel(BuildError("second"))

    with pytest.raises(BuildError, match="first"):
        token.check()


def test_a_sleeper_wakes_when_cancelled() -> None:
    """Nobody waits out a backoff that has lost its purpose."""
    token = CancelToken()
    threading.Timer(0.01, token.cancel).start()

    with pytest.raises(StepCancelledError):
        token.sleep(60)


def test_a_late_listener_hears_at_once() -> None:
    """Work registered after the cancel is still stopped."""
    token = CancelToken()
    heard: list[str] = []
    token.cancel()

    token.on_cancel(lambda: heard.append("now"))

    assert heard == ["now"]


def test_a_listener_can_be_taken_back() -> None:
    """What is over is not told of a later cancel."""
    token = CancelToken()
    heard: list[str] = []
    undo = token.on_cancel(lambda: heard.append("no"))

    undo()
    token.cancel()

    assert heard == []


def test_a_deadline_cancels_with_its_own_reason() -> None:
    """The reader learns that it was the time, and how much was given."""
    token = CancelToken()

    with Deadline(token, 0.01), pytest.raises(StepTimeoutError, match=r"limit of 0\.01 s"):
        token.sleep(60)


def test_a_deadline_that_was_met_does_nothing() -> None:
    """Leaving the block in time disarms it."""
    token = CancelToken()

    with Deadline(token, 30):
        pass

    assert not token.cancelled


@pytest.mark.parametrize(
    "text",
    ["the s3cret/value", "czNjcmV0L3ZhbHVl", "s3cret%2Fvalue", "x=s3cret/value;"],
)
def test_a_secret_is_hidden_in_every_common_spelling(text: str) -> None:
    """Raw, base64 and URL-encoded forms all go."""
    redact = Redactor()

    redact.learn("s3cret/value")

    assert "***" in redact(text)
    assert "s3cret" not in redact(text)


def test_each_line_of_a_secret_is_hidden() -> None:
    """A private key printed line by line stays private."""
    redact = Redactor()

    redact.learn("-----BEGIN-----\nabcdefgh\n")

    assert redact("  abcdefgh") == "  ***"


def test_a_longer_secret_goes_before_the_shorter_it_contains() -> None:
    """Nothing of the longer one is left standing."""
    redact = Redactor()
    redact.learn("token")

    redact.learn("token-extended")

    assert redact("token-extended") == "***"


def test_very_short_secrets_are_left_alone() -> None:
    """Hiding every 'a' would garble all output and protect nothing."""
    redact = Redactor()

    redact.learn("a")

    assert redact("banana") == "banana"


def test_redactor_shows_nothing_in_its_repr() -> None:
    """A traceback with locals leaks no secret."""
    redact = Redactor()

    redact.learn("hunter22")

    assert "hunter22" not in repr(redact)


def test_every_event_with_text_is_redacted(tmp_path: Path) -> None:
    """Titles, lines and warnings pass the redactor; a display sees no secret."""
    events: list[Event] = []
    run = make_run(tmp_path, events)
    run.redact.learn("hunter22")

    with run.task("t", "login hunter22") as task:
        task.log("stdout", "it is hunter22")
    run.warn("hunter22 again")

    assert events == [
        TaskStarted(at=0.0, task="t", title="login ***"),
        TaskLog(at=0.0, task="t", stream="stdout", line="it is ***"),
        TaskFinished(at=0.0, task="t", outcome="done"),
        Warned(at=0.0, message="*** again"),
    ]


def test_a_task_that_raises_has_failed(tmp_path: Path) -> None:
    """The error passes through, and the display is told."""
    events: list[Event] = []
    run = make_run(tmp_path, events)

    with pytest.raises(ZeroDivisionError), run.task("t", "divide"):
        raise ZeroDivisionError

    assert events[-1] == TaskFinished(at=0.0, task="t", outcome="failed")


def test_progress_is_thinned_but_its_end_is_kept(tmp_path: Path) -> None:
    """At most one event per 100 ms, and always the last byte."""
    events: list[Event] = []
    run = make_run(tmp_path, events, clock=[0.0, 0.0, 0.0, 0.01, 0.05, 0.2, 0.21, 0.22])

    with run.task("t", "upload") as task:
        for done in (1, 2, 3, 9, 10):
            task.progress(done, 10)

    assert [e.done for e in events if isinstance(e, TaskProgress)] == [1, 9, 10]

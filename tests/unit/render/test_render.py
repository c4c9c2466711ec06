"""What the displays write."""

import io
import json

import pytest

from buildpush import render
from buildpush.events import (
    Event,
    Phase,
    PhaseStarted,
    TaskFinished,
    TaskLog,
    TaskProgress,
    TaskStarted,
    Warned,
)
from buildpush.render.jsonl import JsonlRenderer
from buildpush.render.jupyter import JupyterRenderer
from buildpush.render.plain import PlainRenderer

EVENTS: tuple[Event, ...] = (
    PhaseStarted(at=0.0, phase=Phase.BUILD),
    TaskStarted(at=0.5, task="a", title="RUN <make>"),
    TaskLog(at=0.75, task="a", stream="stdout", line="hello & goodbye"),
    TaskProgress(at=0.8, task="a", done=1, total=2),
    Warned(at=0.9, message="careful"),
    TaskFinished(at=1.5, task="a", outcome="cached"),
)


def test_plain_lines() -> None:
    """A CI log tells when, what and how it ended; bytes are not worth a line."""
    stream = io.StringIO()
    display = PlainRenderer(stream)

    for event in EVENTS:
        display(event)

    assert stream.getvalue().splitlines() == [
        "    0.00  == build ==",
        "    0.50  RUN <make>",
        "    0.75    | hello & goodbye",
        "    0.90  warning: careful",
        "    1.50  CACHED RUN <make> (1.00 s)",
    ]


def test_jsonl_has_a_version_and_every_field() -> None:
    """A stored stream can be read again, by version."""
    stream = io.StringIO()
    display = JsonlRenderer(stream)

    for event in EVENTS[:2]:
        display(event)

    assert [json.loads(line) for line in stream.getvalue().splitlines()] == [
        {"v": 1, "event": "PhaseStarted", "at": 0.0, "phase": "build"},
        {"v": 1, "event": "TaskStarted", "at": 0.5, "task": "a", "title": "RUN <make>"},
    ]


def test_the_notebook_table_escapes_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log line cannot write HTML into the page."""
    shown: list[dict[str, str]] = []

    class Handle:
        def update(self, obj: dict[str, str], *, raw: bool) -> None:
            shown.append(obj)

    def display(obj: dict[str, str], *, raw: bool, display_id: bool) -> Handle:
        shown.append(obj)
        return Handle()

    monkeypatch.setattr("IPython.display.display", display)
    table = JupyterRenderer()

    for event in EVENTS:
        table(event)

    assert len(shown) == len(EVENTS) - 1
    assert "RUN &lt;make&gt;" in shown[-1]["text/html"]
    assert "hello &amp; goodbye" in shown[-1]["text/html"]
    assert shown[-1]["text/plain"] == "✓ cached  RUN <make>"


def test_plain_is_chosen_outside_a_notebook(capsys: pytest.CaptureFixture[str]) -> None:
    """Standard error, so that standard output stays for results."""
    display = render.choose()

    display(EVENTS[0])

    assert capsys.readouterr() == ("", "    0.00  == build ==\n")


def test_plain_seconds_never_go_back() -> None:
    """An engine may tell late what happened early: the column still only grows."""
    stream = io.StringIO()
    render = PlainRenderer(stream)

    render(TaskStarted(at=1.0, task="a", title="first"))
    render(TaskLog(at=3.0, task="b", stream="stdout", line="hello"))
    render(TaskFinished(at=2.0, task="a", outcome="done"))

    assert stream.getvalue().splitlines() == [
        "    1.00  first",
        "    3.00    | hello",
        "    3.00  DONE   first (1.00 s)",
    ]


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("\x1b[31mred\x1b[0m\tand tabs", "\x1b[31mred\x1b[0m\tand tabs"),
        ("clear\x1b[2J, title\x1b]0;x\x07", "clear\ufffd[2J, title\ufffd]0;x\ufffd"),
        ("nul\0, c1\x9b31m", "nul\ufffd, c1\ufffd31m"),
        (
            "a\n::add-path::/evil\n== push ==",
            "a\n          | ::add-path::/evil\n          | == push ==",
        ),
    ],
)
def test_what_is_built_does_nothing_to_the_terminal(said: str, shown: str) -> None:
    """Colours it may have; whatever else it prints stands behind a time or a bar."""
    stream = io.StringIO()

    PlainRenderer(stream)(Warned(at=0, message=said))

    assert stream.getvalue() == f"    0.00  warning: {shown}\n"

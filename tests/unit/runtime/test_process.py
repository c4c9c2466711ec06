"""Running programs: lines, tails, and nothing left behind."""

import os
import threading
from pathlib import Path

import pytest

from buildpush.errors import StepCancelledError
from buildpush.events import Stream
from buildpush.runtime import CancelToken, Run
from buildpush.runtime.process import run_command, start

ENV = {"PATH": "/usr/bin:/bin"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(workdir=tmp_path, cancel=CancelToken(), sink=lambda _: None)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_lines_come_with_their_stream(run: Run) -> None:
    """Both streams are read, line by line."""
    lines: list[tuple[Stream, str]] = []

    done = run_command(
        ("sh", "-c", "echo out; echo err >&2; exit 3"),
        run=run,
        env=ENV,
        on_line=lambda stream, line: lines.append((stream, line)),
    )

    assert sorted(lines) == [("stderr", "err"), ("stdout", "out")]
    assert done.exit_code == 3
    assert sorted(done.evidence.tail) == ["err", "out"]


def test_output_is_collected_when_nobody_listens(run: Run) -> None:
    """A helper's answer comes back whole, its errors as evidence."""
    done = run_command(("sh", "-c", "cat; echo bad >&2"), run=run, env=ENV, stdin=b"hello")

    assert (done.stdout, done.evidence.tail) == (b"hello", ("bad",))


def test_the_tail_keeps_the_last_forty_lines(run: Run) -> None:
    """The end of a long log is what explains a failure."""
    done = run_command(
        ("sh", "-c", "i=0; while [ $i -lt 100 ]; do echo $i; i=$((i+1)); done"),
        run=run,
        env=ENV,
        on_line=lambda *_: None,
    )

    assert done.evidence.tail == tuple(str(n) for n in range(60, 100))


def test_bytes_that_are_not_text_are_no_error(run: Run) -> None:
    """A broken byte is shown as such; the line is not lost."""
    lines: list[str] = []

    run_command(
        ("printf", r"a\377b\n"), run=run, env=ENV, on_line=lambda _, line: lines.append(line)
    )

    assert lines == ["a\ufffdb"]


def test_secrets_are_redacted_in_lines_tail_and_argv(run: Run) -> None:
    """Whatever the program prints, evidence and events stay clean."""
    run.redact.learn("hunter22")
    lines: list[str] = []

    done = run_command(
        ("sh", "-c", "echo hunter22", "hunter22"),
        run=run,
        env=ENV,
        on_line=lambda _, line: lines.append(line),
    )

    assert lines == ["***"]
    assert "hunter22" not in done.evidence.render()


def test_cancelling_kills_grandchildren_that_ignore_sigterm(run: Run, tmp_path: Path) -> None:
    """The whole process group is gone before control returns."""
    ready = tmp_path / "ready"
    os.mkfifo(ready)
    script = f"sh -c 'trap \"\" TERM; echo $$ > {ready}; while :; do sleep 0.1; done' & wait"
    pids: list[int] = []

    def cancel_when_ready() -> None:
        pids.append(int(ready.read_text()))
        run.cancel.cancel()

    thread = threading.Thread(target=cancel_when_ready)
    thread.start()
    with pytest.raises(StepCancelledError):
        run_command(("sh", "-c", script), run=run, env=ENV, grace=0.1)
    thread.join()

    assert is_gone(pids[0])


def test_a_grandchild_that_holds_the_pipe_does_not_hold_the_run(run: Run) -> None:
    """A daemon started by the command cannot keep it from ending."""
    done = run_command(
        ("sh", "-c", "sleep 600 & echo $!"), run=run, env=ENV, on_line=lambda *_: None, grace=0.1
    )

    assert done.exit_code == 0
    assert is_gone(int(done.evidence.tail[0]))


def test_leaving_the_block_ends_the_program() -> None:
    """Nobody has to remember to kill anything."""
    with start(("sleep", "600"), cancel=CancelToken(), env=ENV, grace=0.1) as child:
        pid = child.pid

    assert is_gone(pid)


def test_a_program_that_will_not_end_is_ended() -> None:
    """Waiting has a bound; the exit code says that it was killed."""
    with start(("sleep", "600"), cancel=CancelToken(), env=ENV, grace=0.1) as child:
        assert child.wait_or_kill(0.01) == -9


def test_a_cancelled_run_starts_nothing(run: Run) -> None:
    """The reason is raised before the program exists."""
    run.cancel.cancel()

    with pytest.raises(StepCancelledError):
        run_command(("touch", str(run.workdir / "made")), run=run, env=ENV)

    assert not (run.workdir / "made").exists()


def test_a_missing_program_is_the_callers_to_explain(run: Run) -> None:
    """FileNotFoundError passes through: only the caller knows what was wanted."""
    with pytest.raises(FileNotFoundError):
        run_command(("no-such-program-here",), run=run, env=ENV)


def test_a_long_line_is_whole_where_that_is_asked_for(run: Run) -> None:
    """JSON that is cut into pieces could not be read."""
    lines: list[str] = []

    run_command(
        ("sh", "-c", "head -c 200000 /dev/zero | tr '\\0' x; echo"),
        run=run,
        env=ENV,
        on_line=lambda _, line: lines.append(line),
        line_limit=1 << 20,
    )

    assert [len(line) for line in lines] == [200_000]


def test_verbatim_lines_are_redacted_in_the_evidence_only(run: Run) -> None:
    """A secret such as "name" must not break the JSON that is to be parsed."""
    run.redact.learn("name")
    lines: list[str] = []

    done = run_command(
        ("sh", "-c", """echo '{"name": 1}'"""),
        run=run,
        env=ENV,
        on_line=lambda _, line: lines.append(line),
        verbatim=True,
    )

    assert (lines, done.evidence.tail) == (['{"name": 1}'], ('{"***": 1}',))


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (r"a\nb", ["a", "b"]),
        (r"a\r\nb\r\n", ["a", "b"]),
        (r"10%%\r20%%\r\nend\n", ["10%", "20%", "end"]),
        (r"a\r\n\r\n\n", ["a", "", ""]),
        (r"\r\r\na", ["", "a"]),
        (r"abcdefg\nhi", ["abc", "def", "g", "hi"]),
        (r"abcdef\ng", ["abc", "def", "g"]),
    ],
)
def test_where_lines_end(run: Run, printed: str, expected: list[str]) -> None:
    """At line feeds and carriage returns, and at the limit, which is three here."""
    limit = 3 if "abc" in printed else 100
    lines: list[str] = []

    run_command(
        ("printf", printed),
        run=run,
        env=ENV,
        on_line=lambda _, line: lines.append(line),
        line_limit=limit,
    )

    assert lines == expected

"""Commands of engines: each line becomes events at once, whatever bytes it is made of."""

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from attrs import define, field

from buildpush.backends.engine import ask_all, converse, question
from buildpush.errors import BackendUnavailableError, StepCancelledError, StepTimeoutError
from buildpush.events import Event, Stream, TaskFinished, TaskLog
from buildpush.runtime import CancelToken, Environment, Run
from buildpush.testing import RecordingSink

PATIENCE = 10.0
MEBI = 1 << 20


@define(eq=False)
class Verbatim:
    """Logs every line, and ends its one task."""

    busy: threading.Lock = field(factory=threading.Lock)

    def line(self, stream: Stream, line: str, at: float) -> Iterator[Event]:
        assert self.busy.acquire(blocking=False), "two threads at once"
        yield TaskLog(at=at, task="t", stream=stream, line=line)
        self.busy.release()

    def finish(self, at: float) -> Iterable[Event]:
        return [TaskFinished(at=at, task="t", outcome="failed")]


@pytest.fixture
def sink() -> RecordingSink:
    return RecordingSink()


@pytest.fixture
def run(tmp_path: Path, sink: RecordingSink, environment: Environment) -> Run:
    return Run(workdir=tmp_path, cancel=CancelToken(), sink=sink, environment=environment)


def lines(sink: RecordingSink, stream: Stream = "stdout") -> list[str]:
    return [e.line for e in sink.events if isinstance(e, TaskLog) and e.stream == stream]


def shell(run: Run, script: str, *, stdin: bytes = b"") -> int:
    env = run.environment.variables
    return converse(("sh", "-c", script), Verbatim(), run=run, env=env, stdin=stdin).exit_code


def test_both_streams_and_the_end(run: Run, sink: RecordingSink) -> None:
    """An exit code is told, not raised; what the translator has open is closed last."""
    assert shell(run, "echo out; echo err >&2; exit 7") == 7
    assert (lines(sink), lines(sink, "stderr")) == (["out"], ["err"])
    assert isinstance(sink.events[-1], TaskFinished)


def test_the_translator_has_one_thread_at_a_time(run: Run, sink: RecordingSink) -> None:
    """Although two pipes are read at once."""
    script = "i=0; while [ $i -lt 500 ]; do echo $i; echo $i >&2; i=$((i+1)); done"

    assert shell(run, script) == 0
    assert lines(sink) == lines(sink, "stderr") == [str(i) for i in range(500)]


@pytest.mark.parametrize("end", ["\\n", "\\r"])
def test_an_event_is_there_while_the_command_runs(run: Run, end: str) -> None:
    """The command waits for a file that the first event makes."""
    answer = run.workdir / "answer"

    @define
    class Answering(Verbatim):
        def line(self, stream: Stream, line: str, at: float) -> Iterator[Event]:
            answer.touch()
            yield from ()

    argv = ("sh", "-c", f"printf 'first{end}'; until [ -e {answer} ]; do sleep 0.01; done; exit 3")
    env = run.environment.variables

    assert converse(argv, Answering(), run=run, env=env).exit_code == 3


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (r"a\nb", ["a", "b"]),
        (r"a\n\nb\n", ["a", "", "b"]),
        (r"a\0b\n", ["a\0b"]),
        (r"\377\303\n", ["\ufffd\ufffd"]),
        (r"10%%\r20%%\rdone\n", ["10%", "20%", "done"]),
        (r"dos\r\n\r\nend", ["dos", "", "end"]),
        (r"\r\r\n", [""]),
        (r"\302\205\342\200\250\f\v\n", ["\x85\u2028\f\v"]),
    ],
)
def test_odd_bytes(run: Run, sink: RecordingSink, printed: str, expected: list[str]) -> None:
    """A line feed ends a line, and so does a carriage return, which progress ends with."""
    shell(run, f"printf '{printed}'")

    assert lines(sink) == expected


def test_five_mebibytes(run: Run, sink: RecordingSink) -> None:
    """Nothing is lost, and the last line is there."""
    line = "x" * 255
    shell(run, f"yes {line} | head -c {5 * MEBI}; echo end; exit 1")

    found = lines(sink)
    assert (len(found), found[-2:]) == (20_481, [line, "end"])


def test_one_line_of_five_mebibytes(run: Run, sink: RecordingSink) -> None:
    """JSON may be as long."""
    shell(run, "head -c 5242880 /dev/zero | tr '\\0' x")

    assert [len(line) for line in lines(sink)] == [5 * MEBI]


def test_the_translator_sees_what_was_written_and_the_display_does_not(
    run: Run, sink: RecordingSink
) -> None:
    """A redacted line of JSON might be none; an event is redacted on its way out."""
    run.redact.learn("name")
    seen: list[str] = []

    @define
    class Seeing(Verbatim):
        def line(self, stream: Stream, line: str, at: float) -> Iterator[Event]:
            seen.append(line)
            return Verbatim.line(self, stream, line, at)

    argv = ("sh", "-c", "echo 'my name'")
    done = converse(argv, Seeing(), run=run, env=run.environment.variables)

    assert (seen, lines(sink), done.evidence.tail) == (["my name"], ["my ***"], ("my ***",))


def test_stdin(run: Run, sink: RecordingSink) -> None:
    """It is written and closed."""
    shell(run, "cat", stdin=b"given\n")

    assert lines(sink) == ["given"]


def test_a_translator_that_fails_does_not_block_the_command(run: Run) -> None:
    """The pipes are drained to the end, then its error is raised."""

    class Failing(Verbatim):
        def line(self, stream: Stream, line: str, at: float) -> Iterable[Event]:
            raise ValueError(line)

    argv = ("sh", "-c", f"echo bad; yes {'x' * 255} | head -c {MEBI}; touch {run.workdir}/ended")

    with pytest.raises(ValueError, match=r"^bad$"):
        converse(argv, Failing(), run=run, env=run.environment.variables)

    assert (run.workdir / "ended").exists()


def test_a_cancel_ends_the_command(run: Run, sink: RecordingSink) -> None:
    """Its reason is raised, and what was open is closed."""
    reason = StepTimeoutError("too long")

    @define
    class Cancelling(Verbatim):
        def line(self, stream: Stream, line: str, at: float) -> Iterable[Event]:
            run.cancel.cancel(reason)
            return ()

    argv = ("sh", "-c", "echo go; exec sleep 100")

    with pytest.raises(StepTimeoutError) as caught:
        converse(argv, Cancelling(), run=run, env=run.environment.variables)

    assert caught.value is reason
    assert isinstance(sink.events[-1], TaskFinished)


def test_a_command_that_is_not_there(run: Run, sink: RecordingSink) -> None:
    """The backend is not installed."""
    with pytest.raises(BackendUnavailableError, match="no-such is not installed"):
        converse(("no-such",), Verbatim(), run=run, env=run.environment.variables)


def test_a_folder_that_is_not_there(run: Run, tmp_path: Path) -> None:
    """Is not mistaken for a command that is not."""
    gone = tmp_path / "gone"

    with pytest.raises(BackendUnavailableError, match=r"sh cannot be started in .*gone: No such"):
        converse(("sh",), Verbatim(), run=run, env=run.environment.variables, cwd=gone)


def test_a_command_that_may_not_be_run(run: Run, tmp_path: Path) -> None:
    """The system's words."""
    file = tmp_path / "docker"
    file.write_text("")

    with pytest.raises(BackendUnavailableError, match="Permission denied"):
        converse((str(file),), Verbatim(), run=run, env=run.environment.variables)


# --- questions ---


def test_a_question(environment: Environment) -> None:
    """Its answer is stdout and the exit code."""
    done = question(("sh", "-c", "echo $LANG; echo bad >&2; exit 4"), environment=environment)

    assert (done.stdout, done.exit_code, done.evidence.tail) == (b"C\n", 4, ("bad",))


def test_a_question_with_variables_of_its_own(environment: Environment) -> None:
    """They replace the environment's."""
    env = {"PATH": "/usr/bin:/bin", "LANG": "D"}

    assert question(("sh", "-c", "echo $LANG"), environment=environment, env=env).stdout == b"D\n"


def test_a_question_that_is_not_answered(environment: Environment) -> None:
    """A probe never hangs."""
    with pytest.raises(BackendUnavailableError, match=r"sleep 100 did not answer within 0\.05 s"):
        question(("sleep", "100"), environment=environment, timeout=0.05)


def test_a_question_to_nobody(environment: Environment) -> None:
    """The command is named."""
    with pytest.raises(BackendUnavailableError, match="no-such is not installed"):
        question(("no-such",), environment=environment)


def test_a_question_is_cancelled_with_the_run(environment: Environment) -> None:
    """With its reason."""
    cancel = CancelToken()
    reason = StepCancelledError("enough")
    timer = threading.Timer(0.05, cancel.cancel, [reason])
    timer.start()

    with pytest.raises(StepCancelledError) as caught:
        question(("sleep", "100"), environment=environment, cancel=cancel)
    timer.join()

    assert caught.value is reason


def test_several_questions_at_once(environment: Environment) -> None:
    """Each answer, or why there is none, in order; here each waits for all others."""
    barrier = threading.Barrier(3, timeout=PATIENCE)

    def third() -> str:
        barrier.wait()
        raise BackendUnavailableError("not here")

    def nth(number: str) -> str:
        barrier.wait()
        return number

    one, two, three = ask_all(lambda: nth("1"), lambda: nth("2"), third)

    assert (one, two) == ("1", "2")
    assert isinstance(three, BackendUnavailableError)


def test_no_questions() -> None:
    """Have no answers."""
    assert ask_all() == ()


def test_other_errors_of_a_question_are_raised() -> None:
    """They are no answers."""

    def broken() -> str:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ask_all(broken)

"""Lines of a log that breaks off: each once."""

from __future__ import annotations

from buildpush.backends.kaniko.kubernetes.lines import LogCursor

A = b"2026-11-23T19:00:00.000000001Z one"
B = b"2026-11-23T19:00:00.5Z two"
B2 = b"2026-11-23T19:00:00.500000000Z three"
C = b"2026-11-23T19:00:01Z four"


def test_lines_lose_their_timestamps_and_nothing_else() -> None:
    """An empty line is a line; bytes that are no text are marked."""
    cursor = LogCursor()

    assert [cursor.take(line) for line in (A, B, b"2026-11-23T19:00:02Z ", C[:21] + b"\xff")] == [
        "one",
        "two",
        "",
        "\ufffd",
    ]


def test_no_line_comes_twice_and_none_is_lost_when_a_log_is_reopened() -> None:
    """The server begins at a whole second; several lines may bear the same time."""
    cursor = LogCursor()
    first = [cursor.take(line) for line in (A, B, B2)]
    cursor.reopened()
    again = [cursor.take(line) for line in (A, B, B2, B2, C)]

    assert first == ["one", "two", "three"]
    assert again == [None, None, None, "three", "four"]
    assert cursor.since == "2026-11-23T19:00:01.000000000Z"


def test_a_clock_that_goes_backwards_loses_no_line() -> None:
    """Only what comes again after a break is known already."""
    cursor = LogCursor()

    assert [cursor.take(line) for line in (C, A)] == ["four", "one"]
    cursor.reopened()
    assert [cursor.take(line) for line in (A, C, A)] == [None, "four", "one"]


def test_what_the_server_says_in_a_logs_place_is_no_line() -> None:
    """Where a container's log is gone it says so with the status 200, without a timestamp."""
    cursor = LogCursor()

    assert cursor.take(b"unable to retrieve container logs for containerd://4e26") is None
    assert cursor.take(A) == "one"
    assert cursor.take(b"rpc error: code = NotFound") is None


def test_a_line_that_comes_in_pieces_is_kept_whole() -> None:
    """Only the first piece has a timestamp; of a line that is known, no piece is wanted."""
    cursor = LogCursor()
    long = A + b"x" * 70000

    assert cursor.take(long) == "one" + "x" * 70000
    assert cursor.take(b"y" * 70000) == "y" * 70000
    assert cursor.take(b"z") == "z"
    assert cursor.take(b"stray") is None
    cursor.reopened()
    assert [cursor.take(long), cursor.take(b"y" * 70000)] == [None, None]


def test_before_the_first_line_a_log_is_asked_for_from_its_beginning() -> None:
    """There is nowhere to go on from."""
    cursor = LogCursor()
    cursor.reopened()

    assert cursor.since == ""
    assert cursor.take(A) == "one"

"""Durations, memory, CPUs and sizes as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpush.spec.quantities import (
    parse_cpu,
    parse_duration,
    parse_memory,
    parse_size,
    parse_timeout,
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1m", 60),
        ("1m 20s", 80),
        ("1m20s", 80),
        ("1w", 604800),
        ("1d 2h 3m 4s", 93784),
        ("90s", 90),
        ("0s", 0),
        ("1s 1s", 2),
    ],
)
def test_a_duration_is_a_sum_of_numbers_with_units(text: str, seconds: float) -> None:
    """Harness's own vectors, and each of the units s m h d w."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "1m  20s",
        "1m 8",
        "18",
        "m",
        "20mm",
        "m20m",
        " 1m",
        "1m ",
        "1 m",
        "1a",
        "",
        "1.5h",
        "-1s",
        "1m\n",
        "١m",
        "1m,20s",
        "1M",
    ],
)
def test_a_malformed_duration_is_refused(text: str) -> None:
    """At most one space between two tokens and none elsewhere; a bare number has no unit."""
    with pytest.raises(ValueError, match=r"duration|unit"):
        parse_duration(text)


def test_a_bare_number_in_text_is_told_to_take_a_unit() -> None:
    """The message shows the two likely spellings."""
    with pytest.raises(ValueError, match=r"'18' has no unit: write 18s, or 18m"):
        parse_duration("18")


@pytest.mark.parametrize(
    ("value", "seconds"), [(18, 18.0), (0.5, 0.5), (timedelta(minutes=2), 120.0)]
)
def test_numbers_and_timedeltas_from_python_are_seconds(value: object, seconds: float) -> None:
    """Only text needs a unit."""
    assert parse_duration(value) == seconds


@pytest.mark.parametrize(
    "value", [True, -1, float("nan"), float("inf"), timedelta(seconds=-1), None, [], b"1m"]
)
def test_what_is_no_duration_is_refused(value: object) -> None:
    """Booleans are numbers to Python, not to us."""
    with pytest.raises(ValueError, match=r"expected|must be"):
        parse_duration(value)


@pytest.mark.parametrize(("value", "seconds"), [("1h", 3600.0), (None, None), ("0s", 36000.0)])
def test_a_written_timeout_of_zero_means_ten_hours(value: object, seconds: float | None) -> None:
    """As Harness reads it; None means no limit."""
    assert parse_timeout(value) == seconds


def test_a_timeout_of_the_number_zero_is_refused() -> None:
    """Nobody who writes 0 in Python expects ten hours."""
    with pytest.raises(ValueError, match="more than 0"):
        parse_timeout(0)


@given(st.lists(st.tuples(st.integers(0, 9999), st.sampled_from("smhdw")), min_size=1))
def test_the_space_between_tokens_is_optional(tokens: list[tuple[int, str]]) -> None:
    """``1h 30m`` and ``1h30m`` are the same."""
    words = [f"{number}{unit}" for number, unit in tokens]

    assert parse_duration(" ".join(words)) == parse_duration("".join(words))


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        ("500Mi", 500 * 1024**2),
        ("2Gi", 2 * 1024**3),
        ("1G", 10**9),
        ("512M", 512 * 10**6),
        ("1k", 1000),
        ("1Ki", 1024),
        ("1T", 10**12),
        ("1Ti", 1024**4),
        ("1.5Gi", 3 * 512 * 1024**2),
        (".5Ki", 512),
        ("128974848", 128974848),
        ("129e6", 129 * 10**6),
        (1024, 1024),
        (1e6, 10**6),
        ("0.3", 1),
    ],
)
def test_memory_is_read_as_kubernetes_reads_it(value: object, amount: int) -> None:
    """Ki is 1024, k is 1000; a fraction of a byte is rounded up."""
    assert parse_memory(value) == amount


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("400m", r"0\.4 bytes, because m means thousandths: write 400M or 400Mi"),
        ("1K", "unknown unit 'K'"),
        ("1GB", "unknown unit 'GB'"),
        ("1g", "unknown unit 'g'"),
        ("", "not an amount"),
        ("Mi", "not an amount"),
        ("-1Mi", "not an amount"),
        ("1 Gi", "not an amount"),
        ("0", "more than 0"),
        ("8Ei", "less than 8Ei"),
        ("1e99", "less than 8Ei"),
        (True, "not true or false"),
        (None, "not nothing"),
        (float("inf"), "not a value of type float"),
    ],
)
def test_what_is_no_memory_is_refused_with_a_reason(value: object, said: str) -> None:
    """The message names the mistake, and for ``400m`` the likely meaning."""
    with pytest.raises(ValueError, match=said):
        parse_memory(value)


@pytest.mark.parametrize(
    ("value", "cpus"),
    [
        ("400m", 0.4),
        ("0.1", 0.1),
        ("2", 2.0),
        (2, 2.0),
        (0.25, 0.25),
        ("1500m", 1.5),
        ("1m", 0.001),
    ],
)
def test_cpu_is_whole_cpus_or_thousandths(value: object, cpus: float) -> None:
    """``100m`` and ``0.1`` are the same."""
    assert parse_cpu(value) == cpus


@pytest.mark.parametrize("value", ["", "m", "1k", "0", "0m", "0.0001", "0.5m", "-1", True, None])
def test_what_is_no_cpu_is_refused(value: object) -> None:
    """Nothing is finer than a thousandth, and nothing is not an amount."""
    with pytest.raises(ValueError, match="CPU"):
        parse_cpu(value)


@pytest.mark.parametrize(
    ("value", "amount"),
    [
        ("64m", 64 * 1024**2),
        ("64MB", 64 * 1024**2),
        ("1g", 1024**3),
        ("1GiB", 1024**3),
        ("100", 100),
        ("100b", 100),
        ("1.5k", 1536),
        (4096, 4096),
        ("2 gb", 2 * 1024**3),
    ],
)
def test_a_size_is_read_as_docker_reads_it(value: object, amount: int) -> None:
    """In any case of letters, and every unit is a power of 1024."""
    assert parse_size(value) == amount


@pytest.mark.parametrize("value", ["", "m", "64x", "64mm", "0", None, False])
def test_what_is_no_size_is_refused(value: object) -> None:
    """The message shows how a size looks."""
    with pytest.raises(ValueError, match="size"):
        parse_size(value)

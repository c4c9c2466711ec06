"""Numbers with units, as Go reads them."""

import pytest

from buildpush.dockerfile.quantities import nanoseconds, size_in_bytes, truth, unsigned


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("+5s", 5_000_000_000),
        ("-1.5h", -5_400_000_000_000),
        ("1m30s", 90_000_000_000),
        (".5s", 500_000_000),
        ("1.s", 1_000_000_000),
        ("1us", 1_000),
        ("1µs", 1_000),
        ("1μs2ns", 1_002),
        ("1h1m1s1ms", 3_661_001_000_000),
        ("0.100000000000000000000001s", 100_000_000),
        ("2562047h47m16.854775807s", 2**63 - 1),
    ],
)
def test_a_duration_is_read_in_nanoseconds(text: str, expected: int) -> None:
    """Fractions, several units and a sign are allowed."""
    assert nanoseconds(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "5",
        "1d",
        "s",
        ".s",
        "1 s",
        "1s ",
        "1s-",
        "1s 1s",
        "١s",
        "9" * 5000 + "h",
        "2562048h",
    ],
)
def test_other_text_is_no_duration(text: str) -> None:
    """A number needs its unit, and the sum fits in 64 bits."""
    with pytest.raises(ValueError):
        nanoseconds(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("10", 10), ("1k", 1024), ("1.5 GiB", 1_610_612_736), ("64MB", 67_108_864), ("1b", 1)],
)
def test_a_size_counts_in_powers_of_1024(text: str, expected: int) -> None:
    """K, KB and KiB mean the same, in either case."""
    assert size_in_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "-1", "k", "1x", "1  k", "1.k", "9" * 5000])
def test_other_text_is_no_size(text: str) -> None:
    """A size is not negative and has digits before its unit."""
    with pytest.raises(ValueError):
        size_in_bytes(text)


def test_unsigned_numbers_have_32_bits_in_their_base() -> None:
    """As strconv.ParseUint has it: no sign, no blanks, no underscores."""
    assert [unsigned("0755", 8), unsigned("4294967295", 10)] == [0o755, 2**32 - 1]
    for text, base in [("8", 8), ("4294967296", 10), ("+1", 10), ("1_0", 10), ("", 10)]:
        with pytest.raises(ValueError):
            unsigned(text, base)


def test_booleans_are_gos() -> None:
    """Twelve spellings, and no others."""
    assert [truth("t"), truth("TRUE"), truth("0"), truth("False")] == [True, True, False, False]
    with pytest.raises(ValueError):
        truth("yes")

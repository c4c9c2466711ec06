"""JSON objects, cut out of a stream of bytes."""

import itertools
import json
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildpush.backends.engine.objects import LIMIT, objects
from buildpush.errors import BackendUnavailableError

VALUES = st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text()), max_size=3)


def split(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


@settings(max_examples=50)
@given(
    st.lists(VALUES),
    st.sampled_from(["", "\n", "\r\n", " \n\n"]),
    st.lists(st.integers(min_value=0)),
    st.booleans(),
    st.sampled_from([None, 2]),
)
def test_however_they_are_cut(
    values: list[dict[str, object]], between: str, cuts: list[int], ascii_only: bool, indent: int
) -> None:
    """Within characters and strings, over several lines, or several in one piece."""
    texts = [json.dumps(value, ensure_ascii=ascii_only, indent=indent) for value in values]
    data = between.join(texts).encode("utf-8", "replace")
    expected = [json.loads(text.encode("utf-8", "replace")) for text in texts]

    assert list(objects(split(data, cuts), "it")) == expected


def test_each_comes_with_the_chunk_that_ends_it() -> None:
    """Not with the next line."""
    chunks = iter([b'{"a":', b"1}", b'{"b":2}'])
    found = objects(chunks, "it")

    assert (next(found), list(chunks)) == ({"a": 1}, [b'{"b":2}'])


def test_bytes_that_are_not_utf8() -> None:
    """A build may print anything."""
    assert list(objects([b'{"stream":"\xff\xfe"}'], "it")) == [{"stream": "\ufffd\ufffd"}]


@pytest.mark.parametrize("data", [b"no", b'{"a":1}[]', b"}"])
def test_something_else(data: bytes) -> None:
    """Is said to be no engine's answer, where it comes."""
    with pytest.raises(BackendUnavailableError):
        list(objects([data, b"}"], "GET /x"))


@pytest.mark.parametrize("data", [b'{"a":', b'{"a":1}{', b'{"a":"\xe2'])
def test_an_end_amid_an_object(data: bytes) -> None:
    """Whoever broke it off did not finish."""
    with pytest.raises(BackendUnavailableError, match="POST /build broke off"):
        list(objects([data], "POST /build"))


def test_an_object_without_end_is_not_kept_for_ever() -> None:
    """Memory has a bound."""
    chunk = b'{"a":"' + b"}" * (LIMIT + 1)

    with pytest.raises(BackendUnavailableError, match="not a stream"):
        list(objects([chunk], "it"))


def test_an_object_without_end_is_not_kept() -> None:
    """Whoever sends it never runs out of bytes, but this machine would of memory."""
    sent = 0

    def endless() -> Iterable[bytes]:
        nonlocal sent
        yield b'{"a": "'
        for _ in range(1000):
            sent += 1 << 20
            yield b"x" * (1 << 20)

    with pytest.raises(BackendUnavailableError, match="not a stream of JSON objects"):
        list(objects(endless(), "it"))

    assert sent <= LIMIT + (2 << 20)


def test_an_object_nested_without_end_is_garbled() -> None:
    """Not the parser's own trouble, which nobody could tell from a defect."""
    with pytest.raises(BackendUnavailableError, match="not a stream of JSON objects"):
        list(objects([b'{"a":' * 200_000, b"}" * 200_000], "it"))

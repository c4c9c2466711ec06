"""A stream of JSON objects, cut out of the chunks it arrives in."""

from __future__ import annotations

import json
from codecs import getincrementaldecoder
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, cast

from ...errors import BackendUnavailableError

LIMIT: Final = 16 << 20


def objects(chunks: Iterable[bytes], source: str) -> Iterator[Mapping[str, object]]:
    """Each object of *chunks* as soon as it is whole, however lines and chunks divide it.

    Raises `BackendUnavailableError` when the stream ends amid an object, holds something else
    than objects, or one of more than 16 MiB. *source* names it in messages.
    """
    decode = getincrementaldecoder("utf-8")("replace").decode
    scan = json.JSONDecoder().raw_decode
    pending = ""
    for chunk in chunks:
        text = decode(chunk)
        pending += text
        if len(pending) - len(text) > LIMIT:
            raise _garbled(source)
        if "}" not in text:
            continue  # cannot end an object: so a large one is not parsed once per chunk
        start = 0
        while True:
            start = _skip(pending, start)
            if start == len(pending):
                break
            if pending[start] != "{":
                raise _garbled(source)
            try:
                found, start = cast("tuple[Mapping[str, object], int]", scan(pending, start))
            except ValueError:
                break
            except RecursionError:
                raise _garbled(source) from None
            yield found
        pending = pending[start:]
        if len(pending) > LIMIT:
            raise _garbled(source)
    if (pending + decode(b"", final=True)).strip():
        raise BackendUnavailableError(f"the answer to {source} broke off amid a message")


def _skip(text: str, start: int) -> int:
    while start < len(text) and text[start].isspace():
        start += 1
    return start


def _garbled(source: str) -> BackendUnavailableError:
    return BackendUnavailableError(
        f"the answer to {source} is not a stream of JSON objects",
        hint="is it a docker engine that listens there?",
    )

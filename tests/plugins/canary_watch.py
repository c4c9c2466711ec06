"""`Watch`: everything a secret could be seen in while something of buildpush runs, and afterwards.

Logs of every logger at DEBUG, events, results, errors with all that led to them and the variables
of their frames, what programs were started with, stdout and stderr, and every file that is left.
"""

from __future__ import annotations

import logging
import os
import pickle
import re
import subprocess
import tempfile
import traceback
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any, Self, cast

import pytest
from attrs import asdict, define, field, frozen, has

from buildpush.errors import BuildpushError
from buildpush.events import Event
from buildpush.render.jsonl import to_json
from buildpush.testing import find_secrets

# What is left out are the frames of the libraries that write our headers to the wire, and the
# tests' own: they are the ones that know the secrets.
_NOT_OURS = re.compile(r"/(?:httpx|httpcore|h11|_pytest|pluggy)/|/tests/|/buildpush/testing/")


@frozen
class Sight:
    """Something that was seen, and where."""

    where: str
    what: str | bytes = field(repr=False)


@define(eq=False)
class Watch(logging.Handler):
    """Sees all of it. Use it in a ``with`` block, as the sink of events, and show it the rest.

    *now* says what is going on, for what it finds.
    """

    monkeypatch: pytest.MonkeyPatch
    folders: Sequence[Path]
    sights: list[Sight] = field(factory=list[Sight])
    errors: list[BaseException] = field(factory=list[BaseException])
    now: str = ""
    _lines: list[str] = field(factory=list[str])

    def __attrs_pre_init__(self) -> None:
        super().__init__(logging.DEBUG)

    __hash__ = logging.Handler.__hash__

    def __enter__(self) -> Self:
        root = logging.getLogger()
        self._level = root.level
        root.addHandler(self)
        root.setLevel(logging.DEBUG)
        watch = self

        class Popen(subprocess.Popen[bytes]):
            def __init__(self, argv: Sequence[str], **settings: Any) -> None:
                # What is in our own environment was put there by somebody else.
                given = dict(settings.get("env") or {}).items() - os.environ.items()
                watch.saw("program", f"{argv} {sorted(given)}")
                super().__init__(argv, **settings)

        self.monkeypatch.setattr(subprocess, "Popen", Popen)
        return self

    def __exit__(self, *_: object) -> None:
        root = logging.getLogger()
        root.removeHandler(self)
        root.setLevel(self._level)

    def emit(self, record: logging.LogRecord) -> None:
        """Remember what a logger says, in whatever form a handler could write it."""
        text = f"{record.name} {record.getMessage()} {record.args!r} {record.exc_text or ''}"
        self._lines.append(text)
        if record.exc_info and record.exc_info[1] is not None:
            self.failed(record.exc_info[1])

    def __call__(self, event: Event) -> None:
        """Remember an event."""
        self.saw("event", f"{event!r}\n{to_json(event)}")

    def saw(self, where: str, what: object) -> None:
        """Remember *what*, as it is when it is text, otherwise as people print and store it."""
        where = f"{self.now}: {where}" if self.now else where
        if isinstance(what, str | bytes):
            self.sights.append(Sight(where, what))
            return
        self.sights += [Sight(f"repr of {where}", repr(what)), Sight(f"str of {where}", str(what))]
        self.sights.append(Sight(f"pickle of {where}", pickle.dumps(what)))
        if has(type(what)):
            fields = asdict(cast("Any", what), recurse=False)
            self.sights.append(Sight(f"{where} as a dict", repr(fields)))

    def failed(self, error: BaseException) -> None:
        """Remember an error, all that led to it, and every variable on its way."""
        self.errors.append(error)
        for one in _all(error):
            name = type(one).__name__
            notes = getattr(one, "__notes__", ())
            self.saw(name, f"{one!s}\n{one!r}\n{one.args!r}\n{notes!r}\n{vars(one)!r}")
            if isinstance(one, BuildpushError):
                self.saw(f"report of {name}", one.report())
                self.saw(f"evidence of {name}", f"{one.evidence!r} {one.hint}")
                self.saw(f"pickle of {name}", pickle.dumps(one))
                self.saw(f"artifact of {name}", str(one.artifact))
            lines = traceback.TracebackException.from_exception(one).format()
            self.saw(f"traceback of {name}", "".join(lines))
            for frame, _ in traceback.walk_tb(one.__traceback__):
                self._frame(name, frame)

    def _frame(self, name: str, frame: FrameType) -> None:
        code = frame.f_code
        if _NOT_OURS.search(code.co_filename):
            return
        for variable, value in frame.f_locals.items():
            place = f"{Path(code.co_filename).name}:{frame.f_lineno} {code.co_qualname}"
            self.saw(f"{name}, variable {variable} in {place}", _shown(value))

    def found(self, needles: Sequence[str]) -> set[str]:
        """Where one of *needles* was seen, in whatever spelling; empty is what is wanted."""
        lines = "\n".join(dict.fromkeys(self._lines))
        # Most is seen many times; once is enough.
        first = {sight.what: sight for sight in reversed([*self.sights, Sight("log", lines)])}
        sights = list(first.values())
        # All at once is quick, and almost always all there is to do.
        hits = find_secrets(needles, b"\n".join(map(_bytes, first)))
        hits = hits and find_secrets(needles, *first)
        places = {sights[int(hit.where.split()[1].partition("!")[0])].where for hit in hits}
        for hit in find_secrets(needles, *(f for f in self.folders if f.exists())):
            places.add(f"file {hit.where}")
        return places


def _bytes(seen: str | bytes) -> bytes:
    return seen if isinstance(seen, bytes) else seen.encode("utf-8", "surrogateescape")


def _shown(value: object) -> str:
    # As a service that collects errors would: what has no repr is no reason to fail.
    try:
        return repr(value)
    except Exception as error:  # noqa: BLE001
        return f"{type(value)} {error!r}"


def _all(error: BaseException) -> Iterator[BaseException]:
    """*error*, its causes and contexts, and the errors it holds."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        one = pending.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        pending += [one.__cause__, one.__context__, *getattr(one, "exceptions", ())]
        pending += getattr(one, "failures", ())
        pending += [getattr(place, "error", None) for place in getattr(one, "destinations", ())]


@pytest.fixture
def watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Watch]:
    """Sees a whole test; its files are those of the cache, the home and the temporary folder."""
    temporary = tmp_path / "temporary"
    temporary.mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr("buildpush.runtime.CancelToken.sleep", lambda self, seconds: self.check())
    folders = (temporary, Path(os.environ["HOME"]), tmp_path / "registry")
    with warnings.catch_warnings(record=True) as heard, Watch(monkeypatch, folders) as seeing:
        warnings.simplefilter("always")
        yield seeing
        seeing.saw("warning", "\n".join(str(one.message) for one in heard))

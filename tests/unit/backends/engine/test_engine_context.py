"""What a context brings: nothing from outside of it, and no pipes where they would be read."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from buildpush.backends.engine.context import Context
from buildpush.dockerfile.ignore import IgnoreRules
from buildpush.errors import BuildError, SpecError

LARGE = 1 << 20


def _link(folder: Path, outside: Path) -> None:
    folder.rename(folder.with_name("moved"))
    folder.symlink_to(outside)


def _other(folder: Path, outside: Path) -> None:
    folder.rename(folder.with_name("moved"))
    outside.rename(folder)


def _file(folder: Path, _: Path) -> None:
    folder.rename(folder.with_name("moved"))
    folder.write_text("no folder")


@pytest.mark.parametrize("replace", [_link, _other, _file])
@pytest.mark.parametrize("deep", ["b", "b/c"])
def test_a_folder_that_was_replaced_is_not_followed(
    replace: Callable[[Path, Path], None], deep: str, tmp_path: Path
) -> None:
    """By a link to somewhere else, say, while a large file before it is on its way."""
    outside = tmp_path / "outside"
    (outside / "c").mkdir(parents=True)
    for folder in (outside, outside / "c"):
        (folder / "key").write_text("PRIVATE")
    context = tmp_path / "context"
    (context / "b" / "c").mkdir(parents=True)
    (context / "b" / "a").write_bytes(bytes(LARGE))
    (context / "a").write_bytes(bytes(LARGE))
    pieces = Context(folder=context, rules=IgnoreRules()).stream()
    sent = bytearray(next(pieces))
    if deep != "b":
        while b"b/a" not in sent:
            sent += next(pieces)

    replace(context / deep, outside)
    with pytest.raises(BuildError, match="was replaced"):
        sent.extend(byte for piece in pieces for byte in piece)

    assert b"PRIVATE" not in sent


def test_a_context_may_be_a_link_itself(tmp_path: Path) -> None:
    """What is in it may not lead anywhere else, but the user may say where it is as he likes."""
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "file").write_text("FOUND")
    (tmp_path / "link").symlink_to("real")

    context = Context(folder=tmp_path / "link", rules=IgnoreRules())

    assert b"FOUND" in b"".join(context.stream())


@pytest.mark.parametrize("ask", ["size", "stream"])
def test_a_pipe_is_refused_where_it_would_be_read(ask: str, tmp_path: Path) -> None:
    """Before anything is sent: kaniko opens it, and waits for ever."""
    os.mkfifo(tmp_path / "pipe")
    context = Context(folder=tmp_path, rules=IgnoreRules(), pipes=False)
    allowed = Context(folder=tmp_path, rules=IgnoreRules())

    with pytest.raises(SpecError, match="pipe is a pipe"):
        b"".join(context.stream()) if ask == "stream" else context.size()
    assert len(b"".join(allowed.stream())) == allowed.size()

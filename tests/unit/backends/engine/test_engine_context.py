"""A context that somebody changes while it is sent never brings what lies outside of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from buildpush.backends.engine.context import Context
from buildpush.dockerfile.ignore import IgnoreRules
from buildpush.errors import BuildError

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

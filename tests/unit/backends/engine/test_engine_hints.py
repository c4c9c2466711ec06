"""What a failed RUN suggests: the same words on every engine."""

from __future__ import annotations

import pytest

from buildpush.backends.engine.hints import after_run

ROOM = "empty the bin"
RUNC = "runc create failed: unable to start container process: exec: "


@pytest.mark.parametrize(
    ("code", "line", "words"),
    [
        (1, "something of its own", ""),
        (126, "", "executable"),
        (127, "sh: foo: not found", "not in the image"),
        (137, "", "enough memory"),
        (139, "", "crashed"),
        (1, "exec /foreign: Exec format error", "for linux/arm64: install QEMU"),
        (1, "cp: write error: No space left on device", "is full: empty the bin"),
        (1, f'{RUNC}"/x": stat /x: no such file or directory', "not in the image"),
        (0, f'{RUNC}"x": executable file not found in $PATH', "not in the image"),
    ],
)
def test_a_failed_run_has_a_next_move(code: int, line: str, words: str) -> None:
    """By what was written last, else by the exit code; often there is none."""
    hint = after_run(code, ["before", line], room=ROOM, platforms="linux/arm64")

    assert words in hint
    assert bool(hint) == bool(words)

"""A context's own folder, for engines that copy the mode of what they unpack into."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from buildpush.backends.engine.context import Context
from buildpush.dockerfile.ignore import IgnoreRules


def test_the_root_has_the_mode_that_buildkit_gives_it(tmp_path: Path) -> None:
    """Whatever the folder's own is; and its size is counted."""
    (tmp_path / "file").write_text("text")
    tmp_path.chmod(0o700)
    context = Context(folder=tmp_path, rules=IgnoreRules.parse(""), root=True)

    data = b"".join(context.stream())

    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = [(member.name, oct(member.mode)) for member in archive]
    assert found[0] == (".", "0o755")
    assert [name for name, _ in found] == [".", "file"]
    assert context.size() == len(data)

"""Files that nobody but this user may read: what the executor is told in confidence."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ....runtime.environment import make_private

__all__ = ["write_private"]


def write_private(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write *files*, whose names are relative, below *folder*: 0600, in folders of 0700."""
    make_private(folder)
    for name, data in files.items():
        path = folder / name
        make_private(path.parent)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)

"""Where the Dockerfile is, and its text."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ..errors import SpecError
from ..runtime import Environment

__all__ = ["dockerfile_path", "read_dockerfile"]

_LARGEST: Final = 16 << 20


def dockerfile_path(context: Path, dockerfile: Path, environment: Environment) -> Path:
    """Find the Dockerfile: in the build context, else from the current folder, as kaniko does."""
    folder = environment.cwd / context
    candidates = (folder / dockerfile, environment.cwd / dockerfile)
    try:
        if not folder.is_dir():
            raise SpecError(f"context: no such folder: {context}", hint="give the folder to build")
        for candidate in candidates:
            if candidate.is_file():
                return candidate
    except OSError as error:
        raise SpecError(f"cannot look at {error.filename}: {error.strerror}") from error
    raise SpecError(
        f"dockerfile: no such file: {dockerfile}",
        hint=f"looked for {' and '.join(dict.fromkeys(str(c) for c in candidates))}",
    )


def read_dockerfile(path: Path) -> bytes:
    """The text of the Dockerfile at *path*; raises `SpecError` where it cannot be read."""
    try:
        size = path.stat().st_size
        if size > _LARGEST:
            raise SpecError(
                f"dockerfile: {path} has {size} bytes, more than {_LARGEST}",
                hint="is it a Dockerfile? data is better kept in files and copied",
            )
        return path.read_bytes()
    except OSError as error:
        raise SpecError(f"dockerfile: cannot read {path}: {error.strerror}") from error

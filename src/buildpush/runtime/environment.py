"""The surroundings of this process, read once into a value."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen

from ..errors import PlanError


def _copy(mapping: Mapping[str, str]) -> Mapping[str, str]:
    return dict(mapping)


@frozen(kw_only=True)
class Environment:
    """Environment variables, ids and folders. Its repr shows no variable, since some are secret."""

    variables: Mapping[str, str] = field(repr=False, converter=_copy)
    uid: int
    gid: int
    home: Path
    cwd: Path
    cache: Path
    temporary: Path

    @classmethod
    def current(cls) -> Environment:
        """Read the environment of this process.

        *cache* is ``BUILDPUSH_CACHE``, else ``buildpush`` in the user's cache folder as
        platformdirs finds it. Raises `PlanError` when a folder is missing that every process has.
        """
        variables = dict(os.environ)
        return cls(
            variables=variables,
            uid=os.getuid(),
            gid=os.getgid(),
            home=_home(),
            cwd=_cwd(),
            cache=_cache(variables),
            temporary=_temporary(),
        )

    def which(self, program: str) -> Path | None:
        """The path of *program* in this environment's PATH, or None."""
        for folder in self.variables.get("PATH", os.defpath).split(os.pathsep):
            candidate = Path(folder or ".") / program
            if os.access(candidate, os.X_OK) and candidate.is_file():
                return candidate
        return None


def make_private(folder: Path) -> None:
    """Make *folder* and what is missing above it for this user alone, whatever the umask is."""
    for path in reversed((folder, *folder.parents)):
        path.mkdir(mode=0o700, exist_ok=True)


def _home() -> Path:
    try:
        return Path("~").expanduser()
    except RuntimeError as error:
        raise PlanError(f"user {os.getuid()} has no home folder", hint="set HOME") from error


def _cwd() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise PlanError(
            "the current folder does not exist any more", hint="go to one that does"
        ) from error


def _temporary() -> Path:
    try:
        return Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        raise PlanError(
            "no folder for temporary files can be written to", hint="set TMPDIR to one"
        ) from error


def _cache(variables: Mapping[str, str]) -> Path:
    chosen = variables.get("BUILDPUSH_CACHE")
    if chosen:
        return Path(chosen)
    import platformdirs  # lazily: most processes that import buildpush never build

    return Path(platformdirs.user_cache_dir("buildpush"))

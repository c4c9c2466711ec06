"""The surroundings of this process, read once into a value."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen


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
        platformdirs finds it.
        """
        variables = dict(os.environ)
        return cls(
            variables=variables,
            uid=os.getuid(),
            gid=os.getgid(),
            home=Path("~").expanduser(),
            cwd=Path.cwd(),
            cache=_cache(variables),
            temporary=Path(tempfile.gettempdir()),
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


def _cache(variables: Mapping[str, str]) -> Path:
    chosen = variables.get("BUILDPUSH_CACHE")
    if chosen:
        return Path(chosen)
    import platformdirs  # lazily: most processes that import buildpush never build

    return Path(platformdirs.user_cache_dir("buildpush"))

"""kaniko's feature flags: which ones make its result BuildKit's, and who knows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .flavors import Executor, Version

__all__ = ["SINCE", "chosen"]

_FOREVER: Final[Version] = (10_000, 0, 0)

_CLOSER: Final[Mapping[str, tuple[Version, Version]]] = {
    "COPY_AS_ROOT": ((1, 25, 2), _FOREVER),
    "RUN_MOUNT_CACHE": ((1, 25, 6), (1, 26, 0)),
    "RUN_MOUNT_SECRET": ((1, 26, 3), (1, 27, 0)),
    "COPY_CHMOD_ON_IMPLICIT_DIRS": ((1, 26, 6), _FOREVER),
    "NO_PROPAGATE_ANNOTATIONS": ((1, 27, 2), (1, 28, 0)),
    "VOLUME_SKIP_MKDIR": ((1, 27, 3), (1, 28, 0)),
    "PRESERVE_HARDLINKS": ((1, 27, 3), (1, 28, 0)),
    "BUILDKIT_ARG_ENV_PRECEDENCE": ((1, 27, 3), (1, 28, 0)),
    "RUN_MOUNT_BIND": ((1, 27, 3), (1, 28, 0)),
    "SKIP_WRITE_WHITEOUTS": ((1, 28, 0), _FOREVER),
    "UNTAR_SKIP_ROOT": ((1, 28, 0), _FOREVER),
    "RESOLVE_CACHE_KEY": ((1, 28, 0), _FOREVER),
    "RUN_HONOR_GROUP": ((1, 28, 1), _FOREVER),
    "EXPAND_HEREDOC": ((1, 28, 1), _FOREVER),
    "ROLLING_CACHE_KEY": ((1, 28, 1), _FOREVER),
    "HASH_DIR_FRAMING": ((1, 28, 1), _FOREVER),
    "CHOWN_ON_IMPLICIT_DIRS": ((1, 28, 2), _FOREVER),
}
"""What makes the image BuildKit's: since when osscontainertools' knows the flag, and since when
it is on by itself."""
_BASE_LAYERS: Final = "REPRODUCIBLE_PRESERVE_BASE_LAYERS"

SINCE: Final[Mapping[str, Version]] = {
    **{f"FF_KANIKO_{name}": since for name, (since, _) in _CLOSER.items()},
    f"FF_KANIKO_{_BASE_LAYERS}": (1, 27, 6),
}


def chosen(
    executor: Executor, given: Mapping[str, bool], *, reproducible: bool
) -> Mapping[str, str]:
    """The environment variables that set feature flags: ours where it knows them, then *given*."""
    ours = {
        f"FF_KANIKO_{name}": "true"
        for name, (since, default) in _CLOSER.items()
        if executor.has(since) and not executor.has(default)
    }
    if reproducible and executor.has(SINCE[f"FF_KANIKO_{_BASE_LAYERS}"]):
        ours[f"FF_KANIKO_{_BASE_LAYERS}"] = "true"
    return ours | {name: str(value).lower() for name, value in given.items()}

"""kaniko's feature flags: which ones make its result BuildKit's, and who knows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from .flavors import Executor, Version

__all__ = ["NEWEST", "SINCE", "chosen"]

_PREFIX: Final = "FF_KANIKO_"
NEWEST: Final[Version] = (1, 28, 3)
"""The newest version whose feature flags are listed here."""

_KNOWN: Final[Mapping[Version, tuple[str, ...]]] = {
    (1, 25, 2): ("COPY_AS_ROOT",),
    (1, 25, 4): ("SQUASH_STAGES",),
    (1, 25, 6): ("IGNORE_CACHED_MANIFEST", "RUN_MOUNT_CACHE", "NEW_CACHE_LAYOUT"),
    (1, 26, 0): ("OCI_STAGES",),
    (1, 26, 1): ("DISABLE_HTTP2",),
    (1, 26, 3): ("RUN_MOUNT_SECRET",),
    (1, 26, 4): ("RUN_VIA_TINI", "OCI_WARMER"),
    (1, 26, 5): ("CLEAN_KANIKO_DIR",),
    (1, 26, 6): ("COPY_CHMOD_ON_IMPLICIT_DIRS",),
    (1, 27, 2): ("NO_PROPAGATE_ANNOTATIONS",),
    (1, 27, 3): (
        "VOLUME_SKIP_MKDIR",
        "PRESERVE_HARDLINKS",
        "BUILDKIT_ARG_ENV_PRECEDENCE",
        "RUN_MOUNT_BIND",
        "OCI_SCRATCH_BASE",
        "INFER_CROSS_STAGE_CACHE_KEY",
    ),
    (1, 27, 4): ("CACHE_LOOKAHEAD",),
    (1, 27, 5): ("CACHE_PROBE_AFTER_MISS",),
    (1, 27, 6): (
        "REPRODUCIBLE_PRESERVE_BASE_LAYERS",
        "SCOPED_DOCKERIGNORE",
        "WARMER_CACHE_LOCK",
        "PRESERVE_MOUNTED_PATHS",
        "DEPRECATE_INTER_STAGE_RESTORE",
    ),
    (1, 28, 0): (
        "SECUREJOIN_EXTRACTION",
        "SKIP_WRITE_WHITEOUTS",
        "UNTAR_SKIP_ROOT",
        "RESOLVE_CACHE_KEY",
        "SKIP_RELABEL_RECOMPRESS",
    ),
    (1, 28, 1): (
        "RUN_HONOR_GROUP",
        "EXPAND_HEREDOC",
        "ROLLING_CACHE_KEY",
        "HASH_DIR_FRAMING",
        "PRECOMPILE_DOCKERIGNORE",
    ),
    (1, 28, 2): (
        "RELATIVE_LINK_TARGETS",
        "CHOWN_ON_IMPLICIT_DIRS",
        "SKIP_CACHED_STAGES",
        "SHARED_BASE_CACHE",
    ),
    (1, 28, 3): ("CROSS_REPO_MOUNT",),
}
SINCE: Final[Mapping[str, Version]] = {
    f"{_PREFIX}{name}": since for since, names in _KNOWN.items() for name in names
}
"""Since when osscontainertools' kaniko knows each flag; the others know none."""

_NEVER: Final[Version] = (10_000, 0, 0)
_CLOSER: Final[Mapping[str, Version]] = {
    "COPY_AS_ROOT": _NEVER,
    "RUN_MOUNT_CACHE": (1, 26, 0),
    "RUN_MOUNT_SECRET": (1, 27, 0),
    "COPY_CHMOD_ON_IMPLICIT_DIRS": _NEVER,
    "NO_PROPAGATE_ANNOTATIONS": (1, 28, 0),
    "VOLUME_SKIP_MKDIR": (1, 28, 0),
    "PRESERVE_HARDLINKS": (1, 28, 0),
    "BUILDKIT_ARG_ENV_PRECEDENCE": (1, 28, 0),
    "RUN_MOUNT_BIND": (1, 28, 0),
    "SKIP_WRITE_WHITEOUTS": (1, 29, 0),
    "UNTAR_SKIP_ROOT": (1, 29, 0),
    "RESOLVE_CACHE_KEY": (1, 29, 0),
    "RUN_HONOR_GROUP": (1, 29, 0),
    "EXPAND_HEREDOC": (1, 29, 0),
    "ROLLING_CACHE_KEY": (1, 29, 0),
    "HASH_DIR_FRAMING": (1, 29, 0),
    "CHOWN_ON_IMPLICIT_DIRS": _NEVER,
}
"""What makes the image BuildKit's, or a cache hit the right one, and since when it is so by
itself: from then on the executor advises against saying it."""
_BASE_LAYERS: Final = "REPRODUCIBLE_PRESERVE_BASE_LAYERS"


def chosen(
    executor: Executor, given: Mapping[str, bool], *, reproducible: bool
) -> Mapping[str, str]:
    """The environment variables that set feature flags: ours where it knows them, then *given*."""
    wanted = dict(_CLOSER)
    if reproducible:
        wanted[_BASE_LAYERS] = (1, 29, 0)
    ours = {
        f"{_PREFIX}{name}": "true"
        for name, default in wanted.items()
        if executor.has(SINCE[f"{_PREFIX}{name}"]) and not executor.has(default)
    }
    return ours | {name: str(value).lower() for name, value in given.items()}

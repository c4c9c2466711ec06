"""The executors that BUILDPUSH_TEST_KANIKO names, as backends: which flavor each one is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from buildpush.backends.kaniko import KanikoBackend
from buildpush.backends.kaniko.container import ContainerRunner

ARCHIVES: Final = tuple(
    Path(name) for name in os.environ.get("BUILDPUSH_TEST_KANIKO", "").split(":") if name
)
"""The archives, empty where nobody has brought one."""
_WORDS: Final = {"oss": "osscontainertools", "google": "google", "chainguard": "chainguard"}


def flavor_of(image: str) -> str:
    """Whose executor *image* holds, by a word in its name or tag: ``kaniko:google-1.24.0``."""
    return next((flavor for word, flavor in _WORDS.items() if word in image), "of nobody known")


def kaniko_backend(image: str, **settings: Any) -> KanikoBackend:
    """A backend that runs *image* in containers on this machine's network.

    Which flavor and version it is, the executor itself is asked.
    """
    runner = ContainerRunner(engine="docker", network="host")
    return KanikoBackend(image=image, runner=runner, **settings)

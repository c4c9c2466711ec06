"""The executors that BUILDPUSH_TEST_KANIKO names, as backends: which flavor each one is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final

from buildpush.backends.kaniko import Flavor, KanikoBackend
from buildpush.backends.kaniko.container import ContainerRunner

ARCHIVES: Final = tuple(
    Path(name) for name in os.environ.get("BUILDPUSH_TEST_KANIKO", "").split(":") if name
)
"""The archives, empty where nobody has brought one."""
_WORDS: Final = {
    "oss": Flavor.OSSCONTAINERTOOLS,
    "google": Flavor.GOOGLE,
    "chainguard": Flavor.CHAINGUARD,
}


def flavor_of(image: str) -> Flavor | None:
    """Whose executor *image* holds, by a word in its name or tag: ``kaniko:google-1.24.0``."""
    return next((flavor for word, flavor in _WORDS.items() if word in image), None)


def kaniko_backend(image: str, **settings: Any) -> KanikoBackend:
    """A backend that runs *image* in containers on this machine's network."""
    runner = ContainerRunner(engine="docker", network="host")
    return KanikoBackend(image=image, flavor=flavor_of(image), runner=runner, **settings)

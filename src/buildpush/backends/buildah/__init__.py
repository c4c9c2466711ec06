"""The buildah of this machine: builds without a daemon, as root or in a user's namespaces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from attrs import define, field

from ...auth import Keychain
from ...oci import Platform
from ...plan import Artifact, BuildRequest, Capabilities
from ...runtime import Environment, Run

if TYPE_CHECKING:
    from .probing import Buildah

__all__ = ["BuildahBackend"]


@define(eq=False, kw_only=True)
class BuildahBackend:
    """Builds with the installed buildah and the user's own image storage, which is the cache.

    *root* and *runroot* name another storage, *storage_driver* how it keeps layers (``overlay``,
    ``vfs``), *isolation* how RUN is isolated: ``oci``, ``rootless`` or ``chroot``. What is empty
    is buildah's own choice; of isolations, the best that works here.
    """

    root: Path | None = None
    runroot: Path | None = None
    storage_driver: str = ""
    isolation: str = ""
    _found: Buildah | None = field(default=None, init=False)

    def probe(self) -> Capabilities:
        """Say what the installed buildah does here; three short commands at once.

        Raises `BackendUnavailableError` when there is none, or it cannot work here.
        """
        from ...runtime.platforms import runnable
        from .probing import features_of

        found = self._look(Environment.current())
        features, notes = features_of(found.version, found.isolation)
        how = f"RUN is isolated by {found.isolation}"
        why = f" ({found.reason})" if found.reason else ""
        place = f"images are stored in {found.graph_root} by {found.driver}"
        return Capabilities(
            backend="buildah",
            version=found.number,
            features=features,
            platforms=runnable(Platform.host()),
            notes=notes,
            remarks=(f"{how}{why}", f"{place}{', rootless' if found.rootless else ''}"),
            slow_export="always",
        )

    def build(self, request: BuildRequest, keychain: Keychain, run: Run) -> Artifact:
        """Build *request*; push it, or export it as a layout for buildpush to push.

        Raises `BuildError` with the instruction's lines and its output, what buildah's registries
        and `adopt` raise, and `CredentialConflictError` before anything else happens.
        """
        from .building import Building

        found = self._found or self._look(run.environment)
        with Building(buildah=found, request=request, keychain=keychain, run=run) as building:
            return building.artifact()

    def _look(self, environment: Environment) -> Buildah:
        from .probing import find

        self._found = find(
            environment,
            root=self.root,
            runroot=self.runroot,
            driver=self.storage_driver,
            isolation=self.isolation,
        )
        return self._found

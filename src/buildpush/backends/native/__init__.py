"""The embedded backend: builds Dockerfiles in this process, without a daemon or a binary.

The sentence: graph → solve → layout. Everything heavy is imported when it is needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ..._version import __version__
from ...auth import Keychain
from ...oci import Platform
from ...plan import BuildRequest, Capabilities, Feature, LayoutArtifact
from ...runtime import Environment, Run

if TYPE_CHECKING:
    from .sandbox.rootfs import Sandbox

__all__ = ["NativeBackend"]

_ALWAYS: Final = frozenset(
    {
        Feature.MULTI_PLATFORM,
        Feature.FOREIGN_PLATFORM,
        Feature.TARGET,
        Feature.HEREDOCS,
        Feature.COPY_LINK,
        Feature.COPY_EXCLUDE,
        Feature.COPY_PARENTS,
        Feature.ADD_CHECKSUM,
        Feature.ADD_UNPACK,
        Feature.ADD_URL,
        Feature.BUILD_CONTEXTS,
        Feature.LAYOUT_CONTEXTS,
        Feature.ANNOTATIONS,
        Feature.NO_CACHE_FILTER,
        Feature.LOCAL_CACHE,
        Feature.COMPRESSION,
        Feature.REPRODUCIBLE,
        Feature.STRICTLY_REPRODUCIBLE,
        Feature.SOURCE_DATE_EPOCH,
        Feature.MIRRORS,
        Feature.CERTIFICATES,
        Feature.INSECURE_REGISTRIES,
        Feature.EXPORT_LAYOUT,
    }
)
_WITH_RUN: Final = frozenset(
    {
        Feature.RUN,
        Feature.RUN_MOUNTS,
        Feature.STAGE_MOUNTS,
        Feature.TMPFS_MOUNTS,
        Feature.SECRETS,
        Feature.SSH,
        Feature.ADD_HOSTS,
        Feature.SHM_SIZE,
        Feature.ULIMITS,
    }
)
_WITH_NAMESPACES: Final = frozenset(
    {Feature.RUN_NETWORK, Feature.NO_NETWORK, Feature.STEP_NETWORK}
)


class NativeBackend:
    """Builds in this process. RUN needs Linux and root, or user namespaces; COPY needs neither."""

    def probe(self) -> Capabilities:
        """Say what works here: a few milliseconds of trying to isolate a process."""
        from ...runtime.platforms import runnable
        from .sandbox.rootfs import Rung, Sandbox

        environment = Environment.current()
        sandbox = Sandbox.probe(environment)
        features = _ALWAYS
        notes: dict[Feature, str] = {}
        if sandbox.rung is Rung.NONE:
            notes = dict.fromkeys(_WITH_RUN | _WITH_NAMESPACES, sandbox.reason)
        else:
            features |= _WITH_RUN
            if sandbox.rung is Rung.CHROOT:
                notes = dict.fromkeys(_WITH_NAMESPACES, sandbox.reason)
            else:
                features |= _WITH_NAMESPACES
        if environment.which("git") is not None:
            features |= {Feature.ADD_GIT}
        else:
            notes[Feature.ADD_GIT] = "git is not installed"
        return Capabilities(
            backend="native",
            version=__version__,
            features=features,
            platforms=() if sandbox.rung is Rung.NONE else runnable(Platform.host()),
            notes=notes,
            remarks=() if sandbox.rung is Rung.NONE else (_isolation(sandbox),),
        )

    def build(self, request: BuildRequest, keychain: Keychain, run: Run) -> LayoutArtifact:
        """Build *request* into an OCI layout in the run's folder.

        Base layers that nobody had to read are not in it: the artifact's origins say where they
        are. Raises `DockerfileError` and `BuildError` with the instruction's lines, and what
        pulling raises.
        """
        from .solve import solve

        return solve(request, keychain, run)


def _isolation(sandbox: Sandbox) -> str:
    """How RUN is isolated here, and why no better."""
    how = f"RUN is executed in {sandbox.rung.value}"
    copying = "" if sandbox.overlay else "; layers are copied, since they cannot be stacked"
    why = f" ({sandbox.reason})" if sandbox.reason else ""
    return f"{how}{copying}{why}"

"""The docker backend: a daemon builds, keeps the image, and pushes it when that is left to it.

The sentence: examine → pull what needs an account of its own → build → push, or save.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...auth import Keychain
from ...errors import BackendUnavailableError
from ...plan import Artifact, BuildRequest, Capabilities
from ...runtime import Environment, Run

if TYPE_CHECKING:
    from .ways import Setup

__all__ = ["DockerBackend"]


class DockerBackend:
    """Builds through a docker daemon: with BuildKit where a client for it is there, else without.

    *context* is the name of a docker context, *host* an address (``unix://…``, ``tcp://…``);
    without either it is the daemon that the ``docker`` command would speak to. The image stays
    in the daemon under the step's references, as after ``docker build -t``.
    """

    def __init__(self, *, context: str = "", host: str = "") -> None:
        self._context = context
        self._host = host
        self._setup: Setup | None = None

    def probe(self) -> Capabilities:
        """Ask the daemon what it is, and look for the programs that speak to its BuildKit.

        Raises `BackendUnavailableError` when no daemon answers, with every place looked at.
        """
        from .features import features, platforms, remarks
        from .ways import examine

        setup = examine(Environment.current(), context=self._context, host=self._host)
        self._setup = setup
        found, lacking = features(setup)
        return Capabilities(
            backend="docker",
            version=setup.version.version,
            features=found,
            platforms=platforms(setup),
            needs_daemon=True,
            notes=lacking,
            remarks=remarks(setup),
            # The classic store saves quickly, but all layers, those of the base image too.
            slow_export="always" if setup.info.containerd_store else "with a base",
        )

    def build(self, request: BuildRequest, keychain: Keychain, run: Run) -> Artifact:
        """Build *request* in the daemon, and push it from there or hand over a layout.

        Raises `BuildError` with the instruction's lines; `CredentialConflictError`, before
        anything is done, when the daemon cannot push as the right account; what pulling and
        pushing raise; `BackendUnavailableError` when the daemon goes away.
        """
        from .building import build
        from .ways import examine

        setup = self._setup
        if setup is None:
            setup = examine(run.environment, context=self._context, host=self._host)
        try:
            return build(setup, request, keychain, run)
        except BackendUnavailableError:
            self._setup = None
            raise

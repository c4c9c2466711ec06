"""Builds with ``docker buildx``: whichever builder is there, or one of its own for the run."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from attrs import define, evolve, field

from ...auth import Keychain
from ...errors import PermissionDeniedError
from ...events import Warned
from ...oci import Platform
from ...plan import (
    Artifact,
    BuildRequest,
    Capabilities,
    Delivery,
    LayoutArtifact,
    PushedArtifact,
)
from ...runtime import Environment, Run
from .builders import Builder, Driver

if TYPE_CHECKING:
    from .session import Session
    from .situation import Situation

__all__ = ["Builder", "BuildxBackend", "Driver"]


@define(eq=False, kw_only=True)
class BuildxBackend:
    """Builds with BuildKit through the buildx plugin; the docker command is not needed.

    *builder* names a builder; without it BUILDX_BUILDER does, else the one that ``docker buildx
    use`` chose, else the BuildKit of the docker engine that *context* or *host* means (as for the
    docker command). *create* makes a builder for each run instead, and removes it at its end.

    The user's own files in ``~/.docker`` are read and never written.
    """

    builder: str = ""
    context: str = ""
    host: str = ""
    create: Builder | None = None
    _found: Situation | None = field(default=None, init=False, repr=False)

    def probe(self) -> Capabilities:
        """Say what this installation can do, in well under a second.

        Raises `BackendUnavailableError` when buildx is not installed, there is no such builder,
        or no engine answers, with what to do.
        """
        from .capabilities import capabilities

        self._found = self._examine(Environment.current())
        return capabilities(self._found)

    def build(self, request: BuildRequest, keychain: Keychain, run: Run) -> Artifact:
        """Build *request* and export it, or push it where its delivery is direct.

        Raises `CredentialConflictError` before anything else when a direct delivery needs two
        credentials for one host; else `BuildError` with the Dockerfile's lines and what the
        failing step printed, and what pulling and pushing raise.
        """
        from ..buildkit.failures import PUSHING

        if request.delivery is Delivery.DIRECT:
            try:
                return self._push(request, keychain, run)
            except PermissionDeniedError as error:
                # BuildKit wants to mount layers from wherever it has met them, also where the
                # account may not look; some registries then refuse the push, and not the mount.
                if not error.message.startswith(PUSHING):
                    raise
                run.warn(f"{error.message}: buildpush pushes instead of BuildKit")
        return self._export(evolve(request, delivery=Delivery.LAYOUT), keychain, run)

    def _push(self, request: BuildRequest, keychain: Keychain, run: Run) -> PushedArtifact:
        from ..buildkit.argv import Destination
        from ..buildkit.wire import read_metadata

        with self._session(request, keychain, run) as session:
            session.run_build(Destination(push=True))
            return PushedArtifact(digest=read_metadata(session.metadata))

    def _export(self, request: BuildRequest, keychain: Keychain, run: Run) -> LayoutArtifact:
        from ..buildkit.argv import Destination
        from ..engine.exported import adopt
        from ..engine.sparing import sparing

        layout = run.workdir / "export"
        with self._session(request, keychain, run) as session:
            with sparing(layout, request, keychain, run) as bases:
                session.run_build(Destination(layout=layout))
            session.send_caches(keychain)
        return adopt(layout, request, keychain, run, bases=bases)

    def check(
        self, request: BuildRequest, run: Run, keychain: Keychain | None = None
    ) -> tuple[Warned, ...]:
        """Lint the Dockerfile as BuildKit does, and build nothing; the findings, also as events.

        Base images are looked at (for their ONBUILD triggers), with *keychain* or else what this
        machine's user is logged in with. Raises `UnsupportedFeatureError` when buildx is too old
        to know how, and `DockerfileError` when the Dockerfile cannot be read to its end.
        """
        from ...auth.files import ambient
        from .lint import findings

        known = keychain or ambient(run.environment, run.warn)
        plain = evolve(
            request,
            delivery=Delivery.LAYOUT,
            platforms=request.platforms[:1],
            annotations={},
            cache_from=(),
            cache_to=(),
            provenance=None,
            sbom=False,
            local_outputs=(),
        )
        with self._session(plain, known, run) as session:
            found = findings(session.check(), request.dockerfile)
        warnings = tuple(Warned(at=run.now, message=message) for message in found)
        for warning in warnings:
            run.emit(warning)
        return warnings

    # -- what both have in common -------------------------------------------------------------

    def _examine(self, environment: Environment) -> Situation:
        from .probing import examine
        from .situation import Choice

        choice = Choice(
            builder=self.builder, context=self.context, host=self.host, create=self.create
        )
        return examine(choice, environment)

    @contextmanager
    def _session(self, request: BuildRequest, keychain: Keychain, run: Run) -> Generator[Session]:
        """A buildx with the credentials of *request*, and the builder to use."""
        from ..engine.conflicts import settle
        from ..engine.folder import client_folder
        from ..engine.provenance import refuse_to_publish
        from .builders import Toolbox, created
        from .session import Session

        refuse_to_publish(request, run.environment)
        found = self._found or self._examine(run.environment)
        own = found.platforms[0] if found.platforms else Platform.host()
        settled = settle(request, keychain, run, own)
        with ExitStack() as stack:
            folder = stack.enter_context(
                client_folder(run, config=settled.config, endpoint=found.endpoint)
            )
            tools = Toolbox(
                plugin=found.plugin,
                version=found.numbers,
                variables=folder.variables,
                endpoint=found.endpoint,
            )
            name = found.builder
            if not name and self.create is not None:
                name = stack.enter_context(created(self.create, tools, run))
            yield Session(
                request=request,
                settled=settled,
                found=found,
                builder=name,
                variables=folder.variables,
                run=run,
            )

"""BuildKit inside the daemon, by a client on this side: the buildx plugin, or the docker CLI's own."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

from attrs import evolve, field, frozen

from ...auth import Keychain
from ...auth.files import docker_config
from ...oci import Digest
from ...plan import BuildRequest, LayoutArtifact
from ...runtime import Run
from ..buildkit.argv import Destination, argv, csv_record, environment
from ..buildkit.failures import build_error, cache_error
from ..buildkit.plain import PlainProgress
from ..buildkit.rawjson import RawJson
from ..buildkit.wire import read_metadata
from ..engine.command import converse
from ..engine.exported import adopt
from ..engine.folder import ClientFolder, client_folder
from ..engine.provenance import refuse_to_publish
from ..engine.sparing import sparing
from .accounts import Accounts
from .ways import Setup, Way

__all__ = ["BuildKitClient"]

_OF_OUTPUT: Final = ("--output=", "--metadata-file=", "--iidfile=")


@frozen(kw_only=True)
class BuildKitClient:
    """Builds *accounts*' request on the daemon of *setup*."""

    setup: Setup
    accounts: Accounts
    keychain: Keychain = field(repr=False)
    run: Run

    @property
    def must_export(self) -> bool:
        """Whether the layers are to be such as the daemon would not make them for its own store."""
        request = self.accounts.request
        as_usual = request.compression == "gzip" and request.compression_level is None
        as_usual &= not request.reproducible and request.source_date_epoch is None
        return self.setup.info.containerd_store and self.setup.way is Way.PLUGIN and not as_usual

    def load(self) -> str:
        """Build into the daemon's store, under the request's references; the image's id.

        Raises `BuildError` with evidence, and whatever else a failed build turns out to be.
        """
        request = self.accounts.request
        with self._folder() as folder:
            self._build(evolve(request, local_outputs=()), Destination(load=True), folder)
            for output in request.local_outputs:
                self._write_files(request, output, folder)
            return str(self._digest(folder))

    def export(self) -> LayoutArtifact:
        """Build into an OCI layout, then, out of the cache, into the daemon's store.

        Not both at once: buildx then names the one's manifest in the other's index.
        Raises what `load` raises.
        """
        request = self.accounts.request
        layout = self.run.workdir / "docker-layout"
        with self._folder() as folder:
            with sparing(layout, request, self.keychain, self.run) as bases:
                self._build(request, Destination(layout=layout), folder)
            if request.references:
                self._build(_cached(request), Destination(load=True), folder)
            return adopt(layout, request, self.keychain, self.run, bases=bases)

    # -- one command -------------------------------------------------------------------------

    def _folder(self) -> AbstractContextManager[ClientFolder]:
        refuse_to_publish(self.accounts.request, self.run.environment)
        config = docker_config(self.keychain, self.accounts.wants)
        return client_folder(self.run, config=config, endpoint=self.setup.endpoint)

    def _build(
        self,
        request: BuildRequest,
        destination: Destination,
        folder: ClientFolder,
        extra: tuple[str, ...] = (),
        *,
        alone: bool = False,
    ) -> None:
        """Run the client to its end; raise what its failure means.

        *extra* are more arguments; *alone* when they say all about the output.
        """
        assert self.setup.program is not None
        client = self.setup.buildkit_client
        variables = self._variables(request, folder)
        words = argv(
            request,
            destination,
            metadata=_metadata(folder),
            builder="default" if client.buildx else "",
            client=client,
            variables=folder.variables,
        )
        kept = [w for w in words[:-1] if not (alone and w.startswith(_OF_OUTPUT))]
        command = (str(self.setup.program), *kept, *extra, words[-1])
        translator = RawJson() if client.raw_json else PlainProgress()
        completed = converse(command, translator, run=self.run, env=variables, cwd=request.context)
        if completed.exit_code:
            raise build_error(request, translator, completed, redact=self.run.redact)
        fault = cache_error(request, translator.cache_faults, redact=self.run.redact)
        if fault is not None:
            raise fault

    def _variables(self, request: BuildRequest, folder: ClientFolder) -> Mapping[str, str]:
        variables = dict(environment(request, folder.variables))
        if self.setup.way is Way.CLI:
            variables["DOCKER_BUILDKIT"] = "1"
            variables.pop("BUILDX_BUILDER", None)
        return variables

    def _write_files(self, request: BuildRequest, output: Path, folder: ClientFolder) -> None:
        """Build again, out of the cache, for the image's plain files: one output is all it has."""
        again = evolve(_cached(request), references=())
        files = csv_record({"type": "local", "dest": str(output)})
        self._build(again, Destination(load=True), folder, (f"--output={files}",), alone=True)

    def _digest(self, folder: ClientFolder) -> Digest:
        """What the client says it has built: an image's id, which is what the daemon calls it."""
        path = _metadata(folder)
        if self.setup.way is Way.CLI:
            return Digest(path.read_text().strip())
        return read_metadata(path)


def _metadata(folder: ClientFolder) -> Path:
    return folder.path / "metadata"


def _cached(request: BuildRequest) -> BuildRequest:
    """*request*, once more, for what has just been built."""
    again = evolve(request, local_outputs=(), no_cache=False, no_cache_filter=())
    return evolve(again, pull=False, cache_from=(), cache_to=())

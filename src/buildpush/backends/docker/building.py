"""One build by a daemon, from the first pull to the last push, and what is tidied after it."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Final

from attrs import evolve, field, frozen

from ...auth import Keychain
from ...auth.files import docker_config
from ...errors import (
    AuthError,
    BackendUnavailableError,
    BuildError,
    DigestMismatchError,
    PermissionDeniedError,
    RegistryError,
)
from ...oci import Digest, ImageReference
from ...plan import Artifact, BuildRequest, Delivery, LayoutArtifact, PushedArtifact
from ...runtime import CancelToken, Run
from ..engine.api import EngineApi
from ..engine.exported import adopt
from ..registries import open_registry
from .accounts import Accounts, base_images, refuse_mounts, settle
from .classic import build as build_classic
from .classic import check
from .client import BuildKitClient
from .images import Pull, pull, push, remove, save, tag
from .ways import Setup, Way

__all__ = ["build"]

_TIDYING: Final = 5.0


def build(setup: Setup, request: BuildRequest, keychain: Keychain, run: Run) -> Artifact:
    """Carry out *request* on the daemon of *setup*. Raises what `DockerBackend.build` says."""
    if setup.way is Way.CLASSIC:
        check(request)
    if request.delivery is Delivery.DIRECT and setup.info.containerd_store:
        refuse_mounts(request, base_images(request, setup.platform), keychain)
    accounts = settle(request, keychain, setup.platform)
    docker_config(keychain, accounts.wants)  # a conflict is found before anything is done
    with EngineApi(setup.endpoint, cancel=run.cancel, environment=run.environment) as api:
        work = _Work(setup=setup, api=api, accounts=accounts, keychain=keychain, run=run)
        return work.deliver()


@frozen(kw_only=True)
class _Work:
    setup: Setup
    api: EngineApi
    accounts: Accounts
    keychain: Keychain = field(repr=False)
    run: Run

    @property
    def request(self) -> BuildRequest:
        return self.accounts.request

    def deliver(self) -> Artifact:
        """Build, then push or export; an image without a name does not stay."""
        request = self.request
        for wanted in self.accounts.first:
            pull(self.api, wanted, self.keychain, self.run, retries=request.retries)
        client = self._client()
        if client is not None and client.must_export:
            return client.export()
        image = self._build(client)
        with self._nameless_removed(image):
            if request.delivery is Delivery.LAYOUT:
                return self._export(image)
            try:
                return PushedArtifact(digest=self._push())
            except PermissionDeniedError as error:
                # containerd gives up where a registry forbids it to mount a layer from
                # elsewhere; buildpush sends the layer then.
                if not self.setup.info.containerd_store:
                    raise
                self.run.warn(f"{error.message}: buildpush pushes instead of the daemon")
                return self._export(image)

    def _build(self, client: BuildKitClient | None) -> str:
        request = self.request
        if client is not None:
            return client.load()
        self._pull_caches()
        image = build_classic(self.api, request, self.accounts.wants, self.keychain, self.run)
        for reference in request.references:
            tag(self.api, image, reference)
        return image

    def _pull_caches(self) -> None:
        """Fetch the images whose layers may be used again: the classic builder never does."""
        for cache in self.request.cache_from:
            wanted = Pull(reference=ImageReference.parse(cache.attributes["ref"]))
            try:
                pull(self.api, wanted, self.keychain, self.run, retries=0)
            except (RegistryError, AuthError) as error:
                if cache.required:
                    raise
                self.run.warn(f"cache_from: {error.message}")

    def _client(self) -> BuildKitClient | None:
        if self.setup.way is Way.CLASSIC:
            return None
        return BuildKitClient(
            setup=self.setup, accounts=self.accounts, keychain=self.keychain, run=self.run
        )

    def _push(self) -> Digest:
        """Push every tag; the digest that they all have."""
        request = self.request
        digests = {
            push(
                self.api,
                reference,
                self.keychain,
                self.run,
                retries=request.retries,
                check=partial(self._see_who_may_push, reference),
            ): reference
            for reference in request.references
        }
        if len(digests) != 1:
            found = ", ".join(f"{reference} is {digest}" for digest, reference in digests.items())
            raise DigestMismatchError(
                f"the daemon pushed one image as several: {found}",
                hint="did somebody tag another image meanwhile?",
            )
        return next(iter(digests))

    def _see_who_may_push(self, reference: ImageReference) -> None:
        """Raise `AuthError` where the registry lets nobody in with this credential."""
        with (
            suppress(RegistryError),
            open_registry(evolve(self.request, retries=0), self.keychain, self.run) as client,
        ):
            client.has_blob(reference.repository, Digest.of(b""))

    def _export(self, image: str) -> LayoutArtifact:
        """Save the image, and make an artifact of it."""
        names = [str(reference) for reference in self.request.references[:1]] or [image]
        archive = self.run.workdir / "docker-image.tar"
        save(self.api, names, archive, self.run)
        return adopt(archive, self.request, self.keychain, self.run)

    @contextmanager
    def _nameless_removed(self, image: str) -> Generator[None]:
        """See to it that an image without references, of which nobody would know, goes again."""
        try:
            yield
        finally:
            if not self.request.references:
                with (
                    suppress(BackendUnavailableError, BuildError),
                    EngineApi(
                        self.setup.endpoint,
                        cancel=CancelToken(),
                        timeout=_TIDYING,
                        environment=self.run.environment,
                    ) as api,
                ):
                    remove(api, image)

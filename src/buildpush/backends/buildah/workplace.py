"""The files of one run: what buildah is told of, and the environment of its commands."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Final

from attrs import frozen

from ...auth import Keychain
from ...oci import ImageReference, Repository
from ...plan import BuildRequest
from ...plan.values import Cache
from ...runtime import Run
from ...runtime.environment import make_private
from .argv import Surroundings
from .leftovers import SCRATCH
from .platforms import spelled_out
from .probing import Buildah
from .refusals import writes_into_context
from .registries import (
    POLICY,
    auth_json,
    has_policy,
    registries_conf,
    sources,
    user_registries,
)

__all__ = ["Workplace"]

_LONGEST: Final = 64

# Those that say where credentials are, or change what buildah does unasked.
_DROPPED: Final = (
    "REGISTRY_AUTH_FILE",
    "DOCKER_AUTH_CONFIG",
    "DOCKER_CONFIG",
    "BUILDAH_FORMAT",
    "BUILDAH_LAYERS",
    "BUILDAH_ISOLATION",
    "BUILDAH_RUNTIME",
    "SOURCE_DATE_EPOCH",
)


@frozen(kw_only=True, eq=False)
class Workplace:
    """A private folder of the run, with everything that buildah's commands need to be told."""

    buildah: Buildah
    request: BuildRequest
    keychain: Keychain
    run: Run

    @property
    def scratch(self) -> Path:
        """The folder for buildah's temporary files, among them the sockets of SSH agents."""
        usual = self.folder / SCRATCH
        # A socket's path has at most 107 bytes, and buildah adds about 40.
        if self.request.ssh and len(str(usual)) > _LONGEST:
            name = hashlib.sha256(str(self.run.workdir).encode()).hexdigest()[:12]
            return Path("/tmp") / f"buildpush-{name}" / SCRATCH  # noqa: S108
        return usual

    @property
    def folder(self) -> Path:
        """Where the files are."""
        return self.run.workdir / "buildah"

    def make(self) -> None:
        """Make the folder, with the one for buildah's temporary files.

        Raises `FileExistsError` where somebody else has made that one before.
        """
        make_private(self.folder)
        if not self.scratch.is_relative_to(self.folder):
            self.scratch.parent.mkdir(mode=0o700)  # everybody may make folders beside it
        make_private(self.scratch)

    def clear(self) -> None:
        """Remove what is not in the run's own folder, which goes with the run."""
        if not self.scratch.is_relative_to(self.folder):
            shutil.rmtree(self.scratch.parent, ignore_errors=True)

    @property
    def mark(self) -> Path:
        """The file whose path tells this run's working containers from others."""
        return self.folder / "mark"

    def variables(self) -> dict[str, str]:
        """The environment of every command."""
        kept = {k: v for k, v in self.run.environment.variables.items() if k not in _DROPPED}
        return kept | {
            "TMPDIR": str(self.scratch),
            "CONTAINERS_REGISTRIES_CONF": str(self.folder / "registries.conf"),
        }

    @property
    def policy(self) -> Path | None:
        """A signature policy of our own, where the machine has none."""
        return None if has_policy(self.run.environment) else self.folder / "policy.json"

    def authfile(self, reference: ImageReference) -> Path:
        """The auth.json to push *reference* with."""
        path = self.folder / "push.json"
        self._write(path, auth_json(self.keychain, (), (reference.repository,)))
        return path

    def surroundings(self) -> Surroundings:
        """Write the files that a build is told of.

        Raises `CredentialConflictError`, and what the keychain raises.
        """
        request, run = self.request, self.run
        pulls = sources(request)
        read, written = _caches(request.cache_from), _caches(request.cache_to)
        auth = auth_json(self.keychain, (*pulls, *read), written)
        self._write(self.folder / "pull.json", auth)
        hosts = {repository.host for repository in (*pulls, *read, *written)}
        hosts |= {reference.repository.host for reference in request.references}
        hosts |= {m.partition("/")[0] for several in request.mirrors.values() for m in several}
        user = user_registries(run.environment)
        self._write(self.folder / "registries.conf", registries_conf(request, hosts, user))
        self._write(self.folder / "policy.json", POLICY)
        self._write(self.mark, "")
        return Surroundings(
            authfile=self.folder / "pull.json",
            mark=self.mark,
            dockerfile=self._dockerfile(),
            context=self._context(),
            policy=self.policy,
            ignorefile=_ignorefile(request),
        )

    def _write(self, path: Path, text: str) -> None:
        path.touch(mode=0o600)
        path.write_text(text)

    def _dockerfile(self) -> Path:
        path = self.request.dockerfile_path
        text = spelled_out(self.request)
        if text is not None:
            copy = self.folder / "Dockerfile"
            copy.write_text(text, encoding="utf-8", newline="")
            return copy
        if path.suffix != ".in":
            return path
        # Buildah would send a file of that name through the C preprocessor.
        copy = self.folder / "Dockerfile"
        copy.write_bytes(path.read_bytes())
        return copy

    def _context(self) -> Path:
        if not writes_into_context(self.request):
            return self.request.context
        # Buildah mounts the context itself, so that RUN would write into the user's folder.
        copy = self.folder / "context"
        shutil.copytree(self.request.context, copy, symlinks=True)
        return copy


def _caches(caches: tuple[Cache, ...]) -> tuple[Repository, ...]:
    return tuple(ImageReference.parse(cache.attributes["ref"]).repository for cache in caches)


def _ignorefile(request: BuildRequest) -> Path | None:
    """The file with the rules for this Dockerfile, by docker's order; None for buildah's own."""
    own = request.dockerfile_path.with_name(f"{request.dockerfile_path.name}.dockerignore")
    usual = request.context / ".dockerignore"
    return next((path for path in (own, usual) if path.is_file()), None)

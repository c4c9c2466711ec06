"""Base layers that no engine needs to export: where the registry has them, and marks for them.

An engine does not write a blob into an OCI layout that is there already, and only looks whether
a file has its name. So an empty file, a mark, keeps a base layer from being copied: the push
will mount it, or finds it at its destination.
"""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from attrs import define, evolve, frozen

from ...auth import Keychain
from ...dockerfile.stages import resolve
from ...errors import AuthError, BuildpushError, RegistryError, SpecError
from ...events import ignore
from ...oci import Digest, ImageReference, Platform, Repository
from ...oci.wire import Descriptor, MediaType
from ...plan import BuildRequest
from ...runtime import CancelToken, Run
from ..registries import open_registry
from .remembering import Memory

if TYPE_CHECKING:
    from ...registry import RegistryClient

__all__ = ["Base", "Bases", "Marks", "look_up", "sparing"]

_HEAD_START: Final = 1.0
"""Seconds that the registry has to answer before the engine begins: a build whose steps are all
cached exports at once, and one base layer costs more than this."""
_PATIENCE: Final = 5.0
"""Seconds to wait for a registry that answers slower than the engine builds."""

Marks = Literal["digest", "diff_id"]
"""By what an engine calls a base layer that it exports: its blob's digest, or its tar's."""


@frozen(kw_only=True)
class Base:
    """A base image: its layers as *repository* has them, and the digests of their tars.

    Blobs in *spared* never have to be sent from here: the push mounts or finds them.
    """

    repository: Repository
    layers: tuple[Descriptor, ...]
    diff_ids: tuple[Digest, ...]
    spared: frozenset[Digest] = frozenset()


@define(eq=False)
class Bases:
    """The base images of a request, as far as registries have told by now."""

    found: tuple[Base, ...] = ()

    def by_digest(self, digest: Digest) -> Repository | None:
        """The repository that holds the base layer with this blob."""
        layers = ((base, layer) for base in self.found for layer in base.layers)
        return next((base.repository for base, layer in layers if layer.digest == digest), None)

    def by_diff_id(self, diff_id: Digest) -> tuple[Descriptor, Repository] | None:
        """The base layer with this tar, as its registry has it."""
        for base in self.found:
            for layer, of_tar in zip(base.layers, base.diff_ids, strict=True):
                if of_tar == diff_id:
                    return layer, base.repository
        return None

    def spares(self, digest: Digest) -> bool:
        """Whether the blob never has to be sent from here."""
        return any(digest in base.spared for base in self.found)


@contextmanager
def sparing(
    folder: Path, request: BuildRequest, keychain: Keychain, run: Run, *, marks: Marks = "digest"
) -> Generator[Bases]:
    """While the block runs an engine, mark base layers in the layout *folder* it will write.

    Registries are asked in a thread of its own, which gets a head start; what they do not tell
    is exported as ever. Hand the result to `adopt`, which removes the marks.
    """
    bases = Bases()
    own = CancelToken()
    undo = run.cancel.on_cancel(own.cancel)

    def ask() -> None:
        with suppress(BuildpushError, OSError):  # cancelled, or the folder has gone
            bases.found = look_up(request, keychain, _quiet(run, own))
            _mark(folder, bases.found, marks)

    thread = threading.Thread(target=ask, name="buildpush-bases", daemon=True)
    thread.start()
    try:
        thread.join(_HEAD_START)
        yield bases
        thread.join(_PATIENCE)
    finally:
        own.cancel()
        thread.join()
        undo()


def _quiet(run: Run, cancel: CancelToken) -> Run:
    """A run for questions that nobody has to hear of."""
    return Run(
        workdir=run.workdir,
        cancel=cancel,
        sink=ignore,
        redact=run.redact,
        environment=run.environment,
    )


def _mark(folder: Path, bases: Iterable[Base], marks: Marks) -> None:
    blobs = folder / "blobs"
    for base in bases:
        for layer, diff_id in zip(base.layers, base.diff_ids, strict=True):
            name = layer.digest if marks == "digest" else diff_id
            if layer.digest in base.spared:
                place = blobs / name.algorithm
                place.mkdir(mode=0o755, parents=True, exist_ok=True)
                with suppress(FileExistsError):
                    (place / name.hex).touch(mode=0o644, exist_ok=False)


def look_up(request: BuildRequest, keychain: Keychain, run: Run) -> tuple[Base, ...]:
    """Ask the registries for the images that the request's final stages are based on.

    An image that cannot be had (its registry is gone, a frontend of its own reads the Dockerfile)
    is left out: the engine had it from somewhere, and will export it.
    """
    wanted = _base_images(request)
    found: list[Base] = []
    if wanted:
        with open_registry(evolve(request, retries=0), keychain, run) as client:
            for reference, platform in wanted:
                with suppress(RegistryError, AuthError, OSError):  # a cache that is read-only, too
                    base = _read(Memory.of(run.environment), client, reference, platform)
                    found.append(evolve(base, spared=_spared(client, base, request.references)))
    return tuple(found)


def _base_images(request: BuildRequest) -> tuple[tuple[ImageReference, Platform], ...]:
    """What the final stage is FROM, through other stages, for each platform."""
    found: dict[tuple[ImageReference, Platform], None] = {}
    contexts = {name.lower(): text for name, text in request.build_contexts.items()}
    for platform in request.platforms or (Platform.host(),):
        try:
            resolution = resolve(
                request.dockerfile,
                target=request.target,
                build_args=request.build_args,
                platform=platform,
                contexts=request.build_contexts,
            )
            stage = resolution.stages[resolution.target]
            while stage.base.stage is not None:
                stage = resolution.stages[stage.base.stage]
            reference = stage.base.reference
            scheme, _, name = contexts.get(stage.base.name.lower(), "").partition("://")
            if stage.base.context and scheme == "docker-image":
                reference = ImageReference.parse(name)
        except SpecError:
            continue
        if reference is not None:
            found[reference, stage.platform] = None
    return tuple(found)


def _read(
    memory: Memory, client: RegistryClient, reference: ImageReference, platform: Platform
) -> Base:
    manifest, config = memory.image(client, reference, platform)
    if len(config.diff_ids) != len(manifest.layers):
        raise RegistryError(f"the config of {reference} does not name the layers it has")
    return Base(repository=reference.repository, layers=manifest.layers, diff_ids=config.diff_ids)


def _spared(
    client: RegistryClient, base: Base, references: Sequence[ImageReference]
) -> frozenset[Digest]:
    """Which layers the push will not have to send: all, or those that are there, or none.

    Within a host they are mounted. To another host they would have to be sent, which is better
    done from this machine than through it.
    """
    if not references:
        return frozenset()
    elsewhere = {r.repository for r in references} - {
        r.repository for r in references if r.repository.host == base.repository.host
    }
    layers = {x.digest for x in base.layers if not MediaType.is_foreign(x.media_type) and x.size}
    return frozenset(d for d in layers if _are_there(client, elsewhere, d))


def _are_there(client: RegistryClient, places: Iterable[Repository], digest: Digest) -> bool:
    try:
        return all(client.has_blob(place, digest, access="pull") for place in places)
    except (RegistryError, AuthError):
        return False

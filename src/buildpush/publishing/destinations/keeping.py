"""An image whose push failed is kept: pushing it later needs no second build."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from pydantic import BaseModel, ConfigDict, ValidationError

from ...errors import (
    BuildpushError,
    InvalidReferenceError,
    PartialPushError,
    SpecError,
    StepCancelledError,
)
from ...oci import Digest, ImageReference, Repository
from ...oci.layout import Layout
from ...oci.wire import Descriptor, Manifest
from ...plan import Destination, LayoutArtifact
from ...runtime import Run
from ...runtime.environment import make_private

__all__ = ["keep", "kept", "kept_on_failure"]

_ORIGINS: Final = "buildpush-origins.json"
_MOST: Final = 5
_BYTES: Final = 16 << 20


class _Origins(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True)

    origins: dict[str, str]


@contextmanager
def kept_on_failure(
    artifact: LayoutArtifact, references: Sequence[ImageReference], run: Run
) -> Generator[None]:
    """Keep *artifact* when the block fails; the error tells where it is and how to push it.

    A step that was cancelled leaves nothing behind.
    """
    try:
        yield
    except StepCancelledError:
        raise
    except BuildpushError as error:
        try:
            path = keep(artifact, run.environment.cache)
        except (OSError, BuildpushError) as trouble:
            run.warn(f"the image could not be kept for another push: {trouble}")
        else:
            error.artifact = path
            error.hint = "; ".join(filter(None, (error.hint, _advice(path, references, error))))
        raise


def keep(artifact: LayoutArtifact, cache: Path) -> Path:
    """Keep *artifact* below *cache*, beside the four newest others; the folder it is in then.

    Files are linked where they can be, copied where not. Raises `OSError` for a cache that
    cannot be written.
    """
    folder = cache / "kept"
    make_private(folder)
    target = folder / artifact.digest.hex
    aside = Path(tempfile.mkdtemp(prefix=".part-", dir=folder))
    try:
        made = Layout.create(aside)
        source = Layout.open(artifact.path)
        _link_all(source, made, artifact)
        origins = {str(digest): str(place) for digest, place in artifact.origins.items()}
        (aside / _ORIGINS).write_text(_Origins(origins=origins).model_dump_json())
        _put(aside, target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    _forget(folder, target)
    return target


def _put(made: Path, target: Path) -> None:
    """Give *made* the name *target*; what had it goes.

    Names are changed before anything is removed: whoever looks finds an image that is whole.
    """
    before = made.with_name(f"{made.name}-before")
    with suppress(FileNotFoundError):
        target.rename(before)
    try:
        made.rename(target)
    except OSError:
        if not target.is_dir():
            raise
    shutil.rmtree(before, ignore_errors=True)


def kept(path: Path) -> LayoutArtifact:
    """The artifact that `keep` left at *path*, or the one image of any other OCI layout.

    Raises `SpecError` when *path* is no layout, or holds several images.
    """
    layout = Layout.open(path)
    digests = tuple(dict.fromkeys(entry.digest for entry in layout.index().manifests))
    if len(digests) != 1:
        raise SpecError(
            f"{path} holds {len(digests)} images, and one is to be pushed",
            hint="name one of them: oci:PATH:TAG or oci:PATH@DIGEST",
        )
    # A push that is under way should not lose its files to the next one that fails.
    with suppress(OSError):
        os.utime(path)
    return LayoutArtifact(path=path, digest=digests[0], origins=_origins(path))


def _origins(path: Path) -> Mapping[Digest, Repository]:
    try:
        with (path / _ORIGINS).open("rb") as file:
            said = _Origins.model_validate_json(file.read(_BYTES)).origins
        return {Digest(digest): Repository.parse(place) for digest, place in said.items()}
    except FileNotFoundError:
        return {}
    except (ValidationError, InvalidReferenceError):
        raise SpecError(f"{path}: its {_ORIGINS} is damaged", hint="build again") from None


def _link_all(source: Layout, made: Layout, artifact: LayoutArtifact) -> None:
    known = frozenset(artifact.origins)
    walked = list(source.manifests(artifact.digest, allow_missing=known))
    top = walked[0][0]
    for descriptor, document in walked:
        needed: tuple[Descriptor, ...] = (descriptor,)
        if isinstance(document, Manifest):
            needed += (document.config, *document.layers)
        for blob in needed:
            if source.has(blob.digest):
                _link(source.blob_path(blob.digest), made.blob_path(blob.digest))
    listed = (e for e in source.index().manifests if e.digest == artifact.digest)
    made.set_index((next(listed, top),))


def _link(source: Path, target: Path) -> None:
    """A hard link to the file itself: what a symbolic link points at may be gone tomorrow."""
    if target.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)


def _forget(folder: Path, newest: Path) -> None:
    """Remove all but the newest; what a killed process left aside counts, too."""
    others = [path for path in folder.iterdir() if path != newest and path.is_dir()]
    # Another process may be doing the same.
    with suppress(OSError):
        others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in others[_MOST - 1 :]:
            shutil.rmtree(path, ignore_errors=True)


def _advice(path: Path, references: Sequence[ImageReference], error: BuildpushError) -> str:
    left = [str(reference) for reference in references]
    if isinstance(error, PartialPushError):
        failed = [one for one in error.destinations if isinstance(one, Destination)]
        left = [str(one.reference) for one in failed if one.status == "failed"]
    command = shlex.join(["python", "-m", "buildpush", "push", str(path), *left])
    return f"the image is kept, so push it without building again: {command}"

"""How finished images leave buildah's storage: pushed by it, or exported as a layout."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ...errors import BuildError, RegistryError
from ...oci import Digest, ImageReference
from ...oci.layout import Layout
from ...oci.wire import MAX_MANIFEST, Descriptor, Manifest, parse_manifest
from ...plan import LayoutArtifact, PushedArtifact
from ...plan.annotations import Annotations
from ..engine.command import converse
from ..engine.exported import adopt
from ..engine.sparing import sparing
from .argv import push
from .failures import push_error
from .images import Exported, Image, clean_config, combine
from .inspecting import inspect
from .translate import TransferOutput
from .workplace import Workplace

__all__ = ["export", "push_image"]


def push_image(image: Image, place: Workplace) -> PushedArtifact:
    """Have buildah push *image* under every reference of the request."""
    digests: dict[Digest, ImageReference] = {}
    for reference in place.request.references:
        target = f"{reference.repository}:{reference.tag or 'latest'}"
        digestfile = place.folder / "digest"
        words = push(
            place.buildah,
            image.id,
            f"docker://{target}",
            place.request,
            authfile=place.authfile(reference),
            digestfile=digestfile,
            policy=place.policy,
            oci=image.oci,
        )
        output = TransferOutput(task=f"push {target}", title=f"push {target}")
        _transfer(place, words, output, target)
        digests[_read_digest(digestfile)] = reference
    if len(digests) != 1:
        pushed = ", ".join(f"{reference} is {digest}" for digest, reference in digests.items())
        raise RegistryError(f"buildah pushed different images: {pushed}")
    return PushedArtifact(digest=next(iter(digests)))


def _transfer(
    place: Workplace, words: tuple[str, ...], output: TransferOutput, target: str
) -> None:
    run = place.run
    run.emit(output.begin(run.now))
    done = converse(words, output, run=run, env=place.variables())
    if done.exit_code != 0:
        raise push_error(target, output, done, run.redact)


def _read_digest(path: Path) -> Digest:
    try:
        return Digest(path.read_text().strip())
    finally:
        path.unlink(missing_ok=True)


def export(build: Callable[[], Sequence[Image]], place: Workplace) -> LayoutArtifact:
    """Run *build* and write its images as a layout, base layers left where their registry is.

    Buildah forgets in an OCI config what only docker's has, so the config is taken from the
    storage, and config, manifest and index are written here.
    """
    request, run = place.request, place.run
    folder = place.folder / "layout"
    layout = Layout.create(folder)
    with sparing(folder, request, place.keychain, run, marks="diff_id") as bases:
        images = build()
        exported = [_export(image, layout, place) for image in images]
    annotations = Annotations(texts=request.annotations)
    combine(exported, layout, annotations, several=len(request.platforms) > 1)
    return adopt(folder, request, place.keychain, run, bases=bases)


def _export(image: Image, layout: Layout, place: Workplace) -> Exported:
    plain = place.request.compression == "none"
    folder = place.folder / f"export-{image.id[:12]}"
    digestfile = place.folder / "digest"
    words = push(
        place.buildah,
        image.id,
        f"dir:{folder}" if plain else f"oci:{layout.path}",
        place.request,
        authfile=place.folder / "pull.json",
        digestfile=digestfile,
        policy=place.policy,
    )
    title = f"export {image.id[:12]}"
    output = TransferOutput(task=f"{title}", title=title)
    _transfer(place, words, output, "the layout")
    digest = _read_digest(digestfile)
    data = (folder / "manifest.json").read_bytes() if plain else layout.read(digest, MAX_MANIFEST)
    manifest = parse_manifest(data)
    if not isinstance(manifest, Manifest):
        raise BuildError("buildah exported no image but an index")
    if plain:
        _move(folder, layout, manifest.layers)
    return Exported(config=clean_config(inspect(image.id, place)), layers=manifest.layers)


def _move(folder: Path, layout: Layout, layers: Sequence[Descriptor]) -> None:
    """Take *layers* out of a ``dir:`` export, where each file is called by its digest."""
    for layer in layers:
        place = layout.blob_path(layer.digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        if (folder / layer.digest.hex).is_file():
            (folder / layer.digest.hex).replace(place)
